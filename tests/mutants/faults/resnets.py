"""Planted faults of batch normalisation and its devices: (name, file, text, replacement,
test)."""

# ruff: noqa: E501

FOLDER = "jaxcert"

_NORM = "tests/nn/test_batch_norm.py"
_DEVICES = "tests/training/test_devices.py"
_RESNET = "tests/models/test_resnet.py"
_ATTACK = "tests/methods/test_smoothing_methods.py::test_an_attack_on_an_accelerator_sees_the_same_network"
_SHARED = f"{_DEVICES}::test_devices_share_the_noisy_copies_and_add_few_times"
_LOOP = f"{_DEVICES}::test_statistics_per_device_are_those_of_a_loop_over_shards"

_GPU = "tests/ops/test_conv.py::test_a_gpu_reads_kernels_output_by_output"

FAULTS = [
    (
        "batch norm: own gradient without that of the mean",
        "nn/batch_norm.py",
        "shift = (d_mean - factor * d_bias) / count",
        "shift = d_mean / count",
        f"{_NORM}::test_gradients_are_those_of_the_formula",
    ),
    (
        "batch norm: statistics are constants for second derivatives",
        "nn/batch_norm.py",
        "    return (y, mean, var), (x, scale, mean, var)",
        "    return (y, mean, var), (x, scale, *lax.stop_gradient((mean, var)))",
        f"{_NORM}::test_gradients_of_gradients_are_those_of_the_formula",
    ),
    (
        "batch norm: wide numbers kept",
        "nn/batch_norm.py",
        "    return (y, mean, var), (x, scale, mean, var)",
        "    return (y, mean, var), (x.astype(mean.dtype), scale, mean, var)",
        f"{_NORM}::test_only_numbers_of_the_type_of_the_input_are_kept_for_the_gradient",
    ),
    (
        "resnet: a loop over blocks on a GPU",
        "models/resnet.py",
        'return "slices"',
        'return "unrolled"',
        f"{_RESNET}::test_depth_110_in_bfloat16_lowers_for_a_gpu_without_normalisations",
    ),
    (
        "resnet: every block has the first one's weights",
        "models/resnet.py",
        "zip(*slices, strict=True)",
        "zip(*([s[0]] * times for s in slices), strict=True)",
        f"{_RESNET}::test_loop_over_blocks_is_the_unrolled_network",
    ),
    (
        "attack: nothing is prepared on an accelerator",
        "methods/_smoothing.py",
        "state = model.prepare(params, state)",
        "pass",
        _ATTACK,
    ),
    (
        "relu: its gradient is one everywhere",
        "nn/activations.py",
        "jnp.where(y > 0, dx, 0)",
        "jnp.where(y > -1, dx, 0)",
        _ATTACK,
    ),
    (
        "conv: kernels of an accelerator transposed",
        "ops/conv.py",
        "kernel.transpose(3, 0, 1, 2)[None]",
        "kernel.transpose(3, 1, 0, 2)[None]",
        _GPU,
    ),
    (
        "devices: all compute all noisy copies",
        "ops/dispatch.py",
        'return lax.with_sharding_constraint(x, NamedSharding(mesh, PartitionSpec("data")))',
        "return x",
        _SHARED,
    ),
    (
        "devices: running statistics summed",
        "training/step.py",
        "jnp.where(device == 0, a, 0)",
        "a",
        _LOOP,
    ),
    (
        "devices: all draw the same noise",
        "training/step.py",
        "key = jax.random.fold_in(key, device)",
        "key = jax.random.fold_in(key, 0 * device)",
        _LOOP,
    ),
]
