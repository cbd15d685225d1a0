"""Planted faults of what layers, networks and data sets promise: (name, file, text,
replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert"

_LAYERS = "tests/contracts/test_layers.py"
_MODELS = "tests/contracts/test_models.py"
_DATA = "tests/contracts/test_data_sources.py"
_GAIN = f"{_LAYERS}::test_bias_moves_outputs_by_its_gain_at_most"
_FORGETS = f"{_LAYERS}::test_a_layer_that_forgets_a_part_is_caught"

FAULTS = [
    (
        "protocol: a layer without a bound lacks nothing",
        "nn/_layer.py",
        'parts += ["bound"] * issubclass(layer, Single)',
        "parts += [] * issubclass(layer, Single)",
        _FORGETS,
    ),
    (
        "protocol: lip_convnet takes a layer that lacks a part",
        "models/lip_convnet.py",
        "if missing := missing_parts(layer):",
        "if missing := missing_parts(layer)[:0]:",
        _FORGETS,
    ),
    (
        "protocol: a residual layer has the gain of a linear one",
        "nn/cpl.py",
        "bias_gain = sll.Sll.bias_gain",
        "bias_gain = _layer.bias_at_output",
        f"{_GAIN}[cpl-dense]",
    ),
    (
        "protocol: a mean of images counts as a product of means",
        "models/_parts.py",
        "return [lambda: (1 + math.prod(bound() for bound in bounds)) / 2]",
        "return [lambda: math.prod((1 + bound()) / 2 for bound in bounds)]",
        "tests/models/test_constants.py::test_the_mean_of_an_image_and_a_stack_of_it_has_the_mean_constant",
    ),
    (
        "protocol: intervals are promised and not looked for",
        "nn/adapter.py",
        'constants + ("interval_margins",) * intervals',
        'constants + ("interval_margins",) * False',
        f"{_MODELS}::test_a_module_that_promises_constants_must_have_them",
    ),
    (
        "protocol: evaluation hands back a copy of the state",
        "nn/adapter.py",
        "x, train=False, **inputs), state",
        "x, train=False, **inputs), dict(state)",
        f"{_MODELS}::test_evaluation_is_in_the_type_of_the_images_and_hands_back_the_given_state[small_cnn-0-float32]",
    ),
    (
        "protocol: a converter of another network",
        "torch_import/network.py",
        'f"jaxcert.torch_import.{network}")',
        'f"jaxcert.torch_import.{network.rstrip(chr(48) + chr(53))}")',
        f"{_MODELS}::test_converters_are_found_by_the_name_of_their_network",
    ),
    (
        "protocol: a padded image lies at the top",
        "data/sources.py",
        "before = (side - height) // 2, (side - width) // 2",
        "before = 0, (side - width) // 2",
        f"{_DATA}::test_padding_puts_images_in_the_middle_and_keeps_the_rest[npz]",
    ),
]
