"""The rows of the tables of Sun et al. (2024), and the logs and runs that belong to them.

A row is a method at a sigma: `catrs` at 0.5 is one of Table 2. Two names are rows of Table 3
alone: `gaussian_m1`, Gaussian training with one copy of each image (at sigma 0.5 it is the
table's first row, at others Table 3 repeats Table 2), and those of the method sun with some of
its parts.

Logs are those that the authors of the methods released, tables of CERTIFY with n0 = 100,
n = 100,000 and alpha = 0.001 on all 10,000 test images of CIFAR-10, with radii of three digits
rounded to nearest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcert import records
from jaxcert.analysis import configured
from jaxcert.certificate import Certificates, certifies
from jaxcert.certificates.statistics import max_radius
from jaxcert.errors import InputError
from jaxcert.papers.exhibits import printed
from jaxcert.papers.study_runs import TEST, evaluations

DATASET, IMAGES = "cifar10", 10_000
N, ALPHA = 100_000, 0.001
METHODS = {
    "gaussian": "Gaussian",
    "macer": "MACER",
    "smoothadv": "SmoothAdv",
    "consistency": "Consistency",
    "smoothmix": "SmoothMix",
    "catrs": "CAT-RS",
    "sun": "Sun et al.",
    "stability": "Stability",
}
"""Word of a file's name or a config -> name in the paper, which has no stability training."""
PARTS = ("discard", "reweight", "adversarial")
_WORDS = METHODS | {"ours": METHODS["sun"], "cat-rs": METHODS["catrs"]}
_NAME = re.compile(
    r"(?:.*_)?(mnist|cifar10|imagenet)_([^_]+)(?:_(.+))?_(?:sigma|noise)_?(\d+(?:\.\d+)?)\.tsv"
)
_NO_PLACE = f"its name is not such as {DATASET}_catrs_sigma0.50.tsv"


class Key(NamedTuple):
    """Which row: a method by its name in the paper, and sigma."""

    method: str
    sigma: float
    parts: str = ""
    """of a row of Table 3 alone: m1, or the parts of sun with + between"""

    @property
    def label(self) -> str:
        """Return the method in words: Sun et al. (discard, reweight)."""
        parts = self.parts.replace("+", ", ")
        return self.method + (f" ({parts})" if parts else "")


class Source(NamedTuple):
    """A log or a run of a row."""

    key: Key
    name: str
    """how the page speaks of it"""
    certificates: Certificates
    is_log: bool
    gradients: dict[str, Any] | None = None
    """gradient_norms.json of a run, if it is there"""
    kept: float | None = None
    """share of the training images that a run of sun kept, if its metrics.jsonl says it"""


