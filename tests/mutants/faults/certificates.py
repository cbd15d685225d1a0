"""Planted faults of jaxcert/certificates/: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert/certificates"

STATISTICS = "tests/certificates/test_statistics.py"
SEQUENTIAL = "tests/certificates/test_sequential.py"
NORMS = "tests/certificates/test_norms.py"
_CLOSED = f"{NORMS}::test_closed_forms"
_INVERSE = f"{NORMS}::test_needed_p_is_the_inverse_of_the_radius_on_the_safe_side"
_MEANS = f"{STATISTICS}::test_bounds_of_a_mean_are_the_published_ones_rounded_down"
_EXACT = "tests/certificates/test_exact_cases.py"
_SIDES = f"{_EXACT}::test_interval_holds_where_the_box_of_both_sides_does"

FAULTS = [
    (
        "interval: box of one side",
        "interval.py",
        "jnp.nextafter(image + eps, jnp.inf)",
        "jnp.nextafter(image + 0 * eps, jnp.inf)",
        _SIDES,
    ),
    (
        "interval: eps of 0.9 r",
        "interval.py",
        "params, state, images, y, r)",
        "params, state, images, y, 0.9 * r)",
        _SIDES,
    ),
    (
        "interval: margins of 0 hold",
        "interval.py",
        "(least > 2 * slack) & finite",
        "(least >= 0) & finite",
        f"{_EXACT}::test_interval_grants_the_forward_pass_twice_its_slack",
    ),
    (
        "lipschitz: radius of the paper's estimate",
        "lipschitz.py",
        "proven_radius(logits[known], pairwise,",
        "proven_radius(logits[known], paper,",
        f"{_EXACT}::test_radius_stands_on_the_bound_and_radius_paper_on_the_estimate",
    ),
    (
        "two_stage: votes of the pilot count",
        "procedures.py",
        "draw(some, n0 + PILOT, size[some])",
        "draw(some, n0, size[some])",
        f"{_EXACT}::test_second_stage_counts_none_of_the_votes_of_the_first",
    ),
    (
        "clopper-pearson: two-sided level",
        "statistics.py",
        "special.betainccinv(n - k_used + 1, k_used, alpha)",
        "special.betainccinv(n - k_used + 1, k_used, 2 * alpha)",
        f"{STATISTICS}::test_clopper_pearson_is_the_originals",
    ),
    (
        "clopper-pearson: all agree at twice alpha",
        "statistics.py",
        "np.expm1(np.log(alpha) / n)",
        "np.expm1(np.log(2 * alpha) / n)",
        f"{STATISTICS}::test_clopper_pearson_is_the_originals",
    ),
    (
        "predict: one-sided test",
        "statistics.py",
        "np.minimum(2 * tail * (1 + slack), 1.0)",
        "np.minimum(1 * tail * (1 + slack), 1.0)",
        f"{STATISTICS}::test_predict_test_is_the_originals",
    ),
    (
        "hoeffding: 4 n for 2 n",
        "statistics.py",
        "-math.log(alpha) / (2 * n)",
        "-math.log(alpha) / (4 * n)",
        _MEANS,
    ),
    (
        "bernstein: 3 for 7",
        "statistics.py",
        "+ 7 * (high - low) * log",
        "+ 3 * (high - low) * log",
        _MEANS,
    ),
    (
        "bernstein: level alpha for alpha / 2",
        "statistics.py",
        "math.log(2) - math.log(alpha)",
        "0 - math.log(alpha)",
        _MEANS,
    ),
    (
        "sequential: spends alpha at every look",
        "sequential.py",
        "allowed[j] - spent - _NOTHING",
        "allowed[j] - 0 * spent - _NOTHING",
        f"{SEQUENTIAL}::test_level_of_the_group_sequential_test_is_exact",
    ),
    (
        "sequential: everything at the first look",
        "sequential.py",
        "alpha * (look / looks[-1]) ** power",
        "alpha * (look / looks[0]) ** power",
        f"{SEQUENTIAL}::test_level_of_the_group_sequential_test_is_exact",
    ),
    (
        "sequential: mixture without its prior",
        "sequential.py",
        " - special.betaln(a, b)",
        " - 0 * special.betaln(a, b)",
        f"{SEQUENTIAL}::test_all_procedures_are_the_golden_ones",
    ),
    (
        "sequential: confidence at level 1 / e",
        "sequential.py",
        "wanted = -np.log(alpha) + error",
        "wanted = 1 + error",
        f"{SEQUENTIAL}::test_all_procedures_are_the_golden_ones",
    ),
    (
        "norms: l_inf without sqrt d",
        "norms.py",
        'return math.sqrt(d) if norm == "linf" else 1.0',
        "return 1.0",
        _CLOSED,
    ),
    (
        "norms: uniform noise by twice",
        "norms.py",
        "lambda: 2 * b * (0.5 - t)",
        "lambda: 4 * b * (0.5 - t)",
        _CLOSED,
    ),
    (
        "norms: scale of laplace noise",
        "norms.py",
        '"laplace": math.sqrt(0.5)',
        '"laplace": math.sqrt(1.0)',
        _CLOSED,
    ),
    (
        "norms: needed p of laplace noise",
        "norms.py",
        "1 - 0.5 * np.exp(-r / b)",
        "1 - 0.5 * np.exp(-2 * r / b)",
        _INVERSE,
    ),
    (
        "procedures: union without its correction",
        "looking.py",
        "level = np.asarray(alpha) / len(looks)",
        "level = np.asarray(alpha)",
        f"{SEQUENTIAL}::test_all_procedures_are_the_golden_ones",
    ),
]
