"""python -m tests.golden_other FOLDER [PATTERN ...], patterns of area/file"""

from __future__ import annotations

import importlib
import sys
import zlib
from fnmatch import fnmatch
from pathlib import Path

import jax
import numpy as np

AREAS = ("lipschitz_l2", "linf", "smoothing", "diffusion")


def main(folder, *patterns):
    """Writes the files whose area/file matches a pattern, all without one, in float64."""
    for area in AREAS:
        files = importlib.import_module(f"tests.golden_other.{area}").FILES
        for name, make in files.items():
            if any(fnmatch(f"{area}/{name}", p) for p in patterns or ["*"]):
                with jax.enable_x64(True):
                    arrays = make(np.random.default_rng(zlib.crc32(name.encode())))
                (Path(folder) / area).mkdir(parents=True, exist_ok=True)
                arrays = {key: np.asarray(value) for key, value in arrays.items()}
                np.savez(Path(folder) / area / f"{name}.npz", **arrays)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(f"usage: {__doc__}")
    main(*sys.argv[1:])
