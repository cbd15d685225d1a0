"""Planted faults of how a re-check is found, and of what is said where none is known: (name,
file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert"

_RECHECK = "tests/analysis/test_recheck.py"
_OTHERS = (
    "tests/test_report.py::test_what_nothing_here_rechecks_is_said_and_is_no_fault"
)

FAULTS = [
    (
        "recheck: classes that a record leaves out",
        "analysis/recheck_header.py",
        "and classes != known:",
        "and classes > known:",
        f"{_RECHECK}::test_classes_of_the_model_cannot_be_left_out",
    ),
    (
        "recheck: margins of format 1 count in format 2",
        "certificates/interval.py",
        'if c.margins is not None and c.header.get("format") != FORMAT:',
        "if c.margins is not None:",
        f"{_RECHECK}::test_margins_of_format_1_do_not_count_in_format_2",
    ),
    (
        "recheck: rows of an unknown procedure are false",
        "analysis/recheck.py",
        "return Recheck(0, rows[:0], proven, str(reason), tuple(notes))",
        "return Recheck(len(rows), rows, proven, str(reason), tuple(notes))",
        f"{_RECHECK}::test_what_no_module_here_has_made_is_not_rechecked",
    ),
    (
        "recheck: rows without their evidence are not re-checked",
        "analysis/recheck.py",
        "return Recheck(len(rows), rows, proven, str(reason))",
        "return Recheck(0, rows[:0], proven, str(reason))",
        f"{_RECHECK}::test_predictions_without_evidence_fail",
    ),
    (
        "recheck: procedures that are no names are not re-checked",
        "certificates/rechecking.py",
        "if not isinstance(name, str):",
        "if name == ():",
        f"{_RECHECK}::test_predictions_without_evidence_fail[procedure]",
    ),
    (
        "recheck: any module of the folder re-checks",
        "analysis/recheck.py",
        'if not hasattr(module, "make") or not hasattr(module, "recheck"):',
        'if not hasattr(module, "recheck"):',
        f"{_RECHECK}::test_a_file_in_certificates_brings_its_own_recheck[make]",
    ),
    (
        "recheck: PREDICT at another level",
        "certificates/procedures.py",
        "holds = fits & (p <= rechecking.alpha_of(c))",
        "holds = fits & (p <= 1)",
        f"{_RECHECK}::test_predict_must_pass_its_test_and_has_no_radius",
    ),
    (
        "latex: that nothing was re-checked is left out",
        "analysis/latex.py",
        "if entry.recheck.reason or not entry.recheck.holds:",
        "if not entry.recheck.holds:",
        f"{_OTHERS}[latex-procedure]",
    ),
    (
        "csv: that nothing was re-checked is left out",
        "analysis/spreadsheet.py",
        '"not_rechecked": entry.recheck.reason or None,',
        '"not_rechecked": None,',
        f"{_OTHERS}[csv-procedure]",
    ),
    (
        "smoothing: certificates by votes have other defaults",
        "certificates/smoothing.py",
        "inspect.Signature([*found, *(defaults[key] for key in left)])",
        "inspect.Signature([*found, *(defaults[key].replace(default=0) for key in left)])",
        "tests/certificates/test_smoothing.py::test_certificates_by_votes_take_the_options_of_certifier",
    ),
    (
        "interval: the header is of another slack than the radii",
        "certificates/interval.py",
        '"radii": tried, "logit_slack": slack}',
        '"radii": tried, "logit_slack": 2 * slack}',
        "tests/certificates/test_exact_cases.py::test_interval_states_the_slack_that_it_grants",
    ),
    (
        "recheck header: what smooths something else is plain smoothing",
        "analysis/recheck_header.py",
        'base = _dict(header.get("base")).get("name", header.get("method"))',
        'base = header.get("method")',
        "tests/analysis/test_recheck_table.py::test_certificates_that_smooth_something_else_go_by_the_name_of_their_base[magic-passes]",
    ),
    (
        "recheck: a diffusion classifier of fewer draws than asked for",
        "certificates/diffusion_classifier.py",
        "holds &= (own == 0) & rechecking.has_all_samples(c, rows)",
        "holds &= own == 0",
        f"{_RECHECK}::test_diffusion_classifiers_certify_in_l2_alone",
    ),
    (
        "recheck: a diffusion classifier's own logit counts",
        "certificates/diffusion_classifier.py",
        "holds &= (own == 0) &",
        "holds &= (own == own) &",
        f"{_RECHECK}::test_diffusion_classifiers_certify_in_l2_alone",
    ),
    (
        "recheck: samples prove with certainty",
        "certificates/rechecking.py",
        "if not 0 < value < 1:",
        "if not 0 <= value < 1:",
        f"{_RECHECK}::test_diffusion_classifiers_certify_in_l2_alone",
    ),
    (
        "recheck: infinite logits are a margin",
        "certificates/lipschitz.py",
        "np.isfinite(logits).all(1)\n    holds &=",
        "~np.isnan(logits).any(1)\n    holds &=",
        f"{_RECHECK}::test_infinite_logits_prove_nothing",
    ),
    (
        "records: infinite margins are evidence",
        "records/checks.py",
        "infinite & (c.predicted >= 0)",
        "infinite & (c.predicted < 0)",
        "tests/analysis/test_recheck_table.py::test_outcome_of_a_modification[infinite margins]",
    ),
    (
        "records: of a key that comes twice the last counts",
        "records/lines.py",
        "if len(found) < len(pairs):",
        "if len(found) > len(pairs):",
        "tests/test_records.py::test_a_key_that_comes_twice_is_refused",
    ),
]
