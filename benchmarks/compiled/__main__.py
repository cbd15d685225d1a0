"""Compile the main programs at the papers' sizes for an H200, on a machine without one.

python -m benchmarks.compiled [PROGRAM ...] [--out FILE] [--table FILE.md] [--jobs N]

Without names all programs are compiled that FILE does not hold of this commit; with
names these, anew. FILE is rewritten after every program, so that an interrupted run
continues. Kernels, bytes and memory are facts of the compiled program, seconds are
estimates: docs/accelerator.md. Needs jaxcert[cuda13] and Python 3.12 or newer; no GPU.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.compiled import budgets, programs, results, table, target
from jaxcert.errors import InputError


def main(argv: list[str] | None = None) -> int:
    options = _options(argv)
    if options.list:
        for name in programs.names():
            print(f"{name:36}{programs.find(name)[0].what}")
        return 0
    try:
        return run(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def run(options: argparse.Namespace) -> int:
    for name in options.programs:
        programs.find(name)
    if options.jobs < 1:
        raise InputError(f"--jobs {options.jobs}: give 1 or more.")
    out = Path(options.out or results.default())
    result = results.open(out)
    wanted = options.programs or results.missing(result, programs.names())
    if wanted:
        target.check()
        results.compile_all(wanted, result, out, jobs=options.jobs, keep=options.keep)
    if options.table:
        table.write(Path(options.table), result)
    rows = {row["program"]: row for row in result["rows"]}
    if options.update_budgets:
        budgets.lower(rows[name] for name in wanted if rows[name]["status"] == "ok")
    bad = [name for name in wanted if rows[name]["status"] != "ok"]
    for name in bad:
        print(f"{name}: {rows[name]['status']} {rows[name]['source']}".strip())
    over = [line for row in rows.values() for line in budgets.exceeded(row)]
    print("\n".join(over))
    print(f"written: {out}")
    return 1 if bad or over else 0


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compiled",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("programs", nargs="*", metavar="PROGRAM", help="such as certify_resnet110@8")
    add("--list", action="store_true", help="names and what they are")
    add("--out", metavar="FILE", help="JSON; default benchmarks/results/DATE-...")
    add(
        "--table",
        metavar="FILE.md",
        help="a table as well, between its marks where the file has them",
    )
    add("--jobs", type=int, default=1, help="programs compiled at a time (1)")
    add("--keep", metavar="FOLDER", help="put the compiled texts there")
    add(
        "--update-budgets",
        action="store_true",
        help="lower the budgets of these programs to what was found, plus 2 percent",
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
