"""Planted faults of the fused form of distances: (name, file, text, replacement, test)."""

FOLDER = "jaxcert"

_DIRECT = "tests/ops/test_direct.py"
_AGREE = f"{_DIRECT}::test_values_and_gradients_are_those_of_the_loops"

FAULTS = [
    (
        "distances: tiles of outputs in another order",
        "ops/norm_dist/direct.py",
        "transpose(0, 1, 3, 2, 4)",
        "transpose(0, 1, 4, 2, 3)",
        f"{_AGREE}[8-False]",
    ),
    (
        "distances: last of equal maxima",
        "ops/norm_dist/direct.py",
        "(v == u) & (i < j)",
        "(v == u) & (i > j)",
        f"{_DIRECT}::test_first_of_equal_inputs_takes_the_gradient[float32]",
    ),
    (
        "distances: equal distances are one in a sort neuron",
        "ops/norm_dist/direct.py",
        "(d == value) & (place <= at)",
        "(d == value)",
        f"{_DIRECT}::test_first_of_equal_inputs_takes_the_gradient[float32]",
    ),
    (
        "distances: what sort neurons compare is computed more than once",
        "ops/norm_dist/direct.py",
        "lax.optimization_barrier((down, found[-1]))",
        "(down, found[-1])",
        f"{_DIRECT}::test_reductions_of_a_sort_neuron_read_the_same_arrays_and_share_no_terms[True]",
    ),
    (
        "distances: gradients of dropped inputs",
        "ops/norm_dist/direct.py",
        "jnp.where(seen, by_images(*operands)[0], 0)",
        "by_images(*operands)[0] + 0 * seen",
        f"{_AGREE}[64.3-True]",
    ),
    (
        "distances: floats are scattered",
        "ops/norm_dist/direct.py",
        "jnp.zeros(shape, whole).at[at].add(a.astype(whole))",
        "jnp.zeros(shape, wide.dtype).at[at].add(a + wide - wide)",
        f"{_DIRECT}::test_program_for_a_gpu_has_no_loop_and_adds_no_floats_in_any_order[None]",
    ),
    (
        "distances: no low part of a scattered value",
        "ops/norm_dist/direct.py",
        "(high + low * 2.0**-bits)",
        "(high + 0 * low)",
        f"{_DIRECT}::test_scattered_sums_do_not_depend_on_the_order",
    ),
    (
        "distances: NaN in a general power",
        "ops/norm_dist/direct.py",
        "nan_x, nan_w = 0 * x, 0 * w",
        "nan_x, nan_w = jnp.zeros_like(x), jnp.zeros_like(w)",
        f"{_DIRECT}::test_what_is_not_finite_is_never_passed_over[x-64.3]",
    ),
    (
        "distances: a loop over inputs on a GPU",
        "ops/norm_dist/__init__.py",
        'return "loop" if jax.default_backend() == "cpu" else "direct"',
        'return "loop"',
        f"{_DIRECT}::test_the_device_decides_the_form",
    ),
    (
        "sort neuron: equal inputs change places behind a larger one",
        "ops/sort_neuron.py",
        "jnp.where(passed, b, a) for b, a in zip(before, (d, i), strict=True)",
        "jnp.where(passed, a, a) for b, a in zip(before, (d, i), strict=True)",
        f"{_DIRECT}::test_first_of_equal_inputs_takes_the_gradient[float32]",
    ),
    (
        "distances: the last copy with a maximum, not the first",
        "ops/norm_dist/mosaic_gpu.py",
        "jnp.where(best > before[0], copy, index)",
        "jnp.where(best >= before[0], copy, index)",
        "tests/ops/test_mosaic_gpu.py::test_index_is_the_first_of_equal_maxima",
    ),
]
