"""Every number of a config at 0, -1, nan, inf and 1e30: refused in a sentence, or meaningful."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
from refusals import names

from jaxcert import config as configs
from jaxcert.errors import InputError
from jaxcert.training import build

ROOT = Path(__file__).parents[2]

MEANINGFUL = {
    # seeds; off; to the end; as many as there are; chosen for the device
    0: """
        seed certify.seed certify.start certify.stop certify.chunk certify.radii
        checkpoint.every_epochs eval.every_epochs eval.images eval.share
        data.pad data.holdout data.epoch_images data.generated_count data.generated_share
        data.augment.crop data.augment.cutout data.augment.randaugment
        data.augment.pipe_probability
        ema ema_halflife model.mean
        optim.momentum optim.b1 optim.b2 optim.weight_decay optim.clip_norm
        optim.warmup_epochs optim.warmup_steps
        consistency.eps consistency.eta consistency.lbd edm.P_mean gloro.first gloro.lam
        lot.gamma smoothmix.eta smoothmix.mix_step
        sortnet.eps_start sortnet.eps_end sortnet.lam sortnet.p_start
        dist_net.rho edm_unet.augment_labels edm_unet.dropout edm_unet.label_dropout
        edm_unet.num_classes
    """,
    -1: "model.mean edm.P_mean",
}


def numbers(section, prefix=""):
    """(dotted key, value) of numbers and of tuples that start with one."""
    for key, value in section.items():
        first = value[0] if isinstance(value, tuple) and value else value
        if hasattr(value, "items"):
            yield from numbers(value, f"{prefix}{key}.")
        elif isinstance(first, int | float) and not isinstance(first, bool):
            yield prefix + key, value


def changed(config, key, value, number):
    found = deepcopy(config)
    section, _, last = key.rpartition(".")
    place = found
    for part in section.split(".") if section else ():
        place = place[part]
    first = value[0] if isinstance(value, tuple) else value
    number = type(first)(number)
    with found.unlocked():
        place[last] = (number, *value[1:]) if isinstance(value, tuple) else number
    return found


def accepted(config, sections):
    """{number: keys} that are not refused."""
    found = {}
    for key, value in numbers(config):
        if not key.startswith(sections) or key.startswith(("reference.", "tiny.")):
            continue
        for number in (0, -1, float("nan"), float("inf"), 1e30):
            try:
                new = changed(config, key, value, number)
            except (ValueError, OverflowError):  # nan is no int
                continue
            try:
                configs.check(new, "x")
                build.build(new)
            except InputError as error:
                assert str(error).endswith(".")
            else:
                section, _, last = key.partition(".")
                own = section in ("model", "method") and last != "mean"
                name = f"{config[section].name}.{last}" if own else key
                found.setdefault(number, set()).add(name)
    return found


CONFIGS = {
    "smoothing/digits.py": "",  # all sections, here alone
    "smoothing/digits.py:smoothmix,0.25": "method.",
    "smoothing/digits.py:consistency,0.25": "method.",
    "quickstart.py": ("method.", "model."),
    "sortnet/digits.py:hybrid": ("method.", "model.", "certify."),
    "liresnet/digits.py": ("method.", "model."),
    "edm/digits.py": ("method.", "model.", "optim.", "ema"),
}


@pytest.mark.parametrize("name,sections", CONFIGS.items(), ids=CONFIGS)
def test_numbers_are_refused_or_mean_something(name, sections):
    config = configs.tiny(configs.load(str(ROOT / "configs" / name)))
    configs.check(config, "x")
    build.build(config)
    for number, keys in accepted(config, sections).items():
        assert sorted(keys - set(MEANINGFUL.get(number, "").split())) == []


@pytest.mark.parametrize(
    "file, value, fault",
    [
        ("smoothing/digits.py", "local", names("batch_statistics", "local")),
        ("edm/digits.py", "device", names("device", "edm_unet")),
    ],
)
def test_statistics_that_there_are_not_are_refused(file, value, fault):
    config = configs.tiny(configs.load(f"{ROOT}/configs/{file}"))
    config.batch_statistics = value
    with pytest.raises(InputError, match=fault):
        build.build(config)
