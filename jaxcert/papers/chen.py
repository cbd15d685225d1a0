"""Tables and figures of Chen et al., "Diffusion Models are Certifiably Robust Classifiers" (2024,
arXiv:2402.02316), of finished certificates beside what the paper says.

    dc_radii     the Lipschitz radius of the diffusion classifier of clean images, by weights
    table_1      certified accuracy of noised diffusion classifiers, CIFAR-10
    table_2      the same of ImageNet, 64x64
    figure_2     accuracy of votes against the levels T', with shared noise and without
    evaluations  accuracy of votes against evaluations, by search: races, Sift-and-Refine
    curves       certified accuracy against the radius

Table 1 has at each radius the best sigma, as the paper prints it. Its cells for T' = 100, and all
of Table 2, are images in every copy that could be read, and stay empty. Each function returns an
`Exhibit`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np

from jaxcert.analysis import figures
from jaxcert.analysis.facts import radius_text
from jaxcert.analysis.metrics import most_provable, standard_error
from jaxcert.certificate import Certificates, certified_accuracy, share_is_known
from jaxcert.papers.exhibits import Exhibit, number, printed
from jaxcert.papers.study_numbers import by

KINDS = {"epndc": "EPNDC", "apndc": "APNDC", "diffpure": "DiffPure + DC"}
RADII = (0.25, 0.5, 0.75, 1.0)


class Record(NamedTuple):
    """The finished certificates of a diffusion classifier."""

    name: str
    kind: str
    """DC or what the paper calls the kind of votes"""
    levels: int
    more: str
    """search and weights where they are not the paper's: race, stabilised"""
    sigma: float
    certificates: Certificates


def record(name: str, c: Certificates) -> Record | None:
    """Return a record of Chen et al.'s classifiers, None for any other."""
    header, procedure = c.header, c.procedure
    base = header.get("base")
    if header.get("method") == "diffusion_classifier":
        weights = str(procedure.get("weighting"))
        if procedure.get("drop_below"):
            weights += f" above {procedure['drop_below']:g}"
        if procedure.get("cap", 1.0) != 1.0:
            weights += f", errors up to {procedure['cap']:g}"
        return Record(name, "DC", int(procedure.get("levels", 0)), weights, 0.0, c)
    if not isinstance(base, dict) or not header.get("sigma"):
        return None
    sigma = round(float(header["sigma"]), 6)
    if base.get("name") == "denoised_smoothing":
        return Record(name, "Denoised smoothing", 0, "", sigma, c)
    if base.get("name") != "noised_diffusion_classifier":
        return None
    plain = {"search": "full", "weighting": "edm", "noise_from": "denoised"}
    told = [str(base[k]) for k, v in plain.items() if base.get(k, v) != v]
    kind = KINDS.get(str(base.get("kind")), str(base.get("kind")))
    return Record(name, kind, int(base.get("levels", 0)), ", ".join(told), sigma, c)


def exhibits(records: Sequence[Record], votes: Sequence[dict]) -> list[Exhibit]:
    """Return all tables and figures, in the order of the paper. votes: what
    `chen_votes.measure` returned."""
    return [
        *dc_radii([r for r in records if r.kind == "DC"]),
        table_1(records),
        table_2(records),
        figure_2(votes),
        evaluations(votes),
        curves(records),
    ]


