"""Planted faults of the format of records, and of what a re-check asks of it: (name, file, text,
replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert"

_TABLE = "tests/analysis/test_recheck_table.py::test_outcome_of_a_modification"
_EVIDENCE = "tests/analysis/test_recheck_evidence.py"
_REFUSED = f"{_EVIDENCE}::test_a_header_with_another_rule_is_refused"
_DC = "tests/certificates/test_diffusion_certificates.py::test_bounds_of_margins_follow_from_means_and_variances"
_MERGE = "tests/test_records.py::TestMerge"

FAULTS = [
    (
        "format: what a header of it lacks is not missed",
        "certificates/rechecking.py",
        'if found is None and c.header.get("format") == FORMAT:',
        'if found is None and c.header.get("format") == 0:',
        f"{_TABLE}[no layers]",
    ),
    (
        "format: a record without votes of the selection holds",
        "certificates/rechecking.py",
        'if c.selection is None and c.header.get("format") != FORMAT:',
        "if c.selection is None:",
        f"{_TABLE}[no votes of the selection]",
    ),
    (
        "format: a whole number may have a point",
        "certificates/rechecking.py",
        "if type(value) is int and value >= least:",
        "if value == int(value) and value >= least:",
        f"{_TABLE}[n with a point, 1000.0]",
    ),
    (
        "format: any scale of the noise",
        "certificates/rechecking.py",
        "if scale is not None and scale != norms.scale(noise, sigma):",
        "if scale is not None and scale <= 0:",
        f"{_TABLE}[the scale of the noise]",
    ),
    (
        "format: the network may be Lipschitz in another norm",
        "certificates/rechecking.py",
        'found.get("norm") != norm or',
        'found.get("norm") is None or',
        f"{_TABLE}[the norm of the network alone]",
    ),
    (
        "format: a pairwise bound below the product of its layers",
        "certificates/lipschitz.py",
        "if not (pairwise[off] >= least).all():",
        "if not (pairwise[off] >= 0 * least).all():",
        f"{_TABLE}[the pairwise bound, to 0]",
    ),
    (
        "format: a pairwise bound above the product of its layers",
        "certificates/lipschitz.py",
        "if not close.all():",
        "if not close.size:",
        f"{_TABLE}[the bound of one layer, lowered]",
    ),
    (
        "format: layers of any norm",
        "certificates/lipschitz.py",
        'if layers and distances != (norm == "linf"):',
        'if layers and distances and norm == "l2":',
        f"{_TABLE}[both norms, of layers that are Lipschitz in another, and no model]",
    ),
    (
        "format: any generator",
        "analysis/recheck_header.py",
        'if _dict(found).get("implementation") != "threefry2x32":',
        'if _dict(found).get("implementation") is None:',
        f"{_TABLE}[the generator]",
    ),
    (
        "format: alpha may be spent in any way",
        "certificates/procedures.py",
        "and np.allclose(stated, wanted, rtol=1e-12, atol=0)",
        "and np.allclose(stated, wanted, rtol=9, atol=0)",
        f"{_REFUSED}[all of alpha at the first look]",
    ),
    (
        "format: any rule from the votes of a pilot",
        "certificates/pilots.py",
        "if found is None or not ((low <= found) & (found <= high)).all():",
        "if found is None:",
        f"{_REFUSED}[fewer votes than the rule asks]",
    ),
    (
        "format: any mixture",
        "certificates/procedures.py",
        "if mixture is not None and mixture != list(sequential.MIXTURE):",
        "if mixture is not None and not mixture:",
        f"{_REFUSED}[another mixture]",
    ),
    (
        "format: bounds of means that do not follow from them",
        "certificates/diffusion_classifier.py",
        "fits &= ~others | (-logits <= lower + rechecking.ROUNDING * most)",
        "fits &= ~others | (-logits <= most)",
        _DC,
    ),
    (
        "format: weights of other levels",
        "certificates/diffusion_classifier.py",
        "if not all(same):",
        "if not any(same):",
        _DC,
    ),
    (
        "merge: parts of any request",
        "records/merging.py",
        "if (other := difference(*unnumbered)) is not None:",
        "if (other := difference(*unnumbered[:1] * 2)) is not None:",
        f"{_MERGE}::test_parts_of_different_requests_are_refused",
    ),
    (
        "merge: an image may be in two parts",
        "records/merging.py",
        "if index in where:",
        "if index < 0:",
        f"{_MERGE}::test_an_image_in_two_parts_is_refused",
    ),
    (
        "merge: the requests of the first part alone",
        "records/merging.py",
        'requests += part.header.get("requests", [None])',
        'requests += head.header.get("requests", [None])',
        f"{_MERGE}::test_parts_of_one_request_become_one_record",
    ),
    (
        "records: a file may have the label -1",
        "records/lines.py",
        "if type(value) is not int or value < 0:",
        "if type(value) is not int or value < -1:",
        "tests/test_records.py::TestRefused::test_row_that_no_certifier_writes",
    ),
]
