"""List the configs of the package, or print one as JSON without running it.

    jaxcert configs
    jaxcert configs lot/cifar10:m,400,5m
    jaxcert configs mine.py --tiny --config.optim.lr=0.05

Below each config of the list are the words of its rows, in groups that `;` separates. A row has
at most one word of each group, in any order; without a row a config has its defaults.
Everything goes to standard output, and no file is written.
"""

from __future__ import annotations

import json
import sys
import textwrap

from jaxcert import cli
from jaxcert import config as configs
from jaxcert.errors import exit_cleanly

OPTIONS: cli.Options = {"--tiny": (False, "print the same run, shrunk to seconds")}


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(__doc__, OPTIONS, more=cli.ANY_VALUE)
    parser.add_argument(
        "config",
        nargs="?",
        help="the packaged config or the file to print, a row of it after a colon "
        "(without it all of the package are listed)",
    )
    args, overrides = parser.parse_known_args(argv)
    cli.check_words(overrides)
    if args.config is None:
        for name in configs.shipped():
            summary, groups = configs.described(name)
            print(f"{name}: {summary}", *textwrap.wrap(groups, 88), sep="\n    ")
        return 0
    config = configs.resolve(args.config, overrides, tiny=args.tiny)
    print(json.dumps(config.to_dict(), indent=1, default=list))
    return 0


if __name__ == "__main__":
    sys.exit(exit_cleanly(main))
