"""Planted faults of what is handed out: (name, file, text, replacement, test)."""

FOLDER = "jaxcert"

PREDICTOR = "tests/test_predictor.py"

FAULTS = [
    (
        "predictor: it answers where the logits may be off by more",
        "api/certifying.py",
        "return bool(first - second > 2 * slack)",
        "return bool(first - second > 0)",
        f"{PREDICTOR}::test_no_error_of_the_logits_gives_another_class_within_a_radius",
    ),
    (
        "predictor: it abstains up to half the slack alone",
        "api/certifying.py",
        "return bool(first - second > 2 * slack)",
        "return bool(first - second > slack)",
        f"{PREDICTOR}::test_no_error_of_the_logits_gives_another_class_within_a_radius",
    ),
    (
        "predictor: products in the precision of the call",
        "api/certifying.py",
        "with jax.default_matmul_precision(self._precision):",
        "with jax.default_matmul_precision(jax.config.jax_default_matmul_precision):",
        f"{PREDICTOR}::test_the_precision_of_products_stays_that_of_its_making",
    ),
]
