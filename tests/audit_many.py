"""Audits many rows and many modified records, and prints how many of each kind.

    python -m tests.audit_many              100,000 rows and 1,000 modified records, some minutes
    python -m tests.audit_many --rows 5000

Votes, logits, margins and means are drawn from laws; everything else is what the library makes
of them. Every record is audited and re-checked as it is and again with every second claim raised,
and both programs must name the same lines. The exit status is 1 where they do not, or where a
modified record is not rejected.
"""

# ruff: noqa: E501

from __future__ import annotations

import argparse
import copy
import json
import math
import tempfile
import time
from collections import Counter
from functools import cache
from pathlib import Path
from unittest import mock

import numpy as np

from jaxcert import audit, random_keys, records
from jaxcert.analysis import recheck
from jaxcert.certificate import Certificates
from jaxcert.certificates import (
    diffusion_classifier,
    lipschitz,
    norms,
    procedures,
    smoothing,
)
from jaxcert.interfaces import Bound, LayerBound
from jaxcert.ops import margins

N, SIGMA, ALPHA = 1000, 0.5, 0.001
SHAPE = [4, 4, 1]
TRIED = (0.0, 0.02, 0.05, 0.1, 0.3)
BOXES = (0.05, 0.1, 0.2)
FAMILIES = {
    # name: (model, norm, kinds of its layers)
    "LOT": ("lip_convnet", "l2", ("averaged lot.Conv", "lot.Dense")),
    "lip_convnet": ("lip_convnet", "l2", ("soc.Conv", "cayley.Conv")),
    "LiResNet": ("liresnet", "l2", ("liresnet.Blocks", "liresnet.BoundedDense")),
    "LiResNet++": ("liresnet_pp", "l2", ("cholesky.PatchConv", "cholesky.Dense")),
    "BRONet": ("bronet", "l2", ("bro.Blocks", "cholesky.Dense")),
    "LipNeXt": ("lipnext", "l2", ("spatial_shift.Blocks",)),
    "l_inf-dist": ("dist_net", "linf", ("norm_dist.NormDist",)),
    "SortNet": ("dist_net", "linf", ("norm_dist.NormDist",)),
    "hybrid": ("dist_net", "linf", ("norm_dist.NormDist",)),
}


def head_of(header: dict, certify: dict, images: int) -> dict:
    """Return the header of a run, with its config."""
    header = copy.deepcopy(header)
    classes = header["num_classes"]
    model = dict(name="small_cnn", image_shape=SHAPE, num_classes=classes)
    model |= header.pop("model", {})
    certify = dict(split="test", seed=0, start=0, stop=images, step=1) | certify
    return header | dict(
        format=audit.FORMAT,
        model=model,
        precision="highest",
        dataset="digits",
        split="test",
        seed=0,
        images=2 * images,
        requests=[dict(start=0, stop=images, step=1)],
        config=dict(
            model=copy.deepcopy(model),
            precision="highest",
            data=dict(name="digits"),
            certify=certify,
        ),
    )


def rows_of(c: Certificates) -> list[dict]:
    return list(records.files._rows_to_json(c))


def counter_of(images: int, seed: int, undrawn: float):
    """Return a counter of votes in place of a network's: class 0 has the probability p, which
    falls from image to image, and the others share what is left in falling parts. undrawn: the
    share of votes for no class."""
    p = 1 - np.geomspace(1e-6, 0.7, images)

    def counter(vote, drawn, *, num_classes, chunk, mesh):
        rng = np.random.default_rng(seed)
        parts = 0.6 ** np.arange(num_classes - 1)
        parts /= parts.sum()

        def count(key, index, image, rows, start, size):
            mine = p[np.asarray(index)[rows]][:, None]
            law = np.concatenate([mine, (1 - mine) * parts], 1) * (1 - undrawn)
            sizes = np.broadcast_to(size, len(law))
            law = np.column_stack([law, np.maximum(1 - law.sum(1), 0)])
            return rng.multinomial(sizes, law)[:, :-1]

        return count

    return counter


