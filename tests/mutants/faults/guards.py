"""Planted faults of the guards of single values: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert"

_RANGE = "tests/test_guards.py::test_exactly_the_range_passes"

FAULTS = [
    (
        "guards: infinity is at least 0",
        "errors/guards.py",
        "lambda v: low <= v < math.inf",
        "lambda v: low <= v",
        _RANGE,
    ),
    (
        "guards: 0 is above 0",
        "errors/guards.py",
        "lambda v: low < v < math.inf",
        "lambda v: low <= v < math.inf",
        _RANGE,
    ),
    (
        "guards: NaN is in every interval",
        "errors/guards.py",
        "return low <= value <= high and not (",
        "return not (value < low or value > high) and not (",
        "tests/test_guards.py::test_what_is_no_number_is_refused",
    ),
    (
        "guards: the end of an open interval is in it",
        "errors/guards.py",
        'value == high and interval[-1] == ")"',
        "False",
        f"{_RANGE}[no top]",
    ),
    (
        "guards: 2.0 is a whole number",
        "errors/guards.py",
        "isinstance(value, numbers.Integral) and int(value) >= low",
        "float(value).is_integer() and value >= low",
        f"{_RANGE}[whole]",
    ),
    (
        "guards: True is 1",
        "errors/guards.py",
        "isinstance(value, numbers.Real) and not isinstance(value, bool)",
        "isinstance(value, numbers.Real)",
        "tests/test_guards.py::test_what_is_no_number_is_refused",
    ),
    (
        "guards: the section is not named",
        "errors/guards.py",
        'name = f"{of}.{name}" if of else name',
        "name = str(name)",
        "tests/test_guards.py::test_the_section_stands_before_the_name",
    ),
    (
        "guards: the first value alone is checked",
        "errors/guards.py",
        "for name, value in values.items():",
        "for name, value in list(values.items())[:1]:",
        "tests/test_guards.py::test_the_first_of_several_values_that_does_not_fit_is_named",
    ),
]
