"""Planted faults of training runs: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert"

_BEST = "tests/training/test_best.py"
_LIMITS = "tests/training/test_limits.py"

FAULTS = [
    (
        "runs: held-out images are trained on",
        "data/opened.py",
        "rest = np.setdiff1d(np.arange(size), kept_out)",
        "rest = np.arange(size - len(kept_out))",
        "tests/data/test_opened.py::test_training_never_sees_what_is_held_out",
    ),
    (
        "runs: evaluations that choose draw the certificate's noise",
        "training/evaluation.py",
        "configs.EVALUATE_STREAM",
        "configs.CERTIFY_STREAM",
        "tests/test_train.py::"
        "test_evaluations_draw_other_noise_than_the_certificate_and_open_images_once",
    ),
    (
        "runs: the worst checkpoint is the best",
        "workdirs/checkpoint.py",
        "key=lambda step: (-values[step], step)",
        "key=lambda step: (values[step], step)",
        f"{_BEST}::test_best_checkpoint_stays_beside_the_newest",
    ),
    (
        "runs: the test set chooses for the held-out images",
        "training/evaluation.py",
        "if split == selected_on(self._best):",
        'if split == "test":',
        f"{_BEST}::test_value_that_chooses_is_that_of_the_held_out_images",
    ),
    (
        "runs: a choice by the test set is recorded as one by held-out images",
        "workdirs/checkpoint.py",
        'return best and (best.partition(":")[0] if ":" in best else "holdout")',
        'return best and "holdout"',
        f"{_BEST}::test_a_choice_by_the_test_set_is_named_as_one",
    ),
    (
        "runs: the gradient takes no memory",
        "training/limits.py",
        "held = bytes_of(state) + bytes_of(state.params)",
        "held = bytes_of(state)",
        f"{_LIMITS}::test_a_step_holds_state_gradient_and_its_part_of_the_batch",
    ),
    (
        "runs: the next evaluation takes no time",
        "training/evaluation.py",
        "after = self._spent + self._last",
        "after = self._spent",
        f"{_BEST}::test_evaluations_keep_to_their_share_of_the_time",
    ),
    (
        "runs: the rate of micro-batches",
        "training/optim.py",
        "(step // keys['accumulate'])",
        "(step)",
        f"{_BEST}::test_rate_of_a_step_counts_optimizer_steps",
    ),
    (
        "runs: more epochs change no rate",
        "training/loop.py",
        "old = self._run._replace(total_steps=before * self._run.steps_per_epoch)",
        "old = self._run",
        f"{_BEST}::test_more_epochs_of_a_falling_rate_say_what_changes",
    ),
    (
        "runs: no step is waited for",
        "training/loop.py",
        "if len(self._under_way) > AHEAD:",
        "if len(self._under_way) > 32:",
        f"{_BEST}::test_the_loop_waits_for_all_but_two_steps_under_way",
    ),
    (
        "runs: the loop runs ahead of the device",
        "training/loop.py",
        "queue.add(state.step)",
        "pass",
        f"{_BEST}::test_lines_have_epoch_rate_speed_and_time",
    ),
    (
        "runs: a row of a config.json is passed over",
        "config/files.py",
        "if row:",
        "if False:",
        "tests/test_config.py::test_a_config_that_was_saved_is_read_as_json",
    ),
]
