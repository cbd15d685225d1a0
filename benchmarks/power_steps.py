"""Two power steps with a detached vector against ten differentiated ones, over seeds.

    python -m benchmarks.power_steps --workdir runs/power_steps \\
        --out benchmarks/results/power_steps.json
    python -m benchmarks.power_steps --workdir runs/power_steps_cifar10 --seeds 3 --epochs 4 \\
        --pair configs/liresnet/cifar10.py:xs,fast,narrow configs/liresnet/cifar10.py:xs,narrow

GloRo networks estimate the norms of their layers by power iteration in every training step. Their
authors take ten steps and differentiate through all of them; `fast` rows take two and differentiate
the norm at their result. Both are certified with the same proven bounds, so only training differs.
`--epochs` shortens both with their warm-ups. Finished runs in --workdir are not done again.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.claim_runs import train_and_certify
from benchmarks.claims import interval
from jaxcert import config as configs
from jaxcert import records
from jaxcert.certificate import certified_accuracy

DIGITS = "configs/liresnet/digits.py", "configs/liresnet/digits.py:original"
RADII = (0.0, 36 / 255, 72 / 255)


def measure(folder: Path) -> dict[str, float]:
    """Return certified accuracy in percent by radius, and the time of a training step after the
    first ones, of a finished run."""
    c = records.load(folder / "certificates.jsonl")
    lines = [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
    train = [x for x in lines if x["split"] == "train"]
    first, last = train[0], train[-1]
    spent = last["cpu_seconds"] - first["cpu_seconds"]
    shares = zip(RADII, 100 * certified_accuracy(c, RADII), strict=True)
    return {f"{radius:.4g}": float(share) for radius, share in shares} | {
        "core milliseconds a step": 1000 * spent / (last["step"] - first["step"])
    }


def compared(pair: Sequence[str], rows: Sequence[Sequence[dict]]) -> dict[str, Any]:
    """Return what the file holds: the means of both rows and the paired difference, the first
    minus the second, with its 95 % interval over seeds."""
    numbers = {}
    for name in rows[0][0]:
        fast, ten = (np.array([run[name] for run in runs]) for runs in rows)
        mean, low, high = interval(fast - ten)
        numbers[name] = dict(
            rows=[fast.tolist(), ten.tolist()], difference=mean, low=low, high=high
        )
    return dict(
        date=datetime.date.today().isoformat(),
        pair=[*pair],
        seeds=len(rows[0]),
        numbers=numbers,
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--pair", nargs=2, default=DIGITS, metavar="FILE:ROW")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=0, help="0: those of the rows")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(argv)
    given.workdir.mkdir(parents=True, exist_ok=True)
    if given.seeds < 2:
        parser.error("--seeds: an interval takes two or more")
    jax.config.update("jax_compilation_cache_dir", str(given.workdir / "programs"))
    rows: list[list[dict]] = [[], []]
    for seed in range(given.seeds):
        for number, row in enumerate(given.pair):
            config = configs.load(row)
            config = configs.tiny(config) if given.tiny else config
            config.seed = seed
            config.log.every_steps = 1 if given.tiny else 10
            if given.epochs:
                share = given.epochs / config.data.epochs
                config.optim.warmup_epochs = math.ceil(
                    share * config.optim.warmup_epochs
                )
                config.data.epochs = given.epochs
            folder = given.workdir / f"{configs.system_name(row)}_seed{seed}"
            train_and_certify(config, folder)
            jax.clear_caches()  # compiled programs use up the memory maps of a process
            rows[number].append(measure(folder))
    found = compared(given.pair, rows) | dict(epochs=config.data.epochs)
    print(json.dumps(found["numbers"], indent=1))
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
