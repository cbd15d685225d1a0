"""Writes the tables of the pages from committed results: `python -m docs.tables`.

A page has two marks, `<!-- table: NAME -->` and `<!-- end of table -->`; what stands between
them is made here and never typed. NAME is one of

    runs                      the measured runs of benchmarks/results/runs.json
    attacks FILE              pairs of an image and an attack, of a file of benchmarks/results
    ratios FILE               CPU seconds beside PyTorch, of a file of benchmarks/results
    rivals FILE               certified accuracy by every rival from the same votes, likewise
    boundaries FILE           classes beside the boundaries of a network, likewise
    claims FILE [PAPER]       how many claims hold, or those of a paper with verdicts, likewise
    seeds FILE                rows of configs over seeds, beside the first of them, likewise
    few FILE                  what generated images gain beside few real ones, likewise
    quality FILE              how good generated images are, likewise
    report, row               the report on docs/records/quickstart, and its first row
    zoo [NAME]                the networks of the package, or one, from their records
    deterministic             those of them whose certificates are
    recipes FILE              those of a file of benchmarks/recipes.py, with core minutes
    earlier FILE              what networks reached whose names others took
    tuning FILE MODEL         what was tried before, and what it reached on held-out images
    curves FILE               their learning curves, a figure that is written beside the page
    any other                 a table of benchmarks/results/runs.json of this name

`--check` writes nothing and ends with an error where a page or figure is not what they say.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"
RECORD = ROOT / "docs/records/quickstart"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
_MARKED = re.compile(
    r"(<!-- table: (.+?) -->\n)(.*?)(^<!-- end of table -->)", re.DOTALL | re.MULTILINE
)
_NORMS = {"l2": "l2", "linf": "l_inf"}


def filled(page: str) -> str:
    """The page with every marked table made anew."""
    return _MARKED.sub(lambda found: found[1] + table(found[2]) + "\n" + found[4], page)


def table(name: str) -> str:
    """Markdown of the table of this name. Raises KeyError for one that there is not."""
    kind, _, rest = name.partition(" ")
    if name == "report":
        return _block("", _report())
    if name == "row":
        return _block("json", _row())
    if kind == "zoo":
        return _zoo(lambda one: rest in ("", one.listed.name), rest)
    if kind == "deterministic":
        return _zoo(lambda one: one.entry.certificates.header["alpha"] == 0, kind)
    if kind == "ratios":
        return _ratios(json.loads((RESULTS / rest).read_text()))
    if kind in ("recipes", "earlier", "tuning"):
        from docs import trials

        file, _, model = rest.partition(" ")
        return trials.table(kind, json.loads((RESULTS / file).read_text()), model)
    if kind == "curves":
        from docs import curves

        return f"![Learning curves](figures/{curves.path(rest).name})"
    if kind == "rivals":
        return _rivals(json.loads((RESULTS / rest).read_text())["rows"])
    if kind == "boundaries":
        return boundaries(json.loads((RESULTS / rest).read_text()))
    if kind == "claims":
        file, _, paper = rest.partition(" ")
        found = json.loads((RESULTS / file).read_text())
        return claims(found, paper) if paper else claims_in_all(found)
    if kind == "seeds":
        return over_seeds(json.loads((RESULTS / rest).read_text()))
    if kind == "quality":
        return _quality(json.loads((RESULTS / rest).read_text())["quality"])
    if kind == "few":
        return few_images(json.loads((RESULTS / rest).read_text()))
    if kind == "attacks":
        return attacks(json.loads((RESULTS / rest).read_text()))
    results = json.loads((RESULTS / "runs.json").read_text())
    if name == "runs":
        return _runs(results["runs"])
    found = results["tables"][name]
    return markdown(found["head"], found["rows"])


def _runs(runs: Iterable[dict[str, Any]]) -> str:
    rows = []
    for run in runs:
        certified = ", ".join(
            f"{_percent(at)} at {at['radius']}" for at in run["certified"]
        )
        rows.append(
            [
                f"`{run['config']}`",
                "; ".join(filter(None, (run["what"], run["took"]))),
                f"{run['images']:,}: {run['which']}",
                _percent(run["clean"]),
                f"{_NORMS[run['norm']]}: {certified}",
            ]
        )
    head = ["config", "what was run", "images", "clean, %", "certified, %"]
    return markdown(head, rows)


def attacks(result: dict[str, Any]) -> str:
    """Markdown of a result of benchmarks/attacks.py: a line for each network, and their sums."""
    head = ["family", "data", "clean, %", "median radius", "pairs", "broken"]
    head += ["nearest / certified", "control, %"]
    rows, sums = [], [0, 0]
    for entry in result["rows"]:
        found = entry["attacks"]
        if not found:
            continue
        counts = [sum(a[key] for a in found) for key in ("pairs", "broken")]
        sums = [a + b for a, b in zip(sums, counts, strict=True)]
        nearest = min((a["closest"] for a in found if a["closest"]), default=None)
        rows.append(
            [
                entry["family"],
                entry["dataset"],
                f"{100 * entry['clean']:.1f}",
                f"{entry['median_radius']:.2g} ({_NORMS[entry['norm']]})",
                *(f"{count:,}" for count in counts),
                "" if nearest is None else f"{nearest:.2f}",
                f"{100 * min(a['control'] for a in found):.0f}",
            ]
        )
    rows.append(["all", "", "", "", *(f"{count:,}" for count in sums), "", ""])
    return markdown(head, rows)


def boundaries(result: dict[str, Any]) -> str:
    """Markdown of a result of benchmarks/boundaries.py, of one line."""
    head = ["points", "float32 logits differ by up to", "another class in float32"]
    head += ["another class by the predictor", "it abstains"]
    counts = (result[k] for k in ("float32_other", "predictor_other", "abstained"))
    row = [result["points"], f"{result['logits_differ']:.2g}", *counts]
    return markdown(head, [[str(cell) for cell in row]])


VERDICTS = ("shown", "not shown", "contradicted", "not tested")


def verdict(parts: list[dict[str, Any]], least: int) -> str:
    """What the intervals of a claim's numbers say, which are above 0 if it holds. least: seeds
    of a number that counts."""
    if not parts or any(len(part["values"]) < least for part in parts):
        return "not tested"
    if any(part["high"] < 0 for part in parts):
        return "contradicted"
    return "shown" if all(part["low"] > 0 for part in parts) else "not shown"


def claims(result: dict[str, Any], paper: str) -> str:
    """Markdown of the claims of a paper in a result of benchmarks/claims.py."""
    rows, least = [], result["rule"]["least_seeds"]
    for claim in result["claims"]:
        if claim["paper"] != paper:
            continue
        parts, said = claim["parts"], verdict(claim["parts"], least)
        seeds = {len(part["values"]) for part in parts}
        measured = "; ".join(map(_measured, parts)) or claim["why"]
        rows.append(
            [
                f"{claim['says'].rstrip('.')} ({claim['where']})",
                measured,
                ", ".join(map(str, sorted(seeds))),
                f"**{said}**" if said != "not tested" else said,
            ]
        )
    return markdown(
        ["claim", "measured: mean [95 % interval]", "seeds", "verdict"], rows
    )


def claims_in_all(result: dict[str, Any]) -> str:
    """Markdown of how many claims of each paper have each verdict."""
    rows, least = [], result["rule"]["least_seeds"]
    for paper, name in result["papers"].items():
        own = [c["parts"] for c in result["claims"] if c["paper"] == paper]
        said = [verdict(parts, least) for parts in own]
        rows.append([name, *(str(said.count(word)) for word in VERDICTS)])
    return markdown(["paper", *VERDICTS], rows)


def _measured(part: dict[str, Any]) -> str:
    if "mean" not in part:
        return part["what"]
    digits = 1 if part["unit"] == "points" else 3
    mean, low, high = (_signed(part[k], digits) for k in ("mean", "low", "high"))
    unit = "" if part["unit"] in ("r", "ln") else f" {part['unit']}"
    return f"{part['what']}: {mean} [{low}, {high}]{unit}"


def _signed(value: float, digits: int) -> str:
    """Return a number with its sign; what rounds to 0 gets as many digits as it takes to say
    on which side of it it lies."""
    value = round(value, 9) + 0.0  # what is left of sums that are 0
    while value and not float(f"{value:.{digits}f}") and digits < 6:
        digits += 1
    return f"{value:+.{digits}f}"


def over_seeds(result: dict[str, Any]) -> str:
    """Markdown of a result of benchmarks/over_seeds.py: means over seeds, with what they
    differ by from the first row."""
    lines = [[f"`{row}`"] for row in result["rows"]]
    labels = []
    for name, rows in result["numbers"].items():
        known, digits = name[0].isdigit(), 2 if name == "core minutes" else 1
        labels.append(f"certified at {float(name):.3g}, %" if known else name)
        for line, found in zip(lines, rows, strict=True):
            cell = f"{_mean(found['seeds']):.{digits}f}"
            if "difference" in found:
                keys = "difference", "low", "high"
                off, low, high = (f"{found[key]:+.{digits}f}" for key in keys)
                cell += f", {off} [{low}, {high}]"
            line.append(cell)
    labels[0] = "clean, %"
    seeds = len(result["seeds"])
    epochs = " or ".join(map(str, dict.fromkeys(result["epochs"])))
    head = f"mean of {seeds} seeds, {epochs} epochs, difference to the first row"
    return markdown([head, *labels], lines)


def few_images(result: dict[str, Any]) -> str:
    """Markdown of a result of benchmarks/few_images.py: means over seeds."""
    rows, rises, took = [], [], []
    for found in result["systems"]:
        runs = found["arms"].values()
        rises += [_mean([run["rise"] for run in arm]) for arm in runs]
        took += [run["core_minutes"] for arm in runs for run in arm]
        for at, radius in enumerate(found["radii"]):
            cells = ["" if at else f"`{found['system']}`", f"{radius:.3g}"]
            for split in ("train", "test"):
                means = (_mean([run[split][at] for run in arm]) for arm in runs)
                gain = found[f"{split}_gain"][at]
                gain, low, high = (f"{gain[k]:+.1f}" for k in ("gain", "low", "high"))
                cells += [*(f"{mean:.1f}" for mean in means), f"{gain} [{low}, {high}]"]
            rows.append(cells)
    head = [f"mean of {len(result['seeds'])} seeds, certified, %", "at radius"]
    head += ["training images, without", "with", "gain"]
    head += ["test images, without", "with", "gain [95 % interval]"]
    return (
        f"{markdown(head, rows)}\n\n"
        f"The EDM took {result['edm']['core_minutes']:.0f} core minutes, the {len(took)} networks "
        f"{sum(took):.0f}. From the tenth before the last to the last tenth of the epochs, "
        f"training accuracy rose by {min(rises):.2f} to {max(rises):.2f} points (means of the "
        "arms)."
    )


def _mean(values: list[float]) -> float:
    # sum is compensated from Python 3.12 on, and a tie would be rounded otherwise before
    return math.fsum(values) / len(values)


def _percent(share: dict[str, float]) -> str:
    return f"{share['percent']:.1f} ± {share['error']:.1f}"


def _ratios(result: dict[str, Any]) -> str:
    """Seconds of jaxcert over those of the peers, or images a second where there is none."""
    rows = []
    for row in result["rows"]:
        ratio = row.get("ratio", {})
        rate = f"{row['items_per_s']:,.0f} /s" if row["workload"] == "input" else ""
        if not rate and not {"peer", "strong"} & ratio.keys():
            continue
        size = " ".join(f"{key}={value}" for key, value in row["shape"].items())
        peers = [_ratio(ratio.get(side)) for side in ("peer", "strong")]
        few = "" if row["status"] == "ok" else f" ({row['rounds']} rounds)"
        rows.append([row["workload"] + few, size, *peers, rate])
    head = ["workload", "size", "/ faithful peer", "/ strong peer", "rate"]
    versions = ", ".join(f"{name} {of}" for name, of in result["versions"].items())
    return (
        f"{result['device_name']}, commit {result['commit']}, {result['started'][:10]}; "
        f"{versions}.\n\n{markdown(head, rows)}"
    )


def _ratio(spread: dict[str, float] | None) -> str:
    if spread is None:
        return ""
    digits = 2 if spread["median"] >= 0.1 else 3
    median, low, high = (f"{spread[k]:.{digits}f}" for k in ("median", "min", "max"))
    return f"{median} ({low} to {high})"


def _rivals(rows: Iterable[dict[str, Any]]) -> str:
    """Shares in percent; the row, its images and n stand at the first of the rivals."""
    lines, radii = [], ()
    for row in rows:
        radii = row["radii"]
        about = [f"`{row['row']}`", f"{row['images']:,}", f"{row['n']:,}"]
        for rival, found in row["rivals"].items():
            shares = [f"{share:.1f}" for share in found["certified"]]
            shares += [f"{found['abstained']:.1f}", f"{found['average_radius']:.3f}"]
            lines.append([*about, f"`{rival}`", *shares])
            about = ["", "", ""]
    head = ["config", "images", "n", "rival", *(f"{r:g}" for r in radii)]
    return markdown([*head, "without a class", "average radius"], lines)


def _report() -> str:
    # the other tables need nothing of jaxcert
    from jaxcert.analysis import report

    return report.report([RECORD]).rstrip()


def _row() -> str:
    """The first row of the record."""
    return (RECORD / "certificates.jsonl").read_text().splitlines()[1]


@cache
def networks() -> list[Any]:
    """The networks of the package, whose records are read and re-checked once for all pages."""
    from jaxcert.api import sharing

    return sharing.listed()


def _zoo(shown: Callable[[Any], bool], which: str) -> str:
    """Those networks of the package that are to be shown, by what their records show."""
    from jaxcert.api import sharing

    rows = [sharing.row(one) for one in networks() if shown(one)]
    if not rows:
        raise KeyError(which)
    return markdown([*sharing.HEAD], [[f"`{row[0]}`", *row[1:]] for row in rows])


def _quality(found: dict[str, Any]) -> str:
    """How good generated images are, judged by a network that the package still has."""
    from jaxcert.papers import quality

    judge = found["classifier"]
    zoo = {one.listed.name: one.entry.certificates.header for one in networks()}
    if zoo[judge["workdir"]]["checkpoint"] != judge["checkpoint"]:
        raise ValueError(f"{judge['workdir']} of the zoo is another network")
    return _block("text", quality.table(found))


def _block(kind: str, text: str) -> str:
    return f"```{kind}\n{text}\n```"


def markdown(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _figures() -> set[str]:
    """Files of benchmarks/results whose curves are on a page."""
    text = "".join(path.read_text() for path in PAGES)
    return {
        name[7:] for _, name, _, _ in _MARKED.findall(text) if name[:7] == "curves "
    }


def main(arguments: list[str]) -> int:
    """Write the pages and figures, or with --check compare them. Returns the exit status."""
    stale = []
    for path in PAGES:
        old = path.read_text()
        new = filled(old)
        if new != old:
            stale.append(path.relative_to(ROOT))
            if arguments != ["--check"]:
                path.write_text(new)
    if drawn := _figures():
        from docs import curves

        for result in filter(curves.is_stale, drawn):
            stale.append(curves.path(result).name)
            if arguments != ["--check"]:
                curves.draw(result)
    for path in stale:
        print(f"{path} {'is stale' if arguments else 'was written'}")
    return 1 if stale and arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
