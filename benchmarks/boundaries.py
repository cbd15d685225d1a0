"""What float32 and the predictor say of points beside the boundaries of a certified network.

    python -m benchmarks.boundaries [--workdir runs/boundaries] [--out FILE.json]

The network is that of configs/quickstart.py, trained into the workdir (a minute). Bisection on
lines between test images of two classes, of the network in float64, gives two points of each
line that are less than WITHIN apart, with a boundary between them. They are rounded to float32,
so that all are asked about the same images. Counted are the points to which the same weights in
float32, and `jaxcert.predictor`, give another class than the network that is certified, and
those on which the predictor abstains.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxcert
from benchmarks import run
from jaxcert import config as configs
from jaxcert import sharding, version
from jaxcert.certificate import ABSTAIN
from jaxcert.certificates import lipschitz
from jaxcert.configs import quickstart
from jaxcert.data import sources
from jaxcert.interfaces import Network
from jaxcert.ops.images import unit
from jaxcert.training import loop
from jaxcert.workdirs import checkpoint

FORMAT = "jaxcert-boundaries-1"
LINES = 300
WITHIN = 1e-5


def beside(
    classes: Callable[[np.ndarray], np.ndarray], images: np.ndarray, lines: int
) -> np.ndarray:
    """Return points [2 * lines,H,W,C] of float32 less than WITHIN from a boundary, on random
    lines between images [N,H,W,C], float64, of two classes."""
    draw, own = np.random.default_rng(0), classes(images)
    first, second = draw.integers(len(images), size=(2, 4 * lines))
    kept = np.flatnonzero(own[first] != own[second])[:lines]
    one, other, own = images[first[kept]], images[second[kept]], own[first[kept]]
    while np.linalg.norm((one - other).reshape(lines, -1), axis=1).max() > 0.9 * WITHIN:
        middle = (one + other) / 2
        same = (classes(middle) == own)[:, None, None, None]
        one, other = np.where(same, middle, one), np.where(same, other, middle)
    return np.concatenate([one, other]).astype(np.float32)


def measure(network: Network, images: np.ndarray, lines: int) -> dict[str, Any]:
    """Return what the network in float32 and the predictor say of 2 * lines points beside
    boundaries."""
    certifier = lipschitz.make(network)

    def certified(points):
        return jaxcert.certify_images(certifier, points)

    points = beside(lambda x: certified(x).predicted, images, lines)
    rows, predict = certified(points.astype(np.float64)), jaxcert.predictor(certifier)
    said = np.array([predict(x).predicted for x in points])
    ready = jax.jit(network.model.prepare)(network.params, network.state)
    short = jax.jit(network.model.apply)(network.params, ready, points)[0]
    short = np.asarray(short)
    return {
        "points": len(points),
        "within": WITHIN,
        "logits_differ": float(np.abs(short - rows.logits).max()),
        "logit_slack": rows.procedure["logit_slack"],
        "float32_other": int((short.argmax(1) != rows.predicted).sum()),
        "predictor_other": int((said != rows.predicted)[said >= 0].sum()),
        "abstained": int((said == ABSTAIN).sum()),
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.boundaries",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--workdir", type=Path, default=Path("runs/boundaries"))
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON")
    given = parser.parse_args(argv)
    config = quickstart.get_config()
    loop.train(config, given.workdir)  # which continues, or finds all done
    model = configs.build("models", config.model)
    found = checkpoint.load_network(model, given.workdir, mesh=sharding.local_mesh())
    images = np.asarray(sources.open("digits", "test").image)
    with jax.enable_x64(True):
        images = np.asarray(unit(images, dtype=np.float64))
    kept, head = ("device", "commit", "started"), run.header("cpu", tiny=False)
    result = dict(format=FORMAT, **{k: head[k] for k in kept})
    result["versions"] = {"jaxcert": version.__version__, "jax": jax.__version__}
    result |= dict(config="quickstart", checkpoint=found.digest)
    result |= measure(found.network, images, LINES)
    name = f"benchmarks/results/{time.strftime('%Y-%m-%d')}-boundaries.json"
    run.write(result, given.out or Path(name))
    print(", ".join(f"{key} {value}" for key, value in result.items()))
    return 1 if result["predictor_other"] else 0


if __name__ == "__main__":
    sys.exit(main())
