"""How good the images of a trained EDM are, and what its training took: one result file.

    python -m jaxcert.train --config configs/edm/cifar10.py:dropped,laptop --workdir runs/edm
    python -m jaxcert.zoo lot-cifar10-laptop --workdir runs/lot
    python -m benchmarks.edm_images --workdir runs/edm --classifier runs/lot --count 1000 \\
        --out benchmarks/results/edm_cifar10.json

Samples the images as jaxcert.generate does, where they are not there already, and measures them as
jaxcert.quality does, beside as many test images. A picture of some is in WORKDIR/quality.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.commands import command_of
from jaxcert import config as configs
from jaxcert import version
from jaxcert.image_generation import generate
from jaxcert.papers import quality


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", type=Path, required=True, help="of the EDM")
    parser.add_argument("--classifier", type=Path, help="workdir of a classifier")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--dir", type=Path, help="the archives of the data set")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(argv)
    images = given.workdir / f"generated_{given.count}"
    generate(given.workdir, images, count=given.count)
    config = configs.read(given.workdir)
    found, _ = quality.look(
        images,
        config.data.name,
        dir=str(given.dir or config.data.dir),
        classifier=str(given.classifier) if given.classifier else None,
        count=given.count,
        out=given.workdir / "quality",
    )
    found["generated"] = images.name  # not where the folders are
    if given.classifier:
        found["classifier"]["workdir"] = given.classifier.name
    last = (given.workdir / "metrics.jsonl").read_text().splitlines()[-1]
    training = json.loads(last)
    training = dict(
        steps=training["step"],
        epochs=config.data.epochs,
        batch=config.data.batch,
        seed=config.seed,
        core_minutes=round(training["cpu_seconds"] / 60, 1),
    )
    facts = dict(date=datetime.date.today().isoformat(), version=version.__version__)
    facts["command"] = command_of("edm_images", given)
    text = json.dumps(facts | dict(training=training, quality=found), indent=1)
    given.out.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