def dc_radii(records: Sequence[Record]) -> list[Exhibit]:
    """Return the table of DC's average radius by weights, and the figure of its radii."""
    lines: list[list[Any]] = [
        ["published", line["weights"] or "any", "", None, None]
        + [
            float(line["radius"]) if line["quantity"] == w else None
            for w in _QUANTITIES
        ]
        for line in printed("chen_dc_radius_cifar10")
    ]
    for r in records:
        c = r.certificates
        own = np.where(c.correct, c.radius, 0.0)
        right = 100 * float((own > 0).mean())
        numbers = [len(c.index), right, float(own.mean()), float(own.max())]
        lines.append([_dataset(r), r.more, r.levels, *numbers])
    shown = [
        [escape(f"{line[0]}: {line[1]}"), escape(str(line[2])), number(line[3], 0)]
        + [number(line[4]), *(number(v, 4) for v in line[5:])]
        for line in lines
    ]
    title = "Radius of the diffusion classifier (section 3.1)"
    caption = (
        "ℓ₂ radius of DC in pixels of [0, 1] by the weights of its levels, which the paper sets to "
        "those of EDM's training, to 1, and to 1 above sigma 0.5 and 0 below. Certified: % of "
        "images that are right and have a radius. Ours have constants that hold with every "
        "network, and a bound from drawn noise, which holds with 99.9 %; the paper's radius is of "
        "expectations."
    )
    head = ["source", "weights", "levels", "images", "certified", "average", "largest"]
    names = ["weights", "T′", "images", "certified (%)", "average radius", "largest"]
    table = Exhibit("dc_radii", title, caption, head, lines, shown=(names, shown))
    title = "Radii of the diffusion classifier"
    if not any((r.certificates.radius > 0).any() for r in records):
        missing = "no record of the certificate diffusion_classifier has a radius"
        return [table, Exhibit("dc_radii_figure", title, missing=missing)]
    figure, (axes,) = figures.panels_of(1, 2.4)
    most = max(float(r.certificates.radius.max()) for r in records)
    grid, rows = np.geomspace(most / 1000, most, 200), []
    for i, r in enumerate(records):
        share = 100 * certified_accuracy(r.certificates, grid)
        hue, dash = figures.line_style(i)
        label = f"{r.more}, T′ = {r.levels}"
        axes.plot(grid, share, color=hue, linestyle=dash, linewidth=1.8, label=label)
        rows += [
            [r.name, label, x, y]
            for x, y in zip(grid.tolist(), share.tolist(), strict=True)
        ]
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("ℓ₂ radius (pixels in [0, 1])")
    axes.set_ylabel("certified (%)")
    caption = "Certified accuracy of DC at each radius, on a logarithmic axis."
    head = ["record", "weights", "radius", "certified"]
    return [table, Exhibit("dc_radii_figure", title, caption, head, rows, figure, axes)]


_QUANTITIES = ("average", "largest possible")


def table_1(records: Sequence[Record]) -> Exhibit:
    """Return Table 1: what the paper says, below it our records, of each sigma and the best."""
    lines: list[list[Any]] = []
    for row in printed("chen_table1_cifar10"):
        values = [_number(row[k]) for k in ("clean", *(f"ca_{r:.2f}" for r in RADII))]
        lines.append(
            ["published", row["method"], row["levels"], "", "best", None, *values]
        )
    own = [r for r in records if r.kind != "DC" and not _is_imagenet(r)]
    for key, group in by(own, lambda r: (_dataset(r), r.kind, r.levels, r.more)):
        lines += _rows(key, group)
    shown = [_shown(line) for line in lines]
    caption = (
        "Certified accuracy in % at each ℓ₂ radius. best: the largest over the noises at each "
        "radius, in brackets the clean accuracy of that classifier, as the paper prints it; then "
        "each noise with ± one standard error, the mean where several seeds were run. In grey: "
        "published, of CIFAR-10 with 512 images and N = 10,000; most of its cells are images in "
        "every copy and stay empty here, as do ours at radii that their votes cannot prove."
    )
    title = "Table 1: noised diffusion classifiers, CIFAR-10"
    return Exhibit("table_1", title, caption, _HEAD, lines, shown=(_NAMES, shown))


_HEAD = ["source", "method", "levels", "more", "sigma", "images", "clean"]
_HEAD += [f"ca_{r:.2f}" for r in RADII]
_HEAD += [f"clean_of_ca_{r:.2f}" for r in RADII]
_NAMES = ["method", "T′", "σ", "clean", *(radius_text(r) for r in RADII)]


def table_2(records: Sequence[Record]) -> Exhibit:
    """Return Table 2 with our records of ImageNet; its published cells are not known."""
    title, lines = "Table 2: ImageNet, 64x64", []
    own = [r for r in records if r.kind != "DC" and _is_imagenet(r)]
    for key, group in by(own, lambda r: (_dataset(r), r.kind, r.levels, r.more)):
        lines += _rows(key, group)
    if not lines:
        missing = "no record of ImageNet; the paper's cells are an image in every copy"
        return Exhibit("table_2", title, missing=missing)
    caption = (
        "As Table 1. The paper's cells are an image in every copy that could be read."
    )
    shown = [_shown(line) for line in lines]
    return Exhibit("table_2", title, caption, _HEAD, lines, shown=(_NAMES, shown))


