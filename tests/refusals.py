"""What a test states of a refusal: the type of the error, the name and the value in it."""

from __future__ import annotations

import re
from contextlib import contextmanager

import pytest

from jaxcert.errors import InputError


@contextmanager
def refused(key: str, value: object):
    """The body raises InputError; its one sentence has the key and the value as whole words."""
    with pytest.raises(InputError) as caught:
        yield caught
    said = str(caught.value)
    assert said.endswith(".") and "\n" not in said, said
    for part in (key, str(value)):
        assert re.search(rf"(?<![\w.-]){re.escape(part)}(?![\w-])", said), said
