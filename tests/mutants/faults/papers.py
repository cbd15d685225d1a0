"""Planted faults of the tables and figures of papers: (name, file, text, replacement, test)."""

FOLDER = "jaxcert"

_SUN = "tests/analysis/test_paper_sun.py"
_ALTSTIDL = "tests/analysis/test_paper_altstidl.py"

FAULTS = [
    (
        "papers: a cell agrees up to a whole unit",
        "papers/sun.py",
        "> unit / 2 + 1e-9",
        "> unit + 1e-9",
        f"{_SUN}::test_a_cell_agrees_up_to_half_a_unit_of_its_last_digit",
    ),
    (
        "papers: votes of a log are the nearest",
        "papers/sun_figures.py",
        "k = np.minimum(np.ceil(k), n)",
        "k = np.minimum(np.round(k), n)",
        f"{_SUN}::test_votes_of_a_log_are_the_fewest_that_prove_its_radius",
    ),
    (
        "papers: a log of few images is held against a table",
        "papers/sun_rows.py",
        "if len(c.index) != IMAGES:",
        "if not len(c.index):",
        f"{_SUN}::test_a_log_is_held_against_every_cell_of_its_row",
    ),
    (
        "papers: draws of unequal n are compared as of equal n",
        "papers/agreement.py",
        "both, part = against + against_log, n / (n + n_log)",
        "both, part = against + against_log, 0.5",
        f"{_SUN}::test_agreement_of_draws_of_one_network",
    ),
    (
        "papers: another class is no sign of another network",
        "papers/agreement.py",
        "np.minimum(nearest, most)",
        "nearest",
        f"{_SUN}::test_other_classes_and_abstentions_speak_against_one_network",
    ),
    (
        "papers: before the attack is after it",
        "papers/gradient_norms.py",
        'norm_of = _norm_of(method, step, "plain")',
        'norm_of = _norm_of(method, step, "attack")',
        "tests/test_gradient_norms.py::"
        "test_before_the_attack_the_same_noise_has_the_plain_loss",
    ),
    (
        "papers: the last epoch is the best",
        "papers/study_epochs.py",
        "best = max(lines, key=lambda line: line[key])",
        "best = lines[-1]",
        f"{_ALTSTIDL}::test_figure_3_has_the_clean_gap_at_the_best_epoch",
    ),
    (
        "papers: the largest gain for the mean",
        "papers/altstidl.py",
        'lines.append(["ours", family, size or family, row.epochs, np.mean(gained)])',
        'lines.append(["ours", family, size or family, row.epochs, np.max(gained)])',
        f"{_ALTSTIDL}::test_figure_2_is_the_mean_gain_over_the_amounts",
    ),
    (
        "papers: every class is certified",
        "papers/altstidl.py",
        "held = (part.radius >= radius) & (part.predicted >= 0)",
        "held = part.predicted >= 0",
        f"{_ALTSTIDL}::test_figure_7_pairs_the_states_of_the_same_images",
    ),
]
