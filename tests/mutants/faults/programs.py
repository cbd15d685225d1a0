"""Planted faults of jaxcert/: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert"

_EXACT = "tests/certificates/test_exact_cases.py"

FAULTS = [
    (
        "attack: just inside at radius 0",
        "attacks/audit.py",
        "inside = [INSIDE[dtype] * own",
        "inside = [0 * own",
        f"{_EXACT}::test_an_attack_finds_a_false_radius_just_inside_it",
    ),
    (
        "attack: distance of another norm",
        "attacks/audit.py",
        "return np.sqrt((away**2).sum((1, 2, 3)))",
        "return np.abs(away).max((1, 2, 3))",
        f"{_EXACT}::test_an_attack_finds_a_false_radius_just_inside_it",
    ),
]
