"""Planted faults of how far noise and layers reach: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert"

_METRICS = "tests/analysis/test_analysis_metrics.py"
_TRIVIAL = f"{_METRICS}::test_trivial_classifier_is_certified_as_far_as_noise_shows_it"
_ROUNDED = "tests/certificates/test_norms.py::test_a_radius_is_below_its_exact_value_and_p_needed_above"

FAULTS = [
    (
        "statistics: a constant classifier is certified beyond the noise",
        "certificates/statistics.py",
        "max_radius(n, alpha, sigma, least_tail)",
        "max_radius(n, alpha, sigma, 0.0)",
        _TRIVIAL,
    ),
    (
        "statistics: enough votes for what no noise shows",
        "certificates/statistics.py",
        "tail <= least_tail:",
        "tail <= 0 * least_tail:",
        _TRIVIAL,
    ),
    (
        "metrics: noise of tables ends as ours",
        "analysis/metrics.py",
        'if c.header.get("format") == "tsv":\n        return 0.0',
        'if c.header.get("format") == "tsv":\n        return norms.LEAST_TAIL',
        _TRIVIAL,
    ),
    (
        "figures: theory beyond the noise",
        "analysis/figures.py",
        "norms.shown(statistics.upper_tail(n, n, alpha), least)",
        "norms.shown(statistics.upper_tail(n, n, alpha), 0 * least)",
        "tests/analysis/test_tables.py::test_theory_ends_where_the_noise_does[gaussian-4.75]",
    ),
    (
        "norms: needed p is rounded down",
        "certificates/norms.py",
        "np.where(r > 0, found * _UP, 0.5)",
        "np.where(r > 0, found * _DOWN, 0.5)",
        _ROUNDED,
    ),
    (
        "norms: radii of every noise are rounded up",
        "certificates/norms.py",
        "_DOWN, _UP = 1 - 1e-14, 1 + 1e-14",
        "_DOWN, _UP = 1 + 1e-14, 1 + 1e-14",
        _ROUNDED,
    ),
]
