"""Claims of three papers, each tested on the 8x8 digits over seeds: one result file.

    python -m benchmarks.claims --workdir runs/claims --out benchmarks/results/claims.json
    python -m benchmarks.claims --workdir runs/claims --papers sun --seeds 5
    python -m benchmarks.claims --workdir /tmp/claims --tiny --out /tmp/claims.json

The runs of benchmarks/claim_runs.py are trained and certified where they are not in --workdir
already, and the core minutes are printed; then the file is written of all that is there. A
claim is one or more numbers that are above 0 if it holds. For each the file has a value per
seed, the mean and the 95 % interval of Student's t. What has no value yet is in the file
without one. `python -m docs.tables` makes docs/claims.md of it, and computes every verdict.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from benchmarks import claim_runs
from benchmarks.commands import command_of
from jaxcert import records, version
from jaxcert.analysis.metrics import acr
from jaxcert.certificate import certified_accuracy
from jaxcert.papers.study_numbers import correlation

LEAST_SEEDS = 5
LEVEL = 0.95
RADIUS = {"sortnet": 0.1, "wide": 0.1, "linf_dist": 0.1}
L2_RADIUS = 36 / 255
MARGIN = 1.0
"""Points that a claim of `no loss` allows."""
PAPERS = {
    "altstidl": "Altstidl et al. 2023, arXiv:2305.10388",
    "sun": "Sun et al. 2024, arXiv:2410.06895",
    "chen": "Chen et al. 2024, arXiv:2402.02316",
}


class Seed:
    """The finished runs of a seed. A number of what is not there is a FileNotFoundError."""

    def __init__(self, folder: Path):
        self.folder = folder

    def certified(
        self, variant: str, cell: str, radius: float, file="certificates"
    ) -> float:
        """Return certified accuracy in percent."""
        c = records.load(_there(self.folder / variant / cell / f"{file}.jsonl"))
        return 100 * float(certified_accuracy(c, [radius])[0])

    def gain(self, variant: str, cells=("none", "generated"), radius=None) -> float:
        """Return what the second of two cells certifies more, in points."""
        at = RADIUS.get(variant, L2_RADIUS) if radius is None else radius
        old, new = (self.certified(variant, cell, at) for cell in cells)
        return new - old

    def gap(self, variant: str, cell: str, radius: float) -> float:
        """Return training minus test accuracy, in points."""
        train = self.certified(variant, cell, radius, "train")
        return train - self.certified(variant, cell, radius)

    def gap_and_gain(self) -> float:
        """Return Pearson's r of the clean gap without generated images and the gain, over systems,
        a wide one and one of twice the epochs."""
        points = [(self.gap(v, "none", 0.0), self.gain(v)) for v in claim_runs.SYSTEMS]
        long = "long_none", "long_generated"
        points.append((self.gap("sortnet", long[0], 0.0), self.gain("sortnet", long)))
        return correlation(points)

    def _smoothed(self, method: str):
        return records.load(
            _there(self.folder / f"smoothing_{method}" / "certificates.jsonl")
        )

    def acr_above(self, method: str, other: str = "gaussian") -> float:
        """Return the difference of two average certified radii."""
        return acr(self._smoothed(method)) - acr(self._smoothed(other))

    def at_0_below(self, method: str, other: str = "gaussian") -> float:
        """Return how many points of accuracy at radius 0 a method has less than another."""
        shares = [
            certified_accuracy(self._smoothed(m), [0.0])[0] for m in (other, method)
        ]
        return 100 * float(shares[0] - shares[1])

    def log_ratio(self, method: str) -> float:
        """Return ln of the gradient norm of easy images by that of hard ones."""
        path = _there(self.folder / f"smoothing_{method}" / "gradient_norms.json")
        ratio = json.loads(path.read_text())["ratio"]
        return math.nan if ratio is None else math.log(ratio)

    @cached_property
    def votes(self) -> dict[str, float]:
        """Right votes in percent, by name."""
        found = json.loads(_there(self.folder / "votes.json").read_text())
        return {k: 100 * v / found["images"] for k, v in found["right"].items()}

    def vote(self, one: str, other: str) -> float:
        return self.votes[one] - self.votes[other]


def _there(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(path)
    return path


class Part(NamedTuple):
    what: str
    unit: str
    of: Callable[[Seed], float]
    """above 0 if the claim holds"""


class Claim(NamedTuple):
    paper: str
    where: str
    says: str
    parts: tuple[Part, ...] = ()
    """none: not tested here"""
    why: str = ""
    """that it is not tested"""


def _gains(what: str, variant: str) -> tuple[Part]:
    return (Part(what, "points", lambda s: s.gain(variant)),)


def _acr_and_accuracy(method: str) -> tuple[Part, Part]:
    return (
        Part(
            f"average radius, {method} minus gaussian",
            "pixels",
            lambda s: s.acr_above(method),
        ),
        Part(
            f"accuracy at radius 0, gaussian minus {method}",
            "points",
            lambda s: s.at_0_below(method),
        ),
    )


def _part_of_theirs(part: str) -> tuple[Part]:
    what = f"average radius, {part} alone minus gaussian"
    return (Part(what, "pixels", lambda s: s.acr_above(part)),)


def _votes(what: str, one: str, other: str) -> tuple[Part]:
    return (Part(what, "points", lambda s: s.vote(one, other)),)


_LONG = "long_none", "long_generated"
_NEEDS_A_GPU = "takes a GPU"
CLAIMS = (
    Claim(
        "altstidl",
        "Table 1",
        "Generated images raise the certified accuracy of SortNet.",
        _gains("gain at 0.1, 1,000 generated images, 70 % of a batch", "sortnet"),
    ),
    Claim(
        "altstidl",
        "Table 1",
        "Generated images raise the certified accuracy of l_inf-dist nets.",
        _gains("gain at 0.1", "linf_dist"),
    ),
    Claim(
        "altstidl",
        "Table 2",
        "Generated images raise the certified accuracy of LOT.",
        _gains("gain at 36/255", "lot"),
    ),
    Claim(
        "altstidl",
        "Table 2",
        "Generated images raise the certified accuracy of GloRo networks (LiResNet).",
        _gains("gain at 36/255", "liresnet"),
    ),
    Claim(
        "altstidl",
        "Figure 3, left",
        "The gap between training and test accuracy predicts the gain.",
        (
            Part(
                "Pearson's r of clean gap and gain over six networks",
                "r",
                lambda s: s.gap_and_gain(),
            ),
        ),
    ),
    Claim(
        "altstidl",
        "Figure 3, right",
        "Generated images close the gap between training and test accuracy.",
        (
            Part(
                "gap of SortNet without minus with them, clean",
                "points",
                lambda s: (
                    s.gap("sortnet", "none", 0.0) - s.gap("sortnet", "generated", 0.0)
                ),
            ),
            Part(
                "the same at 0.1",
                "points",
                lambda s: (
                    s.gap("sortnet", "none", 0.1) - s.gap("sortnet", "generated", 0.1)
                ),
            ),
        ),
    ),
    Claim(
        "altstidl",
        "Figure 2",
        "Longer training gains more from generated images.",
        (
            Part(
                "gain of SortNet at 0.1, twice the epochs minus once",
                "points",
                lambda s: s.gain("sortnet", _LONG) - s.gain("sortnet"),
            ),
        ),
    ),
    Claim(
        "altstidl",
        "Figure 2",
        "Larger networks gain more from generated images.",
        (
            Part(
                "gain of SortNet at 0.1, width 192 minus width 96",
                "points",
                lambda s: s.gain("wide") - s.gain("sortnet"),
            ),
        ),
    ),
    Claim(
        "altstidl",
        "Tables 1 to 3",
        "The number of generated images matters little: a fourth of them is as good.",
        (
            Part(
                "1 point minus what SortNet loses at 0.1 with 250 instead of 1,000",
                "points",
                lambda s: MARGIN - s.gain("sortnet", ("few", "generated")),
            ),
        ),
    ),
    Claim(
        "altstidl",
        "Figure 4",
        "Real images among generated ones are better than generated images alone.",
        (
            Part(
                "SortNet at 0.1, 70 % generated minus all generated",
                "points",
                lambda s: s.gain("sortnet", ("alone", "generated")),
            ),
        ),
    ),
    Claim(
        "altstidl",
        "Figure 6",
        "With generated images the best epoch is nearer to the last.",
        why="the runs here have no evaluations during training",
    ),
    Claim(
        "altstidl",
        "Table 2",
        "69.05 % of CIFAR-10 are certified at 36/255, which was the most.",
        why=_NEEDS_A_GPU,
    ),
    Claim(
        "sun",
        "Table 2",
        "ACR rises while accuracy at radius 0 falls: their method.",
        _acr_and_accuracy("sun"),
    ),
    Claim(
        "sun",
        "Table 2",
        "The same of CAT-RS.",
        _acr_and_accuracy("catrs"),
    ),
    Claim(
        "sun",
        "Table 2",
        "The same of SmoothMix.",
        _acr_and_accuracy("smoothmix"),
    ),
    Claim(
        "sun",
        "Table 2",
        "The same of Consistency.",
        _acr_and_accuracy("consistency"),
    ),
    Claim(
        "sun",
        "Table 1",
        "Under Gaussian training easy images have smaller gradients than hard ones.",
        (
            Part(
                "minus ln of the ratio easy / hard",
                "ln",
                lambda s: -s.log_ratio("gaussian"),
            ),
        ),
    ),
    Claim(
        "sun",
        "Table 1",
        "Under CAT-RS easy images have larger gradients than hard ones.",
        (Part("ln of the ratio easy / hard", "ln", lambda s: s.log_ratio("catrs")),),
    ),
    Claim(
        "sun",
        "Table 1",
        "Methods of a high ACR shift the gradients towards easy images.",
        tuple(
            Part(
                f"ln of the ratio, {name} minus gaussian",
                "ln",
                lambda s, name=name: s.log_ratio(name) - s.log_ratio("gaussian"),
            )
            for name in ("consistency", "catrs", "sun")
        ),
    ),
    Claim(
        "sun",
        "Table 3",
        "Leaving hard images out raises ACR.",
        _part_of_theirs("discard"),
    ),
    Claim(
        "sun",
        "Table 3",
        "Weighting easy images raises ACR.",
        _part_of_theirs("reweight"),
    ),
    Claim(
        "sun",
        "Table 3",
        "Attacking the noise raises ACR.",
        _part_of_theirs("adversarial"),
    ),
    Claim(
        "sun",
        "Table 2",
        "Their method has a larger ACR than the others.",
        tuple(
            Part(
                f"average radius, sun minus {name}",
                "pixels",
                lambda s, name=name: s.acr_above("sun", name),
            )
            for name in ("consistency", "smoothmix", "catrs")
        ),
    ),
    Claim(
        "sun",
        "Theorem 1",
        "With enough samples a classifier of one class has a larger ACR than any.",
        why="proven in the paper; the tutorial on smoothing shows what an average hides",
    ),
    Claim(
        "sun",
        "Table 2",
        "On CIFAR-10 their method has the largest ACR at each of three sigmas.",
        why=_NEEDS_A_GPU,
    ),
    Claim(
        "chen",
        "Figure 2",
        "Noise that all classes share raises accuracy at few timesteps.",
        (
            Part("APNDC, 2 levels", "points", lambda s: s.vote("shared 2", "own 2")),
            Part("APNDC, 8 levels", "points", lambda s: s.vote("shared 8", "own 8")),
        ),
    ),
    Claim(
        "chen",
        "Figure 2",
        "With shared noise 8 timesteps are enough.",
        (
            Part(
                "1 point minus what APNDC loses with 8 levels instead of 24",
                "points",
                lambda s: MARGIN - s.vote("apndc", "shared 8"),
            ),
        ),
    ),
    Claim(
        "chen",
        "Table 1",
        "More timesteps are more accurate.",
        _votes("APNDC, 24 levels minus 2", "apndc", "shared 2"),
    ),
    Claim(
        "chen",
        "Table 1",
        "APNDC is more accurate than EPNDC.",
        _votes("24 levels", "apndc", "epndc"),
    ),
    Claim(
        "chen",
        "Table 1",
        "APNDC is more accurate than DiffPure and DC.",
        _votes("24 levels", "apndc", "diffpure"),
    ),
    Claim(
        "chen",
        "Section 3",
        "The weights of training are better than those of the ELBO.",
        _votes("APNDC, 24 levels", "apndc", "elbo"),
    ),
    Claim(
        "chen",
        "Table 1",
        "APNDC certifies 82.2 % of CIFAR-10 at 0.25, 5.6 points more than DensePure.",
        why=_NEEDS_A_GPU,
    ),
    Claim(
        "chen",
        "Table 2",
        "Sift-and-Refine makes the thousand classes of ImageNet affordable.",
        why=_NEEDS_A_GPU,
    ),
)


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean and the ends of its interval by Student's t, of two values or more."""
    x = np.asarray(values, np.float64)
    half = stats.t.ppf((1 + LEVEL) / 2, len(x) - 1) * x.std(ddof=1) / math.sqrt(len(x))
    return float(x.mean()), float(x.mean() - half), float(x.mean() + half)


