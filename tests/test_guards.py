"""Guards of single values: they refuse exactly what is out of range, by name and value."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from refusals import names

from jaxcert.errors import InputError, above, at_least, one_of, whole_from, within

NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.fractions(),
    st.sampled_from([0, 1, 0.0, -0.0, 1.0, 5e-324, math.nextafter(1, 2)]),
    st.floats(width=32).map(np.float32),
    st.integers(-100, 100).map(np.int32),
)
NO_NUMBERS = [
    "0.5",
    None,
    True,
    np.True_,
    1j,
    [0.5],
    (0.5,),
    np.array(0.5),
    np.array([0.5]),
    Decimal("0.5"),
    {},
    math.nan,
    np.float32("nan"),
]
RANGES = {
    "at_least": (lambda **k: at_least(0, **k), lambda v: 0 <= v < math.inf),
    "above": (lambda **k: above(0, **k), lambda v: 0 < v < math.inf),
    "closed": (lambda **k: within("[0, 1]", **k), lambda v: 0 <= v <= 1),
    "open": (lambda **k: within("(0, 1)", **k), lambda v: 0 < v < 1),
    "no top": (lambda **k: within("[0, 1)", **k), lambda v: 0 <= v < 1),
    "no bottom": (lambda **k: within("(0, 1]", **k), lambda v: 0 < v <= 1),
    "whole": (
        lambda **k: whole_from(0, **k),
        lambda v: isinstance(v, int | np.integer) and v >= 0,
    ),
}


@pytest.mark.parametrize("guard,fits", RANGES.values(), ids=RANGES)
@given(value=NUMBERS)
@example(value=math.inf)
@example(value=-math.inf)
@example(value=0)
@example(value=1)
def test_exactly_the_range_passes(guard, fits, value):
    if fits(value):
        assert guard(lam=value) is None
    else:
        with pytest.raises(InputError, match=names("lam", value)):
            guard(lam=value)


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize("guard", [g for g, _ in RANGES.values()], ids=RANGES)
def test_what_is_no_number_is_refused(guard, value):
    with pytest.raises(InputError) as caught:
        guard(lam=value)
    shown = repr(value) if isinstance(value, str) else str(value)
    assert str(caught.value).endswith(f", not {shown}.")


@given(st.lists(NUMBERS, max_size=4))
def test_the_first_of_several_values_that_does_not_fit_is_named(values):
    named = {f"x{i}": value for i, value in enumerate(values)}
    wrong = [k for k, v in named.items() if not 0 <= v < math.inf]
    if not wrong:
        at_least(0, **named)
    else:
        with pytest.raises(InputError, match=names(wrong[0], named[wrong[0]])):
            at_least(0, **named)


def test_the_section_stands_before_the_name():
    above(0, of="method", eps=1)
    with pytest.raises(InputError, match=names("method.eps", 0)):
        above(0, of="method", eps=0)


CHOICES = ("kl", "mse", "", None, 3)


@given(st.one_of(st.sampled_from(CHOICES), st.text(), st.integers(), st.none()))
def test_exactly_the_choices_pass(value):
    if value in CHOICES:
        assert one_of(CHOICES, form=value) is None
    else:
        with pytest.raises(InputError) as caught:
            one_of(CHOICES, form=value)
        said = str(caught.value)
        shown = repr(value) if isinstance(value, str) else value
        assert said.startswith("form ") and "kl, mse, '', None, 3" in said
        assert said.endswith(f" {shown}.")


@pytest.mark.parametrize("value", [["kl"], {}, np.array("kl"), math.nan])
def test_what_cannot_be_a_choice_is_refused(value):
    with pytest.raises(InputError):
        one_of(CHOICES, form=value)


def test_choices_may_be_the_keys_of_a_table():
    one_of({"sgd": 1, "adam": 2}, of="optim", name="adam")
    with pytest.raises(InputError, match=names("optim.name", "'sdg'")):
        one_of({"sgd": 1, "adam": 2}, of="optim", name="sdg")


def test_fractions_of_a_range_are_compared_exactly():
    within("[0, 1)", lam=Fraction(10**30 - 1, 10**30))
    with pytest.raises(InputError, match=names("lam", "1")):
        within("[0, 1)", lam=Fraction(1))
