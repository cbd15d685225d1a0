"""The auditor agrees with the re-check where nothing was changed, and rejects what was."""

# ruff: noqa: E501

from __future__ import annotations

import ast
import copy
import json
import math
import subprocess
import sys
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import cache, partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy import special

from jaxcert import audit, random_keys, records
from jaxcert.analysis import recheck
from jaxcert.certificates import norms, procedures, smoothing

ROOT = Path(__file__).parents[1]
FILE = ROOT / "jaxcert" / "audit.py"
IMAGES, N, SIGMA, ALPHA = 24, 1000, 0.5, 0.001
SHAPE = [4, 4, 1]
TRIED = (0.0, 0.02, 0.05, 0.1, 0.3)
KINDS = [
    (name, noise, norm, bound)
    for noise, possible in norms.RADII.items()
    for norm in possible
    for name in procedures.NAMES
    for bound in (("union", "mixture") if name == "sequence" else ("union",))
]


def counter_of(vote, drawn, *, num_classes, chunk, mesh):
    """Votes that are drawn from a law with probability p for class 0, in place of a network's:
    p is 1 less the number in the image's index of a fixed list."""
    rng = np.random.default_rng(0)
    p = 1 - np.geomspace(1e-6, 0.6, IMAGES)

    def count(key, index, image, rows, start, size):
        mine = p[np.asarray(index)[rows]]
        law = np.stack([mine, 0.7 * (1 - mine), 0.3 * (1 - mine)], 1)
        sizes = np.broadcast_to(size, len(law))
        return np.stack(
            [rng.multinomial(m, q) for m, q in zip(sizes, law, strict=True)]
        )

    return count


def head_of(header, certify):
    """The header of a run, with its config."""
    model = dict(name="small_cnn", image_shape=SHAPE, num_classes=3)
    model |= header.pop("model", {})
    certify = dict(split="test", seed=0) | certify
    return header | dict(
        format=audit.FORMAT,
        num_classes=3,
        model=model,
        precision="highest",
        dataset="digits",
        split="test",
        seed=0,
        images=2 * IMAGES,
        requests=[dict(start=0, stop=IMAGES, step=1)],
        config=dict(
            model=model,
            precision="highest",
            data=dict(name="digits"),
            certify=certify,
        ),
    )