def measured(part: Part, seeds: Sequence[Seed]) -> dict[str, Any]:
    """Return a number of a claim as the file has it: with its values, and the interval of two
    or more."""
    values = []
    for seed in seeds:
        try:
            value = part.of(seed)
        except FileNotFoundError:
            continue
        if math.isfinite(value):
            values.append(value)
    found: dict[str, Any] = dict(what=part.what, unit=part.unit, values=values)
    if len(values) > 1:
        found |= dict(zip(("mean", "low", "high"), interval(values), strict=True))
    return found


def result(workdir: Path, seeds: int) -> dict[str, Any]:
    """Return what the file holds of the finished runs in a workdir."""
    done = [Seed(workdir / f"seed{k}") for k in range(seeds)]
    known = workdir / "done.json"
    spent = json.loads(known.read_text()) if known.exists() else {}
    return dict(
        rule=dict(level=LEVEL, least_seeds=LEAST_SEEDS),
        papers=PAPERS,
        data="digits",
        core_minutes=round(sum(spent.values()) / 60, 1),
        date=datetime.date.today().isoformat(),
        version=version.__version__,
        claims=[
            dict(
                paper=c.paper,
                where=c.where,
                says=c.says,
                why=c.why,
                parts=[measured(part, done) for part in c.parts],
            )
            for c in CLAIMS
        ],
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="the result file; default: none")
    parser.add_argument("--papers", default=",".join(("sun", "chen", "altstidl")))
    parser.add_argument("--seeds", type=int, default=LEAST_SEEDS)
    parser.add_argument(
        "--tiny", action="store_true", help="the same in a minute or two"
    )
    given = parser.parse_args(argv)
    papers = tuple(filter(None, given.papers.split(",")))
    minutes = claim_runs.run(given.seeds, given.workdir, papers, tiny=given.tiny)
    print(f"{minutes:.1f} core minutes in {given.workdir}", file=sys.stderr)
    if given.out:
        command = {"command": command_of("claims", given)}
        found = command | result(given.workdir, given.seeds)
        given.out.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
