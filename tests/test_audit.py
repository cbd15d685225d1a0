"""The auditor agrees with the re-check where nothing was changed, and rejects what was."""

from __future__ import annotations

import ast
import copy
import math
import subprocess
import sys
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy import special

from jaxcert import audit, records
from jaxcert.analysis import recheck
from jaxcert.certificates import norms, pilots, procedures
from tests import audit_many as many
from tests import audit_tampering as tampering

ROOT = Path(__file__).parents[1]
FILE = ROOT / "jaxcert" / "audit.py"
IMAGES, ALPHA, SIGMA = 24, many.ALPHA, many.SIGMA
KINDS = [
    (name, noise, norm, bound)
    for noise, possible in norms.RADII.items()
    for norm in possible
    for name in procedures.NAMES
    for bound in (("union", "mixture") if name == "sequence" else ("union",))
    if name != "two_stage" or (noise, norm) == ("gaussian", "l2")
]
MEANS = ("predicted", "means", "variances")
SOME = ("gaussian", "l2"), ("grid", "linf"), ("uniform", "linf"), ("laplace", "l1")
RIVALS = [
    (name, noise, norm, bound, rival)
    for noise, norm in SOME
    for name, bound in (("certify", "union"), ("two_stage", "union"), ("sequence", "mixture"))
    for rival in ("runner_up", "auto")
    if name != "two_stage" or noise == "gaussian"
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_agrees_with_the_recheck_of_votes(kind, tmp_path):
    head, rows = many.voted(*kind)
    assert sum(row["predicted"] == 0 for row in rows) > IMAGES / 2
    assert many.disagreements(tmp_path, head, rows) == 0


@pytest.mark.parametrize("kind", RIVALS, ids=str)
def test_agrees_with_the_recheck_of_rivals(kind, tmp_path):
    undrawn = 0.01 * (kind[1] == "grid")
    head, rows = many.voted(*kind, classes=4, undrawn=undrawn)
    assert sum(row["predicted"] == 0 for row in rows) > IMAGES / 2
    assert many.disagreements(tmp_path, head, rows) == 0


@pytest.mark.parametrize("family", many.FAMILIES)
def test_agrees_with_the_recheck_of_margins(family, tmp_path):
    kinds = ["lipschitz"] + ["interval"] * (many.FAMILIES[family][1] == "linf")
    for kind in kinds:
        head, rows = many.bounded(kind, family, classes=4)
        assert many.disagreements(tmp_path, head, rows) == 0


@pytest.mark.parametrize("bound", ["bernstein", "hoeffding"])
def test_agrees_with_the_recheck_of_means(bound, tmp_path):
    head, rows = many.bounded(bound)
    assert sum(row["radius"] > 0 for row in rows) > IMAGES / 3
    assert many.disagreements(tmp_path, head, rows) == 0


@pytest.mark.parametrize(
    "kind", [*procedures.NAMES, "lipschitz", "interval", "bernstein", "hoeffding"]
)
def test_records_of_format_1_are_judged_and_say_what_is_assumed(kind, tmp_path):
    head, rows = many.aged(*many.fresh(kind))
    assert many.disagreements(tmp_path, head, rows) == 0
    unseen = audit.audit(many.written(tmp_path, head, rows))[2]
    assert any("format 1" in each for each in unseen)


def test_margins_of_one_radius_of_format_1(tmp_path):
    """Version 0.1 kept the margins [K] on the box of the row's own radius."""
    head, rows = many.aged(*many.fresh("interval"))
    for row in rows:
        tried = dict(zip(many.BOXES, row.pop("least_margins"), strict=True))
        row["margins"] = [tried.get(row["radius"])] * 3
    holds = [i for i, row in enumerate(rows) if row["radius"] > 0]
    path = many.written(tmp_path, head, rows)
    assert holds and many.lines_at_fault(path) == set()
    rows[holds[0]]["margins"] = [-0.1] * 3
    assert many.lines_at_fault(many.written(tmp_path, head, rows)) == {holds[0] + 2}


@pytest.mark.parametrize("kind", ["certify", "two_stage", "sequence", "lipschitz"])
def test_exact_mode_has_no_tolerance(kind, tmp_path):
    """A radius above the exact one by 1e-11 of it."""
    head, rows = many.fresh(kind)
    rows[0]["radius"] *= 1 + 1e-11
    path = many.written(tmp_path, head, rows)
    assert many.lines_at_fault(path) == set()
    assert many.lines_at_fault(path, exact=True) == {2}


def test_what_a_config_does_not_say_is_named(tmp_path):
    head, rows = many.fresh("certify")
    assert not any(
        "config" in x for x in audit.audit(many.written(tmp_path, head, rows))[2]
    )
    del head["config"]["certify"]["sigma"], head["model"]["num_classes"]
    head["config"]["model"] = head["model"]
    unseen = audit.audit(many.written(tmp_path, head, rows))[2]
    assert "not seen: the config's sigma, num_classes" in unseen


@pytest.mark.parametrize("title", tampering.TAMPERING)
def test_tampering_is_rejected(title, tmp_path):
    kind, edit = tampering.TAMPERING[title]
    head, rows = next(tampering.variants(kind))
    assert audit.audit(many.written(tmp_path, head, rows))[:2] == (0, [])
    edit(head, rows)
    path = many.written(tmp_path, head, rows)
    for exact in (False, True):
        status, faults, _ = audit.audit(path, exact=exact)
        assert status == 1 and faults


@pytest.mark.parametrize("title", tampering.UNSEEN)
def test_what_arithmetic_cannot_see(title, tmp_path):
    kind, edit = tampering.UNSEEN[title]
    head, rows = next(tampering.variants(kind))
    edit(head, rows)
    assert audit.audit(many.written(tmp_path, head, rows))[0] == 0


def test_the_bound_of_auto_is_chosen_by_the_selection_and_not_by_the_result(tmp_path):
    """Of the bounds that an image may have the larger one, of the same votes."""
    how = dict(classes=10, images=120)
    one, two = (many.voted(rival=rival, **how)[1] for rival in ("single", "runner_up"))
    head, rows = copy.deepcopy(many.voted(rival="auto", **how))
    larger = set()
    for i, row in enumerate(rows):
        best = max((one[i], two[i]), key=lambda x: x["radius"])
        assert row["counts"] == best["counts"]
        if best["radius"] > row["radius"] * (1 + 1e-9):
            row |= {k: best[k] for k in ("predicted", "radius", "p_lower")}
            larger.add(i + 2)
    assert larger
    assert many.lines_at_fault(many.written(tmp_path, head, rows)) == larger


def radius_by_hand(k, c):
    """Of k of 1000 votes, and c for the rival, with two bounds."""
    low = special.betaincinv(k, 1001 - k, ALPHA / 2)
    high = special.betaincinv(c + 1, 1000 - c, 1 - ALPHA / 2)
    return SIGMA / 2 * (special.ndtri(low) - special.ndtri(high))


def test_the_best_other_class_by_hand(tmp_path):
    """Of 1000 votes 500 200 130 100 70 the best other class has 200, so that
    R = sigma / 2 (Phi^-1(L(500)) - Phi^-1(U(200))) at alpha / 2."""
    head, rows = copy.deepcopy(many.voted(rival="runner_up", classes=5))
    exact = radius_by_hand(500, 200)
    counts, selection = [500, 200, 130, 100, 70], [50, 26, 8, 8, 8]
    for factor, expected in ((1 - 1e-9, set()), (1 + 1e-7, {2})):
        rows[0] |= dict(counts=counts, selection=selection, radius=exact * factor)
        rows[0] |= dict(predicted=0, p_lower=None)
        path = many.written(tmp_path, head, rows)
        for how in (False, True):
            assert many.lines_at_fault(path, exact=how) == expected


def test_samples_that_could_not_be_drawn_count_for_the_rival(tmp_path):
    """30 of 1000 votes are for no class: with noise of the grid they may be the rival's."""
    for noise, c in (("gaussian", 300), ("grid", 330)):
        head, rows = copy.deepcopy(many.voted(noise=noise, rival="runner_up"))
        exact = radius_by_hand(600, c)
        for factor, expected in ((1 - 1e-9, set()), (1 + 1e-7, {2})):
            rows[0] |= dict(counts=[600, 300, 70], radius=exact * factor, p_lower=None)
            path = many.written(tmp_path, head, rows)
            assert many.lines_at_fault(path) == expected


def test_samples_that_could_not_be_drawn_count_for_the_second_of_predict(tmp_path):
    """80 of 1000 votes are for no class: 520 are more than 400, and not surely than 480."""
    for noise, expected in (("gaussian", set()), ("grid", {2})):
        head, rows = copy.deepcopy(many.voted("predict", noise=noise))
        rows[0].update(predicted=0, counts=[520, 400, 0])
        path = many.written(tmp_path, head, rows)
        assert many.lines_at_fault(path) == expected
        failing = recheck.recheck(records.load(path)).failing
        assert {int(i) + 2 for i in failing} == expected


def test_votes_at_a_look_leave_room_for_those_of_the_others(tmp_path):
    """At 100 samples 40 votes are for the class, and 30 or more for one of the two others."""
    head, rows = copy.deepcopy(many.voted("sequence", rival="runner_up"))
    agreeing, counts = [40, 90, 200, 415, 520], [520, 400, 80]
    rows[0] |= dict(n=1000, predicted=0, counts=counts, agreeing=agreeing, radius=0.01)
    for most, expected in ((30, set()), (29, {2})):
        rows[0] |= dict(rivals=[most, 60, 140, 320, 400], p_lower=0.0)
        path = many.written(tmp_path, head, rows)
        assert many.lines_at_fault(path) == expected
        failing = recheck.recheck(records.load(path)).failing
        assert {int(i) + 2 for i in failing} == expected


def test_a_key_that_stands_twice_is_rejected(tmp_path):
    """Readers differ in which of both they take."""
    path = many.written(tmp_path, *many.fresh("certify"))
    text = path.read_text()
    path.write_text(text.replace('"radius"', '"radius": 0.01, "radius"', 1))
    assert many.lines_at_fault(path) == {2, 1}


def test_rows_without_a_label_are_judged(tmp_path):
    head, rows = many.fresh("certify")
    for row in rows:
        row["label"] = None
    assert audit.audit(many.written(tmp_path, head, rows))[:2] == (0, [])


@pytest.mark.parametrize(
    "edit",
    [
        tampering.put(format="jaxcert-certificates-9"),
        tampering.put(method="pgd"),
        tampering.put(method=None),
        tampering.put(method="\ud800"),
        tampering.put("procedure", name="bayes"),
        tampering.put("procedure", bound="bonferroni"),
        tampering.put("procedure", rival="third"),
        tampering.put(norm="l3"),
    ],
)
def test_what_is_not_known_is_not_judged(edit, tmp_path, capsys):
    head, rows = many.fresh("certify")
    head["config"] = {}
    edit(head, rows)
    path = many.written(tmp_path, head, rows)
    assert audit.main([str(path)]) == 2
    assert "arithmetic" not in capsys.readouterr().out


def test_files_that_are_no_records_are_not_judged(tmp_path):
    head = b'["%s"]' % audit.FORMAT.encode()
    contents = (
        b"",
        b"idx\tlabel\n",
        b"\xff\xfe",
        b"[1]\n",
        head,
        head[1:-1],
        head + b"\xff",
    )
    for content in (*contents, b'{"format": ' + 10**5 * b"[", b'{"format":"x"}'):
        (tmp_path / "x").write_bytes(content)
        status, faults, _ = audit.audit(tmp_path / "x")
        assert (status, len(faults)) == (2, 1)
    folder = tmp_path / "folder" / "certificates.jsonl"
    folder.mkdir(parents=True)
    for path, missing in [
        ("none", "none"),
        (".", "certificates.jsonl"),
        (300 * "x", 300 * "x"),
        ("folder", "folder/certificates.jsonl"),
    ]:
        status, (said,), _ = audit.audit(tmp_path / path)
        assert status == 2 and said.endswith(f" {tmp_path / missing}")


def test_the_record_of_the_quickstart_holds_and_runs_by_path():
    """-I: neither this folder nor PYTHONPATH is on the path."""
    folder = ROOT / "docs" / "records" / "quickstart"
    command = [sys.executable, "-I", FILE, "--exact", folder]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "level reached: arithmetic" in done.stdout


def test_statuses_of_several_records(tmp_path, capsys):
    good = ROOT / "docs" / "records" / "quickstart"
    head, rows = many.fresh("certify")
    rows[0]["radius"] *= 2
    bad = many.written(tmp_path, head, rows)
    assert audit.main([str(good), str(tmp_path / "none")]) == 2
    assert audit.main([str(bad), str(good), str(tmp_path / "none")]) == 1
    said = capsys.readouterr().out
    assert "line 2: radius" in said and said.count("not seen: ") > 1


def test_a_record_without_requests_or_config_says_what_is_not_seen(tmp_path):
    head, rows = many.fresh("certify")
    head.pop("requests")
    head.pop("config")
    rows.pop()
    status, faults, unseen = audit.audit(many.written(tmp_path, head, rows))
    assert (status, faults) == (0, [])
    assert len(unseen) == 3


def test_a_record_that_was_bounded_again_says_what_is_not_seen(tmp_path):
    head, rows = copy.deepcopy(many.voted(rival="runner_up"))
    head["bounded_again"] = dict(rival="single")
    status, faults, unseen = audit.audit(many.written(tmp_path, head, rows))
    assert (status, faults) == (0, [])
    assert any("rival" in each for each in unseen)


def test_requests_of_rows_count(tmp_path):
    """A record that was continued has the further request at the row that was first then."""
    head, rows = many.fresh("certify")
    head["requests"] = [dict(start=0, stop=20, step=1)]
    rows[20]["requests"] = [dict(start=20, stop=IMAGES, step=1)]
    assert audit.audit(many.written(tmp_path, head, rows))[:2] == (0, [])
    rows.pop()
    assert many.lines_at_fault(many.written(tmp_path, head, rows)) == {1}


def test_it_imports_numpy_and_scipy_alone_and_is_short():
    text = FILE.read_text()
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found.add(node.module.split(".")[0])
    assert found - sys.stdlib_module_names == {"numpy", "scipy"}
    assert len(text.splitlines()) <= 400


# The numbers themselves.


def test_a_unanimous_vote_by_hand(tmp_path):
    """p_lower = alpha^(1/n): 0.001^(1/1000) = 0.99311605, and r = 0.5 Phi^-1 of it."""
    head, rows = many.fresh("certify")
    exact = 0.5 * special.ndtri(0.001**0.001)
    assert round(exact, 4) == 1.2316
    for factor, expected in ((1 - 1e-12, False), (1 + 1e-8, True)):
        rows[0] |= dict(counts=[1000, 0, 0], radius=exact * factor, p_lower=0.99311604)
        found = many.lines_at_fault(many.written(tmp_path, head, rows))
        assert (2 in found) == expected


@pytest.mark.parametrize("noise, fails", [("gaussian", True), ("grid", False)])
def test_a_tail_that_float32_noise_does_not_show_is_not_proven(noise, fails, tmp_path):
    """All of 10^8 votes, of which version 0.1 made a radius of 5.3 sigma."""
    head, rows = many.fresh("certify")
    n = 10**8
    head["config"] = {}
    head["procedure"] = dict(name="certify", n=n, n0=100, noise=noise)
    rows[0] |= dict(counts=[n, 0, 0], radius=SIGMA * 5.2, p_lower=None)
    for one in rows:
        one["n"] = n
        one |= dict(predicted=-1, radius=0.0) if one["index"] else {}
    path = many.written(tmp_path, head, rows)
    for exact in (False, True):
        expected = {2} if fails else set()
        assert many.lines_at_fault(path, exact=exact) == expected
    rows[0]["radius"] = SIGMA * 4.7
    assert many.lines_at_fault(many.written(tmp_path, head, rows)) == set()


def test_an_alpha_below_what_is_left_out_rejects_nothing():
    """Tails below 1e-30 are not counted, so no count may reject at less than 1e-25."""
    looks = (100, 200, 400)
    for spending in ((5e-29, 6e-29, 1e-28), (9e-26, 1e-25, 2e-25)):
        found = audit.boundary(1e-5, looks, spending, True)
        assert found[:2] == [101, 201]


def test_bounds_of_means_are_rounded_down_if_exact(tmp_path):
    """By rounding to nearest a margin may be larger than that of its mean."""
    head, rows = many.fresh("bernstein")
    asked, (y, m, v) = head["procedure"], map(rows[0].get, MEANS)
    n, log = asked["n"], math.log(2 / ALPHA)
    lost = 14 * sum(asked["weights"]) * log / (3 * (n - 1))
    low = [a - math.sqrt(2 * b * log / n) - lost for a, b in zip(m, v, strict=True)]
    rows[0]["logits"] = [0.0 if j == y else -low[j] for j in range(3)]
    rows[0]["radius"] = 1e-3
    path = many.written(tmp_path, head, rows)
    assert many.lines_at_fault(path, exact=True) == {2}
    rows[0]["logits"] = [z + 1e-10 * (j != y) for j, z in enumerate(rows[0]["logits"])]
    path = many.written(tmp_path, head, rows)
    assert many.lines_at_fault(path, exact=True) == set()


@pytest.mark.parametrize("n, k, q", [(10, 7, 0.5), (40, 40, 0.01), (25, 3, 0.75)])
def test_binomial_sums(n, k, q):
    p = 1 - Fraction(q)
    exact = sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))
    with localcontext(prec=60):
        found = audit.chance(False, n, k, Decimal(q))
        assert abs(Fraction(found) / exact - 1) < 1e-50
    assert audit.chance(False, n, k, q) == pytest.approx(float(exact), rel=1e-13)


