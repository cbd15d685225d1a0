"""Planted faults of rows and of networks of parts: (name, file, text, replacement, test)."""

FOLDER = "jaxcert"

_NET = "tests/models/test_dist_net.py"
_CONFIGS = "tests/contracts/test_diffusion_rows.py"

FAULTS = [
    (
        "rows: the head gets parts of several images",
        "models/dist_net.py",
        "return x.reshape(-1, self.positions * x.shape[1])",
        "return x.reshape(4, -1, x.shape[1]).swapaxes(0, 1).reshape(-1, 4 * x.shape[1])",
        f"{_NET}::test_parts_of_an_image_are_read_alike_and_the_head_sees_all_of_them",
    ),
    (
        "rows: parts in another order",
        "models/dist_net.py",
        "itertools.product((upper, lower), (left, right))",
        "itertools.product((lower, upper), (left, right))",
        f"{_NET}::test_parts_of_an_image_are_read_alike_and_the_head_sees_all_of_them",
    ),
    (
        "rows: the auditor reads one corner four times",
        "audit_models.py",
        "corners = [(i, j) for i in (0, step) for j in (0, step)]",
        "corners = [(0, 0)] * 4",
        "tests/test_audit_network.py::test_logits_are_the_networks[hybrid of parts]",
    ),
    (
        "rows: a race by default",
        "configs/diffusion_classifier/cifar10.py",
        'def authors(row, search="full"):',
        'def authors(row, search="race"):',
        f"{_CONFIGS}::test_rows_that_name_no_search_are_the_authors"
        "[cifar10.py-expected0]",
    ),
    (
        "rows: 18 steps where the sets of Wang et al. are meant",
        "papers/study.py",
        'WANG_STEPS = {"cifar10": 20,',
        'WANG_STEPS = {"cifar10": 18,',
        f"{_CONFIGS}::test_images_of_a_study_have_the_steps_of_their_paper[cifar10-20]",
    ),
]
