"""Write the tables and figures of a paper, ours and released logs beside the published ones.

    python -m jaxcert.paper sun --logs ../certify_logs
    python -m jaxcert.paper sun --logs ../certify_logs --workdir runs/catrs_0.50

sun: Sun et al. (2024), arXiv:2410.06895. --logs takes a folder of tables of CERTIFY that authors
released; method and sigma are read off names such as cifar10_catrs_sigma0.50.tsv, other files
are named and left out. Finished runs in and directly below --workdir stand beside the published
numbers; one of CIFAR-10 with a log of its method and sigma is compared with it image by image.

paper.html goes into --workdir with every table and figure as CSV, and figures as PDF.
"""

from __future__ import annotations

import sys

from jaxcert import cli
from jaxcert.errors import exit_cleanly

OPTIONS: cli.Options = {
    "--logs FOLDER": ("", "certification logs that authors released"),
    "--workdir DIR": (
        None,
        "where runs are and the page is written (default: runs/paper_PAPER)",
    ),
}
PAPERS = ("sun",)


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(__doc__, OPTIONS)
    parser.add_argument("paper", choices=PAPERS, help="the paper")
    args = parser.parse_args(argv)
    workdir = args.workdir or f"runs/paper_{args.paper}"
    from jaxcert.papers import sun_page

    page = sun_page.show(workdir, folder=args.logs)
    print(f"wrote {page}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(exit_cleanly(main))