def _rows(key: tuple, group: Sequence[Record]) -> list[list[Any]]:
    """Return the rows of one classifier: the best over sigma at each radius, and each sigma."""
    dataset, kind, levels, more = key
    found = {}
    for sigma, same in by(sorted(group, key=lambda r: r.sigma), lambda r: r.sigma):
        shares = [_shares(r.certificates) for r in same]
        images = len(same[0].certificates.index)
        found[sigma] = images, np.mean(shares, 0)
    start = [dataset, kind, levels, more]
    rows = [
        [*start, sigma, images, *map(float, values)]
        for sigma, (images, values) in found.items()
    ]
    rows = [[None if v != v else v for v in row] for row in rows]
    if len(found) < 2:
        return rows
    table = np.array([values for _, values in found.values()])
    at = np.where(np.isnan(table), -1.0, table).argmax(0)
    best = table[at, np.arange(len(at))].tolist()
    clean = table[at, 0].tolist()[1:]
    images = min(images for images, _ in found.values())
    best = [None if v != v else v for v in (*best, *clean)]
    return [[*start, "best", images, *best], *rows]


def _shares(c: Certificates) -> np.ndarray:
    """Return the certified accuracy in percent at 0 and RADII; nan where it is not known, and
    above what all votes agreeing would prove."""
    radii = np.array([0.0, *RADII])
    known = share_is_known(c, radii) & (radii <= most_provable(c))
    return np.where(known, 100 * certified_accuracy(c, radii), np.nan)


def _shown(line: Sequence) -> list[str]:
    source, method, levels, more, sigma, images, *values = line
    published, best = source == "published", sigma == "best"
    what = escape(method + (f", {more}" if more else ""))
    what = f'<span class="weak">{what}</span>' if published else what
    if not (published or best):
        what = f"{what} <small>{escape(source)}, {images} images</small>"
    cells, clean = list(values[: 1 + len(RADII)]), list(values[1 + len(RADII) :])
    texts = []
    for i, value in enumerate(cells):
        text = number(value, 1)
        if text and best and not published and i and clean:
            text += f" <small>({number(clean[i - 1], 0)})</small>"
        elif text and not published and not best:
            error = 100 * float(standard_error(value / 100, images))
            text += f" <small>±{error:.1f}</small>" if round(error, 1) else ""
        texts.append(text)
    return [what, escape(str(levels or "")), f"{sigma}", *texts]


def figure_2(votes: Sequence[dict]) -> Exhibit:
    """Return Figure 2: % of votes that are right, by T', with noise that all classes share and
    with noise of each class."""
    title = "Figure 2: levels, and noise that the classes share"
    lines = [
        [v["dataset"], v["sigma"], row["levels"], "shared" if row["shared"] else "own"]
        + [row["right"], row["error"], row["evaluations"]]
        for v in votes
        for row in v["levels"]
    ]
    if not lines:
        return Exhibit("figure_2", title, missing=_NO_VOTES)
    figure, panels = figures.panels_of(len(votes), 2.4)
    for axes, v in zip(panels, votes, strict=True):
        for i, (name, shared) in enumerate(
            (("shared noise", True), ("own noise", False))
        ):
            own = [row for row in v["levels"] if row["shared"] == shared]
            x = [row["levels"] for row in own]
            y, error = ([row[k] for row in own] for k in ("right", "error"))
            hue, dash = figures.line_style(i)
            style = dict(color=hue, linestyle=dash, marker="os"[i], elinewidth=1)
            axes.errorbar(x, y, error, label=name, **style)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("levels T′")
        axes.set_title(_of(v), fontsize=11, color=figures.INK, loc="left")
    panels[0].set_ylabel("votes that are right (%)")
    caption = (
        "APNDC of all classes: % of single votes on noisy test images that are right, by the "
        "number of levels, with noise that all classes share and with noise of each class. "
        f"Bars: one standard error, of {_images(votes)} images."
    )
    head = ["dataset", "sigma", "levels", "noise", "right", "error", "evaluations"]
    return Exhibit("figure_2", title, caption, head, lines, figure, panels[0])


_NO_VOTES = "no votes_SIGMA.json, which --scale measures of an EDM"


