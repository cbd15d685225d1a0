"""List the configs of the package, print one as JSON, or write one for data of your own.

    jaxcert configs
    jaxcert configs lot/cifar10:m,400,5m
    jaxcert configs mine.py --tiny --config.optim.lr=0.05
    jaxcert configs --new folder:photos --resize 64 --out photos.py

Below each config of the list are the words of its rows, in groups that `;` separates. A row has
at most one word of each group, in any order; without a row a config has its defaults.

--new looks at the images of a data set (number, size, classes, mean and standard deviation) and
writes a config that trains a classifier of them with noise, with comments to go on from.
Without --out everything goes to standard output, and nothing is run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import textwrap
from pathlib import Path

from jaxcert import cli
from jaxcert import config as configs
from jaxcert.data import new_config
from jaxcert.errors import InputError, check_file, exit_cleanly, replacing

OPTIONS: cli.Options = {
    "--tiny": (False, "print the same run, shrunk to seconds"),
    "--new DATA": (
        None,
        "write a config for this data set, such as folder:DIR, npz:DIR or hf:NAME",
    ),
    "--resize SIDE[,CUT]": (
        (),
        "with --new: resize the short side of images to this, and cut out the centre",
    ),
    "--dir DIR": ("", "with --new: folder of the archives, as config.data.dir"),
    "--out FILE": (None, "with --new: the new file to write"),
}


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
    if args.new is not None:
        if overrides:
            raise InputError(
                f"{overrides[0]} changes a config, and --new writes one: change the file, or "
                "give the override when it is trained; --resize and --dir are there for --new."
            )
        return _new(args)
    if args.config is None:
        for name in configs.shipped():
            summary, groups = configs.described(name)
            print(f"{name}: {summary}", *textwrap.wrap(groups, 88), sep="\n    ")
        return 0
    config = configs.resolve(args.config, overrides, tiny=args.tiny)
    print(json.dumps(config.to_dict(), indent=1, default=list))
    return 0


def _new(args: argparse.Namespace) -> int:
    if args.config is not None:
        raise InputError(
            f"--new makes a config, and {args.config} is one: leave one of them out."
        )
    out = args.out and Path(args.out)
    if out and os.path.lexists(out):
        raise InputError(f"{out} is there already: name a new file with --out.")
    text = new_config.write(args.new, dir=args.dir, resize=_sides(args.resize))
    if not out:
        print(text, end="")
        return 0
    check_file(out, new=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as part:
        part.write_text(text.replace("FILE:", f"{out}:"), encoding="utf-8")
    print(f"{out} is written; next: jaxcert train --config {out} --tiny")
    return 0


def _sides(texts: list[str]) -> tuple[int, ...]:
    if not all(text.isdecimal() for text in texts):
        raise InputError(
            f"--resize has {','.join(texts)!r}: give pixels, such as 224 or 256,224."
        )
    return tuple(map(int, texts))


if __name__ == "__main__":
    sys.exit(exit_cleanly(main))
