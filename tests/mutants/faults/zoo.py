"""Planted faults of zoos: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert"

FAULTS = [
    (
        "zoo: the checksum of a download is not compared",
        "data/download.py",
        "        if found != wanted:",
        "        if len(found) != len(wanted):",
        "tests/test_zoo.py::test_a_corrupt_file_is_refused_and_removed",
    ),
    (
        "zoo: the checksum of a file in a folder is not compared",
        "zoos/places.py",
        'hashlib.file_digest(opened, "sha256").hexdigest() == file.sha256',
        'bool(hashlib.file_digest(opened, "sha256").hexdigest())',
        "tests/test_zoo.py::test_damage_in_a_folder_is_noticed_and_leaves_no_workdir",
    ),
    (
        "zoo: a name may lead out of the folder",
        "zoos/index.py",
        "not _NAME.fullmatch(name)",
        "not _NAME.search(name)",
        "tests/test_zoo.py::test_an_index_that_lies_is_refused[up]",
    ),
    (
        "zoo: a download goes on with another part than the one that is missing",
        "data/download.py",
        "response.status == 206 and not _continues(response, have)",
        "response.status == 200 and not _continues(response, have)",
        "tests/test_zoo.py::test_a_server_that_sends_another_part_is_asked_again",
    ),
    (
        "zoo: a server may send more than the index says",
        "data/download.py",
        "size is not None and have > size",
        "size is not None and have < 0",
        "tests/test_zoo.py::test_sizes_that_lie[no length-longer]",
    ),
    (
        "zoo: a record may be of any size",
        "zoos/places.py",
        "while size <= network.unpacked and (",
        "while size >= 0 and (",
        "tests/test_zoo.py::test_a_record_that_unpacks_to_more_than_its_index_says",
    ),
    (
        "zoo: the record of another network is taken",
        "zoos/networks.py",
        "if found != digest or not same:",
        "if not same:",
        "tests/test_zoo.py::test_a_record_that_does_not_belong_to_it_is_refused[other_network]",
    ),
    (
        "zoo: an unfinished record is taken",
        "api/sharing.py",
        "if missing := wanted - set(",
        "if missing := wanted & wanted - set(range(10**6)) - set(",
        "tests/test_zoo.py::test_a_record_that_does_not_belong_to_it_is_refused[unfinished]",
    ),
    (
        "zoo: a record that exceeds its evidence is taken",
        "api/sharing.py",
        "    report.fail_if_exceeding(entry.recheck, record, entry.certificates)\n",
        "",
        "tests/test_zoo.py::test_a_record_that_does_not_belong_to_it_is_refused[larger_radius]",
    ),
]
