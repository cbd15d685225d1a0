"""Finished runs with and without generated training images, put in order.

Altstidl et al., "Raising the Bar for Certified Adversarial Robustness with Diffusion
Models" (2023, arXiv:2305.10388) train the same systems with and without generated images. Here

    run     a workdir
    cell    runs that differ in the seed alone
    system  cells that differ in the epochs, the generated images and how batches mix them;
            numbers of method and optim in proportion to the epochs are marks of one schedule
    study   systems certified in one norm on one data set: other radii do not compare

Runs: study_runs.py; numbers: study_numbers.py; figures: study_figures.py; what is printed:
study_page.py.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcert.analysis.compare import common
from jaxcert.analysis.facts import distinct
from jaxcert.errors import InputError
from jaxcert.papers.study_runs import Run

_APART = (
    *("seed", "data.epochs", "data.generated", "data.augment.generated_crop"),
    *("data.batch", "data.epoch_images", "data.order"),
    *("certify.", "eval.", "log.", "checkpoint.", "reference.", "tiny."),
    *("data.dir", "data.download", "data.placement"),
)
"""Beginnings of the config's keys that do not make another system."""
_PROCEDURE = ("name", "n", "noise", "radii")
_MARKED = ("method.", "optim.")


class Generated(NamedTuple):
    """The generated images of a run; without any it is Generated()."""

    source: str = ""
    """name of the file, without its folder"""
    count: int = 0
    """drawn from it; 0: all"""
    share: float = 0.0
    """of each batch"""


class Cell(NamedTuple):
    system: str
    epochs: int
    factor: float
    """epochs by the fewest of the system"""
    generated: Generated
    amount: str
    """generated images in a word: none, 1M"""
    runs: dict[int, Run]
    """by seed"""


class Study(NamedTuple):
    """Runs of one norm and one data set, in order."""

    norm: str
    dataset: str
    radii: np.ndarray
    """float64 [R], from 0"""
    at: int
    """position of the radius that figures are drawn at"""
    cells: list[Cell]

    @property
    def radius(self) -> float:
        return float(self.radii[self.at])

    @property
    def systems(self) -> list[str]:
        return list(dict.fromkeys(cell.system for cell in self.cells))


def groups(runs: Sequence[Run]) -> list[list[Run]]:
    """Split runs into groups of one norm and one data set."""
    found: dict[tuple, list[Run]] = {}
    for run in runs:
        found.setdefault(_place(run), []).append(run)
    return list(found.values())


def make(runs: Sequence[Run], radii: Sequence[float]) -> Study:
    """The study of a group. Figures are at the radius of the published numbers if all that
    have some agree on it and it is in `radii`, else at the first positive one.

    Raises InputError without a positive radius, for two runs of one cell and seed, and for
    runs of a system that certified different images.
    """
    radii = distinct([0.0, *radii])
    if len(radii) < 2:
        raise InputError(
            "a study needs a radius above 0: give one with --radii 0,36/255."
        )
    published = {r for run in runs if run.reference for r in run.reference.certified}
    published = published.intersection(radii[1:].tolist())
    at = int(np.searchsorted(radii, *published)) if len(published) == 1 else 1
    flats = [_flat(run) for run in runs]
    members: list[list[int]] = []
    for i, flat in enumerate(flats):
        group = next(
            (m for m in members if all(_one_system(flats[k], flat) for k in m)), None
        )
        group.append(i) if group else members.append([i])
    names = _names([flats[m[0]] for m in members])
    amounts = _amounts([generated(run) for run in runs])
    cells = []
    for name, group in zip(names, members, strict=True):
        system = [runs[i] for i in group]
        _check_images(system)
        cells += _cells(name, system, amounts)
    norm, dataset = _place(runs[0])
    return Study(norm, dataset, radii, at, cells)


def generated(run: Run) -> Generated:
    data = run.config["data"]
    if not data["generated"] or not data["generated_share"]:
        return Generated()
    source = Path(data["generated"]).stem
    return Generated(source, data["generated_count"], float(data["generated_share"]))


def _place(run: Run) -> tuple[str, str]:
    header = run.test.header
    dataset = header.get("dataset") or run.config["data"].get("name")
    return header.get("norm", "l2"), str(dataset)


