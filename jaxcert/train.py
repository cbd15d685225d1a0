"""Train a network into a workdir; the same command continues an interrupted run exactly.

    python -m jaxcert.train --config configs/quickstart.py --workdir runs/quickstart
    python -m jaxcert.train --config configs/lot/cifar10.py:s --config.optim.lr=0.05

The workdir gets config.json, metrics.jsonl and checkpoints/. With
config.certify.after_training the run ends with certificates.jsonl and a report.
"""

from __future__ import annotations

import sys

from jaxcert import cli
from jaxcert.errors import exit_cleanly

OPTIONS: cli.Options = {
    "--distributed HOST:PORT,N,I": (
        None,
        "train as process I of N, of which process 0 listens at HOST:PORT; auto asks the "
        "cluster (default: one process)",
    ),
    "--distributed-wait SECONDS": (
        300,
        "how long to wait for the other processes at the start",
    ),
}


def main(argv: list[str] | None = None) -> int:
    args = cli.parse(argv, __doc__, OPTIONS, needs="config")
    if args.distributed:
        from jaxcert.training import processes

        processes.join(args.distributed, limit=args.distributed_wait)
    import jax

    from jaxcert.training import loop

    loop.train(args.config, args.workdir)
    if jax.process_count() > 1 or not args.config.certify.after_training:
        if jax.process_index() == 0:  # a certificate is one process' work
            classifies = bool(args.config.certify.name)
            more = "" if classifies else " --out FOLDER --count N"
            command = "certify" if classifies else "generate"
            print(
                f"trained; next: python -m jaxcert.{command} --workdir {args.workdir}{more}"
            )
        return 0
    from jaxcert.analysis import report
    from jaxcert.certificates import run

    run.certify(args.config, args.workdir)
    return report.show([args.workdir])


if __name__ == "__main__":
    sys.exit(exit_cleanly(main))
