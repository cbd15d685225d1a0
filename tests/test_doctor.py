"""`jaxcert doctor`: one line for each fact, and tests that notice a machine that is wrong."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusals import names, tells

from jaxcert import doctor, machine, version
from jaxcert.certificates import selftest
from jaxcert.errors import InputError


def test_lines_and_tests(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "17")
    assert doctor.main([f"--folder={tmp_path}"]) == 0
    said = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    facts = "jaxcert packages extras devices precision generator settings memory disk"
    assert list(said) == [*facts.split(), *selftest.TESTS]
    assert said["jaxcert"].startswith(version.__version__)
    assert f"jax {jax.__version__}," in said["packages"]
    assert "cpu" in said["devices"] and "OMP_NUM_THREADS=17" in said["settings"]
    assert str(tmp_path) in said["disk"] and "GB" in said["disk"]
    assert f"{selftest.AGREEING} of 1,000" in said["votes"]
    assert not any("FAILED" in text for text in said.values())


def test_a_test_that_fails_is_said_and_the_others_run(capsys, monkeypatch):
    monkeypatch.setattr(machine, "lines", lambda folder: iter(()))
    monkeypatch.setitem(selftest.TESTS, "votes", lambda: "fine")
    monkeypatch.setattr(selftest, "BITS", (1, 2))
    assert doctor.main([]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(selftest.TESTS)
    assert "FAILED" not in lines[0] and tells(lines[1].rpartition(" (")[0], "FAILED")
    assert "fine" in lines[2]


def test_noise_that_ends_too_early(monkeypatch):
    monkeypatch.setattr(selftest.noise, "least_tail", lambda noise: 1e-5)
    with pytest.raises(InputError, match=names("1e-05", "1e-06")):
        selftest.generator()


@pytest.mark.parametrize("wrong", ["counts", "radius", "claim"])
def test_votes_or_radii_that_cannot_be(monkeypatch, wrong):
    rows = selftest._half_space(None)
    assert rows.counts[0].tolist() == [1000 - selftest.AGREEING, selftest.AGREEING]
    if wrong == "counts":
        less = dict(radius=rows.radius / 2, p_lower=rows.p_lower * 0.9)  # it holds
        rows = rows._replace(counts=rows.counts + np.array([[3, -3]]), **less)
    elif wrong == "radius":
        rows = rows._replace(radius=np.array([0.26]))
    else:
        rows = rows._replace(radius=rows.radius * 1.01)
    monkeypatch.setattr(selftest, "_half_space", lambda mesh: rows)
    with pytest.raises(InputError, match=names("votes", "1,000")):
        selftest.votes()


def test_precision_of_products_is_measured(monkeypatch):
    def short(a, b):
        return jnp.matmul(a.astype(jnp.bfloat16), b.astype(jnp.bfloat16))

    exact = machine._precision()
    monkeypatch.setattr(machine, "_product", short)
    error = float(machine._precision().split()[-1])
    assert error > 1e-3 > 1e-5 > float(exact.split()[-1])
