"""Planted faults of files that are written as a whole, of votes that are no whole numbers, and of
what an auditor looks at beside the evidence: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert"

_RECORDS = "tests/test_records.py"
_MERGE = f"{_RECORDS}::TestMerge"
_NETWORK = (
    "tests/test_audit_network.py::test_what_the_network_does_not_give_is_rejected"
)
_AUDIT = "tests/test_audit.py::test_tampering_is_rejected"

FAULTS = [
    (
        "records: votes may have a point",
        "records/lines.py",
        "kinds = {int} if votes else",
        "kinds = {int, float} if votes else",
        f"{_RECORDS}::TestRefused::test_row_that_no_certifier_writes",
    ),
    (
        "records: a record is written under its final name",
        "records/files.py",
        "with replacing(path) as part, Writer(part, header, instead=path) as writer:",
        "with Writer(path, header) as writer:",
        f"{_MERGE}::test_a_file_is_there_when_it_is_finished",
    ),
    (
        "records: a part is known by how it is written alone",
        "records/merging.py",
        "if os.path.realpath(path) in given:",
        "if str(path) in given:",
        f"{_MERGE}::test_an_image_in_two_parts_is_refused",
    ),
    (
        "files: a link under the name beside it is followed",
        "errors/files.py",
        "part.unlink(missing_ok=True)  # a link as well: it may lead anywhere",
        "pass",
        "tests/test_errors.py::test_a_file_is_replaced_as_a_whole_or_not_at_all",
    ),
    (
        "network audit: an image may be there twice",
        "audit_network.py",
        "0 <= i < images and i not in seen",
        "0 <= i < images",
        f"{_NETWORK}[lipschitz-a row twice]",
    ),
    (
        "network audit: a slack may be infinite",
        "audit_network.py",
        "0 <= slack < math.inf",
        "0 <= slack",
        f"{_NETWORK}[lipschitz-a slack of any size]",
    ),
    (
        "audit: layers of another norm",
        "audit.py",
        ", *[own][: len(kinds)]}",
        "}",
        f"{_AUDIT}[norm everywhere]",
    ),
    (
        "audit: the rows of the config are not asked for",
        "audit.py",
        '{*asked, *head["rows"]} -',
        "asked -",
        f"{_AUDIT}[row deleted, and its request]",
    ),
    (
        "recheck: the rows of the config are not asked for",
        "analysis/recheck_header.py",
        "ranges = known + _of_config(c.header)",
        "ranges = known",
        "tests/analysis/test_recheck_table.py::test_outcome_of_a_modification[a deleted row, and the request with it]",
    ),
    (
        "spectral: a tight bound tries one excess",
        "ops/spectral.py",
        "10.0 ** np.arange(-7, -1)",
        "10.0 ** np.arange(-7, -6)",
        "tests/ops/test_spectral.py::test_a_low_estimate_takes_a_larger_excess_and_none_proves_less",
    ),
    (
        "lipnext: rotations are joined in float32 whatever the config says",
        "nn/spatial_shift.py",
        "how = linalg.iterated(r.dtype)",
        "how = linalg.EXACT",
        "tests/models/test_precision.py::test_rotations_are_joined_in_three_products_where_a_config_asks_for_them",
    ),
    (
        "recertify: a base has to say how it makes keys",
        "certificates/recertifying.py",
        'if k != "keys"}}',
        "if k}}",
        "tests/test_recertify.py::test_a_record_of_version_0_1_need_not_say_how_its_base_makes_keys",
    ),
]
