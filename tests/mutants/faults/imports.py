"""Planted faults of imports: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert"

_WRAPPING = "tests/torch_import/test_wrapping.py"
_AKAMASTER = "tests/torch_import/test_import_akamaster.py"
_NORMALISATION = "tests/torch_import/test_import_normalisation.py"

FAULTS = [
    (
        "imports: several networks, the last is taken",
        "torch_import/wrapping.py",
        "raise _several(sorted(found))",
        "found = dict(list(found.items())[-1:])",
        f"{_WRAPPING}::test_of_several_networks_one_is_asked_for",
    ),
    (
        "imports: a normalisation beside the network is passed over",
        "torch_import/wrapping.py",
        'getattr(tensor.dtype, "is_floating_point", None)',
        "False",
        f"{_WRAPPING}::test_what_may_compute_beside_the_network_is_not_passed_over",
    ),
    (
        "imports: a tensor that is there twice, the first is taken",
        "torch_import/wrapping.py",
        "if twin is not leaf:",
        "if twin is None:",
        f"{_WRAPPING}::test_a_tensor_that_is_there_twice_is_refused",
    ),
    (
        "imports: every axis is put down to the images",
        "torch_import/state_dict.py",
        'if "image" not in follows[axis])',
        'if "images" not in follows[axis] and axis > 3)',
        f"{_WRAPPING}::test_the_shape_of_images_is_blamed_where_it_differs",
    ),
    (
        "imports: the default normalisation of other classes",
        "torch_import/network.py",
        'facts["num_classes"] == known["num_classes"].default',
        'facts["num_classes"] <= known["num_classes"].default',
        f"{_NORMALISATION}::test_other_classes_ask_for_their_normalisation",
    ),
    (
        "resnet: option A takes the odd pixels",
        "models/resnet.py",
        "x[:, :: self.stride, :: self.stride]",
        "jnp.roll(x, -1, (1, 2))[:, :: self.stride, :: self.stride]",
        f"{_AKAMASTER}::test_imported_network_is_the_original",
    ),
    (
        "resnet: option A puts all new channels behind",
        "models/resnet.py",
        "(0, 0), (half, half)))",
        "(0, 0), (0, 2 * half)))",
        f"{_AKAMASTER}::test_imported_network_is_the_original",
    ),
    (
        "data: own images get another's mean and std without a word",
        "data/normalisation.py",
        '_CLASSES.get(data.removeprefix("tfds:")) == classes',
        "_CLASSES.get(data, 10) == classes",
        "tests/test_other_data.py::test_whose_mean_and_std_own_data_gets_is_said_once",
    ),
]
