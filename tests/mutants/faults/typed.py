"""Planted faults of what the type checker made explicit: (name, file, text, replacement,
test)."""

# ruff: noqa: E501

FOLDER = "jaxcert"

FAULTS = [
    (
        "typed: a banded convolution is its last tap alone",
        "ops/spectral.py",
        "        found += around[a : a + n, b : b + n] @ band.taps[a, b].T",
        "        found = around[a : a + n, b : b + n] @ band.taps[a, b].T",
        "tests/ops/test_spectral.py::test_bounds_lie_between_the_norm_and_gram_iteration",
    ),
    (
        "typed: squares of real and imaginary parts are subtracted",
        "ops/linalg.py",
        "functools.reduce(operator.add, squares)",
        "functools.reduce(operator.sub, squares)",
        "tests/ops/test_polar.py::test_singular_values_end_in_the_unit_interval_and_vectors_stay[minimax]",
    ),
    (
        "typed: Winograd's rows are the first of their terms",
        "ops/conv.py",
        "reduce(add, (f * a for",
        "reduce(lambda x, _: x, (f * a for",
        "tests/ops/test_conv.py::test_arranged_kernel_is_the_same_convolution",
    ),
    (
        "typed: unknown margins become numbers in a file",
        "records/files.py",
        "[v if math.isfinite(v) else None for v in values]",
        "[v if math.isfinite(v) else 0.0 for v in values]",
        "tests/test_records.py::TestChunks::test_untried_margins_are_null",
    ),
    (
        "typed: evidence that rows lack is a re-check that is not known",
        "certificates/rechecking.py",
        'raise Missing(f"its rows have no {name}")',
        'raise Unknown(f"its rows have no {name}")',
        "tests/analysis/test_recheck.py::test_predictions_without_evidence_fail",
    ),
]
