"""Planted faults of the claims of papers: (name, file, text, replacement, test)."""

FOLDER = "."

_TEST = "tests/benchmarks/test_claims.py"
_VERDICT = f"{_TEST}::test_the_verdict_follows_from_the_intervals"

_FEW = "tests/benchmarks/test_few_images.py::test_gains_are_of_paired_seeds_and_the_table_says_them"

FAULTS = [
    (
        "few_images: the gain of the arm without generated images",
        "benchmarks/few_images.py",
        "columns = (after - before).T",
        "columns = (before - after).T",
        _FEW,
    ),
    (
        "few_images: training accuracy of the last half of the epochs",
        "benchmarks/few_images.py",
        "tenth = max(1, len(accuracy) // 10)",
        "tenth = max(1, len(accuracy) // 2)",
        _FEW,
    ),
    (
        "few_images: the table has one arm twice",
        "docs/tables.py",
        "means = (_mean([run[split][at] for run in arm]) for arm in runs)",
        "means = (_mean([run[split][at] for run in arm]) for arm in [*runs][:1] * 2)",
        _FEW,
    ),
    (
        "claims: an interval around 0 shows a claim",
        "docs/tables.py",
        'return "shown" if all(part["low"] > 0',
        'return "shown" if all(part["high"] > 0',
        _VERDICT,
    ),
    (
        "claims: one number of two shows a claim",
        "docs/tables.py",
        'return "shown" if all(part["low"] > 0',
        'return "shown" if any(part["low"] > 0',
        _VERDICT,
    ),
    (
        "claims: any number of seeds is a test",
        "docs/tables.py",
        'len(part["values"]) < least',
        'len(part["values"]) < 1',
        _VERDICT,
    ),
    (
        "claims: the spread of the seeds themselves",
        "benchmarks/claims.py",
        "x.std(ddof=1)",
        "x.std(ddof=0)",
        f"{_TEST}::test_the_interval_is_students_over_the_seeds",
    ),
    (
        "claims: accuracy at radius 0 the wrong way round",
        "benchmarks/claims.py",
        "for m in (other, method)",
        "for m in (method, other)",
        f"{_TEST}::test_numbers_of_a_seed_are_those_of_its_records",
    ),
    (
        "claims: a step of one seed is done for all",
        "benchmarks/claim_runs.py",
        'key = f"seed{seed}/{name}"',
        'key = f"{name}"',
        f"{_TEST}::test_steps_that_are_done_are_not_done_again",
    ),
]