@cache
def voted(name, noise="gaussian", norm="l2", bound="union", n=N, alpha=ALPHA):
    """(header, rows) of a record that a procedure wrote from simulated votes."""
    given = dict(sigma=SIGMA, n0=100, n=n, alpha=alpha, procedure=name, bound=bound)
    given |= dict(noise=noise, norm=norm, radii=TRIED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(smoothing.voting, "counter", counter_of)
        made = smoothing.certifier(
            print, num_classes=3, image_shape=tuple(SHAPE), **given
        )
        index = np.arange(IMAGES)
        image = np.zeros((IMAGES, *SHAPE), np.float32)
        c = made.certify(random_keys.key(0), image, np.zeros(IMAGES, int), index)
    return head_of(made.header, given | dict(name="smoothing")), rows_of(c)


def rows_of(c):
    return list(records.files._rows_to_json(c))


def logits():
    """Rows of logits with their gap to the second largest; the last class is never right."""
    rng = np.random.default_rng(1)
    z = rng.normal(size=(IMAGES, 3))
    second, first = np.sort(z, 1)[:, -2:].T
    row = [
        dict(index=i, label=0, predicted=int(z[i].argmax()), n=1, seconds=0.0)
        | dict(logits=z[i].tolist())
        for i in range(IMAGES)
    ]
    return row, first - second


@cache
def bounded(kind):
    rows, gap = logits()
    slack = 1e-6
    if kind == "interval":
        tried = [0.05, 0.1, 0.2]
        for row, most in zip(rows, gap, strict=True):
            row["least_margins"] = [float(most - 4 * r) for r in tried]
            sure = [r for r in tried if most - 4 * r > 2 * slack]
            row["radius"] = max(sure, default=0.0)
        asked = dict(name="interval", radii=tried, logit_slack=slack)
        head = dict(method="interval", norm="linf", alpha=0, procedure=asked)
        head["model"] = dict(name="dist_net")
        return head_of(head, dict(name="interval", radii=[0.0, *tried])), rows
    asked = dict(name="margin", logit_slack=slack)
    head = dict(method="lipschitz", norm="l2", alpha=0, procedure=asked)
    head |= dict(pairwise_bound=1.7, model=dict(name="lip_convnet"))
    if kind == "lipschitz":
        for row, most in zip(rows, gap, strict=True):
            row["radius"] = max((most - 2 * slack) / 1.7 * (1 - 1e-14), 0.0)
        return head_of(head, dict(name="lipschitz")), rows
    more = dict(n0=10, n=500, bound="bernstein", cap=1.0, levels=126)
    asked |= dict(logit_slack=0.0, **more)
    head |= dict(method="diffusion_classifier", alpha=ALPHA, model=dict(name="edm"))
    for row, most in zip(rows, gap, strict=True):
        row["logits"] = [
            -float(most) if j != row["predicted"] else 0.0 for j in range(3)
        ]
        row |= dict(n=500, radius=most / 1.7 * (1 - 1e-14))
    return head_of(head, dict(name="diffusion_classifier", alpha=ALPHA, **more)), rows


def fresh(kind):
    made = bounded(kind) if kind in BOUNDED else voted(kind)
    return copy.deepcopy(made)


BOUNDED = ("lipschitz", "interval", "diffusion_classifier")


def written(folder, head, rows):
    path = folder / "c.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in [head, *rows]))
    return path


def lines_at_fault(path, **how):
    status, faults, _ = audit.audit(path, **how)
    assert status == bool(faults)
    return {int(fault.split()[1].rstrip(":")) for fault in faults}


@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_agrees_with_the_recheck_of_votes(kind, tmp_path):
    head, rows = copy.deepcopy(voted(*kind))
    path = written(tmp_path, head, rows)
    assert sum(row["predicted"] == 0 for row in rows) > IMAGES / 2
    assert recheck.recheck(records.load(path)).holds
    assert audit.audit(path)[:2] == (0, [])
    with localcontext() as context:
        assert context.prec == 28
        assert audit.audit(path, exact=True)[:2] == (0, [])
    for i, row in enumerate(rows):  # every second claim is raised a little
        if i % 2 == 0 and row["predicted"] == 0:
            tried = [r for r in TRIED if r > row["radius"]]
            more = (
                tried[0] if kind[0] == "radii" and tried else row["radius"] * (1 + 1e-7)
            )
            row["radius"] = more + 1e-9 * (kind[0] == "predict")
    path = written(tmp_path, head, rows)
    c = records.load(path)
    # a radius that was not tried, or that the library's own finding rejects
    failing = {int(i) + 2 for i in recheck.recheck(c).failing}
    assert failing == lines_at_fault(path) == lines_at_fault(path, exact=True)
    assert len(failing) > IMAGES / 4


@pytest.mark.parametrize("kind", BOUNDED)
def test_agrees_with_the_recheck_of_margins(kind, tmp_path):
    head, rows = fresh(kind)
    path = written(tmp_path, head, rows)
    assert recheck.recheck(records.load(path)).holds
    for exact in (False, True):
        assert audit.audit(path, exact=exact)[:2] == (0, [])
    for row in rows[::2]:
        tried = [r for r in (0.05, 0.1, 0.2, 1.0) if r > row["radius"]]
        row["radius"] = tried[0] if kind == "interval" else row["radius"] * (1 + 3e-9)
    path = written(tmp_path, head, rows)
    failing = {int(i) + 2 for i in recheck.recheck(records.load(path)).failing}
    assert failing == set(range(2, 2 + IMAGES, 2))
    assert failing == lines_at_fault(path) == lines_at_fault(path, exact=True)


@pytest.mark.parametrize("kind", ["certify", "lipschitz"])
def test_exact_mode_has_no_tolerance(kind, tmp_path):
    """A radius above the exact one by 1e-11 of it."""
    head, rows = fresh(kind)
    rows[0].pop("p_lower", None)
    rows[0]["radius"] *= 1 + 1e-11
    path = written(tmp_path, head, rows)
    assert lines_at_fault(path) == set()
    assert lines_at_fault(path, exact=True) == {2}


def put(*place, **values):
    """In the header, or in a part of it."""

    def edit(head, rows):
        for name in place:
            head = head[name]
        head.update(values)

    return edit


def row(**values):
    return lambda head, rows: rows[0].update(values)


def each(change):
    def edit(head, rows):
        for one in rows:
            change(one)

    return edit


def both(*edits):
    def edit(head, rows):
        for one in edits:
            one(head, rows)

    return edit


def anywhere(**values):
    """In the procedure and the config alike."""
    return both(put("procedure", **values), put("config", "certify", **values))


def scaled(factor):
    return each(lambda one: one.update(radius=one["radius"] * factor))


def one_vote_less(head, rows):
    rows[0]["counts"][0] -= 1


def votes_moved(head, rows):
    counts = rows[0]["counts"]
    counts[0], counts[1] = counts[0] - 400, counts[1] + 400


def one_look(head, rows):
    """As if the last look had been the only one."""
    head["procedure"]["looks"] = head["procedure"]["looks"][-1:]
    for one in rows:
        one["agreeing"] = one["agreeing"][-1:]


def more_at_a_look(head, rows):
    rows[0]["agreeing"][0] += 1


def second_of_a_look(head, rows):
    rows[0]["agreeing"][1] = 0


def unproven(head, rows):
    """The next of the radii that were tried, in every row."""
    for one in rows:
        more = [r for r in TRIED if r > one["radius"]]
        if one["predicted"] == 0 and more:
            one["radius"] = more[0]


def another_size(head, rows):
    rows[0]["n"] += 1


def pilot_votes(head, rows):
    rows[0]["agreeing"][0] = 700


def wider_box(head, rows):
    """A radius that was not tried, with a margin."""
    for place in (head["procedure"], head["config"]["certify"]):
        place["radii"] = [*place["radii"], 1.5]
    for one in rows:
        one["least_margins"].append(1e-3)
        one["radius"] = 1.5


def growing(head, rows):
    rows[0]["least_margins"][-1] = rows[0]["least_margins"][0] + 1


def beyond_the_gap(head, rows):
    rows[0] |= dict(least_margins=[9.0, 9.0, 9.0], radius=0.2)


def constant_of_a_pair(head, rows):
    bound = [[1.7] * 3 for _ in range(3)]
    bound[0][1] = 0.1
    head["pairwise_bound"] = bound


def largest_float(head, rows):
    rows[0]["logits"] = [1e15] * 3


TAMPERING = {
    # what is changed: in which record, how
    "radius": ("certify", scaled(1.000001)),
    "radius by one tolerance": ("lipschitz", scaled(1 + 3e-9)),
    "radius of an abstention": ("certify", lambda h, r: r[-1].update(radius=0.1)),
    "radius below 0": ("certify", row(radius=-0.1)),
    "radius without end": ("lipschitz", row(radius=math.inf)),
    "radius that is no number": ("certify", row(radius="1")),
    "radius of PREDICT": ("predict", row(radius=0.1)),
    "radius that was not tried": ("radii", row(radius=0.011)),
    "radius above those of the votes": ("radii", unproven),
    "p_lower": ("certify", row(p_lower=0.99999)),
    "p_lower of looks": ("sequence", row(p_lower=0.99999)),
    "votes, fewer": ("certify", one_vote_less),
    "votes of another class": ("certify", votes_moved),
    "votes, more than samples": ("certify", row(counts=[1000, 1, 0])),
    "votes that are halves": ("certify", row(counts=[999.5, 0.5, 0])),
    "votes below 0": ("certify", row(counts=[1000, -1, 1])),
    "class of the prediction": ("certify", row(predicted=1)),
    "class beyond all": ("certify", row(predicted=3)),
    "abstention into a prediction": ("predict", lambda h, r: r[-1].update(predicted=1)),
    "class of a margin": ("lipschitz", lambda h, r: r[0].update(predicted=(r[0]["predicted"] + 1) % 3)),
    "n of a row": ("certify", row(n=999)),
    "n of the procedure": ("certify", put("procedure", n=2000)),
    "n of both, and of every row": ("certify", both(anywhere(n=999), each(lambda o: o.update(n=999)))),
    "alpha": ("certify", put(alpha=0.01)),
    "alpha, smaller, in both": ("certify", both(put(alpha=1e-4), put("config", "certify", alpha=1e-4))),
    "alpha of a proof": ("lipschitz", put(alpha=0.1)),
    "sigma": ("certify", put(sigma=0.6)),
    "sigma by a millionth": ("certify", put(sigma=SIGMA * (1 + 1e-6))),
    "norm of votes": ("certify", put(norm="l1")),
    "norm linf without d": ("certify", both(put(norm="linf"), put("config", "certify", norm="linf"))),
    "norm of a network": ("lipschitz", put(norm="linf")),
    "norm of a distance net": ("interval", put(norm="l2")),
    "norm of a diffusion classifier": ("diffusion_classifier", put(norm="linf")),
    "noise": ("certify", put("procedure", noise="grid")),
    "noise, in both": ("certify", both(anywhere(noise="laplace"), put(norm="l1"), put("config", "certify", norm="l1"), scaled(2))),
    "generator": ("certify", put(generator=dict(implementation="unsafe_rbg"))),
    "procedure": ("certify", put("procedure", name="predict")),
    "bound of looks": ("sequence", put("procedure", bound="mixture")),
    "looks": ("radii", one_look),
    "looks of a sequence": ("sequence", one_look),
    "votes at a look": ("sequence", more_at_a_look),
    "votes that go back": ("radii", second_of_a_look),
    "pilot": ("two_stage", put("procedure", pilot=500)),
    "votes of the pilot": ("two_stage", pilot_votes),
    "size of the second stage": ("two_stage", another_size),
    "rho": ("two_stage", put("procedure", rho=0.5)),
    "rho, in both": ("two_stage", anywhere(rho=0.9)),
    "constant": ("lipschitz", put(pairwise_bound=1.8)),
    "constant of one order of a pair": ("lipschitz", constant_of_a_pair),
    "constant below 0": ("lipschitz", put(pairwise_bound=-1.7)),
    "slack to 0": ("lipschitz", put("procedure", logit_slack=0.0)),
    "slack of boxes to 0": ("interval", put("procedure", logit_slack=0.0)),
    "logits below all": ("lipschitz", lambda h, r: r[0].update(logits=[9.0 if j == r[0]["predicted"] else -math.inf for j in range(3)], radius=1e300)),
    "alpha of a diffusion classifier to 0": ("diffusion_classifier", both(put(alpha=0), put("config", "certify", alpha=0))),
    "equal logits": ("lipschitz", largest_float),
    "logits without end": ("lipschitz", lambda h, r: r[0]["logits"].__setitem__(r[0]["predicted"], math.inf)),
    "box beyond the pixels": ("interval", wider_box),
    "radius of a box": ("interval", lambda h, r: r[0].update(radius=0.2, least_margins=[0.1, 0.1, -0.1])),
    "margin that grows with its box": ("interval", growing),
    "margin beyond the logits": ("interval", beyond_the_gap),
    "draws": ("diffusion_classifier", row(n=499)),
    "row deleted": ("certify", lambda h, r: r.pop(5)),
    "row copied": ("certify", lambda h, r: r.append(dict(r[5]))),
    "row of another index": ("certify", lambda h, r: r[5].update(index=IMAGES + 3)),
    "row beyond the data set": ("certify", lambda h, r: r.append(dict(r[5], index=900))),
    "row nobody asked for": ("certify", lambda h, r: r.append(dict(r[5], index=IMAGES))),
    "label beyond all": ("certify", row(label=3)),
    "evidence left out": ("certify", lambda h, r: r[0].pop("counts")),
    "margins left out": ("interval", lambda h, r: r[0].pop("least_margins") and r[0].update(radius=0.2)),
    "header of fewer samples": ("certify", lambda h, r: h.update(voted("certify", n=500)[0])),
    "header of another procedure": ("certify", lambda h, r: h.update(voted("sequence")[0])),
    "model": ("lipschitz", put(model=dict(name="liresnet"))),
    "model, said by the procedure": ("lipschitz", both(put(model=dict(name="liresnet")), lambda h, r: h["procedure"].update(model=h["config"]["model"]))),
    "split": ("certify", put(split="train")),
    "seed": ("certify", put(seed=1)),
    "data set": ("certify", put(dataset="mnist")),
    "precision": ("certify", put(precision="bfloat16")),
}  # fmt: skip


@pytest.mark.parametrize("kind, edit", TAMPERING.values(), ids=TAMPERING)
def test_tampering_is_rejected(kind, edit, tmp_path):
    head, rows = fresh(kind)
    edit(head, rows)
    path = written(tmp_path, head, rows)
    for exact in (False, True):
        status, faults, _ = audit.audit(path, exact=exact)
        assert status == 1 and faults


UNSEEN = {
    "a vote more, with its radius": ("certify", lambda h, r: r.__setitem__(5, r[0] | dict(index=5))),
    "a label": ("certify", row(label=2)),
    "a radius below what is proven": ("certify", scaled(0.5)),
    "another checkpoint": ("certify", put(checkpoint="4567")),
    "a constant that is too small": ("lipschitz", put(pairwise_bound=1.0)),
    "a row and its request": ("certify", both(lambda h, r: r.pop(), lambda h, r: h.update(requests=[dict(start=0, stop=IMAGES - 1, step=1)]))),
}  # fmt: skip


@pytest.mark.parametrize("kind, edit", UNSEEN.values(), ids=UNSEEN)
def test_what_arithmetic_cannot_see(kind, edit, tmp_path):
    head, rows = fresh(kind)
    edit(head, rows)
    assert audit.audit(written(tmp_path, head, rows))[0] == 0


def test_a_key_that_stands_twice_is_rejected(tmp_path):
    """Readers differ in which of both they take."""
    path = written(tmp_path, *fresh("certify"))
    text = path.read_text()
    path.write_text(text.replace('"radius"', '"radius": 0.01, "radius"', 1))
    assert lines_at_fault(path) == {2, 1}


@pytest.mark.parametrize(
    "edit",
    [
        put(format="jaxcert-certificates-9"),
        put(method="pgd"),
        put(method=None),
        put("procedure", name="bayes"),
        put("procedure", bound="runner_up"),
        put("procedure", rival="auto"),
        put(norm="l3"),
    ],
)
def test_what_is_not_known_is_not_judged(edit, tmp_path, capsys):
    head, rows = fresh("certify")
    head["config"] = {}
    edit(head, rows)
    path = written(tmp_path, head, rows)
    assert audit.main([str(path)]) == 2
    assert "arithmetic" not in capsys.readouterr().out


def test_files_that_are_no_records_are_not_judged(tmp_path):
    for content in (b"", b"idx\tlabel\n", b"\xff\xfe", b"[1]\n"):
        (tmp_path / "x").write_bytes(content)
        assert audit.audit(tmp_path / "x")[0] == 2
    assert audit.audit(tmp_path / "none")[0] == 2


def test_the_record_of_the_quickstart_holds_and_runs_by_path():
    """-I: neither this folder nor PYTHONPATH is on the path."""
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            FILE,
            "--exact",
            ROOT / "docs" / "records" / "quickstart",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "level reached: arithmetic" in done.stdout


def test_statuses_of_several_records(tmp_path, capsys):
    good = ROOT / "docs" / "records" / "quickstart"
    head, rows = fresh("certify")
    rows[0]["radius"] *= 2
    bad = written(tmp_path, head, rows)
    assert audit.main([str(good), str(tmp_path / "none")]) == 2
    assert audit.main([str(bad), str(good), str(tmp_path / "none")]) == 1
    said = capsys.readouterr().out
    assert "line 2: radius" in said and said.count("not seen: ") > 1


def test_a_record_without_requests_or_config_says_what_is_not_seen(tmp_path):
    head, rows = fresh("certify")
    head.pop("requests")
    head.pop("config")
    rows.pop()
    status, faults, unseen = audit.audit(written(tmp_path, head, rows))
    assert (status, faults) == (0, [])
    assert len(unseen) == 3


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
    head, rows = fresh("certify")
    exact = 0.5 * special.ndtri(0.001**0.001)
    assert round(exact, 4) == 1.2316
    for factor, expected in ((1 - 1e-12, False), (1 + 1e-8, True)):
        rows[0] |= dict(counts=[1000, 0, 0], radius=exact * factor, p_lower=0.99311604)
        assert (2 in lines_at_fault(written(tmp_path, head, rows))) == expected


@pytest.mark.parametrize("noise, fails", [("gaussian", True), ("grid", False)])
def test_a_tail_that_float32_noise_does_not_show_is_not_proven(noise, fails, tmp_path):
    """All of 10^8 votes, of which version 0.1 made a radius of 5.3 sigma."""
    head, rows = fresh("certify")
    n = 10**8
    head["config"] = {}
    head["procedure"] = dict(name="certify", n=n, n0=100, noise=noise)
    rows[0] |= dict(counts=[n, 0, 0], radius=SIGMA * 5.2, p_lower=None)
    for one in rows:
        one["n"] = n
        one |= dict(predicted=-1, radius=0.0) if one["index"] else {}
    path = written(tmp_path, head, rows)
    for exact in (False, True):
        assert lines_at_fault(path, exact=exact) == ({2} if fails else set())
    rows[0]["radius"] = SIGMA * 4.7
    assert lines_at_fault(written(tmp_path, head, rows)) == set()


@pytest.mark.parametrize("n, k, q", [(10, 7, 0.5), (40, 40, 0.01), (25, 3, 0.75)])
def test_binomial_sums(n, k, q):
    p = 1 - Fraction(q)
    exact = sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))
    with localcontext(audit.DIGITS):
        found = audit.binomial(n, k, Decimal(q))
        assert abs(Fraction(found) / exact - 1) < 1e-50
    assert audit.binomial(n, k, q) == pytest.approx(float(exact), rel=1e-13)


