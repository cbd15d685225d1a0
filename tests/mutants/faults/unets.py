"""Planted faults of U-Nets' layers: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert/nn"

FAULTS = [
    (
        "group norm: digits of a large mean cancel",
        "group_norm.py",
        "first = x[:, :1, :1].astype(wide)",
        "first = 0 * x[:, :1, :1].astype(wide)",
        "tests/nn/test_group_norm.py::test_one_pass_loses_no_digits_that_matter",
    ),
    (
        "group norm: means of a group's channels are taken for equal",
        "group_norm.py",
        "square = (var + jnp.square(off)).mean(",
        "square = (var + jnp.square(between)).mean(",
        "tests/nn/test_group_norm.py::test_groups_lie_across_the_border_of_two_images",
    ),
    (
        "group norm: half of the gradient of a variance",
        "group_norm.py",
        "for_mean + 2 * for_var",
        "for_mean + for_var",
        "tests/nn/test_group_norm.py::test_gradients_are_those_of_finite_differences",
    ),
    (
        "group norm: gradients of what dropout keeps are not raised",
        "group_norm.py",
        "wide = jnp.where(kept, wide / (1 - rate), 0)",
        "wide = jnp.where(kept, wide, 0)",
        "tests/nn/test_group_norm.py::test_gradients_are_those_of_finite_differences",
    ),
    (
        "attention: the bias of v is lost",
        "unet.py",
        "bias = bias + for_v @ kernel",
        "bias = bias + 0 * for_v @ kernel",
        "tests/nn/test_unet.py::test_attention_forgets_the_bias_of_its_keys",
    ),
    (
        "unet: gradients on accelerators keep what they could compute again",
        "unet.py",
        'return f if jax.default_backend() == "cpu" else jax.checkpoint(f)',
        "return f",
        "tests/nn/test_unet.py::test_accelerators_keep_less_for_the_same_gradients",
    ),
]
