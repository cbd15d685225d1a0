"""What a record of each procedure holds, and what of it a re-check misses or refuses."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy import special

from jaxcert import random_keys, records
from jaxcert.analysis.recheck import recheck
from jaxcert.certificate import ABSTAIN, Certificates
from jaxcert.certificates import norms, pilots, reach, sequential
from jaxcert.certificates.runner_up import Rival
from jaxcert.errors import InputError

N, ALPHA, SIGMA = 2000, 0.001, 0.5
LAW = dict(noise="gaussian", norm="l2", sigma=SIGMA, d=1)
RADIUS_OF = partial(norms.radius, **LAW)
RADII = (0.0, 0.25, 0.5, 0.75)
P = np.array([0.55, 0.8, 0.9, 0.98, 0.999])


def draw(rows, start, size):
    """Votes of three classes; P of them are for class 1."""
    rng = np.random.default_rng(3)
    rows = np.asarray(rows)
    size = np.broadcast_to(size, rows.shape)
    k = rng.binomial(size, P[rows])
    other = rng.binomial(size - k, 0.5)
    return np.stack([other, k, size - k - other], 1)


def record(name, *, rival="single", bound="union", n0=50):
    """Certificates as a certifier writes them, of votes that no network cast."""
    asked = dict(n0=n0, n=N, alpha=ALPHA, radii=RADII, rho=0.05, bound=bound)
    asked |= dict(num_classes=3, radius_of=RADIUS_OF, law=LAW)
    run, details, _ = reach.planned(name, Rival(rival), **asked)
    d = run(draw, len(P))
    procedure = dict(name=name, **details, noise="gaussian", scale=SIGMA)
    return Certificates(
        index=np.arange(len(P)),
        label=np.ones(len(P), int),
        predicted=np.where(d.answered, d.selected, ABSTAIN),
        radius=np.where(d.answered, d.radius, 0.0),
        n=d.n,
        seconds=np.zeros(len(P)),
        p_lower=d.p_lower,
        counts=d.counts,
        agreeing=d.agreeing,
        selection=d.selection,
        rivals=d.rivals,
        header=dict(
            method="smoothing",
            norm="l2",
            alpha=ALPHA,
            sigma=SIGMA,
            num_classes=3,
            procedure=procedure | dict(least_tail=0.0),
            generator=random_keys.GENERATOR | random_keys.OF_SAMPLES,
        ),
    )


def loaded(path, c, change=None):
    with records.Writer(path, c.header) as writer:
        writer.append(c)
    head, *rows = map(json.loads, path.read_text().splitlines())
    if change is not None:
        change(head, rows)
    path.write_text("".join(json.dumps(one) + "\n" for one in [head, *rows]))
    return records.load(path)


RECORDS = [
    dict(name="certify"),
    dict(name="certify", rival="runner_up"),
    dict(name="certify", rival="auto"),
    dict(name="predict"),
    dict(name="radii"),
    dict(name="two_stage"),
    dict(name="two_stage", rival="runner_up"),
    dict(name="sequence"),
    dict(name="sequence", bound="mixture"),
]


@pytest.mark.parametrize("asked", RECORDS, ids=lambda a: "-".join(a.values()))
def test_a_record_holds_what_its_procedure_asks_for(tmp_path, asked):
    c = loaded(tmp_path / "c.jsonl", record(**asked))
    assert recheck(c).holds and recheck(c).checked >= 4
    if asked["name"] == "predict":
        return
    assert (c.selection.sum(1) == 50).all()
    answers = c.predicted >= 0
    assert (c.selection.argmax(1) == c.predicted)[answers].all()
    for row in range(5):  # a row without its own selection proves nothing
        less = c._replace(
            selection=np.where(np.arange(5)[:, None] == row, 0, c.selection)
        )
        assert recheck(less).failing.tolist() == [row] * int(answers[row])


def put(**values):
    return lambda head, rows: head["procedure"].update(values)


def without(name):
    return lambda head, rows: head["procedure"].pop(name)


def spent(j, factor):
    def change(head, rows):
        head["procedure"]["spending"][j] *= factor

    return change


def step(i, j, value):
    def change(head, rows):
        head["procedure"]["rule"][i][j] = value

    return change


MIXTURE = dict(name="sequence", bound="mixture")
REFUSED = {
    "no spending": (dict(name="radii"), without("spending")),
    "all of alpha at the first look": (dict(name="radii"), spent(0, 2.0)),
    "more than alpha at the last": (dict(name="radii"), spent(-1, 1 + 1e-11)),
    "less at one look": (dict(name="radii"), spent(2, 0.5)),
    "spending at fewer looks": (dict(name="radii"), put(spending=[ALPHA])),
    "no sizes": (dict(name="two_stage"), without("sizes")),
    "other sizes": (dict(name="two_stage"), put(sizes=[100, N])),
    "no rule": (dict(name="two_stage"), without("rule")),
    "fewer votes than the rule asks": (dict(name="two_stage"), step(3, 1, 100)),
    "a rule that begins later": (dict(name="two_stage"), step(2, 0, 999)),
    "a rule with a point": (dict(name="two_stage"), step(0, 1, 0.0)),
    "a rule of numbers": (dict(name="two_stage"), put(rule=[0] * 1001)),
    "no sizes of a rival": (
        dict(name="two_stage", rival="runner_up"),
        without("sizes"),
    ),
    "a pilot with a point": (dict(name="two_stage"), put(pilot=1000.0)),
    "no mixture": (MIXTURE, without("mixture")),
    "another mixture": (MIXTURE, put(mixture=[1.0, 1.0])),
    "n0 with a point": (dict(name="sequence"), put(n0=50.0)),
    "n0 of none": (dict(name="certify"), put(n0=0)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_header_with_another_rule_is_refused(tmp_path, case):
    asked, change = REFUSED[case]
    c = loaded(tmp_path / "c.jsonl", record(**asked), change)
    with pytest.raises(InputError):
        recheck(c)


def test_a_rule_is_that_of_the_second_stage():
    given = dict(n=N, rho=0.05, alpha=ALPHA, radius_of=RADIUS_OF)
    steps = pilots.rule(**given)
    assert steps[0] == [0, 0] and [s[0] for s in steps] == sorted({s[0] for s in steps})
    found = np.concatenate(
        [
            np.full(after[0] - k, size)
            for (k, size), after in zip(steps, [*steps[1:], [1001]], strict=True)
        ]
    )
    k, sizes = 930, pilots.sizes(N)
    proven = RADIUS_OF(1 - np.array([lower(k * m // 1000, m) for m in sizes]))
    first = sizes[np.flatnonzero(proven >= 0.95 * proven[-1])[0]]
    assert found[k] == first and len(found) == 1001


def lower(k, n):
    """The bound of Clopper and Pearson."""
    return special.betaincinv(k, n - k + 1, ALPHA)


def test_spending_ends_at_alpha_and_gives_a_third_of_it_to_the_first_looks():
    looks = sequential.looks(4000)
    spending = sequential.spending(looks, 0.01)
    assert spending[-1] == 0.01 and (np.diff(spending) > 0).all()
    assert spending[0] == pytest.approx(0.01 * (1 / 40) ** 0.3)


@pytest.mark.parametrize("name", ["certify", "two_stage", "radii", "sequence"])
def test_a_record_of_the_first_format_is_judged_by_what_it_has(tmp_path, name):
    def change(head, rows):
        head["format"] = records.FORMAT_1
        for key in ("scale", "least_tail", "spending", "sizes", "rule"):
            head["procedure"].pop(key, None)
        head.pop("generator")
        for row in rows:
            row.pop("selection")

    c = loaded(tmp_path / "c.jsonl", record(name), change)
    found = recheck(c)
    assert found.holds and found.checked >= 4
    assert any(records.FORMAT_1 in note for note in found.notes)
    raised = c._replace(radius=c.radius + (c.predicted >= 0) * 0.01)
    assert len(recheck(raised).failing) == found.checked


ROOT = Path(__file__).parents[2]


def test_a_record_that_version_01_wrote_is_read_and_holds():
    c = records.load(ROOT / "tests" / "golden" / "certificates_1.jsonl")
    assert c.header["format"] == records.FORMAT_1 and len(c.index) == 12
    found = recheck(c)
    assert found.holds and found.checked == 12
    assert len(recheck(c._replace(radius=c.radius * (1 + 1e-8))).failing) == 12


def test_the_record_of_the_pages_holds_what_its_layers_say():
    c = records.load(ROOT / "docs" / "records" / "quickstart" / "certificates.jsonl")
    assert c.header["format"] == records.FORMAT and recheck(c).holds
    assert not recheck(c).notes
    bounds = [Fraction(each["bound"]) for each in c.header["layers"]]
    product = math.prod(bounds) * Fraction(c.header["head"])
    pairwise = Fraction(c.header["pairwise_bound"])
    assert product <= pairwise <= product * Fraction(1 + 1e-9)
    # as exact statements about the numbers of each row
    slack = Fraction(c.header["procedure"]["logit_slack"])
    for row in range(len(c.index)):
        z, y = [Fraction(x) for x in c.logits[row].tolist()], int(c.predicted[row])
        least = min(z[y] - x for j, x in enumerate(z) if j != y) - 2 * slack
        assert Fraction(float(c.radius[row])) * pairwise <= least or c.radius[row] == 0


def test_the_worked_example_of_the_page():
    """A unanimous vote: p_lower = alpha^(1/n)."""
    page = (ROOT / "docs" / "records.md").read_text()
    example = page.partition("## A radius by hand")[2].partition("## ")[0]
    row = json.loads(example.partition("```json\n")[2].partition("\n```")[0])
    n = row["counts"][row["predicted"]]
    assert row["n"] == n == 1000 == sum(row["counts"])
    p_lower = 0.001 ** (1 / n)
    radius = 0.25 * special.ndtri(p_lower)
    for number in (p_lower, special.ndtri(p_lower), radius):
        assert f"{number:.7f}" in example
    assert 0 < p_lower - row["p_lower"] < 1e-6 and 0 < radius - row["radius"] < 1e-5
    c = record("certify")
    procedure = c.header["procedure"] | dict(n0=100, n=n, scale=0.25)
    header = dict(sigma=0.25, num_classes=10, procedure=procedure)
    columns = dict.fromkeys(("agreeing", "rivals"))
    for name in ("index", "label", "predicted", "n", "counts", "selection"):
        columns[name] = np.array([row[name]])
    columns["seconds"] = np.zeros(1)
    for claim, holds in ((row["radius"], True), (0.61582, False)):
        columns |= dict(radius=np.array([claim]), p_lower=np.array([row["p_lower"]]))
        assert recheck(Certificates(**columns, header=c.header | header)).holds == holds
