"""Planted faults of `jaxcert doctor`: (name, file, text, replacement, test)."""

FOLDER = "jaxcert"

_DOCTOR = "tests/test_doctor.py"
_WRONG = f"{_DOCTOR}::test_votes_or_radii_that_cannot_be"

FAULTS = [
    (
        "doctor: a test that fails leaves the status 0",
        "doctor.py",
        "failed, said = 1, ",
        "failed, said = 0, ",
        f"{_DOCTOR}::test_a_test_that_fails_is_said_and_the_others_run",
    ),
    (
        "doctor: other random numbers than those of records",
        "certificates/selftest.py",
        "if found != BITS:",
        "if found == (0, 0):",
        f"{_DOCTOR}::test_a_test_that_fails_is_said_and_the_others_run",
    ),
    (
        "doctor: votes that no half-space has",
        "certificates/selftest.py",
        "abs(agreeing - AGREEING) > _ROUNDED",
        "abs(agreeing - AGREEING) > 1000",
        _WRONG,
    ),
    (
        "doctor: a radius above the true one",
        "certificates/selftest.py",
        "or not 0 < radius <= 0.25 or not holds.all():",
        "or not 0 < radius:",
        _WRONG,
    ),
]
