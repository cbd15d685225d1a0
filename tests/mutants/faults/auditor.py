"""Planted faults of the auditor, the program that checks records without the library: (name,
file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert"

_TEST = "tests/test_audit.py"
_REJECTED = f"{_TEST}::test_tampering_is_rejected"

FAULTS = [
    (
        "auditor: the tolerance is a hundred times larger",
        "audit.py",
        "TOLERANCE = 1e-9\n",
        "TOLERANCE = 1e-7\n",
        f"{_REJECTED}[radius by one tolerance]",
    ),
    (
        "auditor: one miss more is not counted",
        "audit.py",
        "for i in range(1, n - k + 1):",
        "for i in range(1, n - k):",
        f"{_TEST}::test_binomial_sums",
    ),
    (
        "auditor: alpha is not split over the looks",
        "audit.py",
        '(mixture, 1) if bound == "mixture" else (binomial, len(looks))',
        '(mixture, 1) if bound == "mixture" else (binomial, 1)',
        f"{_TEST}::test_agrees_with_the_recheck_of_votes[sequence gaussian l2 union]",
    ),
    (
        "auditor: rows may lack samples",
        "audit.py",
        "must(used == n, ",
        "must(used <= n, ",
        f"{_REJECTED}[n of a row]",
    ),
    (
        "auditor: what earlier looks spent is forgotten",
        "audit.py",
        "spent, alive = spent + float(crossed[above]) + 1e-25, alive[: max(above, 1)]",
        "spent, alive = spent + 1e-25, alive[: max(above, 1)]",
        f"{_TEST}::test_boundaries_spend_alpha_as_enumeration_does",
    ),
    (
        "auditor: the slack of logits counts once",
        "audit.py",
        "left = gap * (1 + t) - 2 * of(slack) * (1 - t)",
        "left = gap * (1 + t) - 1 * of(slack) * (1 - t)",
        f"{_TEST}::test_agrees_with_the_recheck_of_margins[lipschitz]",
    ),
    (
        "auditor: deleted rows are passed over",
        "audit.py",
        "must(asked <= set(seen), ",
        "must(asked or set(seen), ",
        f"{_REJECTED}[row deleted]",
    ),
    (
        "auditor: float32 noise shows any tail",
        "audit.py",
        'least = Decimal(max(asked.get("least_tail", 0), LEAST_TAIL * limited))',
        'least = Decimal(max(asked.get("least_tail", 0), 0 * limited))',
        f"{_TEST}::test_a_tail_that_float32_noise_does_not_show_is_not_proven",
    ),
]
