"""Planted faults of jaxcert/attacks/: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert/attacks"

APGD, PGD = "tests/attacks/test_apgd.py", "tests/attacks/test_pgd.py"
_LINEAR = f"{APGD}::test_a_linear_classifier_breaks_at_its_margin_and_not_before"

FAULTS = [
    (
        "pgd: projection without the ball",
        "pgd.py",
        "jnp.where(length > eps, shrunk, moved)",
        "jnp.where(length > 2 * eps, shrunk, moved)",
        _LINEAR,
    ),
    (
        "pgd: projection leaves the box",
        "pgd.py",
        "jnp.clip(jnp.clip(moved, image - eps, image + eps), 0, 1)",
        "jnp.clip(jnp.clip(moved, image - eps, image + eps), 0, 2)",
        f"{PGD}::test_stays_in_the_ball_and_in_valid_pixels_and_beats_a_linear_classifier",
    ),
    (
        "apgd: step down the loss",
        "apgd.py",
        "z = project(x + move, image, eps, norm)",
        "z = project(x - move, image, eps, norm)",
        _LINEAR,
    ),
    (
        "apgd: dlr of the label to itself",
        "apgd.py",
        "return margins(logits, label) /",
        "return -margins(logits, label) /",
        f"{APGD}::test_dlr_is_positive_in_another_class_and_ignores_shift_and_scale",
    ),
]
