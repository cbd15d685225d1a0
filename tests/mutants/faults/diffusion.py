"""Planted faults of jaxcert/diffusion/: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert/diffusion"

DIFFUSION = "tests/diffusion/test_diffusion_lipschitz.py"
_DIFFUSION_GOLDEN = f"{DIFFUSION}::test_constants_and_radii_are_the_originals"

FAULTS = [
    (
        "dc: sqrt(2 / pi) of the margin",
        "lipschitz.py",
        "noisy = c * math.sqrt(2 / math.pi) /",
        "noisy = c * math.sqrt(1 / math.pi) /",
        _DIFFUSION_GOLDEN,
    ),
    (
        "dc: direct term without dimensions",
        "lipschitz.py",
        "np.minimum(2, 4 * np.sqrt(c)) / math.sqrt(dims)",
        "np.minimum(2, 4 * np.sqrt(c)) / dims",
        _DIFFUSION_GOLDEN,
    ),
    (
        "dc: sigma in the scale of [-1, 1]",
        "lipschitz.py",
        "s = np.asarray(sigma, np.float64) / 2",
        "s = np.asarray(sigma, np.float64) / 1",
        _DIFFUSION_GOLDEN,
    ),
]