@cache
def voted(
    name="certify", noise="gaussian", norm="l2", bound="union", rival="single",
    classes=3, n=N, alpha=ALPHA, images=24, undrawn=0.0, seed=0,
):  # fmt: skip
    """Return (header, rows) of a record that a procedure makes of simulated votes."""
    given = dict(sigma=SIGMA, n0=100, n=n, alpha=alpha, procedure=name, bound=bound)
    given |= dict(noise=noise, norm=norm, radii=TRIED, rival=rival)
    counter = counter_of(images, seed, undrawn)
    with mock.patch.object(smoothing.voting, "counter", counter):
        made = smoothing.certifier(
            print, num_classes=classes, image_shape=tuple(SHAPE), **given
        )
        image = np.zeros((images, *SHAPE), np.float32)
        zero = np.zeros(images, int)
        c = made.certify(random_keys.key(0), image, zero, np.arange(images))
    certify = given | dict(name="smoothing")
    return head_of(made.header, certify, images), rows_of(c)


def drawn_logits(images: int, classes: int, seed: int):
    """Return (logits [B,K], the class, its gap to the second)."""
    z = np.random.default_rng(seed).normal(size=(images, classes))
    second, first = np.sort(z, 1)[:, -2:].T
    return z, z.argmax(1), first - second


def columns(y, radius, n=1) -> dict:
    """Return the columns that every record has."""
    images = len(y)
    return dict(
        index=np.arange(images),
        label=np.zeros(images, np.int32),
        predicted=y.astype(np.int32),
        radius=radius,
        n=np.full(images, n),
        seconds=np.zeros(images),
    )


@cache
def bounded(kind="lipschitz", family="lip_convnet", classes=3, images=24, seed=1):
    """Return (header, rows) of a record of margins: lipschitz, interval, bernstein, hoeffding."""
    z, y, gap = drawn_logits(images, classes, seed)
    if kind in ("bernstein", "hoeffding"):
        return _of_means(kind, classes, images, seed)
    model, norm, kinds = FAMILIES[family]
    rng = np.random.default_rng(seed)
    layers = tuple(
        LayerBound(f"{each}_{i}", each, "exact", 1.0)
        if norm == "linf"
        else LayerBound(f"{each}_{i}", each, "gram", float(rng.uniform(0.8, 1.3)))
        for i, each in enumerate(kinds * 3)
    )
    head = np.full((classes, classes), 1.0 if norm == "linf" else math.sqrt(2))
    if family == "BRONet":  # a normalised last layer: every pair has its own
        head = np.abs(rng.normal(size=(classes, classes))) + 0.5
        head = head + head.T
    pairwise = head * math.prod(each.bound for each in layers) * (1 + 1e-12)
    proven = Bound(pairwise, 1.0, layers, head)
    slack = 2.0**-30 * float(pairwise.max()) * math.sqrt(math.prod(SHAPE)) * 1.01
    header = dict(norm=norm, alpha=0, num_classes=classes, model=dict(name=model))
    header |= lipschitz.constants_in_header(proven, pairwise)
    header |= dict(network=dict(norm=norm, image_shape=SHAPE), method=kind)
    if kind == "lipschitz":
        header["procedure"] = dict(name="margin", logit_slack=slack)
        radius = margins.proven_radius(z, pairwise, y, slack)
        c = Certificates(**columns(y, radius), logits=z, header=header)
        return head_of(header, dict(name="lipschitz"), images), rows_of(c)
    header["procedure"] = dict(name="interval", radii=list(BOXES), logit_slack=slack)
    least = gap[:, None] - np.multiply(BOXES, 6)
    radius = np.where(least > 2 * slack, BOXES, 0.0).max(1)
    c = Certificates(**columns(y, radius), logits=z, least_margins=least)
    certify = dict(name="interval", radii=[0.0, *BOXES])
    return head_of(header, certify, images), rows_of(c)


