"""Planted faults of the documents' tables: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "docs"

_README = "tests/test_readme.py"
_TABLES = f"{_README}::test_tables_are_those_of_the_committed_results"

FAULTS = [
    (
        "docs tables: the least ratio stands for the median",
        "tables.py",
        'for k in ("median", "min", "max"))',
        'for k in ("min", "min", "max"))',
        _TABLES,
    ),
    (
        "docs tables: a marked table is left as it stands",
        "tables.py",
        'return _MARKED.sub(lambda found: found[1] + table(found[2]) + "\\n" + found[4], page)',
        "return page",
        f"{_README}::test_a_number_that_was_typed_is_written_over",
    ),
    (
        "docs tables: --check finds nothing",
        "tables.py",
        "return 1 if stale and arguments else 0",
        "return 0",
        f"{_README}::test_a_number_that_was_typed_is_written_over",
    ),
    (
        "docs tables: standard errors are left out",
        "tables.py",
        "return f\"{share['percent']:.1f} ± {share['error']:.1f}\"",
        "return f\"{share['percent']:.1f}\"",
        _TABLES,
    ),
]
