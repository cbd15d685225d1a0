"""Generated images from a folder of shards against one npz file: images/s and memory.

    python -m benchmarks.shards --out benchmarks/results/DATE-cpu-shards.json

Writes sparse sets of black images of 32 x 32 x 3 (the first one is not), 5,046,272 with the
77 shards of the default, below `--folder`, and removes them at the end: one npz file, npz
shards, and the ArrayRecord shards of jaxcert.convert. Two measurements, each in alternating
rounds:

loader: batches of 256 from 50,000 real and all generated images, 70 % generated, nothing else;
    `new` images are touched for the first time, `again` are the same ones once more.
train: jaxcert.train on a tiny network, a process for each round, which then draws 300 batches
    more. Peak memory is that of this process (VmHWM): what is its own, and with it the pages
    of mapped files, which the system can drop at any time.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from statistics import median

import numpy as np

from jaxcert.training import loop

SHAPE = 32, 32, 3
PIXELS = 3072
BATCH, REAL = 256, 50_000
PER_SHARD = 1 << 16
SETS = "one.npz", "npz_shards", "records"
ROUNDS, BATCHES = 8, 60
TRAIN_ROUNDS, STEPS, MORE = 2, 24, 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=77, help="of 65,536 images")
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.train:
        print(json.dumps(train(given.train)))
        return
    folder = Path(tempfile.mkdtemp(prefix="jaxcert-shards-", dir=given.folder))
    try:
        found = measure(folder, given.shards)
    finally:
        shutil.rmtree(folder)
    text = json.dumps(found, indent=1)
    print(text)
    if given.out:
        given.out.write_text(text + "\n")


def measure(folder: Path, shards: int) -> dict:
    import jax

    write_sets(folder, shards)
    trained = [
        {name: _child(folder / name) for name in SETS} for _ in range(TRAIN_ROUNDS)
    ]
    return {
        "format": "jaxcert-shards-1",
        "images": shards * PER_SHARD,
        "bytes": {name: _bytes(folder / name) for name in SETS},
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "versions": {"jax": jax.__version__, "numpy": np.__version__},
        "loader": loader(folder),
        "train": {
            "rounds": trained,
            "ratio": {
                name: {
                    clock: median(r[SETS[0]][clock] / r[name][clock] for r in trained)
                    for clock in ("wall", "cpu")
                }
                for name in SETS[1:]
            },
        },
    }


def loader(folder: Path) -> dict:
    """Return seconds to open, microseconds per image, and shares of the npz file's
    images/s."""
    import jax

    from jaxcert import sharding
    from jaxcert.data import loader, mixture
    from jaxcert.data.generated import open_generated
    from jaxcert.data.sources import Source

    real = Source(
        np.zeros((REAL, *SHAPE), np.uint8), np.arange(REAL) % 10, 10, "synthetic"
    )
    opened, sources = {}, {}
    for name in SETS:
        begin = time.perf_counter()
        sources[name] = open_generated(folder / name)
        opened[name] = round(time.perf_counter() - begin, 2)
    found = {"open_s": opened}
    mixed = mixture.make(REAL, len(sources[SETS[0]].label), batch=BATCH)
    for state in ("new", "again"):
        streams = {
            name: loader.batches(
                real,
                sources[name],
                mixed,
                0,
                mesh=sharding.data_mesh(),
                total=1 << 20,
                placement="host",
            )
            for name in SETS
        }
        rounds = {name: [] for name in SETS}
        for _ in range(ROUNDS):
            for name in SETS:
                begin = time.perf_counter(), time.process_time()
                batches = list(itertools.islice(streams[name], BATCHES))
                jax.block_until_ready(batches)
                end = time.perf_counter(), time.process_time()
                rounds[name].append([b - a for a, b in zip(begin, end, strict=True)])
        found[state] = {}
        for name in SETS:
            cells = {}
            for at, clock in enumerate(("wall", "cpu")):
                pairs = zip(rounds[SETS[0]], rounds[name], strict=True)
                each = median(r[at] for r in rounds[name]) / BATCHES / BATCH
                cells[f"{clock}_us"] = round(1e6 * each, 2)
                cells[f"{clock}_ratio"] = round(
                    median(a[at] / b[at] for a, b in pairs), 3
                )
            found[state][name] = cells
    return found


def train(path: Path) -> dict:
    """Run jaxcert.train once in this process, and return seconds per image and peak
    memory."""
    from jaxcert import config as configs
    from jaxcert import sharding
    from jaxcert.data import loader, opened

    times, batches = [], loader.batches

    def timed(*arguments, **settings):
        for batch in batches(*arguments, **settings):
            times.append((time.perf_counter(), time.process_time()))
            yield batch

    loader.batches = timed
    config = configs.tiny(configs.load("configs/smoothing/cifar10.py"))
    config.log.every_steps = 1  # so that no step is far ahead of the clock
    config.model.update(image_shape=SHAPE, mean=(0.5,) * 3, std=(0.25,) * 3)
    config.data.update(
        name=f"npz:{path.parent / 'real'}",
        batch=BATCH,
        epochs=1,
        epoch_images=STEPS * BATCH,
        generated=str(path),
        generated_share=0.7,
    )
    with tempfile.TemporaryDirectory() as workdir:
        loop.train(config, workdir)
    loader.batches = batches
    config.data.epoch_images = (STEPS + MORE) * BATCH
    stream = opened.open(config).batches(STEPS, mesh=sharding.data_mesh())
    for _ in stream:
        pass
    status = Path("/proc/self/status").read_text().split()
    peak, file = (int(status[status.index(k) + 1]) for k in ("VmHWM:", "RssFile:"))
    images = (len(times) - 1 - STEPS // 10) * BATCH  # the first ones while it compiles
    wall, cpu = (
        (b - a) / images for a, b in zip(times[STEPS // 10], times[-1], strict=True)
    )
    return {
        "wall": wall,
        "cpu": cpu,
        "peak_gb": round(peak * 1024 / 1e9, 2),
        "files_at_the_end_gb": round(file * 1024 / 1e9, 2),
    }


def _child(path: Path) -> dict:
    command = [sys.executable, "-m", "benchmarks.shards", "--train", str(path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def write_sets(folder: Path, shards: int) -> None:
    """Write the three sparse sets, and a small real one."""
    from jaxcert.data import write

    label = np.arange(PER_SHARD, dtype=np.int32) % 10
    _npz(folder / SETS[0], np.tile(label, shards))
    (folder / SETS[1]).mkdir()
    for number in range(shards):
        _npz(folder / SETS[1] / f"{number}.npz", label)
    records = folder / SETS[2]
    writer = write.Writer(
        records, image_shape=SHAPE, num_classes=10, request={}, per_shard=PER_SHARD
    )
    image = np.zeros((PER_SHARD, *SHAPE), np.uint8)
    image[0] = 128
    writer.append(image, label)
    writer.close()
    first = next(records.glob("shard-*"))
    for number in range(1, shards):
        copy = records / first.name.replace("00000", f"{number:05d}", 1)
        subprocess.run(["cp", "--sparse=always", str(first), str(copy)], check=True)
    header = json.loads((records / write.HEADER).read_text())
    header["count"] = shards * PER_SHARD
    (records / write.HEADER).write_text(json.dumps(header))
    (folder / "real").mkdir()
    rng = np.random.default_rng(0)
    for split, count in (("train", 5000), ("test", 100)):
        image = rng.integers(0, 256, (count, *SHAPE), np.uint8)
        np.savez(folder / "real" / split, image=image, label=np.arange(count) % 10)


class _Holes(io.FileIO):
    """A new file in which blocks of zeros become holes."""

    def write(self, data):
        if len(data) < PIXELS or any(memoryview(data)[:16]):
            return super().write(data)
        self.seek(len(data), os.SEEK_CUR)
        return len(data)


def _npz(path: Path, label: np.ndarray) -> None:
    shape = {"descr": "|u1", "fortran_order": False, "shape": (len(label), *SHAPE)}
    with _Holes(path, "w+") as file, zipfile.ZipFile(file, "w") as archive:
        with archive.open("image.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array_header_1_0(member, shape)
            member.write(b"\x80" * PIXELS)
            zeros = bytes(PIXELS * 1024)
            for first in range(1, len(label), 1024):
                member.write(zeros[: PIXELS * (len(label) - first)])
        with archive.open("label.npy", "w") as member:
            np.save(member, label)


def _bytes(path: Path) -> dict:
    paths = [path] if path.is_file() else list(path.iterdir())
    return {
        "files": len(paths),
        "size": sum(p.stat().st_size for p in paths),
        "on_disk": sum(512 * p.stat().st_blocks for p in paths),
    }


if __name__ == "__main__":
    main()
