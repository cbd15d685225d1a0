"""Planted faults of what errors advise: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert"

FAULTS = [
    (
        "procedures: the mixture is advised the n of the union",
        "certificates/reach.py",
        "while not radius_of(tail_if_all_agree(name, enough, each, bound)) > 0:",
        "while enough < 0:",
        "tests/test_advice_certificates.py::test_certificates",
    ),
    (
        "first votes: the part that the config certifies is advised",
        "methods/_smoothing.py",
        '{"start": 0, "stop": 0, "step": 1, "split": "train"}',
        '{"split": "train"}',
        "tests/test_advice_records.py::test_first_votes_are_those_of_all_training_images",
    ),
    (
        "first votes: a record is completed with other settings",
        "methods/_smoothing.py",
        "options = {k: begun[k] for k in _VOTES if begun.get(k) not in",
        "options |= {k: begun[k] for k in () if begun.get(k) not in",
        "tests/test_advice_records.py::test_first_votes_are_those_of_all_training_images",
    ),
    (
        "report: images of a table are named by their row",
        "analysis/report.py",
        "str(i) for i in c.index[failing[:5]]",
        "str(i + 2) for i in failing[:5]",
        "tests/test_advice_records.py::test_radii_of_a_table_above_their_votes",
    ),
    (
        "records: an attack is sent to certify",
        "records/files.py",
        'return "attack" if header.get("method") in ATTACKS else "certify"',
        'return "certify"',
        "tests/test_advice_records.py::test_attacks_and_certificates_name_their_own_command",
    ),
    (
        "edm_unet: fewer multipliers are to make a square",
        "models/edm_unet.py",
        '", or give fewer multipliers" if image_shape[1] == side else ""',
        '", or give fewer multipliers"',
        "tests/test_advice_certificates.py::test_models",
    ),
]
