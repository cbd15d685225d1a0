"""What few_images measures of finished runs, and the table of it."""

import numpy as np
import pytest
from study_runs import of_counts, with_generated, workdir

from benchmarks import few_images
from benchmarks.claims import interval
from docs import tables
from jaxcert.papers import study

SORTNET = few_images.SYSTEMS[0]
ACCURACIES = [0.1] * 16 + [0.5, 0.5, 0.75, 0.75]


def finished(root, arm, seed, certified):
    """A run of 100 test images, 80 of them right, and of 100 training images."""
    lines = [
        {"split": "train", "accuracy": a, "cpu_seconds": 6.0 * (i + 1)}
        for i, a in enumerate(ACCURACIES)
    ]
    workdir(
        few_images.folder(root, SORTNET, arm, seed),
        test=of_counts(certified, 80, 100),
        train=of_counts(certified + 10, 90, 100),
        evaluations=lines,
        data=with_generated() if arm == "generated" else {},
    )


def test_gains_are_of_paired_seeds_and_the_table_says_them(tmp_path):
    before, after = [40, 50, 45], [44, 52, 51]
    for seed, (old, new) in enumerate(zip(before, after, strict=True)):
        finished(tmp_path, "none", seed, old)
        finished(tmp_path, "generated", seed, new)
    found = few_images.compared(tmp_path, SORTNET, range(3))
    at = found["radii"].index(0.1)
    run = found["arms"]["generated"][1]
    assert (run["test"][0], run["test"][at], run["train"][at]) == (80.0, 52.0, 62.0)
    assert run["core_minutes"] == 2.0
    assert run["rise"] == 25.0, "0.75 in the last tenth, 0.5 in the tenth before"
    gain = found["test_gain"][at]
    differences = np.subtract(after, before).astype(float)
    ends = [gain[k] for k in ("gain", "low", "high")]
    assert ends == pytest.approx(interval(differences.tolist()))
    shown = tables.few_images(
        dict(systems=[found], seeds=[0, 1, 2], edm=dict(core_minutes=7.4))
    )
    line = next(x for x in shown.splitlines() if "| 0.1 |" in x)
    cells = [cell.strip() for cell in line.split("|")]
    said = "{:+.1f} [{:+.1f}, {:+.1f}]".format(*ends)  # of the training images as well
    assert cells[3:9] == ["55.0", "59.0", said, "45.0", "49.0", said]
    assert "took 7 core minutes, the 6 networks 12." in shown
    assert "rose by 25.00 to 25.00 points" in shown


def test_an_arm_is_a_run_of_the_study():
    planned = study.runs(
        [*few_images.SYSTEMS],
        generated="images",
        counts=[0, few_images.GENERATED],
        shares=[few_images.SHARE],
        epochs=[1.0],
        seeds=[0, 1],
        words=[],
    )
    known = {
        str(few_images.folder(few_images.Path(), system, arm, seed))
        for system in few_images.SYSTEMS
        for arm in few_images.ARMS
        for seed in (0, 1)
    }
    assert {run.name for run in planned} == known
