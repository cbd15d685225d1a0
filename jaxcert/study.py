"""What generated data gains: train and certify a system with and without it.

    python -m jaxcert.study --config configs/sortnet/digits.py --edm configs/edm/digits.py \\
        --counts 0,1000,5000 --seeds 0,1,2 --workdir runs/study
    python -m jaxcert.study --config configs/lot/cifar10.py:s --config \\
        configs/lot/cifar10.py:m --generated generated/5m --counts 0,1000000,5000000 \\
        --epochs 1,2 --workdir runs/lot_study

Every combination of --config, --counts, --shares, --epochs and --seeds is a workdir of its
own below --workdir, trained and certified as by jaxcert.train and jaxcert.certify, on the
test images and on some training images for the generalisation gap. What is finished is not
done again. --epochs multiplies data.epochs and the marks of a method's schedule that are
epochs (p_start, p_end, eps_start, eps_end). --edm trains the model of the generated images
first, and samples as many as the largest of --counts; all seeds share it. At the end,
`jaxcert.report --study` of all of them; its figure of the best and the last epoch needs
--config.eval.every_epochs, that of gap and gain three systems or numbers of epochs.
Altstidl et al. (2023): counts 0 to 10M, share 0.7, epochs 1 to 3.
"""

from __future__ import annotations

import sys

from jaxcert import cli
from jaxcert.errors import exit_cleanly

OPTIONS: cli.Options = {
    "--workdir DIR": (str, "folder of the study, in which every run gets a workdir"),
    "--generated PATH": ("", "the generated images: a folder of shards or an npz file"),
    "--edm FILE[:ROW]": (
        "",
        "or the config of an EDM, which is trained and makes them",
    ),
    "--counts X,X,...": ((0,), "numbers of generated images; 0: none"),
    "--shares X,X,...": ((0.7,), "shares of generated images in a batch"),
    "--epochs X,X,...": ((1.0,), "factors on data.epochs"),
    "--seeds X,X,...": ((0,), "of the training and of the sub-set of the images"),
    "--train-images N": (1000, "training images to certify for the gap; 0: none"),
    "--tiny": (
        False,
        "run the same study, shrunk to seconds, and its sampling with it",
    ),
}


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(__doc__, more=cli.ANY_VALUE)
    what = "config of a system; may be given several times"
    parser.add_argument(
        "--config", action="append", required=True, metavar="FILE[:ROW]", help=what
    )
    parser.add(OPTIONS)
    given, words = parser.parse_known_args(argv)
    cli.check_words(words)
    cli.quiet()
    from jaxcert.papers import study, study_report

    options = vars(given)
    return study_report.show(study.run(options.pop("config"), words=words, **options))


if __name__ == "__main__":
    sys.exit(exit_cleanly(main))
