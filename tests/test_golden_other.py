"""Golden tests on arrays of other sizes, seeds and names than those in tests/golden.

One quick file of each area here; all of them by hand:

    python -m tests.golden_other FOLDER && JAXCERT_GOLDEN_DIR=FOLDER pytest -m golden
"""

from __future__ import annotations

import pytest
from conftest import Golden

from tests.certificates import test_statistics
from tests.diffusion import test_diffusion_lipschitz
from tests.golden_other.__main__ import AREAS, main
from tests.ops import test_norm_dist
from tests.training import test_optim


def optimizers(file):
    golden = Golden(file)
    test_optim._check_schedules(golden)
    test_optim._check_optimizers(golden)
    assert not golden.unread()


QUICK = {  # area -> file, and what compares it
    "lipschitz_l2": ("schedules_optimizers_other", optimizers),
    "linf": (
        "bounds_other",
        lambda file: test_norm_dist.test_interval_bounds_are_the_originals(None, file),
    ),
    "smoothing": (
        "clopper_pearson_other",
        test_statistics.test_clopper_pearson_is_the_originals,
    ),
    "diffusion": (
        "radii_other",
        test_diffusion_lipschitz.test_constants_and_radii_are_the_originals,
    ),
}


@pytest.mark.parametrize(
    "area", [pytest.param(area, marks=pytest.mark.golden(area)) for area in QUICK]
)
def test_comparisons_take_everything_from_the_file(x64, tmp_path, area):
    name, compare = QUICK[area]
    main(tmp_path, f"{area}/{name}")
    compare(tmp_path / area / f"{name}.npz")


def test_every_area_has_such_files():
    assert set(QUICK) == set(AREAS)
