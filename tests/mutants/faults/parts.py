"""Faults in certifications that are divided into parts and joined again."""

FOLDER = "jaxcert"

_MERGE = "tests/test_records.py::TestMerge"
_REFUSED = f"{_MERGE}::test_parts_that_are_not_all_of_one_division_are_refused"
_JOINED = f"{_MERGE}::test_numbered_parts_become_the_record_of_one_certification"

FAULTS = [
    (
        "parts: some of all",
        "records/merging.py",
        "missing = sorted(set(range(1, count + 1)) - set(numbers))",
        "missing = []",
        _REFUSED,
    ),
    (
        "parts: one that was not finished",
        "records/merging.py",
        "if lacking := len(wanted - set(part.index.tolist())):",
        "if lacking := len(set(part.index.tolist()) - wanted):",
        _REFUSED,
    ),
    (
        "parts: of different requests",
        "records/merging.py",
        "if len(steps) != 1:",
        "if not steps:",
        _REFUSED,
    ),
    (
        "parts: rows in the order of the files",
        "records/merging.py",
        'order = np.argsort(columns["index"])',
        'order = np.arange(len(columns["index"]))',
        _JOINED,
    ),
    (
        "parts: the header stays that of a part",
        "records/merging.py",
        'config["certify"] |= {k: request[k] for k in ("start", "step")}',
        'config["certify"] |= {}',
        _JOINED,
    ),
    (
        "parts: one continues the file of another",
        "records/files.py",
        "checkpoint seed generator base networks bounded_again part",
        "checkpoint seed generator base networks bounded_again",
        f"{_MERGE}::test_a_part_continues_its_own_file_alone",
    ),
    (
        "parts: neighbours take the same images",
        "certificates/building.py",
        "divided.certify.start += (number - 1) * config.certify.step",
        "divided.certify.start += number - 1",
        "tests/test_recertify.py::test_parts_of_a_certification_make_the_record_of_one[smoothing]",
    ),
]
