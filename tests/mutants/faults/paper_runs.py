"""Planted faults of the plans of papers: (name, file, text, replacement, test)."""

FOLDER = "jaxcert"

_COMMAND = "tests/test_paper_command.py"
_CHEN = "tests/analysis/test_paper_chen.py"

FAULTS = [
    (
        "paper runs: trained without its last checkpoint",
        "papers/paper_runs.py",
        ' and line["step"] == max(steps)',
        "",
        f"{_COMMAND}::test_a_training_is_finished_with_the_checkpoint_of_its_last_step",
    ),
    (
        "paper runs: a part of a record is all of it",
        "papers/paper_runs.py",
        "return same and asked == set(c.index.tolist())",
        "return same",
        f"{_COMMAND}::test_a_record_is_finished_with_all_images_that_it_asks_for",
    ),
    (
        "paper runs: what is finished is done again",
        "papers/paper_runs.py",
        "if not _is_done(step, workdir, row.folder):",
        "if True:",
        f"{_COMMAND}::test_after_a_kill_what_is_finished_is_not_done_again",
    ),
    (
        "paper runs: rows of another plan are taken",
        "papers/paper_runs.py",
        'if row.steps[0].what == "train":',
        "if False:",
        f"{_COMMAND}::test_rows_of_another_plan_are_refused_before_the_first_step",
    ),
    (
        "paper runs: one seed for all",
        "papers/plans.py",
        "runs = partial(study.runs, generated=place, seeds=list(seeds))",
        "runs = partial(study.runs, generated=place, seeds=[0])",
        f"{_COMMAND}::test_digits_of_altstidl_are_four_systems_two_sizes_epochs_and_seeds",
    ),
    (
        "papers: CIFAR-10's numbers beside another data set",
        "config/comparing.py",
        "reference = row.reference if same else base().reference",
        "reference = row.reference",
        f"{_COMMAND}::test_published_numbers_stand_beside_networks_of_their_data_alone",
    ),
    (
        "chen: the worst noise for the best",
        "papers/chen.py",
        "np.where(np.isnan(table), -1.0, table).argmax(0)",
        "np.where(np.isnan(table), 1e3, table).argmin(0)",
        f"{_CHEN}::test_table_1_has_at_each_radius_the_best_noise",
    ),
    (
        "chen: the average radius of DC is of certified images",
        "papers/chen.py",
        "float(own.mean())",
        "float(own[own > 0].mean())",
        f"{_CHEN}::test_radii_of_dc_are_averaged_over_all_images",
    ),
    (
        "chen: shared noise is not shared",
        "papers/chen_votes.py",
        "label * apart",
        "label",
        f"{_CHEN}::test_classes_share_noise_or_have_their_own",
    ),
]
