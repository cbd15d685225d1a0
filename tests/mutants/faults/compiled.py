"""Planted faults of benchmarks/compiled/: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "benchmarks/compiled"

_COUNT = "tests/benchmarks/test_compiled_count.py"
_COMMAND = "tests/benchmarks/test_compiled.py"

FAULTS = [
    (
        "compiled: a loop counts once",
        "count.py",
        'self._walk(op.named("body"), times * trips, found)',
        'self._walk(op.named("body"), times, found)',
        f"{_COUNT}::test_a_loop_is_counted_as_often_as_it_runs",
    ),
    (
        "compiled: a slice reads its whole array",
        "count.py",
        'if user.code in ("slice", "dynamic-slice", "gather") and place == 0:',
        'if user.code in ("slice", "gather") and place == 0:',
        f"{_COUNT}::test_a_loop_is_counted_as_often_as_it_runs",
    ),
    (
        "compiled: the fastest branch",
        "count.py",
        "slowest = max(tried",
        "slowest = min(tried",
        f"{_COUNT}::test_loops_and_branches_that_the_host_drives_are_listed",
    ),
    (
        "compiled: float32 of highest precision as TF32",
        "products.py",
        'if highest or "dot_f32_f32" in algorithm:',
        'if "dot_f32_f32" in algorithm:',
        f"{_COUNT}::test_products_are_counted_by_the_unit_that_computes_them",
    ),
    (
        "compiled: callbacks are no transfers",
        "count.py",
        'or "callback" in target',
        'or "callbacks" in target',
        f"{_COUNT}::test_loops_and_branches_that_the_host_drives_are_listed",
    ),
    (
        "compiled: the outermost line",
        "child.py",
        'return ":".join(ours[-1]) if ours else ""',
        'return ":".join(lines[0]) if ours else ""',
        f"{_COMMAND}::test_a_program_that_fails_names_the_line_of_the_library",
    ),
    (
        "compiled: budgets rise",
        "budgets.py",
        "field: min(new[field], old.get(field, new[field]))",
        "field: max(new[field], old.get(field, new[field]))",
        f"{_COMMAND}::test_budgets_are_only_lowered",
    ),
    (
        "compiled: rows of another commit are kept",
        "results.py",
        '(row["commit"], row["jax"]) == (result["commit"], result["versions"]["jax"])',
        'row["jax"] == result["versions"]["jax"]',
        f"{_COMMAND}::test_a_run_that_was_cut_goes_on_where_it_stopped",
    ),
]