@pytest.mark.parametrize("n, k, q", [(10, 9, 0.4), (64, 64, 0.1), (500, 460, 0.16)])
def test_mixture_of_likelihood_ratios(n, k, q):
    """B(k + 1/2, n - k + 1/2) / B(1/2, 1/2) = C(2k, k) C(2m, m) / (C(n, k) 4^n), m = n - k."""
    m, p = n - k, 1 - Fraction(q)
    mixed = Fraction(math.comb(2 * k, k) * math.comb(2 * m, m), math.comb(n, k) * 4**n)
    exact = min(p**k * (1 - p) ** m / mixed, 1)
    found = audit.chance(True, n, k, q)
    assert exact <= found <= float(exact) * (1 + 2e-14 * n)
    # a p above k / n is not rejected from below
    assert audit.chance(True, n, k, 0.5 * (1 - k / n)) == 1


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("n, k", [(100, 100), (1000, 999), (1000, 640), (50, 3)])
def test_a_bound_is_where_votes_begin_to_reject(mixed, n, k):
    q = audit.bound(mixed, n, k, ALPHA)
    assert audit.chance(mixed, n, k, q) <= ALPHA
    assert q == 1 or audit.chance(mixed, n, k, q * (1 - 1e-12)) > ALPHA
    sure = audit.bound(mixed, n, k, ALPHA, True)
    assert q <= sure <= q * (1 + 2e-13)
    if not mixed:
        with localcontext(prec=60):
            assert audit.chance(mixed, n, k, Decimal(sure)) <= ALPHA
    assert audit.bound(mixed, n, 0, ALPHA) == 1


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("q, alpha", [(0.5, 0.2), (0.3, 0.5), (0.0, 0.1)])
def test_boundaries_spend_alpha_as_enumeration_does(q, alpha, exact):
    """All 2^8 votes at looks 2, 5 and 8: each count is the smallest that may be."""
    looks = (2, 5, 8)
    spending = tuple(alpha * (look / 8) ** 0.3 for look in looks)
    bounds = audit.boundary(q, looks, spending, exact)

    def crossed(bounds):
        total = 0.0
        for votes in product((0, 1), repeat=8):
            k = [sum(votes[:look]) for look in looks]
            if any(a >= b for a, b in zip(k, bounds, strict=False)):
                total += (1 - q) ** k[-1] * q ** (8 - k[-1])
        return total

    for j, look in enumerate(looks):
        assert crossed(bounds[: j + 1]) <= spending[j]
        lower = [*bounds[:j], bounds[j] - 1]
        assert bounds[j] <= look + 1 and crossed(lower) > spending[j]


