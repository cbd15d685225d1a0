"""Planted faults of the page of a study: (name, file, text, replacement, test)."""

FOLDER = "jaxcert"

_PAGE = "tests/analysis/test_study.py"
_COMMAND = "tests/test_study_command.py"

FAULTS = [
    (
        "studies: the EDM looks for its images elsewhere",
        "papers/study.py",
        "[w for w in words if w.startswith(places)]",
        "[]",
        f"{_COMMAND}::test_the_edm_reads_its_images_where_the_systems_do",
    ),
    (
        "studies: a tiny study samples at all levels",
        "papers/study.py",
        "steps = TINY_STEPS if tiny else",
        "steps = 18 if tiny else",
        f"{_COMMAND}::test_a_tiny_study_samples_few_images_at_few_levels",
    ),
    (
        "studies: numbers of images are cut, not shrunk",
        "papers/study.py",
        "-(-c * TINY_IMAGES // most)",
        "min(c, TINY_IMAGES)",
        f"{_COMMAND}::test_a_tiny_study_samples_few_images_at_few_levels",
    ),
    (
        "studies: images of every data set are handed on",
        "papers/study_samples.py",
        "if study.dataset not in MAY_BE_SHOWN or not runs:",
        "if not runs:",
        f"{_PAGE}::test_real_images_stand_beside_generated_ones",
    ),
    (
        "studies: a gain counts where its mean is above 0",
        "papers/study_page.py",
        "more, less = sum(x > 0 for x in low)",
        "more, less = sum(x > 0 for x in mean)",
        f"{_PAGE}::test_the_result_is_one_sentence_about_every_cell",
    ),
    (
        "studies: the bar of the clean gain is that of the certified one",
        "papers/study_figures.py",
        "for at in (0, study.at))",
        "for at in (study.at, study.at))",
        f"{_PAGE}::test_arrows_have_the_bars_of_both_gains",
    ),
]
