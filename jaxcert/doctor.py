"""Say what this machine has, and test in seconds whether certificates can rely on it.

    python -m jaxcert.doctor [--folder DIR]

One line each: versions, devices, precision of products, random numbers, settings of the
environment, free memory and disk, and tests of exactness. The exit status is 1 if a test fails.
"""

from __future__ import annotations

import time

from jaxcert import cli, machine
from jaxcert.certificates import selftest
from jaxcert.errors import InputError, exit_cleanly

OPTIONS: cli.Options = {
    "--folder DIR": (".", "where runs are to be written"),
}


def main(arguments: list[str] | None = None) -> int:
    """Return the exit status."""
    return exit_cleanly(lambda: _run(arguments))


def _run(arguments: list[str] | None) -> int:
    given = cli.Parser(__doc__, OPTIONS).parse_args(arguments)
    for name, text in machine.lines(given.folder):
        print(f"{name:11}{text}", flush=True)
    failed = 0
    for name, test in selftest.TESTS.items():
        start = time.monotonic()
        try:
            said = test()
        except InputError as error:
            failed, said = 1, f"FAILED: {error}"
        print(f"{name:11}{said} ({time.monotonic() - start:.1f} s)", flush=True)
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
