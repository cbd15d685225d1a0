"""Planted faults of images without labels, photographs, deadlines and the endpoint:
(name, file, text, replacement, test)."""

FOLDER = "jaxcert"

_BARE, _NONE = "tests/test_no_labels.py", "tests/data/test_unlabelled.py"
_SIZES, _LATE = "tests/data/test_resizing.py", "tests/certificates/test_deadlines.py"
_HTTP, _WIDE = "tests/test_serving.py", "tests/torch_import/test_import_wide.py"

FAULTS = [
    (
        "serve: a picture is compared with pictures before it",
        "api/serving.py",
        "shape, resize, network=True",
        "shape, resize, network=False",
        f"{_HTTP}::test_a_picture_of_another_size_is_told_what_the_network_takes",
    ),
    (
        "labels: an image without a label counts where it is right by chance",
        "certificate.py",
        "return self.correct if self.labelled else self.predicted >= 0",
        "return self.correct",
        f"{_BARE}::test_rows_are_those_of_the_labelled_images_but_for_the_label",
    ),
    (
        "labels: whoever needs them gets images without",
        "data/sources.py",
        "read(split, labels=labels)",
        "read(split, labels=False)",
        f"{_NONE}::test_who_needs_classes_gets_a_sentence",
    ),
    (
        "labels: a share of images with a class is called accuracy",
        "analysis/facts.py",
        '"certified accuracy" if c.labelled else',
        '"certified accuracy" if c else',
        f"{_BARE}::test_report_has_radii_and_no_accuracy",
    ),
    (
        "resize: the corner is cut out",
        "data/resizing.py",
        "top, left = (round((size - side) / 2.0) for size in sizes)",
        "top, left = (round((size - side) / 2.0) * 0 for size in sizes)",
        f"{_SIZES}::test_the_side_that_is_cut_out_may_be_a_smaller_one",
    ),
    (
        "deadlines: a part of a count is an answer",
        "certificates/deadlines.py",
        "                raise TimeUp",
        "                return draw(rows, start, part) if votes is None else votes",
        f"{_LATE}::test_without_time_nothing_is_said_that_is_not_proven",
    ),
    (
        "deadlines: pieces repeat their votes",
        "certificates/deadlines.py",
        "found = draw(rows, start + done, part)",
        "found = draw(rows, start, part)",
        f"{_LATE}::test_pieces_are_of_each_row_its_own_votes",
    ),
    (
        "serving: the time of waiting does not count",
        "api/serving.py",
        "if deadline is not None and deadline <= 0:",
        "if deadline is not None and deadline <= -1e9:",
        f"{_HTTP}::test_a_network_that_is_evaluated_once_answers_too",
    ),
    (
        "serving: an abstention has a class",
        "api/serving.py",
        "        if predicted >= 0:",
        "        if predicted >= -2:",
        f"{_HTTP}::test_a_deadline_ends_what_takes_longer",
    ),
    (
        "wide: the shortcut is of the image itself",
        "models/wide_resnet.py",
        'name="shortcut")(active)',
        'name="shortcut")(x)',
        f"{_WIDE}::test_imported_network_gives_the_logits_of_another_form",
    ),
    (
        "downloads: the fault of the first address is not told",
        "data/download.py",
        'raise InputError(" ".join(faults))',
        "raise InputError(faults[-1])",
        "tests/data/test_download.py::test_a_second_address_is_asked_where_the_first_fails",
    ),
    (
        "serve: a count that its deadline ended is not sure",
        "api/serving.py",
        "late and (n == 0 or",
        "late and (n < 0 or",
        "tests/test_serving.py::test_a_deadline_ends_what_takes_longer",
    ),
]
