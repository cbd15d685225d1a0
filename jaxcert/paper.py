"""From a paper to its tables and figures: train, certify, and write them beside the published ones.

    python -m jaxcert.paper sun --scale digits --workdir runs/sun
    python -m jaxcert.paper altstidl --scale cifar10 --plan
    python -m jaxcert.paper sun --logs certify_logs

altstidl: Altstidl et al. (2023), arXiv:2305.10388, what generated images gain.
chen: Chen et al. (2024), arXiv:2402.02316, diffusion models as certified classifiers.
sun: Sun et al. (2024), arXiv:2410.06895, methods of randomized smoothing.

--scale plans all rows, prints them with their time and disk, trains and certifies what is missing
and writes the page; the same command continues after a kill. digits: about an hour of two cores,
no more than a picture of the paper; mnist: a day; cifar10: the paper, on a GPU. Without --scale the
page is of the finished runs in and directly below --workdir. --logs takes a folder of tables of
CERTIFY that authors released; method and sigma are read off names such as
cifar10_catrs_sigma0.50.tsv, other files are named and left out, and a run of CIFAR-10 is compared
with the log of its row image by image.

paper.html goes into --workdir with every table and figure as CSV, and figures as PDF.
"""

from __future__ import annotations

import sys

from jaxcert import cli
from jaxcert.errors import InputError, exit_cleanly

OPTIONS: cli.Options = {
    "--scale SCALE": ("", "digits, mnist or cifar10: run what is missing first"),
    "--seeds N": (0, "of --scale: how many seeds each row has; 0: 1, of altstidl 2"),
    "--plan": (False, "of --scale: print the rows with their time and disk, and end"),
    "--logs FOLDER": ("", "of sun: certification logs that authors released"),
    "--workdir DIR": (
        None,
        "where runs are and the page is written (default: runs/paper_PAPER)",
    ),
}
PAPERS = ("altstidl", "chen", "sun")


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(__doc__, OPTIONS)
    parser.add_argument("paper", choices=PAPERS, help="the paper")
    args = parser.parse_args(argv)
    if args.logs and args.paper != "sun":
        raise InputError(f"--logs is for sun: of {args.paper} no logs were released.")
    if not args.scale and (args.plan or args.seeds):
        raise InputError("--plan and --seeds are of --scale: give it as well.")
    cli.quiet()
    workdir = args.workdir or f"runs/paper_{args.paper}"
    from jaxcert.papers import altstidl_page, chen_page, paper_runs, plans, sun_page

    if args.scale:
        rows = plans.plan(args.paper, args.scale, workdir=workdir, seeds=args.seeds)
        for line in paper_runs.told(rows, workdir, scale=args.scale):
            print(line, flush=True)
        if args.plan:
            return 0
        paper_runs.run(rows, workdir)
    if args.paper == "sun":
        page = sun_page.show(workdir, folder=args.logs)
    else:
        page = {"altstidl": altstidl_page, "chen": chen_page}[args.paper].show(workdir)
    print(f"wrote {page}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(exit_cleanly(main))
