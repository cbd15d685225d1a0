"""Planted faults of what is drawn and computed on: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert"

_NOISE = "tests/certificates/test_noise.py"
_LAW = f"{_NOISE}::test_every_value_of_float32_noise_is_a_quantile_of_its_law"
_HALF_SPACE = f"{_NOISE}::test_a_half_space_is_certified_falsely_as_rarely_as_stated"
_SMOOTHING = "tests/certificates/test_smoothing.py"
_CAPPED = f"{_SMOOTHING}::test_no_procedure_certifies_more_than_the_noise_shows"
_KEYS = "tests/test_random_keys.py"
_IMAGES = "tests/ops/test_images.py"

FAULTS = [
    (
        "noise: gaussian in bfloat16",
        "certificates/noise.py",
        "jax.random.normal(key, image.shape, image.dtype), True",
        "jax.random.normal(key, image.shape, jnp.bfloat16).astype(image.dtype), True",
        f"{_LAW}[gaussian]",
    ),
    (
        "noise: laplace rounded to bfloat16",
        "certificates/noise.py",
        "jax.random.laplace(key, image.shape, image.dtype), True",
        "jax.lax.reduce_precision(jax.random.laplace(key, image.shape, image.dtype), 8, 7), True",
        f"{_LAW}[laplace]",
    ),
    (
        "noise: its end is written in",
        "certificates/noise.py",
        "8 * float(_TAILS[noise](z).max())",
        "0 * float(_TAILS[noise](z).max())",
        f"{_NOISE}::test_noise_in_bfloat16_is_noticed[drawn]",
    ),
    (
        "norms: a tail is taken as that of exact noise",
        "certificates/norms.py",
        "tail = np.asarray(tail, np.float64) + least_tail / 4",
        "tail = np.asarray(tail, np.float64) + 0 * least_tail",
        f"{_HALF_SPACE}[gaussian]",
    ),
    (
        "norms: no least tail",
        "certificates/norms.py",
        "np.maximum(tail, least_tail)",
        "np.maximum(tail, 0 * least_tail)",
        "tests/certificates/test_norms.py::test_no_tail_is_shown_below_the_least_and_each_is_raised",
    ),
    (
        "norms: p beyond the least tail is enough for a radius",
        "certificates/norms.py",
        "np.where(1 - p0 < least_tail, 1.0,",
        "np.where(1 - p0 < 0 * least_tail, 1.0,",
        f"{_CAPPED}[radii]",
    ),
    (
        "norms: p_lower of the votes alone",
        "certificates/norms.py",
        "1 - exact_tail(np.nextafter(1 - p_lower, 2), least_tail)",
        "1 - exact_tail(np.nextafter(1 - p_lower, 2), 0.0)",
        f"{_CAPPED}[certify]",
    ),
    (
        "recheck: version 0.1's radii beyond the noise hold",
        "certificates/norms.py",
        "return max(stated, LEAST_TAIL)",
        "return max(stated, 0.0)",
        "tests/analysis/test_recheck.py::test_radius_that_float32_noise_does_not_show_fails[gaussian-True]",
    ),
    (
        "random keys: counting depends on how many are drawn",
        "random_keys.py",
        '"jax_threefry_partitionable": True,',
        '"jax_threefry_partitionable": False,',
        f"{_KEYS}::test_numbers_do_not_depend_on_how_many_are_drawn",
    ),
    (
        "random keys: any generator will do",
        "random_keys.py",
        "str(jax.random.key_impl(key)) != IMPLEMENTATION",
        "False",
        f"{_KEYS}::test_a_key_of_another_generator_is_refused[rbg]",
    ),
    (
        "records: any generator continues them",
        "records/files.py",
        "precision checkpoint seed generator base networks",
        "precision checkpoint seed base networks",
        "tests/test_records.py::TestContinue",
    ),
    (
        "arithmetic: one right value of several is enough",
        "certificates/_arithmetic.py",
        "(np.asarray(value) != expected).any()",
        "(np.asarray(value) != expected).all()",
        "tests/certificates/test_arithmetic.py::test_fast_math_is_refused[fast]",
    ),
    (
        "images: bytes as floats are in range",
        "ops/images.py",
        "high <= 1 + ROUNDING",
        "high <= 255 + ROUNDING",
        f"{_IMAGES}::test_pixels_outside_the_range_are_refused_whatever_stands_beside_them[255]",
    ),
    (
        "inputs: images of any range are certified",
        "certificates/inputs.py",
        "images.check_range(image)\n        return inner.certify(",
        "return inner.certify(",
        "tests/certificates/test_diffusion_certificates.py::test_pixels_outside_the_range_are_refused_and_nan_is_an_error_of_its_image",
    ),
    (
        "lipschitz: a pixel that is not finite is hidden",
        "certificates/lipschitz.py",
        "jnp.where(known[:, None], logits, jnp.nan)",
        "jnp.where(known[:, None] | True, logits, jnp.nan)",
        "tests/certificates/test_lipschitz.py::test_a_pixel_that_a_rectifier_hides_is_no_logit[nan]",
    ),
]
