"""Write the tables and figures of a paper, ours and released logs beside the published ones.

    python -m jaxcert.paper sun --logs certify_logs
    python -m jaxcert.paper sun --logs certify_logs --workdir runs/sun
    python -m jaxcert.paper altstidl --workdir runs/study

sun: Sun et al. (2024), arXiv:2410.06895. --logs takes a folder of tables of CERTIFY that authors
released; method and sigma are read off names such as cifar10_catrs_sigma0.50.tsv, other files
are named and left out. Finished runs in and directly below --workdir stand beside the published
numbers; one of CIFAR-10 with a log of its method and sigma is compared with it image by image.

altstidl: Altstidl et al. (2023), arXiv:2305.10388, of finished runs directly below --workdir, as
jaxcert.study leaves them. Figures 3 and 6 need --config.eval.every_epochs.

paper.html goes into --workdir with every table and figure as CSV, and figures as PDF.
"""

from __future__ import annotations

import sys

from jaxcert import cli
from jaxcert.errors import InputError, exit_cleanly

OPTIONS: cli.Options = {
    "--logs FOLDER": ("", "of sun: certification logs that authors released"),
    "--workdir DIR": (
        None,
        "where runs are and the page is written (default: runs/paper_PAPER)",
    ),
}
PAPERS = ("altstidl", "sun")


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(__doc__, OPTIONS)
    parser.add_argument("paper", choices=PAPERS, help="the paper")
    args = parser.parse_args(argv)
    workdir = args.workdir or f"runs/paper_{args.paper}"
    from jaxcert.papers import altstidl_page, sun_page

    if args.paper == "sun":
        page = sun_page.show(workdir, folder=args.logs)
    elif args.logs:
        raise InputError(f"--logs is for sun: of {args.paper} no logs were released.")
    else:
        page = altstidl_page.show(workdir)
    print(f"wrote {page}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(exit_cleanly(main))