def _of_means(bound: str, classes: int, images: int, seed: int):
    """Return a record of a diffusion classifier, of drawn means and variances."""
    asked = dict(levels=18, weighting="edm", sigma_end=3.0, drop_below=0.0)
    law = diffusion_classifier._law(classes, **asked)
    weight, sigma = law.levels.weight, law.levels.sigma
    of = dict(weights=weight, dims=math.prod(SHAPE), cap=1.0)
    constant = diffusion_classifier.lipschitz.lipschitz_margin(sigma=sigma, **of)
    most = diffusion_classifier.lipschitz.largest_margin(weight, 1.0)
    rng, n = np.random.default_rng(seed), 500
    y = rng.integers(0, classes, images)
    mean = most * rng.uniform(0.2, 0.9, (images, classes))
    variance = (0.1 * most * rng.uniform(0, 1, (images, classes))) ** 2
    own = np.arange(images), y
    mean[own] = variance[own] = 0.0
    low = diffusion_classifier._BOUNDS[bound](mean, variance, n, -most, most, ALPHA)
    low[own] = np.inf
    radius = diffusion_classifier.lipschitz.radius(low, constant)
    low[own] = 0.0
    procedure = dict(name="margin", logit_slack=0.0, n0=10, n=n, bound=bound, cap=1.0)
    procedure |= asked | dict(weights=weight.tolist(), sigmas=sigma.tolist())
    header = dict(method="diffusion_classifier", norm="l2", alpha=ALPHA)
    header |= dict(
        num_classes=classes, generator=random_keys.GENERATOR | random_keys.OF_LEVELS
    )
    header |= dict(procedure=procedure, pairwise_bound=constant)
    header |= dict(network=dict(norm="l2", image_shape=SHAPE), model=dict(name="edm"))
    y = np.where(radius > 0, y, -1)
    evidence = dict(logits=-low, means=mean, variances=variance)
    c = Certificates(**columns(y, radius, n), **evidence)
    certify = dict(name="diffusion_classifier", alpha=ALPHA, n0=10, n=n, bound=bound)
    return head_of(header, certify | dict(cap=1.0) | asked, images), rows_of(c)


def aged(head: dict, rows: list[dict]) -> tuple[dict, list[dict]]:
    """Return the record as version 0.1 would have written it."""
    head, rows = copy.deepcopy(head), copy.deepcopy(rows)
    head["format"] = audit.OLD
    for key in ("network", "layers", "head"):
        head.pop(key, None)
    if head["method"] == "interval":
        head.pop("pairwise_bound", None)
    for key in "scale spending sizes rule mixture weights sigmas".split():
        head["procedure"].pop(key, None)
    if not head["procedure"].get("least_tail"):
        head["procedure"].pop("least_tail", None)
    for row in rows:
        for key in ("means", "variances"):
            row.pop(key, None)
        if "rival" not in head["procedure"]:
            row.pop("selection", None)
    return head, rows


def fresh(kind: str) -> tuple[dict, list[dict]]:
    """Return a copy of a record by the name of its procedure, or of its kind of margins."""
    if kind == "diffusion_classifier":
        kind = "bernstein"
    of_margins = kind in ("lipschitz", "interval", "bernstein", "hoeffding")
    return copy.deepcopy(bounded(kind) if of_margins else voted(kind))


def written(folder: Path, head: dict, rows: list[dict]) -> Path:
    path = folder / "c.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in [head, *rows]))
    return path


def lines_at_fault(path: Path, **how) -> set[int]:
    status, faults, _ = audit.audit(path, **how)
    assert status == bool(faults), faults[:3]
    return {int(fault.split()[1].rstrip(":")) for fault in faults}


def raised(head: dict, rows: list[dict]) -> tuple[set[int], list[dict]]:
    """Return (lines, rows): the record with every second claim a little larger."""
    rows, lines = copy.deepcopy(rows), set()
    tried = head["procedure"].get("radii")
    for i, row in enumerate(rows):
        if i % 2 or row["predicted"] < 0:
            continue
        larger = [r for r in tried or [] if r > row["radius"]]
        least = 3e-9 if "logits" in row else 1e-7
        more = row["radius"] * (1 + least) + (1e-13 if "logits" in row else 1e-9)
        row["radius"] = larger[0] if larger else more
        lines.add(i + 2)
    return lines, rows


