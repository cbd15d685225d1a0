"""Compute the radii of a finished record again from its votes, with another rival.

    python -m jaxcert.bound runs/digits --rival=runner_up --out bounded.jsonl

The record is one of smoothing by the procedure certify. The new record says in its header that
it was bounded again. Choose the rival before you see what comes out: only then is each radius
false with probability at most alpha.
"""

from __future__ import annotations

import numpy as np

from jaxcert import cli
from jaxcert.api import files
from jaxcert.certificates import bounding, runner_up
from jaxcert.errors import exit_cleanly

OPTIONS: cli.Options = {
    "--out FILE": (str, "where the new record is written"),
}


def main(arguments: list[str] | None = None) -> int:
    """Return the exit status."""
    return exit_cleanly(lambda: _run(arguments))


def _run(arguments: list[str] | None) -> None:
    parser = cli.Parser(__doc__, OPTIONS)
    parser.add_argument("record", help="record file, or the workdir that holds it")
    parser.add_argument(
        "--rival",
        default="runner_up",
        choices=runner_up.NAMES,
        help="how the best of the other classes is bounded",
    )
    given = parser.parse_args(arguments)
    before = files.open_records(given.record)
    after = bounding.again(before, given.rival)
    files.write_records(given.out, after)
    print(
        f"{given.out}: {np.sum(after.radius > before.radius):,} of {len(after.index):,} radii are "
        f"larger, {np.sum(after.radius < before.radius):,} smaller; "
        f"{np.sum(before.predicted < 0):,} images had no class, "
        f"{np.sum(after.predicted < 0):,} have none now."
    )


if __name__ == "__main__":
    raise SystemExit(main())
