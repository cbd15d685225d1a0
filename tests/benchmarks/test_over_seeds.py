"""Rows of configs over seeds: what is compared, and a tiny run."""

import json
import math

import pytest

from benchmarks import over_seeds
from docs import tables
from jaxcert.errors import InputError

DIGITS = "configs/lipnext/digits.py"
LOOKAHEAD = f"{DIGITS} optim.lookahead=True optim.lookahead_steps=2"


def test_rows_are_compared_with_the_first_seed_by_seed():
    runs = [
        [{"0": a, "core minutes": 10.0} for a in row]
        for row in ([0, 3], [1, 2], [2, 5])
    ]
    found = over_seeds.compared(("a", "b", "c"), runs)
    first, second, third = found["numbers"]["0"]
    assert first == {"seeds": [0, 3]} and found["seeds"] == [0, 1]
    assert second["seeds"] == [1, 2] and second["difference"] == 0
    half = 12.706204736  # of Student's t with one degree of freedom
    assert (second["low"], second["high"]) == pytest.approx((-half, half))
    assert [third[key] for key in ("difference", "low", "high")] == [2, 2, 2]
    shown = tables.over_seeds(found | {"epochs": [7, 7, 9]})
    assert "1.5, +0.0 [-12.7, +12.7]" in shown and "3.5, +2.0 [+2.0, +2.0]" in shown
    assert "mean of 2 seeds, 7 or 9 epochs" in shown and "10.00, +0.00" in shown


def test_values_after_a_row_replace_those_of_its_config():
    config = over_seeds.config_of(LOOKAHEAD, seed=3, epochs=20, tiny=False)
    assert config.optim.lookahead and config.optim.lookahead_steps == 2
    assert (config.seed, config.data.epochs) == (3, 20)
    assert not over_seeds.config_of(
        DIGITS, seed=0, epochs=0, tiny=False
    ).optim.lookahead
    names = {over_seeds.folder_of(row, 0) for row in (DIGITS, LOOKAHEAD)}
    assert len(names) == 2 and not any("/" in name for name in names)
    with pytest.raises(InputError, match="optim.lr_"):
        over_seeds.config_of(f"{DIGITS} optim.lr_=1", seed=0, epochs=0, tiny=False)


def test_a_shorter_run_warms_up_for_as_large_a_share():
    row = "configs/liresnet/cifar10.py"
    whole = over_seeds.config_of(row, seed=0, epochs=0, tiny=False)
    short = over_seeds.config_of(row, seed=0, epochs=80, tiny=False)
    share = whole.optim.warmup_epochs / whole.data.epochs
    assert short.optim.warmup_epochs == math.ceil(80 * share) == 2


@pytest.mark.slow
def test_the_script_from_nothing_and_again(tmp_path):
    words = [
        DIGITS,
        LOOKAHEAD,
        "--tiny",
        "--seeds",
        "2",
        "--workdir",
        str(tmp_path / "w"),
    ]
    words += ["--out", str(tmp_path / "out.json")]
    assert over_seeds.main(words) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert over_seeds.main(words) == 0
    assert json.loads((tmp_path / "out.json").read_text()) == found
    assert found["rows"] == [DIGITS, LOOKAHEAD]
