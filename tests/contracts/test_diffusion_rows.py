"""Rows of Chen et al. (2024) and the sampling of Wang et al. (2023) are those of the authors."""

from __future__ import annotations

import pytest

from jaxcert import config as configs
from jaxcert.papers import study

ROWS = "configs/diffusion_classifier"


@pytest.mark.parametrize(
    "row, expected",
    [
        ("cifar10.py", ("full", "repo", 126)),
        ("cifar10.py:epndc,0.50", ("full", "repo", 126)),
        ("cifar10.py:apndc,1.00,t1001", ("full", "repo", 1001)),
        ("cifar10.py:diffpure,0.25,race", ("race", "repo", 126)),
        ("cifar10.py:apndc,0.25,full,edm", ("full", "edm", 126)),
        ("cifar10.py:apndc,0.50,sift", ("sift", "edm", 126)),
        ("cifar10.py:epndc,0.50,stabilised", ("full", "stabilised", 126)),
        ("imagenet64.py", ("sift", "edm", 126)),
        ("imagenet64.py:apndc,0.25", ("sift", "edm", 126)),
        ("imagenet64.py:epndc,0.25", ("full", "repo", 126)),
        ("imagenet64.py:apndc,0.25,race", ("race", "repo", 126)),
        ("digits.py:apndc,0.25", ("race", "edm", 24)),
    ],
)
def test_rows_that_name_no_search_are_the_authors(row, expected):
    certify = configs.load(f"{ROWS}/{row}").certify
    assert (certify.search, certify.weighting, certify.levels) == expected


def test_the_lipschitz_radius_has_the_authors_weights():
    found = [
        configs.load(f"{ROWS}/{row}").certify.weighting
        for row in ("cifar10.py:dc", "cifar10.py:dc,edm", "digits.py:dc")
    ]
    assert found == ["repo", "edm", "edm"]


@pytest.mark.parametrize(
    "name, steps", [("cifar10", 20), ("cifar100", 25), ("digits", 18)]
)
def test_images_of_a_study_have_the_steps_of_their_paper(
    name, steps, tmp_path, monkeypatch
):
    seen = {}
    monkeypatch.setattr("jaxcert.training.loop.train", lambda *_: None)
    monkeypatch.setattr(study, "generate", lambda *_, **how: seen.update(how))
    study.make_images(f"configs/edm/{name}.py", tmp_path, 9, tiny=False)
    assert seen == dict(count=9, steps=steps)
