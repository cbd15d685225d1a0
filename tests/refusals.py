"""What tests assert of a refusal: the type of the error, the key and the value in it."""

from __future__ import annotations

import re


def names(key: str, value: object) -> str:
    """Pattern, for `match=`, of a sentence that has the key and then the value as whole
    words."""
    key, value = (re.escape(str(part)) for part in (key, value))
    return rf"(?<![\w.-]){key}(?![\w-]).*(?<![\w.-]){value}(?![\w-]).*\.(\n|$)"
