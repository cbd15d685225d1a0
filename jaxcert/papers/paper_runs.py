"""Does what a plan (plans.py) of a paper lacks, with the functions of the commands.

Every step continues where it stopped, and a finished one is left alone, so that the same command
continues after a kill.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxcert import config as configs
from jaxcert import records, sharding
from jaxcert.certificates.run import certify
from jaxcert.data import write as shards
from jaxcert.errors import replacing
from jaxcert.image_generation import generate
from jaxcert.interfaces import Run
from jaxcert.locks import only_writer
from jaxcert.papers import chen_votes, gradient_norms, study
from jaxcert.papers.plans import TRAIN_IMAGES, Row, Step, steps_of
from jaxcert.progress import clock
from jaxcert.training import build, limits, loop
from jaxcert.workdirs.runs import refuse_another


def told(rows: Sequence[Row], workdir: str | Path, *, scale: str) -> list[str]:
    """Return a plan in lines: what there is to do, its time and disk, and each row."""
    workdir = Path(workdir)
    left = [row for row in rows if not finished(row, workdir)]
    sizes = disk(rows)
    what = "H200 hours" if scale == "cifar10" else "core hours"
    hours = sum(row.seconds for row in left) / 3600
    size = sum(size for row, size in zip(rows, sizes, strict=True) if row in left)
    lines = [
        f"{len(rows)} rows, {len(left)} to do: about {hours:,.1f} {what} and "
        f"{size / 1e9:,.2f} GB of checkpoints and images in {workdir}"
    ]
    for row, size in zip(rows, sizes, strict=True):
        state = "to do" if row in left else "done"
        place = f"{row.folder}: {row.name}"
        lines.append(
            f"  {state:5} {clock(row.seconds):>9} {size / 1e6:8,.1f} MB  {place}"
        )
    return lines


def run(rows: Sequence[Row], workdir: str | Path) -> None:
    """Do what the rows lack. Raises InputError, before the first step, for a workdir that holds
    other runs, a full disk, and for what a training would refuse of its config."""
    workdir = Path(workdir)
    with only_writer(workdir, option="--workdir"):
        left = [row for row in rows if not finished(row, workdir)]
        for row in rows:
            if row.steps[0].what == "train":
                refuse_another(workdir / row.folder, row.steps[0].config)
        _check(left)
        limits.check_disk(workdir, sum(disk(left)))
        study.keep_programs(workdir)
        began, total = time.monotonic(), sum(row.seconds for row in left)
        spent = 0.0
        for number, row in enumerate(left):
            rest = (
                (time.monotonic() - began) / spent * (total - spent) if spent else total
            )
            ahead = f"row {number + 1} of {len(left)}, about {clock(rest)} left"
            print(f"{ahead}: {row.folder}: {row.name}", file=sys.stderr, flush=True)
            for step in row.steps:
                if not _is_done(step, workdir, row.folder):
                    DO[step.what](step, workdir / row.folder)
            jax.clear_caches()  # no other row has its programs
            spent += row.seconds


def finished(row: Row, workdir: Path) -> bool:
    """Return whether nothing of a row is left to do. Images that are there need no EDM."""
    steps = row.steps[-1:] if row.steps[-1].what == "images" else row.steps
    return all(_is_done(step, workdir, row.folder) for step in steps)


def _is_done(step: Step, workdir: Path, folder: str) -> bool:
    place = workdir / folder
    if step.what == "train":
        return _is_trained(step.config, place)
    if step.what == "images":
        path = workdir / step.out / shards.HEADER
        return bool(_json(path).get("done"))
    path = place / step.out
    if step.what != "certify":
        return bool(_json(path))
    if not path.is_file() or not path.stat().st_size:
        return False
    c = records.load(path)
    asked = {
        i for r in c.header.get("requests", ()) for i in range(*(r[k] for k in _RANGE))
    }
    of = (c.header.get("config") or {}).get("certify")
    same = json.loads(json.dumps(step.config.certify.to_dict())) == of
    return same and asked == set(c.index.tolist())


_RANGE = ("start", "stop", "step")


def _is_trained(config: ConfigDict, place: Path) -> bool:
    """Return whether the newest checkpoint is of the last step."""
    metrics = place / "metrics.jsonl"
    if not metrics.is_file():
        return False
    steps = [
        int(p.name) for p in (place / "checkpoints").glob("*") if p.name.isdecimal()
    ]
    for text in metrics.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
            if line["epoch"] >= config.data.epochs and line["step"] == max(steps):
                return True
        except (ValueError, KeyError, TypeError):
            continue
    return False


def _json(path: Path) -> dict[str, Any]:
    """Return what a file of JSON holds; {} for none, and one that a kill cut off."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def disk(rows: Sequence[Row]) -> list[int]:
    """Return the bytes that the checkpoints and images of each row take."""
    known: dict[str, int] = {}
    found = []
    for row in rows:
        size = 0
        for step in row.steps:
            if step.what == "train":
                key = json.dumps(_shape(step.config), default=list, sort_keys=True)
                if key not in known:
                    known[key] = _checkpoint(step.config)
                size += step.config.checkpoint.keep * known[key]
            elif step.what == "images":
                pixels = int(np.prod(step.config.model.image_shape))
                size += step.more["count"] * (pixels + 4)
        found.append(size)
    return found


def _shape(config: ConfigDict) -> list:
    optim, method = config.optim, config.method.name
    return [config.model.to_dict(), optim.name, optim.lookahead, config.ema, method]


def _checkpoint(config: ConfigDict) -> int:
    """Return the bytes of a checkpoint, without data or files."""
    size = TRAIN_IMAGES[config.data.name]
    total = steps_of(config)
    of = Run(max(1, total // config.data.epochs), total, size)
    config = ConfigDict(config.to_dict())
    if "soft_labels" in config.method:
        config.method.soft_labels = "labels"  # votes of a row before it
    model = configs.build("models", config.model)
    built = build.assemble(config, model, of, sharding.data_mesh(), networks={})
    state = build.shapes(built, jax.eval_shape(built.method.init_extra))
    return limits.checkpoint_bytes(state)


def _check(rows: Sequence[Row]) -> None:
    """Check one config of each model, method and data set, without what other rows make."""
    seen = set()
    for row in rows:
        step = row.steps[0]
        if step.what != "train":
            continue
        config = ConfigDict(step.config.to_dict())
        key = json.dumps(
            [_shape(config), config.data.name], default=list, sort_keys=True
        )
        if key in seen:
            continue
        seen.add(key)
        config.data.update(generated="", generated_count=0)
        if "soft_labels" in config.method:
            config.method.soft_labels = "labels"
        loop.check(config)


def _train(step: Step, place: Path) -> None:
    loop.train(step.config, place)


def _certify(step: Step, place: Path) -> None:
    certify(step.config, place, out=place / step.out)


def _generate(step: Step, place: Path) -> None:
    generate(place, place.parent / step.out, **step.more)


def _measure(of: Callable[..., dict], step: Step, place: Path) -> None:
    found = of(step.config, place, **step.more)
    with replacing(place / step.out) as fresh:
        gradient_norms.write(found, fresh)


DO: dict[str, Callable[[Step, Path], None]] = {
    "train": _train,
    "certify": _certify,
    "images": _generate,
    "norms": partial(_measure, gradient_norms.measure),
    "votes": partial(_measure, chen_votes.measure),
}
"""Step.what -> (step, workdir of its row)"""
