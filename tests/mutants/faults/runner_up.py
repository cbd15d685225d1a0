"""Planted faults of the runner-up bound: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert/certificates"

_TESTS = "tests/certificates/test_runner_up.py"
_HAND = f"{_TESTS}::test_a_case_by_hand"
_LOOKS = f"{_TESTS}::test_votes_of_the_others_at_the_looks_are_compared_with_the_counts"

FAULTS = [
    (
        "runner_up: every bound at the whole alpha",
        "runner_up.py",
        "level=np.full(len(selection), alpha / split)",
        "level=np.full(len(selection), alpha)",
        _HAND,
    ),
    (
        "runner_up: the class itself is among the others",
        "runner_up.py",
        "others[rows, self.selected] = 0",
        "others[rows, self.selected] += 0",
        _HAND,
    ),
    (
        "runner_up: a lower bound of the others",
        "runner_up.py",
        "statistics.upper_tail(np.asarray(n) - np.asarray(k), n, alpha)",
        "statistics.clopper_pearson_lower(k, n, alpha)",
        f"{_TESTS}::test_upper_bounds_are_those_of_clopper_and_pearson_rounded_up",
    ),
    (
        "runner_up: two classes pay for a second bound",
        "runner_up.py",
        'return 1 if rival.name == "single" or num_classes == 2 else 2',
        'return 1 if rival.name == "single" else 2',
        f"{_TESTS}::test_two_classes_are_single_at_the_full_alpha",
    ),
    (
        "runner_up: auto bounds every class always",
        "runner_up.py",
        "chosen.level, radius_of) > one * _MORE",
        "chosen.level, radius_of) >= 0 * one",
        f"{_TESTS}::test_auto_is_the_better_of_both_as_the_selection_sees_it",
    ),
    (
        "runner_up: classes without votes cost alpha",
        "runner_up.py",
        "num_classes == 2 else 2",
        "num_classes == 2 else num_classes",
        f"{_TESTS}::test_alpha_is_divided_by_two_whatever_the_number_of_classes",
    ),
    (
        "runner_up: samples that were not drawn are of no class",
        "runner_up.py",
        "np.where(self.undrawn, left, 0)",
        "np.where(self.undrawn, 0 * left, 0)",
        f"{_TESTS}::test_samples_that_were_not_drawn_count_for_the_other_class[True-350]",
    ),
    (
        "norms: the sum of two points for half of it",
        "norms.py",
        "found = b / 2 * (z + z_other - lost)",
        "found = b * (z + z_other - lost)",
        _HAND,
    ),
    (
        "norms: two points of uniform noise have twice the radius",
        "norms.py",
        "share = np.maximum((1 - total) / 2 - 4e-16, 0.0)",
        "share = np.maximum((1 - total) - 4e-16, 0.0)",
        f"{_TESTS}::test_the_theorem_of_two_points_holds_and_is_reached[uniform]",
    ),
    (
        "recheck: votes of the others at the looks need no room",
        "rechecking.py",
        "(look - agreeing[:, j] <= room)",
        "(look - agreeing[:, j] <= look)",
        "tests/test_audit.py::test_votes_at_a_look_leave_room_for_those_of_the_others",
    ),
    (
        "recheck: votes of the others at the looks end where they like",
        "rechecking.py",
        "np.maximum(taken.sum(1) - 1, 0)] == counted",
        "np.maximum(taken.sum(1) - 1, 0)] >= 0 * counted",
        f"{_LOOKS}[sequence]",
    ),
    (
        "recheck: two_stage does not look at the others' last votes",
        "procedures.py",
        "holds &= ~chosen.both | (others == counted)",
        "holds &= ~chosen.both | (others >= 0 * counted)",
        f"{_LOOKS}[two_stage]",
    ),
    (
        "recheck: the selection may name another class",
        "rechecking.py",
        "(selection.sum(1) <= n0) & (selection.argmax(1) == c.predicted[rows])",
        "(selection.sum(1) <= n0) & (selection.argmax(1) >= 0)",
        f"{_TESTS}::test_votes_of_the_selection_must_be_such",
    ),
    (
        "bounding: what is not proven is answered",
        "bounding.py",
        "answers[rows[~says]] = ABSTAIN",
        "answers[rows[~says]] = 0",
        f"{_TESTS}::test_with_votes_of_the_selection_abstentions_are_bounded_again_too",
    ),
    (
        "reach: the whole alpha is enough",
        "reach.py",
        "least = float(radius_of(tail_if_all_agree(name, n, each, bound)))",
        "least = float(radius_of(tail_if_all_agree(name, n, alpha, bound)))",
        f"{_TESTS}::test_the_least_n_is_enough_and_one_fewer_is_not",
    ),
]
