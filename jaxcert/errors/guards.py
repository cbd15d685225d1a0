"""Guards of single values: `above(0, lr=lr)` raises InputError unless lr is above 0.

Each takes any number of values under the names that the user knows them by, and returns
nothing. `of` is the section of the config that the user sets them in: `at_least(0, lam=lam,
of="method")` speaks of method.lam. The message is one sentence with the name, the value and
what to give. Strings, booleans, arrays, None and NaN are no numbers.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Hashable, Iterable
from typing import Any

from jaxcert.errors.input_error import InputError


def at_least(low: float, /, *, of: str = "", **values: object) -> None:
    """Raises InputError unless every value is a finite number of at least `low`."""
    _numbers(f"finite and at least {low}", lambda v: low <= v < math.inf, of, values)


def above(low: float, /, *, of: str = "", **values: object) -> None:
    """Raises InputError unless every value is a finite number above `low`."""
    _numbers(f"finite and above {low}", lambda v: low < v < math.inf, of, values)


def within(interval: str, /, *, of: str = "", **values: object) -> None:
    """Raises InputError unless every value is a number in the interval, such as "[0, 1)", of
    which a square bracket includes the end and a round one does not."""
    low, high = map(float, interval[1:-1].split(","))

    def fits(value):
        return low <= value <= high and not (
            value == low and interval[0] == "(" or value == high and interval[-1] == ")"
        )

    _numbers(f"in {interval}", fits, of, values)


def whole_from(low: int, /, *, of: str = "", **values: object) -> None:
    """Raises InputError unless every value is a whole number of at least `low`, of a type of
    whole numbers: 2.0 is refused."""

    def fits(value):
        return isinstance(value, numbers.Integral) and int(value) >= low

    _numbers(f"a whole number from {low} up", fits, of, values)


def one_of(choices: Iterable[Hashable], /, *, of: str = "", **values: object) -> None:
    """Raises InputError unless every value is one of the choices."""
    choices = tuple(choices)
    rule = "one of " + ", ".join(str(choice) or "''" for choice in choices)
    _check(rule, lambda v: isinstance(v, Hashable) and v in choices, of, values)


def _numbers(
    rule: str, fits: Callable[[float], bool], of: str, values: dict[str, object]
) -> None:
    """Checks that each value is a real number which `fits`."""

    def is_number(value):
        return isinstance(value, numbers.Real) and not isinstance(value, bool)

    _check(rule, lambda value: is_number(value) and fits(value), of, values)


def _check(
    rule: str, fits: Callable[[Any], bool], of: str, values: dict[str, object]
) -> None:
    for name, value in values.items():
        if not fits(value):
            name = f"{of}.{name}" if of else name
            shown = repr(value) if isinstance(value, str) else str(value)
            raise InputError(f"{name} must be {rule}, not {shown}.")
