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
--config.eval.every_epochs. The settings of Altstidl et al. (2023): counts 0, 1M, 5M, 10M of
one set, share 0.7, epochs 1 to 3 times as many.
"""

from __future__ import annotations

import sys

from jaxcert import cli
from jaxcert.errors import exit_cleanly


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(__doc__, more=cli.ANY_VALUE)
    add = parser.add_argument
    add(
        "--config",
        action="append",
        required=True,
        metavar="FILE[:ROW]",
        help="config of a system; may be given several times",
    )
    add(
        "--workdir",
        required=True,
        metavar="DIR",
        help="folder of the study, in which every run gets a workdir",
    )
    add(
        "--generated",
        default="",
        metavar="PATH",
        help="the generated images: a folder of shards or an npz file",
    )
    add(
        "--edm",
        default="",
        metavar="FILE[:ROW]",
        help="or the config of an EDM, which is trained and makes them",
    )
    values = dict(metavar="X,X,...")
    add(
        "--counts",
        type=_list(int),
        default="0",
        help="numbers of generated images; 0: none",
        **values,
    )
    add(
        "--shares",
        type=_list(float),
        default="0.7",
        help="shares of generated images in a batch",
        **values,
    )
    add(
        "--epochs",
        type=_list(float),
        default="1",
        help="factors on data.epochs",
        **values,
    )
    add(
        "--seeds",
        type=_list(int),
        default="0",
        help="of the training and of the sub-set of the images",
        **values,
    )
    add(
        "--train-images",
        type=int,
        default=1000,
        metavar="N",
        help="training images to certify for the generalisation gap; 0: none",
    )
    add("--tiny", action="store_true", help="run the same study, shrunk to seconds")
    given, words = parser.parse_known_args(argv)
    cli.check_words(words)
    cli.quiet()
    from jaxcert.papers import study, study_report

    options = vars(given)
    folders = study.run(options.pop("config"), words=words, **options)
    return study_report.show(folders)


def _list(kind):
    def parse(text):
        values = [kind(part) for part in text.split(",")]
        return list(dict.fromkeys(values))

    parse.__name__ = f"list of {kind.__name__}"
    return parse


if __name__ == "__main__":
    sys.exit(exit_cleanly(main))
