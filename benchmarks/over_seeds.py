"""Rows of configs beside each other, each trained and certified once per seed.

    python -m benchmarks.over_seeds --workdir runs/power_steps --seeds 5 \\
        --out benchmarks/results/power_steps.json \\
        configs/liresnet/digits.py:original configs/liresnet/digits.py
    python -m benchmarks.over_seeds --workdir runs/lookahead --seeds 3 \\
        configs/lipnext/digits.py \\
        'configs/lipnext/digits.py optim.lookahead=True optim.lookahead_steps=6'

A row is a config, and after a space values that replace those of the config. The file has certified
accuracy and core time of every run, and for every row but the first the mean difference to the
first over paired seeds, with its 95 % interval. `--epochs` shortens all with their warm-ups.
Finished runs in --workdir are not done again.
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
from ml_collections import ConfigDict

from benchmarks.claim_runs import train_and_certify
from benchmarks.claims import interval
from benchmarks.commands import command_of
from jaxcert import config as configs
from jaxcert import records
from jaxcert.certificate import certified_accuracy

RADII = (0.0, 36 / 255, 72 / 255, 108 / 255)


def measure(folder: Path) -> dict[str, float]:
    """Return certified accuracy in percent by radius, the time of a training step after the
    first ones, and that of the training and the certificate, of a finished run."""
    c = records.load(folder / "certificates.jsonl")
    lines = [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
    train = [x for x in lines if x["split"] == "train"]
    first, last = train[0], train[-1]
    spent = last["cpu_seconds"] - first["cpu_seconds"]
    whole = last["cpu_seconds"] + float(c.seconds.sum())
    shares = zip(RADII, 100 * certified_accuracy(c, RADII), strict=True)
    return {f"{radius:.4g}": float(share) for radius, share in shares} | {
        "core milliseconds a step": 1000 * spent / (last["step"] - first["step"]),
        "core minutes": whole / 60,
    }


def compared(rows: Sequence[str], runs: Sequence[Sequence[dict]]) -> dict[str, Any]:
    """Return what the file holds: the numbers of each row by seed, and the paired difference
    of each to the first row."""
    numbers: dict[str, list] = {}
    for name in runs[0][0]:
        first = np.array([run[name] for run in runs[0]])
        numbers[name] = [dict(seeds=first.tolist())]
        for row in runs[1:]:
            values = np.array([run[name] for run in row])
            names = "difference", "low", "high"
            ends = dict(zip(names, interval(values - first), strict=True))
            numbers[name].append(dict(seeds=values.tolist()) | ends)
    seeds = len(runs[0])
    today = datetime.date.today().isoformat()
    return dict(date=today, rows=[*rows], seeds=[*range(seeds)], numbers=numbers)


def config_of(row: str, *, seed: int, epochs: int, tiny: bool) -> ConfigDict:
    """Return the config of a row and a seed. Raises InputError for what it cannot be."""
    name, *words = row.split()
    config = configs.resolve(name, [f"--config.{word}" for word in words], tiny=tiny)
    config.seed = seed
    config.log.every_steps = 1 if tiny else 10
    if epochs:
        share = epochs / config.data.epochs
        config.optim.warmup_epochs = math.ceil(share * config.optim.warmup_epochs)
        config.data.epochs = epochs
    return config


def folder_of(row: str, seed: int) -> str:
    """Return the name of the workdir of a row and a seed."""
    name, *words = row.split()
    parts = [configs.system_name(name), *(word.replace(".", "_") for word in words)]
    return "_".join([*parts, f"seed{seed}"])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="+", metavar="ROW")
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=0, help="0: those of the rows")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(argv)
    given.workdir.mkdir(parents=True, exist_ok=True)
    if given.seeds < 2:
        parser.error("--seeds: an interval takes two or more")
    jax.config.update("jax_compilation_cache_dir", str(given.workdir / "programs"))
    runs: list[list[dict]] = [[] for _ in given.rows]
    epochs = [0] * len(given.rows)
    for seed in range(given.seeds):
        for number, row in enumerate(given.rows):
            how = dict(seed=seed, epochs=given.epochs, tiny=given.tiny)
            config = config_of(row, **how)
            epochs[number] = config.data.epochs
            folder = given.workdir / folder_of(row, seed)
            train_and_certify(config, folder)
            jax.clear_caches()  # compiled programs use up the memory maps of a process
            runs[number].append(measure(folder))
    how = dict(command=command_of("over_seeds", given), epochs=epochs)
    found = how | compared(given.rows, runs)
    print(json.dumps(found["numbers"], indent=1))
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
