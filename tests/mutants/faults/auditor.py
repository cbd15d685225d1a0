"""Planted faults of the auditor, the program that checks records without the library: (name,
file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert"

_TEST = "tests/test_audit.py"
_REJECTED = f"{_TEST}::test_tampering_is_rejected"


def _fault(name, text, replacement, test):
    return f"auditor: {name}", "audit.py", text, replacement, test


FAULTS = [
    _fault(
        "the tolerance is a hundred times larger",
        "TOLERANCE = 1e-9 ",
        "TOLERANCE = 1e-7 ",
        f"{_REJECTED}[radius by one tolerance]",
    ),
    _fault(
        "settings of the base hide those of the procedure",
        "| base | asked\n",
        "| asked | base\n",
        f"{_REJECTED}[noise, beside a base that has the config's]",
    ),
    _fault(
        "a base is believed below any certificate",
        'base = base if voted and base.get("name") != method else {}',
        "base = base if method else {}",
        f"{_REJECTED}[class left out, beside a base]",
    ),
    _fault(
        "generators are not compared",
        'must(not drawn or [*made.values()][:2] == ["threefry2x32", True], f"noise: {made}")',
        "must(made, f'noise: {made}')",
        f"{_REJECTED}[generator that is not partitionable]",
    ),
    _fault(
        "a network needs no shape of images",
        'must(old or (asked.get("noise") if voted else shape), ',
        'must(old or (asked.get("noise") if voted else True), ',
        f"{_REJECTED}[slack to 0, shape of images left out]",
    ),
    _fault(
        "margins of format 1 count in format 2",
        'if own := head["old"] and row.get("margins"):',
        'if own := row.get("margins"):',
        f"{_REJECTED}[margins of format 1 in their place]",
    ),
    _fault(
        "what a config does not say is passed over",
        "if k in said and wanted.get(k) is None]",
        "if k in said and wanted.get(k) == ()]",
        f"{_TEST}::test_what_a_config_does_not_say_is_named",
    ),
    _fault(
        "exact mode has a tolerance",
        "alpha * (1 + TOLERANCE * (not exact))",
        "alpha * (1 + TOLERANCE)",
        f"{_TEST}::test_exact_mode_has_no_tolerance[certify]",
    ),
    _fault(
        "one miss more is not counted",
        "for i in range(n - k))",
        "for i in range(n - k - 1))",
        f"{_TEST}::test_binomial_sums",
    ),
    _fault(
        "alpha is not split over the looks",
        'len(looks) if kind == "union" else 1',
        '1 if kind == "union" else 1',
        f"{_TEST}::test_agrees_with_the_recheck_of_votes[sequence gaussian l2 union]",
    ),
    _fault(
        "alpha is not split over the two bounds",
        "return (level / 2, True) if both",
        "return (level, True) if both",
        f"{_TEST}::test_the_best_other_class_by_hand",
    ),
    _fault(
        "the second of the other classes counts",
        "max(votes[:y] + votes[y + 1 :], default=0)",
        "sorted(votes)[-3]",
        f"{_TEST}::test_the_best_other_class_by_hand",
    ),
    _fault(
        "auto takes both bounds always",
        'if both and rival == "auto":',
        'if both and rival == "never":',
        f"{_TEST}::test_the_bound_of_auto_is_chosen_by_the_selection_and_not_by_the_result",
    ),
    _fault(
        "votes for no class count for none with noise of the grid",
        '(noise == "grid")',
        '(noise == "never")',
        f"{_TEST}::test_samples_that_could_not_be_drawn_count_for_the_rival",
    ),
    _fault(
        "the class may be another than that of the selection",
        "must(fits and votes.index(max(1, *votes)) == y, ",
        "must(fits, ",
        f"{_REJECTED}[selection of another class]",
    ),
    _fault(
        "rows may lack draws",
        'must(row["n"] == n and ',
        'must(row["n"] <= n and ',
        f"{_REJECTED}[draws]",
    ),
    _fault(
        "what earlier looks spent is forgotten",
        "spent, alive = spent + float(crossed[above]) + 1e-25, alive[: max(above, 1)]",
        "spent, alive = spent + 1e-25, alive[: max(above, 1)]",
        f"{_TEST}::test_boundaries_spend_alpha_as_enumeration_does",
    ),
    _fault(
        "a pilot without a rule may ask for anything",
        "must({ask, *rule[-1:]} == {used}, ",
        "must({used, *rule[-1:]} == {used}, ",
        f"{_REJECTED}[rule of the pilot left out]",
    ),
    _fault(
        "the header's scale of the noise is believed",
        "sizes=sizes, scale=b)",
        "sizes=sizes)",
        f"{_REJECTED}[scale of the noise]",
    ),
    _fault(
        "the slack of logits counts once",
        "lost = 2 * Fraction(",
        "lost = 1 * Fraction(",
        f"{_TEST}::test_agrees_with_the_recheck_of_margins[lip_convnet]",
    ),
    _fault(
        "the constants of the layers are not multiplied",
        "product * Fraction(last[i][j])",
        "Fraction(bound[i][j])",
        f"{_REJECTED}[norm of a layer]",
    ),
    _fault(
        "margins of a diffusion classifier may exceed their means",
        "<= span and gap <= lower",
        "<= span",
        f"{_REJECTED}[margins beyond their means]",
    ),
    _fault(
        "what is there is not looked at where the header says format 1",
        ' and not head["network"] and "scale" not in asked',
        "",
        f"{_REJECTED}[format of a record with layers]",
    ),
    _fault(
        "deleted rows are passed over",
        'requested rows are missing"] * bool(lost)',
        'requested rows are missing"] * 0',
        f"{_REJECTED}[row deleted]",
    ),
    _fault(
        "a record need not say which noise",
        'asked.get("noise") if voted',
        "True if voted",
        f"{_REJECTED}[noise left out]",
    ),
    _fault(
        "fewer logits than classes are enough",
        "range(max(K, len(z)))",
        "range(len(z))",
        f"{_REJECTED}[no logits]",
    ),
    _fault(
        "a network need not say its norm",
        "norm if old else None)",
        "norm)",
        f"{_REJECTED}[norm of a network that says none]",
    ),
    _fault(
        "weights may be fewer than levels",
        "w.shape == s.shape == (len(w),)",
        "len(w.shape) == 1",
        f"{_REJECTED}[weights of fewer levels]",
    ),
    _fault(
        "votes of other classes need no room",
        "t - new[0] <= room",
        "t - new[0] <= t",
        f"{_TEST}::test_votes_at_a_look_leave_room_for_those_of_the_others",
    ),
    _fault(
        "votes at a look are those of all looks",
        "are_votes(steps, t - s)",
        "are_votes(steps, t)",
        f"{_REJECTED}[votes of another class from look to look]",
    ),
    _fault(
        "what is left out of a distribution may be spent",
        "max(most - spent - 1e-25, 0.0)",
        "most - spent",
        f"{_TEST}::test_an_alpha_below_what_is_left_out_rejects_nothing",
    ),
    _fault(
        "means are not rounded down if exact",
        "wide[kind] + 1e-14 * exact",
        "wide[kind] + 0 * exact",
        f"{_TEST}::test_bounds_of_means_are_rounded_down_if_exact",
    ),
    _fault(
        "float32 noise shows any tail",
        "least = max(1e-6 * limited, ",
        "least = max(0 * limited, ",
        f"{_TEST}::test_a_tail_that_float32_noise_does_not_show_is_not_proven",
    ),
]