def _flat(run: Run) -> dict[str, Any]:
    """Return what makes a run's system, by dotted key, and its epochs."""
    found: dict[str, Any] = {}

    def walk(section, prefix):
        for key, value in section.items():
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}.")
            elif not f"{prefix}{key}".startswith(_APART):
                found[prefix + key] = value

    walk({k: run.config[k] for k in ("model", "method")}, "")
    walk(run.config, "")
    header = run.test.header
    found |= {f"certificate.{k}": header.get(k) for k in ("method", "sigma", "alpha")}
    procedure = header.get("procedure")
    if isinstance(procedure, dict):
        found |= {f"certificate.{k}": procedure.get(k) for k in _PROCEDURE}
    return found | {"data.epochs": run.config["data"]["epochs"]}


def _one_system(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(_agree(one, other, key) for key in one | other)


def _agree(one: dict[str, Any], other: dict[str, Any], key: str) -> bool:
    """Return whether values are equal, or marks of a schedule in proportion to the
    epochs."""
    a, b = one.get(key), other.get(key)
    if a == b or key == "data.epochs":
        return True
    numbers = all(type(v) in (int, float) for v in (a, b))
    if not numbers or not key.startswith(_MARKED):
        return False
    return math.isclose(a * other["data.epochs"], b * one["data.epochs"])


_NETWORKS = ("linf_dist", "sortnet", "lot")
"""Methods that are called after their network."""


def _names(systems: Sequence[dict[str, Any]]) -> list[str]:
    """Return names of systems: model and method, or the method alone if it is called after its
    network, and as many keys as tell them apart."""
    names = []
    for s in systems:
        model, method = s["model.name"], s["method.name"]
        names.append(method if method in _NETWORKS else f"{model} {method}")
    for key in dict.fromkeys(key for s in systems for key in s):
        split = [
            (i, j)
            for i, j in combinations(range(len(names)), 2)
            if names[i] == names[j] and not _agree(systems[i], systems[j], key)
        ]
        for i in {i for pair in split for i in pair}:
            names[i] += f", {key.rpartition('.')[2]} {systems[i].get(key)}"
    return names


def _amounts(found: Sequence[Generated]) -> dict[tuple[str, int], str]:
    """Return a word for each (source, count), with the source's name where that is
    ambiguous."""
    keys = dict.fromkeys((g.source, g.count) for g in found)
    plain = {k: _count(k[1]) if k[1] else f"all of {k[0]}" for k in keys if k[0]}
    twice = Counter(plain.values())
    return {("", 0): "none"} | {
        k: f"{text} of {k[0]}" if twice[text] > 1 else text for k, text in plain.items()
    }


def _count(n: int) -> str:
    for size, letter in ((10**6, "M"), (10**3, "k")):
        if n >= size:
            return f"{n / size:.4g}{letter}"
    return str(n)


def _cells(name: str, runs: Sequence[Run], amounts: dict) -> list[Cell]:
    found: dict[tuple[int, Generated], dict[int, Run]] = {}
    for run in runs:
        own, seed = generated(run), run.config["seed"]
        cell = found.setdefault((run.config["data"]["epochs"], own), {})
        if seed in cell:
            raise InputError(
                f"{cell[seed].name} and {run.name} are the same system, epochs, generated "
                f"images and seed {seed}: leave one out."
            )
        cell[seed] = run
    fewest = min(epochs for epochs, _ in found)
    order = sorted(found, key=lambda k: (k[0], *in_order(k[1])))
    return [
        Cell(name, epochs, epochs / fewest, own, amounts[own[:2]], found[epochs, own])
        for epochs, own in order
    ]


def in_order(own: Generated) -> tuple:
    """Return cells by amount: none first, then by count, all of a file last."""
    return bool(own.share), own.count or math.inf, own.source, own.share


def _check_images(runs: Sequence[Run]) -> None:
    first = runs[0]
    for run in runs[1:]:
        parts = common([first.test, run.test])
        whole = parts is not None and all(
            len(parts[0].index) == len(r.test.index) for r in (first, run)
        )
        digests = {r.test.header.get("data_digest") for r in (first, run)} - {None}
        if not whole or len(digests) > 1:
            raise InputError(
                f"{first.name} and {run.name} are compared and certified different test "
                "images: certify both with the same certify.start, stop and step."
            )