def logs(folder: str | Path) -> tuple[list[Source], list[tuple[str, str]]]:
    """Return the logs of rows that a folder holds, anywhere below it, and what else is there:
    (path, why it was left out).

    Method and sigma are read off the name, as in cifar10_catrs_sigma0.50.tsv, or the folders, as
    in cifar10/catrs/noise_0.5.tsv. Raises InputError for no folder, no log, two logs of one row
    and a damaged table.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(
            f"there is no folder {folder}: name that of the logs by --logs."
        )
    found: dict[Key, Source] = {}
    left_out: list[tuple[str, str]] = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        key = key_of_name(name)
        if isinstance(key, str):
            left_out.append((name, key))
            continue
        c = records.load(path)
        if why := _unfit(c, key.sigma):
            left_out.append((name, why))
            continue
        if key in found:
            raise InputError(
                f"{folder} has two logs of one row, {found[key].name} and {name}: move one of "
                "them out of the folder."
            )
        found[key] = Source(key, name, _as_certify(c, key.sigma), True)
    if not found:
        told = "".join(f" {name}: {why};" for name, why in left_out[:3])
        raise InputError(
            f"{folder} has no log of a row:{told} name a folder with logs such as "
            f"{DATASET}_catrs_sigma0.50.tsv."
        )
    order = {name: i for i, name in enumerate(METHODS.values())}
    of = sorted(found.values(), key=lambda s: (s.key.sigma, order[s.key.method]))
    return of, left_out


def key_of_name(name: str) -> Key | str:
    """Return the row that the path of a log belongs to, or why it belongs to none."""
    match = _NAME.fullmatch(name.lower().replace("/", "_"))
    if match is None:
        return _NO_PLACE
    dataset, word, more, sigma = match.groups()
    if dataset != DATASET:
        return f"of {dataset} there is no table"
    method = _WORDS.get(word)
    if method is None:
        return f"{word} is no method of the tables"
    key = Key(method, float(sigma), more or "")
    if key not in published():
        return (
            f"the tables have no row {word}{f'_{more}' * bool(more)} at sigma {sigma}"
        )
    return key


@cache
def published() -> dict[Key, dict[str, float]]:
    """Return what is printed of each row of Tables 2 and 3, by column: acr, and ca_0.25 and so
    on in percent. Rows of Table 3 that Table 2 has are left to it."""
    found = {}
    for row in printed("sun_table2_cifar10"):
        key = Key(row.pop("method"), float(row.pop("sigma")))
        found[key] = {name: float(value) for name, value in row.items()}
    for row in printed("sun_table3_ablation_cifar10"):
        sigma = float(row.pop("sigma"))
        parts = [part for part in PARTS if row.pop(part) == "1"]
        numbers = {name: float(value) for name, value in row.items()}
        if not parts and numbers != found[Key(METHODS["gaussian"], sigma)]:
            found[Key(METHODS["gaussian"], sigma, "m1")] = numbers
        elif parts and len(parts) < len(PARTS):
            found[Key(METHODS["sun"], sigma, "+".join(parts))] = numbers
    return found


def short_name(source: Source, sources: Sequence[Source]) -> str:
    """Return what to call a run below its row: 'run, digits, seed 0', or its name where another
    run is called so."""

    def called(one: Source) -> str:
        header = one.certificates.header
        dataset = header.get("dataset", DATASET)
        of = "" if dataset == DATASET else f", {dataset}"
        seed = (header.get("config") or {}).get("seed")
        return f"run{of}" + ("" if seed is None else f", seed {seed}")

    own = [called(s) for s in sources if s.key == source.key and not s.is_log]
    return called(source) if own.count(called(source)) == 1 else source.name


def radii_of(numbers: dict[str, float]) -> list[float]:
    """Return the radii of a row's columns."""
    return [float(name[3:]) for name in numbers if name.startswith("ca_")]


def runs(workdirs: Iterable[str | Path]) -> list[Source]:
    """Return the finished runs of rows among workdirs, by their configs. Raises InputError for
    a damaged record."""
    found = []
    for path in map(Path, workdirs):
        if not (path / TEST).is_file():
            continue
        c = records.load(path / TEST)
        key = _key_of_run(c)
        if key is None or not len(c.index) or not certifies(c):
            continue
        gradients = configured.gradients(path, c)
        name, dataset = path.resolve().name, c.header.get("dataset")
        name += f", {dataset}" if dataset != DATASET else ""
        found.append(Source(key, name, c, False, gradients, _kept(path)))
    return found


def _key_of_run(c: Certificates) -> Key | None:
    config = c.header.get("config")
    method = config.get("method") if isinstance(config, dict) else None
    if not isinstance(method, dict) or method.get("name") not in METHODS:
        return None
    if c.header.get("method") != "smoothing" or not c.header.get("sigma"):
        return None
    name, sigma = METHODS[method["name"]], round(float(c.header["sigma"]), 6)
    parts = [part for part in PARTS if method.get(part)]
    if name == METHODS["gaussian"] and method.get("m") == 1:
        return Key(name, sigma, "m1")
    whole = name != METHODS["sun"] or len(parts) == len(PARTS)
    return Key(name, sigma, "" if whole else "+".join(parts))


def _kept(path: Path) -> float | None:
    values = [line["kept"] for line in evaluations(path, "refresh") if "kept" in line]
    return values[0] if values else None


def _unfit(c: Certificates, sigma: float) -> str:
    """Return why a log is no such row as its name says, or ''."""
    if len(c.index) != IMAGES:
        return f"{len(c.index):,} images where the tables have {IMAGES:,}"
    most, largest = float(max_radius(N, ALPHA, sigma)), float(c.radius.max())
    if largest > most * (1 + 0.006):  # printed with three digits
        return (
            f"a radius of {largest:g}, where n = {N:,} votes at alpha {ALPHA:g} and sigma "
            f"{sigma:g} prove at most {most:.3g}"
        )
    return ""


def _as_certify(c: Certificates, sigma: float) -> Certificates:
    """Return a log with what its authors' scripts say of it."""
    procedure = dict(name="certify", n0=100, n=N)
    header = dict(sigma=sigma, alpha=ALPHA, procedure=procedure, dataset=DATASET)
    n = np.full(len(c.index), N)
    return c._replace(n=n, header=c.header | header)
