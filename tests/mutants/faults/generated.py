"""Planted faults of folders of generated images: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert"

FAULTS = [
    (
        "generated: a folder of another sampler is continued",
        "data/write.py",
        'for key in (*here, *found.get("request", {})):',
        "for key in here:",
        "tests/data/test_generated.py::test_a_folder_whose_request_says_more_is_refused",
    ),
    (
        "generated: a folder of another seed is continued",
        "data/write.py",
        'for key in (*here, *found.get("request", {})):',
        "for key in ():",
        "tests/data/test_generated.py::test_a_folder_of_another_request_is_refused",
    ),
]