def evaluations(votes: Sequence[dict]) -> Exhibit:
    """Return the figure of votes that are right against evaluations of the network."""
    title = "Evaluations and accuracy, by search"
    lines = []
    for v in votes:
        place = [v["dataset"], v["sigma"]]
        for row in v["searches"]:
            numbers = [row["evaluations"], row["right"], row["error"]]
            lines.append([*place, row["search"], row["setting"], *numbers])
        for row in v["levels"]:
            if row["shared"]:
                numbers = [row["evaluations"], row["right"], row["error"]]
                lines.append([*place, "levels", row["levels"], *numbers])
    if not lines:
        return Exhibit("evaluations", title, missing=_NO_VOTES)
    kinds = {
        "race": "races",
        "sift": "Sift-and-Refine",
        "full": "all levels",
        "levels": "fewer levels",
    }
    figure, panels = figures.panels_of(len(votes), 2.4)
    for axes, v in zip(panels, votes, strict=True):
        own = [line for line in lines if line[:2] == [v["dataset"], v["sigma"]]]
        for i, (kind, name) in enumerate(kinds.items()):
            points = sorted(
                (line[4], line[5], line[3], line[6]) for line in own if line[2] == kind
            )
            hue, dash = figures.line_style(i)
            x, y, error = ([p[k] for p in points] for k in (0, 1, 3))
            style = dict(color=hue, linestyle=dash, marker="os^D"[i], elinewidth=1)
            axes.errorbar(x, y, error, label=name, **style)
        axes.set_xscale("log")
        axes.set_xlabel("evaluations of the network per vote")
        axes.set_title(_of(v), fontsize=11, color=figures.INK, loc="left")
    panels[0].set_ylabel("votes that are right (%)")
    caption = (
        "% of single votes of APNDC that are right against evaluations of the network per vote. "
        "Races with c from 1 to 3, Sift-and-Refine with its threshold, all classes at all levels, "
        f"and all classes at fewer levels. Bars: one standard error, of {_images(votes)} images."
    )
    head = ["dataset", "sigma", "search", "setting", "evaluations", "right", "error"]
    return Exhibit("evaluations", title, caption, head, lines, figure, panels[0])


def curves(records: Sequence[Record]) -> Exhibit:
    """Return certified accuracy against the radius of all noised classifiers, a panel a sigma."""
    title = "Certified accuracy by radius"
    own = [r for r in records if r.kind != "DC" and r.certificates.radius.any()]
    own = [r for r in own if r.certificates.procedure.get("name") != "radii"]
    if not own:
        return Exhibit(
            "curves", title, missing="no record of CERTIFY of a noised classifier"
        )
    groups = by(sorted(own, key=lambda r: r.sigma), lambda r: r.sigma)
    labels = list(dict.fromkeys(_label(r) for r in own))
    figure, panels = figures.panels_of(len(groups), 2.4)
    rows = []
    for axes, (sigma, group) in zip(panels, groups, strict=True):
        most = max(float(r.certificates.radius.max()) for r in group)
        grid = np.linspace(0, most, 101)
        for label, same in by(group, _label):
            share = np.mean([certified_accuracy(r.certificates, grid) for r in same], 0)
            hue, dash = figures.line_style(labels.index(label))
            axes.plot(grid, 100 * share, color=hue, linestyle=dash, linewidth=1.8)
            rows += [
                [sigma, label, x, 100 * y]
                for x, y in zip(grid.tolist(), share.tolist(), strict=True)
            ]
        axes.set_ylim(0, 100)
        axes.set_xlim(left=0)
        axes.set_xlabel("ℓ₂ radius (pixels in [0, 1])")
        axes.set_title(
            rf"$\sigma$ = {sigma:g}", fontsize=11, color=figures.INK, loc="left"
        )
    for i, label in enumerate(labels):
        hue, dash = figures.line_style(i)
        panels[0].plot([], [], color=hue, linestyle=dash, linewidth=1.8, label=label)
    panels[0].set_ylabel("certified (%)")
    caption = "Certified accuracy at each radius, the mean over seeds, a panel for each noise."
    head = ["sigma", "method", "radius", "certified"]
    return Exhibit("curves", title, caption, head, rows, figure, panels[0])


def _label(r: Record) -> str:
    text = f"{r.kind}, T′ = {r.levels}" if r.levels else r.kind
    return text + (f", {r.more}" if r.more else "")


def _of(v: dict) -> str:
    return rf"{v['dataset']}, $\sigma$ = {v['sigma']:g}"


def _images(votes: Sequence[dict]) -> int:
    return min(v["images"] for v in votes)


def _dataset(r: Record) -> str:
    return str(r.certificates.header.get("dataset"))


def _is_imagenet(r: Record) -> bool:
    config = r.certificates.header.get("config")
    model = config.get("model") if isinstance(config, dict) else None
    shape = model.get("image_shape") if isinstance(model, dict) else None
    return list(shape or ())[:2] == [64, 64]


def _number(text: str) -> float | None:
    return float(text) if text else None