@pytest.mark.parametrize("n, k, q", [(10, 9, 0.4), (64, 64, 0.1), (500, 460, 0.16)])
def test_mixture_of_likelihood_ratios(n, k, q):
    """B(k + 1/2, n - k + 1/2) / B(1/2, 1/2) = C(2k, k) C(2m, m) / (C(n, k) 4^n), m = n - k."""
    m, p = n - k, 1 - Fraction(q)
    mixed = Fraction(math.comb(2 * k, k) * math.comb(2 * m, m), math.comb(n, k) * 4**n)
    exact = min(p**k * (1 - p) ** m / mixed, 1)
    with localcontext(audit.DIGITS):
        assert abs(Fraction(audit.mixture(n, k, Decimal(q))) / exact - 1) < 1e-50
    assert audit.mixture(n, k, q) == pytest.approx(float(exact), rel=1e-9)
    # a p above k / n is not rejected from below
    assert audit.mixture(n, k, 0.5 * (1 - k / n)) == 1


def test_tail_of_the_normal_law():
    with localcontext(audit.DIGITS):
        one = Decimal("0.1586552539314570514147674543679620775")
        assert abs(audit.tail(Decimal(1)) / one - 1) < Decimal("1e-35")
        for z in (0.0, 0.3, 2.5, 5.0, 8.0):
            assert float(audit.tail(Decimal(z))) == pytest.approx(
                special.ndtr(-z), rel=1e-13
            )


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("q, alpha", [(0.5, 0.2), (0.3, 0.5), (0.0, 0.1)])
def test_boundaries_spend_alpha_as_enumeration_does(q, alpha, exact):
    """All 2^8 votes at looks 2, 5 and 8: each count is the smallest that may be."""
    looks, bounds = (2, 5, 8), audit.boundary(q, (2, 5, 8), alpha, exact)

    def crossed(bounds):
        total = 0.0
        for votes in product((0, 1), repeat=8):
            k = [sum(votes[:look]) for look in looks]
            if any(a >= b for a, b in zip(k, bounds, strict=False)):
                total += (1 - q) ** k[-1] * q ** (8 - k[-1])
        return total

    for j, look in enumerate(looks):
        allowed = alpha * (look / 8) ** audit.SPENDING
        assert crossed(bounds[: j + 1]) <= allowed
        lower = [*bounds[:j], bounds[j] - 1]
        assert bounds[j] <= look + 1 and crossed(lower) > allowed


@pytest.mark.parametrize("n", [300, 10_000, 100_000])
def test_sizes_of_the_second_stage_are_those_of_the_library(n):
    law = dict(noise="gaussian", norm="l2", sigma=SIGMA, d=1)
    k = np.array([450, 560, 700, 853, 990, 999, 1000])
    alone, level = np.zeros(len(k), bool), np.full(len(k), ALPHA)
    radius_of = partial(norms.radius, **law)
    expected = procedures.second_stage(
        k, 1000 - k, alone, level, n=n, rho=0.05, radius_of=radius_of
    )
    asked = dict(noise="gaussian")
    head = dict(sigma=SIGMA, norm="l2", pixels=16)
    needed, _ = audit.law_of(head, asked, ALPHA, n, audit.TOLERANCE)
    with localcontext(audit.DIGITS):
        for votes, size in zip(k.tolist(), expected.tolist(), strict=True):
            found = audit.second_stage(needed, n, ALPHA, 0.05, 1000, votes)
            assert found == ({size} if size else set())
