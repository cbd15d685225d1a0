"""What tests assert of a refusal: the type of the error, the key and the value in it."""

from __future__ import annotations

import re


def names(*parts: object) -> str:
    """Pattern, for `match=`, of a sentence that has these parts in this order, each as whole
    words: the key that is at fault, its value, and what else tells this fault from others."""
    words = (rf"(?<![\w.-]){re.escape(str(part))}(?![\w-])" for part in parts)
    return ".*".join(words) + r".*[.?](\n|$)"


def tells(said: str, *parts: object) -> bool:
    """Whether what a command has said has a sentence with these parts."""
    return re.search(names(*parts), said) is not None
