"""Planted faults of the export of weights: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert"

_TEST = "tests/test_export.py"

FAULTS = [
    (
        "export: arrays keep the order of their memory",
        "workdirs/weights.py",
        'np.ascontiguousarray(array, array.dtype.newbyteorder("<"))',
        'np.ascontiguousarray(array.T, array.dtype.newbyteorder("<"))',
        f"{_TEST}::test_arrays_of_all_kinds_come_back",
    ),
    (
        "export: defaults of the model are left out",
        "workdirs/weights.py",
        "return {k: p.default for k, p in takes.items()} | section.to_dict()",
        "return {k: section[k] for k in takes if k in section} | section.to_dict()",
        f"{_TEST}::test_metadata_say_what_the_network_is",
    ),
    (
        "export: a damaged file is loaded",
        "workdirs/weights.py",
        'if checkpoint.digest(arrays) != metadata.get("digest"):',
        'if checkpoint.digest(arrays) == "":',
        f"{_TEST}::test_a_file_that_is_no_such_network_is_refused",
    ),
    (
        "export: arrays of other shapes are taken",
        "workdirs/checkpoint.py",
        "        if found.get(name) != wanted.get(name):\n            raise InputError(",
        "        if name not in wanted:\n            raise InputError(",
        f"{_TEST}::test_a_file_that_is_no_such_network_is_refused",
    ),
    (
        "export: the manifest lists a file twice",
        "workdirs/weights.py",
        'if m.get("checkpoint") != out.name]',
        'if m.get("checkpoint") != out]',
        f"{_TEST}::test_the_manifest_lists_all_networks_of_a_folder",
    ),
    (
        "export: a file that is there is written over",
        "workdirs/weights.py",
        "    if out.exists():\n",
        "    if out.is_dir():\n",
        f"{_TEST}::test_where_nothing_is_written",
    ),
    (
        "export: the shape of images is the other way round",
        "workdirs/weights.py",
        '"input_shape": [channels, height, width]',
        '"input_shape": [height, width, channels]',
        f"{_TEST}::test_the_manifest_lists_all_networks_of_a_folder",
    ),
    (
        "frames: evidence is split along the images",
        "records/frames.py",
        "np.moveaxis(column, 1, 0)",
        "np.moveaxis(column, 0, 0)",
        "tests/test_frames.py::test_every_number_has_a_column",
    ),
]
