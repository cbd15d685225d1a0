"""What a certificate of a PyTorch module costs beside the module alone.

    python -m benchmarks.hosting [--rounds 7] [--out benchmarks/results/DATE-cpu-hosting.json]

A ResNet-20 on images of 32 x 32 in eval mode, on one thread of the CPU. `certificate` is
CERTIFY of one image through `jaxcert.smooth`: 100 + 900 votes, a batch of 1,000, with the noise,
the layout of the images, the digest of the weights, the counting and the bound. `module` is one
call on 1,000 noisy images that are there already, and their argmax. Both take turns, and a ratio
is the certificate's CPU seconds over the module's of the same round. The limit is 1.1.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import run, weights

SIDE, BATCH, N0 = 32, 1000, 100


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--depth", type=int, default=20, help="layers of the ResNet")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found = measure(given.rounds, given.depth)
    text = json.dumps(run.rounded(found), indent=1)
    print(text)
    if given.out:
        given.out.write_text(text + "\n")


def measure(rounds: int, depth: int) -> dict[str, Any]:
    """Return the CPU and wall seconds of both sides in every round, and the median ratios."""
    import jax
    import torch

    import jaxcert
    from benchmarks.peers.resnet_torch import network

    torch.set_num_threads(1)
    module = network({"depth": depth}).eval()
    votes = dict(num_classes=10, sigma=0.25, n0=N0, n=BATCH - N0)
    certifier = jaxcert.smooth(module, **votes)
    image = weights.images(1, SIDE)
    noise = weights.normal(BATCH, SIDE, SIDE, 3, seed=7)
    noisy = torch.tensor(image + np.float32(0.25) * noise)
    noisy = noisy.permute(0, 3, 1, 2).contiguous()

    def alone() -> None:
        with torch.no_grad():
            module(noisy).argmax(1).numpy()

    sides: dict[str, Callable[[], Any]] = {
        "certificate": lambda: jaxcert.certify_images(certifier, image),
        "module": alone,
    }
    for side in sides.values():
        side()  # compiles
    load = os.getloadavg()[0]
    taken = [
        {name: _seconds(side) for name, side in sides.items()} for _ in range(rounds)
    ]
    ratio = {
        clock: median(t["certificate"][clock] / t["module"][clock] for t in taken)
        for clock in ("cpu", "wall")
    }
    return {
        "format": "jaxcert-hosting-1",
        "depth": depth,
        "cores": os.cpu_count(),
        "load": load,
        "versions": {"jax": jax.__version__, "torch": torch.__version__},
        "rounds": taken,
        "ratio": ratio,
    }


def _seconds(side: Callable[[], Any]) -> dict[str, float]:
    begin = time.process_time(), time.perf_counter()
    side()
    end = time.process_time(), time.perf_counter()
    return dict(zip(("cpu", "wall"), np.subtract(end, begin).tolist(), strict=True))


if __name__ == "__main__":
    main()