def disagreements(folder: Path, head: dict, rows: list[dict], exact=True) -> int:
    """Return for how many lines the auditor and the re-check do not say the same, or something
    else than what is known: that all hold as they are, and that raised ones do not."""
    wrong, (lines, more) = 0, raised(head, rows)
    for changed, known in ((rows, set()), (more, lines)):
        path = written(folder, head, changed)
        c = records.load(path)
        theirs = {int(i) + 2 for i in recheck.recheck(c).failing}
        for how in [dict(exact=False), dict(exact=True)][: 1 + exact]:
            mine = lines_at_fault(path, **how)
            wrong += len(mine ^ theirs) + len(mine ^ known)
    return wrong


def plan(total: int):
    """Yield (procedure or kind, noise or family, rival, record) of about `total` rows."""
    each = max(total // 100, 24)
    pairs = [
        (noise, norm) for noise, possible in norms.RADII.items() for norm in possible
    ]
    for noise, norm in pairs:
        for name in procedures.NAMES:
            images = each // 3 if name == "two_stage" else each
            for bound in ("union", "mixture") if name == "sequence" else ("union",):
                how = dict(bound=bound, undrawn=0.01 * (noise == "grid"))
                made = voted(name, noise, norm, images=images, **how)
                yield name, f"{noise} {norm}", "single", made
    for noise, norm in [
        ("gaussian", "l2"),
        ("grid", "l2"),
        ("uniform", "linf"),
        ("laplace", "l1"),
    ]:
        for rival in ("runner_up", "auto"):
            for name, bound in [
                ("certify", "union"),
                ("two_stage", "union"),
                ("sequence", "union"),
                ("sequence", "mixture"),
            ]:
                images = each // 3 if name == "two_stage" else 3 * each // 4
                how = dict(rival=rival, classes=10, images=images, bound=bound)
                how |= dict(undrawn=0.01 * (noise == "grid"))
                made = voted(name, noise, norm, **how)
                yield name, f"{noise} {norm}", rival, made
    for n in (10_000, 100_000):
        yield "certify", "gaussian l2", "single", voted(n=n, classes=10, images=each)
    for family, (_, norm, _) in FAMILIES.items():
        kinds = ["lipschitz"] + ["interval"] * (norm == "linf")
        for kind in kinds:
            made = bounded(kind, family, classes=10, images=2 * each, seed=len(family))
            yield kind, family, "", made
    for bound in ("bernstein", "hoeffding"):
        made = bounded(bound, classes=10, images=2 * each)
        yield "diffusion_classifier", bound, "", made
    for kind in (*procedures.NAMES, "lipschitz", "interval", "diffusion_classifier"):
        yield kind, "format 1", "", aged(*fresh(kind))


def audit_rows(total: int) -> int:
    """Audit about `total` rows and print how many of each kind. Returns the disagreements."""
    count, wrong = Counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        for name, law, rival, (head, rows) in plan(total):
            found = disagreements(Path(folder), head, rows)
            wrong += found
            count[name, law, rival] += len(rows)
            if found:
                print(f"{found} disagreements: {name} {law} {rival}")
    for place, title in enumerate(
        ("procedure", "noise or family", "bound of the others")
    ):
        sums = Counter()
        for key, rows in count.items():
            sums[key[place]] += rows
        print(title, *(f"  {k or 'none':34}{v:8,}" for k, v in sums.items()), sep="\n")
    print(f"{sum(count.values()):,} rows, {wrong} disagreements")
    return wrong


def audit_modified() -> int:
    """Audit records of every kind of modification and print how many. Returns how many were not
    rejected, with a tolerance or without, or were rejected before they were modified."""
    from tests import audit_tampering

    cases, missed = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for title, (kind, edit) in audit_tampering.TAMPERING.items():
            for head, rows in audit_tampering.variants(kind):
                found = [audit.audit(written(Path(folder), head, rows))[0] != 0]
                edit(head, rows)
                path = written(Path(folder), head, rows)
                found += [audit.audit(path, exact=e)[0] != 1 for e in (False, True)]
                cases, missed = cases + 1, missed + any(found)
                if any(found):
                    print(f"not rejected: {title}")
    kinds = len(audit_tampering.TAMPERING)
    print(f"{cases:,} modified records of {kinds} kinds, {missed} not rejected")
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=104_000)
    rows, start = parser.parse_args().rows, time.time()
    wrong = audit_rows(rows) + audit_modified()
    print(f"{time.time() - start:.0f} s")
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