@pytest.mark.parametrize("n", [300, 10_000, 100_000])
def test_sizes_of_the_second_stage_are_those_of_the_library(n):
    law = dict(noise="gaussian", norm="l2", sigma=SIGMA, d=1)
    k = np.array([450, 560, 700, 853, 990, 999, 1000])
    c = (1000 - k) * 2 // 3
    sizes = tuple(pilots.sizes(n).tolist())
    radius = partial(audit.radius_of, "gaussian", SIGMA, 1, 0, 0)
    for both in (False, True):
        expected = pilots.second_stage(
            *(k, c, np.full(len(k), both), np.full(len(k), ALPHA)),
            **dict(n=n, rho=0.05, radius_of=partial(norms.radius, **law)),
        )
        for votes, other, size in zip(k, c, expected, strict=True):
            rival = int(other) if both else 1000
            how = radius, sizes, ALPHA, 0.05, 1000, int(votes), rival
            assert audit.second_stage(*how) == size


@pytest.mark.slow
def test_the_auditor_of_a_part_of_the_rows(tmp_path):
    """`tests.audit_many` in small: every kind of record at least once."""
    found = [name for name, *_ in many.plan(0)]
    others = {"lipschitz", "interval", "diffusion_classifier"}
    assert {*found} == {*procedures.NAMES, *others}


def test_a_record_that_the_recheck_reads_is_the_same(tmp_path):
    path = many.written(tmp_path, *many.fresh("sequence"))
    assert recheck.recheck(records.load(path)).holds


def test_the_page_says_how_many_modified_records_are_rejected():
    page = " ".join((ROOT / "docs" / "howto" / "audit.md").read_text().split())
    kinds = len(tampering.TAMPERING)
    records_of_kind = sum(1 for _ in tampering.variants("lipschitz"))
    cases = f"{kinds * records_of_kind:,} modified records of {kinds} kinds"
    assert kinds >= 50 and kinds * records_of_kind >= 1000 and cases in page
