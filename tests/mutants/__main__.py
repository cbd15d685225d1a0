"""Plant every fault of faults/ in a copy of the project and see that the tests notice.

    python -m tests.mutants [-k WORD] [--jobs 2] [--list]

A fault is killed where a named test fails by comparing a value. An error of another kind
(import, collection, shape, type) and a time-out do not count. Exits with 1 if one survives.
"""

from __future__ import annotations

import argparse
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.faults import FAULTS, Fault

ROOT = Path(__file__).parents[2]
COPIED = (
    "jaxcert",
    "tests",
    "configs",
    "benchmarks",
    "docs",
    "pyproject.toml",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
)
SECONDS = 300
"""After so many a run of tests is stopped, and its fault is not killed."""
SECONDS_OF_ALL = 1800
"""After so many the run of all tests without a fault is stopped."""
_NUMPY_COMPARES = "Arrays are not equal", "Not equal to tolerance"
"""What numpy.testing says, which jax.tree.map calls for a test."""


def copy_to(folder: Path) -> Path:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            skip = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / name, ignore=skip)
        else:
            shutil.copy(source, folder / name)
    return folder


def run_tests(folder: Path, tests: tuple[str, ...], *options: str, seconds=SECONDS):
    """(exit status, messages of the tests that failed); status -1 after a time-out."""
    report = folder / "report.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += [f"--junitxml={report}", *options, *tests]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return -1, [f"no end within {seconds} s"]
    if not report.is_file():
        return done.returncode, [done.stderr.decode()[-500:] or "no report"]
    found = ElementTree.parse(report).iter()
    return done.returncode, [
        message_of(node) for node in found if node.tag in ("failure", "error")
    ]


def message_of(node: ElementTree.Element) -> str:
    """Of a test that failed by a statement of its own, or where else it failed."""
    if node.tag == "error":  # those of fixtures and of collection
        return "error outside a test"
    lines = [line for line in (node.text or "").splitlines() if line.strip()]
    message = node.get("message", "")
    by_numpy = any(words in message for words in _NUMPY_COMPARES)
    if not lines[-1].startswith("tests/") and not by_numpy:
        return f"raised outside the tests: {lines[-1]}"
    statement = [line for line in lines if line.startswith(">")][-1:]
    if any(re.search(r"\.(shape|ndim)\b", line) for line in statement):
        return f"compares shapes: {statement[0][1:].strip()}"
    return message


def compares(message: str) -> bool:
    """Whether a test failed by the value of something, and not by its shape."""
    told = message.startswith(("assert ", "AssertionError", "Failed: DID NOT"))
    return told and "shapes" not in message


def verdict(folder: Path, fault: Fault) -> str:
    """'killed', or why not."""
    path = folder / fault.file
    source = path.read_text()
    path.write_text(source.replace(fault.text, fault.replacement))
    try:
        status, messages = run_tests(folder, fault.tests, "-x")
    finally:
        path.write_text(source)
    if status == 0:
        return "survives"
    if status == 1 and messages and all(map(compares, messages)):
        return "killed"
    return f"no comparison failed: {(messages or ['?'])[0].splitlines()[0]:.100}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("-k", default="", help="part of the name or file of a fault")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--list", action="store_true", help="name the faults and end")
    args = parser.parse_args(argv)
    chosen = [f for f in FAULTS if args.k in f.name or args.k in f.file]
    if args.list or not chosen:
        print(*(f"{f.name:44} {f.file}" for f in chosen), sep="\n")
        return 0 if chosen else 1
    lost = [f for f in chosen if (ROOT / f.file).read_text().count(f.text) != 1]
    for fault in lost:
        print(f"{fault.name}: its text does not occur exactly once in {fault.file}")
    if lost:
        return 1
    with tempfile.TemporaryDirectory(prefix="jaxcert-mutants-") as temporary:
        copies = queue.SimpleQueue()
        for i in range(max(args.jobs, 1)):
            (Path(temporary) / str(i)).mkdir()
            copies.put(copy_to(Path(temporary) / str(i)))
        folder = copies.get()
        tests = tuple(sorted({test for f in chosen for test in f.tests}))
        status, messages = run_tests(folder, tests, seconds=SECONDS_OF_ALL)
        copies.put(folder)
        if status != 0:
            print("the tests do not pass without a fault:", *messages, sep="\n")
            return 1
        start, verdicts = time.monotonic(), {}

        def work(fault: Fault) -> None:
            folder = copies.get()
            try:
                verdicts[fault.name] = verdict(folder, fault)
            finally:
                copies.put(folder)
            done, elapsed = len(verdicts), time.monotonic() - start
            left = elapsed / done * (len(chosen) - done) / 60
            print(
                f"{done:3}/{len(chosen)} {fault.name:44} {verdicts[fault.name]}"
                f"   ({left:.1f} min left)",
                flush=True,
            )

        with ThreadPoolExecutor(max(args.jobs, 1)) as pool:
            list(pool.map(work, chosen))
    alive = [f for f in chosen if verdicts[f.name] != "killed"]
    print(f"\n{len(chosen) - len(alive)} of {len(chosen)} faults are killed.")
    for fault in alive:
        print(f"  {fault.name} ({fault.file}): {verdicts[fault.name]}")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
