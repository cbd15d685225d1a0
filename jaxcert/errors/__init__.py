"""Errors of user input: the exception, checks of values and paths, and how a command ends."""

from jaxcert.errors.exits import exit_cleanly
from jaxcert.errors.files import (
    UNFINISHED,
    check_file,
    home,
    is_stream,
    own_file,
    path_of,
    replacing,
)
from jaxcert.errors.guards import above, at_least, one_of, whole_from, within
from jaxcert.errors.input_error import InputError
from jaxcert.errors.terminal import interruptible

__all__ = [
    "UNFINISHED",
    "InputError",
    "above",
    "at_least",
    "check_file",
    "exit_cleanly",
    "home",
    "interruptible",
    "is_stream",
    "one_of",
    "own_file",
    "path_of",
    "replacing",
    "whole_from",
    "within",
]
