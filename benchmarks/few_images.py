"""What images of an EDM gain that was trained on the same few real images, over seeds.

    python -m benchmarks.few_images --dir data/mnist --workdir runs/few_images \\
        --out benchmarks/results/few_images.json

A study (jaxcert.study) of SortNet and LipNeXt on 500 training images of MNIST, with none and with
2,000 images of an EDM that saw those 500 alone. Both arms of a system take the same number of
steps, with batches of the same size, of which generated images take half. Every seed trains
anew; the real and the generated images are the same. Finished runs in --workdir are not done
again. The EDM may be trained there beforehand:

    python -m jaxcert.train --config configs/edm/mnist.py:500 --workdir runs/few_images/edm

The rise of training accuracy is that over the last tenth of the epochs minus that over the tenth
before, in points: about 0 where an arm was trained to its end.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.claims import interval
from benchmarks.commands import command_of
from jaxcert import config as configs
from jaxcert import version
from jaxcert.certificate import certified_accuracy
from jaxcert.papers import quality, study, study_runs

SYSTEMS = "configs/sortnet/mnist.py:500", "configs/lipnext/mnist.py:500"
EDM = "configs/edm/mnist.py:500"
REAL, GENERATED, SHARE = 500, 2000, 0.5
ARMS = {"none": "none", "generated": f"{GENERATED}at{SHARE:g}"}
"""Name of an arm -> its part of a workdir's name."""


def folder(workdir: Path, system: str, arm: str, seed: int) -> Path:
    """Return the workdir of a run of the study."""
    return workdir / f"{configs.system_name(system)}_{ARMS[arm]}_1x_seed{seed}"


def measure(run: study_runs.Run, radii: Sequence[float]) -> dict[str, Any]:
    """Return shares in percent at every radius, of test and training images, the rise of
    training accuracy in points, and the core minutes of training and of certifying the test
    images (by the clock, on one core)."""
    shares = {
        split: (100 * certified_accuracy(c, radii)).round(3).tolist()
        for split, c in (("test", run.test), ("train", run.train))
    }
    accuracy = np.array([line["accuracy"] for line in run.seen])
    tenth = max(1, len(accuracy) // 10)
    rise = accuracy[-tenth:].mean() - accuracy[-2 * tenth : -tenth].mean()
    seconds = run.seen[-1]["cpu_seconds"] + run.test.seconds.sum()
    return shares | {
        "rise": round(100 * float(rise), 3),
        "core_minutes": round(float(seconds) / 60, 2),
    }


def compared(workdir: Path, system: str, seeds: Sequence[int]) -> dict[str, Any]:
    """Return what the file holds of a system: its arms by seed, and the gain, the arm with
    generated images minus that without, with its 95 % interval over paired seeds."""
    radii = configs.load(system).certify.radii
    arms = {
        arm: [
            measure(study_runs.read(folder(workdir, system, arm, s)), radii)
            for s in seeds
        ]
        for arm in ARMS
    }
    found: dict[str, Any] = dict(system=system, radii=[*radii], arms=arms)
    for split in ("test", "train"):
        before, after = (np.array([run[split] for run in arms[a]]) for a in ARMS)
        columns = (after - before).T
        names = "gain", "low", "high"
        found[f"{split}_gain"] = [
            dict(zip(names, interval(x), strict=True)) for x in columns
        ]
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--dir", type=Path, help="the archives of MNIST")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(argv)
    if given.seeds < 2:
        parser.error("--seeds: an interval takes two or more")
    seeds = range(given.seeds)
    study.run(
        [*SYSTEMS],
        given.workdir,
        edm=EDM,
        counts=[0, GENERATED],
        shares=[SHARE],
        epochs=[1.0],
        seeds=[*seeds],
        words=[f"--config.data.dir={given.dir}"] if given.dir else [],
        train_images=REAL,
    )
    edm = json.loads((given.workdir / "edm/metrics.jsonl").read_text().splitlines()[-1])
    look, _ = quality.look(
        given.workdir / f"generated_{GENERATED}",
        "mnist",
        dir=str(given.dir or ""),
        count=GENERATED,
        out=given.workdir / "quality",
    )
    look["generated"] = f"generated_{GENERATED}"  # not where that folder is
    found = dict(
        date=datetime.date.today().isoformat(),
        version=version.__version__,
        command=command_of("few_images", given),
        real=REAL,
        generated=GENERATED,
        share=SHARE,
        seeds=[*seeds],
        edm=dict(
            system=EDM,
            steps=edm["step"],
            core_minutes=round(edm["cpu_seconds"] / 60, 1),
            quality=look,
        ),
        systems=[compared(given.workdir, system, seeds) for system in SYSTEMS],
    )
    print(json.dumps(found["systems"], indent=1))
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
