"""The re-check accepts what the procedures print and nothing above it."""

from __future__ import annotations

import importlib
import re
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import names
from scipy import special

from jaxcert import certificates, random_keys, records
from jaxcert.analysis import recheck as module
from jaxcert.analysis.recheck import recheck
from jaxcert.certificates import norms, pilots, procedures, sequential, statistics
from jaxcert.errors import InputError
from jaxcert.records import ABSTAIN, ERROR, Certificates
from tests import audit_many as many

N, ALPHA, SIGMA = 1000, 0.001, 0.5


def smoothed(k, *, name="certify", **changed) -> Certificates:
    """k votes of N for class 1 of 3, the others for class 0."""
    k = np.atleast_1d(k)
    counts = np.stack([N - k, k, 0 * k], 1)
    radius = statistics.smoothing_radius(k, N, ALPHA, SIGMA)
    columns = dict(
        index=np.arange(len(k)) * 10,
        label=np.ones(len(k), int),
        predicted=np.where(radius > 0, 1, ABSTAIN),
        radius=radius,
        n=np.full(len(k), N),
        seconds=np.zeros(len(k)),
        p_lower=statistics.clopper_pearson_lower(k, N, ALPHA),
        counts=counts,
        header=dict(
            method="smoothing",
            alpha=ALPHA,
            sigma=SIGMA,
            num_classes=3,
            procedure=dict(name=name, n=N),
        ),
    )
    return Certificates(**columns | changed)


def lipschitz(logits, *, pairwise=2.0, slack=0.0, **changed) -> Certificates:
    """Radii of the definition for logits [N,K]."""
    logits = np.asarray(logits, float)
    rows = np.arange(len(logits))
    predicted = logits.argmax(1)
    margin = logits[rows, predicted][:, None] - logits - 2 * slack
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = margin / np.broadcast_to(pairwise, (logits.shape[1],) * 2)[predicted]
    ratio[rows, predicted] = np.inf
    columns = dict(
        index=rows,
        label=np.zeros(len(rows), int),
        predicted=predicted,
        radius=np.maximum(ratio.min(1), 0.0),
        n=np.ones(len(rows), int),
        seconds=np.zeros(len(rows)),
        logits=logits,
        header=dict(
            method="lipschitz",
            alpha=0,
            pairwise_bound=np.asarray(pairwise).tolist(),
            procedure=dict(name="margin", logit_slack=slack),
        ),
    )
    return Certificates(**columns | changed)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, N), min_size=1, max_size=20))
def test_radii_of_certify_hold(k):
    found = recheck(smoothed(k))
    assert found.holds and not found.reason
    assert found.checked == (smoothed(k).radius > 0).sum()


@settings(deadline=None, max_examples=30)
@given(st.integers(600, N), st.floats(1e-9, 1.0))
def test_radius_above_its_votes_fails(k, more):
    c = smoothed([k, k])
    c.radius[1] += more
    found = recheck(c)
    assert found.failing.tolist() == [1]
    assert found.proven[1] == c.radius[0]


@pytest.mark.parametrize(
    "changed",
    [
        dict(predicted=np.array([0])),
        dict(predicted=np.array([2])),
        dict(counts=np.array([[0, 900, 0]]), n=np.array([900])),
        dict(p_lower=np.array([0.999])),
        dict(header=smoothed(1).header | dict(alpha=1e-6)),
        dict(header=smoothed(1).header | dict(sigma=0.49)),
        dict(counts=np.array([[0, 0, 0]])),
    ],
    ids="voted-less unvoted fewer-samples p_lower alpha sigma no-votes".split(),
)
def test_changed_evidence_of_smoothing_fails(changed):
    assert recheck(smoothed(900)).holds
    assert recheck(smoothed(900, **changed)).failing.tolist() == [0]


@pytest.mark.parametrize("noise, fails", [("gaussian", True), ("grid", False)])
def test_radius_that_float32_noise_does_not_show_fails(noise, fails):
    """1e8 votes that agree, of which version 0.1 made a radius."""
    n = 10**8
    procedure = dict(name="certify", n=n, noise=noise)
    c = smoothed(N)
    c = c._replace(
        n=np.array([n]),
        counts=np.array([[0, n, 0]]),
        radius=statistics.smoothing_radius([n], n, ALPHA, SIGMA),
        p_lower=None,
        header=c.header | dict(procedure=procedure),
    )
    assert recheck(c).holds != fails
    # what is printed since
    least = dict(procedure=procedure | dict(least_tail=1e-6))
    shown = c._replace(radius=-SIGMA * special.ndtri([1e-6]), header=c.header | least)
    assert recheck(shown).holds


def test_prediction_without_a_proof_fails_even_at_radius_zero():
    c = smoothed(500, predicted=np.array([1]))
    assert c.radius[0] == 0 and not recheck(c).holds


def test_abstentions_and_errors_need_no_evidence():
    c = smoothed([400, 900], predicted=np.array([ERROR, 1]))
    found = recheck(c)
    assert found.holds and found.checked == 1 and np.isnan(found.proven[0])


def test_predict_must_pass_its_test_and_has_no_radius():
    zero = dict(name="predict", radius=np.zeros(1), p_lower=None)
    assert recheck(smoothed(560, **zero)).holds
    assert not recheck(smoothed(530, predicted=np.array([1]), **zero)).holds
    assert not recheck(smoothed(440, predicted=np.array([1]), **zero)).holds
    assert not recheck(smoothed(560, **zero | dict(radius=np.ones(1) / 9))).holds


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.lists(st.floats(-9, 9), min_size=3, max_size=3), min_size=1),
    st.floats(0, 0.1),
)
def test_radii_of_margins_hold(logits, slack):
    pairwise = [[0, 1.5, 2], [1.5, 0, 3], [2, 3, 0]]
    c = lipschitz(logits, pairwise=pairwise, slack=slack)
    assert recheck(c).holds
    # of rows that another device appended, see `records.SAME`
    rounding = records.SAME * (c.radius + 2 * slack)
    c.radius[:] = np.nextafter(c.radius + 1.01 * rounding + 1e-12, np.inf)
    assert len(recheck(c).failing) == len(c.index)


def test_row_of_another_device_has_its_last_digits():
    """Bound and slack 1e-12 below the header's."""
    logits, less = [[3.0, 1.0, 0.5]], 1 - 1e-12
    c = lipschitz(logits, pairwise=1.7 * less, slack=0.01 * less)
    header = lipschitz(logits, pairwise=1.7, slack=0.01).header
    assert c.radius[0] > lipschitz(logits, pairwise=1.7, slack=0.01).radius[0]
    assert recheck(c._replace(header=header)).holds
    c.radius[:] *= 1 + 1.1e-9
    assert not recheck(c._replace(header=header)).holds


def test_margin_is_measured_to_every_class_with_its_own_bound():
    # to class 1: 2 / 1, to class 2: 3 / 6
    c = lipschitz([[3.0, 1.0, 0.0]], pairwise=[[0, 1, 6], [1, 0, 1], [6, 1, 0]])
    assert recheck(c).proven[0] == 0.5


def test_logit_slack_counts_twice():
    c = lipschitz([[1.0, 0.0]], pairwise=1.0, slack=0.1)
    assert recheck(c).proven[0] == pytest.approx(0.8)
    header = c.header | dict(procedure=dict(name="margin", logit_slack=0.11))
    assert not recheck(c._replace(header=header)).holds


def test_unbounded_pair_proves_nothing():
    pairwise = [[0, np.inf], [np.inf, 0]]
    assert recheck(lipschitz([[1.0, 0.0]], pairwise=pairwise)).proven[0] == 0


def test_predicted_class_must_have_the_largest_logit():
    c = lipschitz([[1.0, 0.0]], predicted=np.array([1]), radius=np.zeros(1))
    assert not recheck(c).holds


def test_missing_logits_of_a_prediction_fail():
    c = lipschitz([[1.0, 0.0]])
    assert not recheck(c._replace(logits=np.full((1, 2), np.nan))).holds


@pytest.mark.parametrize("bound", [-1.0, "x", [1.0, 1.0], [[0, 1, 2]], None])
def test_pairwise_bound_that_is_none_is_refused(bound):
    c = lipschitz([[1.0, 0.0]])
    c = c._replace(header=c.header | dict(pairwise_bound=bound))
    with pytest.raises(InputError, match="pairwise_bound"):
        recheck(c)


def test_table_of_others_says_that_it_has_no_evidence():
    found = recheck(smoothed(900, counts=None, header=dict(format="tsv")))
    assert found.holds and found.checked == 0 and "no evidence" in found.reason
    c = smoothed(900, counts=None, header=dict(format="tsv"))
    found = recheck(c._replace(agreeing=np.array([[900]])))
    assert found.checked == 0 and "what its votes are to show" in found.reason


SMOOTHED, MARGINS = smoothed([900, 400, N]), lipschitz([[3.0, 1.0], [0.0, 1.0]])


@pytest.mark.parametrize(
    "c, removed, reason",
    [
        (SMOOTHED, dict(counts=None), "no counts"),
        (MARGINS, dict(logits=None), "no logits"),
        (SMOOTHED, dict(procedure=None), "procedure None"),
        (SMOOTHED, dict(procedure=dict(name=[1])), r"procedure \[1\]"),
        (SMOOTHED, dict(method=None), "method None"),
    ],
    ids="votes logits procedure list method".split(),
)
def test_predictions_without_evidence_fail(c, removed, reason):
    assert recheck(c).holds
    columns = {k: v for k, v in removed.items() if k in c._fields}
    header = c.header | {k: v for k, v in removed.items() if k not in c._fields}
    found = recheck(c._replace(**columns, header=header))
    assert found.failing.tolist() == np.flatnonzero(c.predicted >= 0).tolist()
    assert found.checked == len(found.failing) == 2
    assert re.search(reason, found.reason)


@pytest.mark.parametrize(
    "header, named",
    [
        (dict(procedure=dict(name="sequential", n=N)), "procedure 'sequential'"),
        (dict(method="magic", procedure=dict(name="spell")), "certificate 'magic'"),
        (dict(method="magic", procedure=None), "certificate 'magic'"),
        (dict(method="voting"), "certificate 'voting'"),  # a module, which makes none
        (dict(method="rechecking"), "certificate 'rechecking'"),
        (dict(method="../lipschitz"), "certificate '../lipschitz'"),
        (dict(method="smoothing.voting"), "certificate 'smoothing.voting'"),
    ],
)
def test_what_no_module_here_has_made_is_not_rechecked(header, named):
    """And nothing is said against its rows."""
    too_large = np.where(SMOOTHED.predicted >= 0, 9.0, 0.0)
    c = SMOOTHED._replace(radius=too_large, header=SMOOTHED.header | header)
    found = recheck(c)
    assert found.holds and found.checked == 0 and not len(found.failing)
    assert found.reason == f"no re-check is known for the {named}"
    assert np.isnan(found.proven).all()


MAGIC = """
import numpy as np

def make(network):
    "Certify by magic."

def recheck(c, rows):
    proven = np.full(len(rows), c.header["procedure"]["power"])
    return proven, c.radius[rows] <= proven
"""


@pytest.mark.parametrize("part", ["", "recheck", "make"])
def test_a_file_in_certificates_brings_its_own_recheck(tmp_path, monkeypatch, part):
    """And has none without one of the two functions."""
    method = f"magic_without_{part}"
    text = MAGIC.replace(f"def {part}(", "def other(") if part else MAGIC
    (tmp_path / f"{method}.py").write_text(text)
    folders = [*certificates.__path__, str(tmp_path)]
    monkeypatch.setattr(certificates, "__path__", folders)
    importlib.invalidate_caches()
    procedure = dict(name="spell", power=1.0)
    header = SMOOTHED.header | dict(method=method, procedure=procedure)
    found = recheck(SMOOTHED._replace(header=header, radius=np.array([1.0, 0.0, 1.5])))
    assert found.failing.tolist() == ([] if part else [2])
    assert bool(found.reason) == bool(part)


def test_a_procedure_of_another_certificate_is_a_contradiction():
    procedure = dict(procedure=dict(name="margin", logit_slack=0.0))
    with pytest.raises(InputError):
        recheck(SMOOTHED._replace(header=SMOOTHED.header | procedure))


def interval(*radius, tried=(0.1, 0.2), slack=0.01, **changed) -> Certificates:
    """Rows of class 0 of 3 with margins just above what the slack asks for."""
    margins = np.tile([np.nan, 0.021, 0.5], (len(radius), 1))
    columns = dict(
        index=np.arange(len(radius)),
        label=np.zeros(len(radius), int),
        predicted=np.zeros(len(radius), int),
        radius=np.array(radius, float),
        n=np.ones(len(radius), int),
        seconds=np.zeros(len(radius)),
        logits=np.tile([1.0, 0.5, 0.0], (len(radius), 1)),
        margins=margins,
        header=dict(
            method="interval",
            alpha=0,
            procedure=dict(name="interval", radii=tried, logit_slack=slack),
        ),
    )
    return Certificates(**columns | changed)


def test_interval_holds_at_radii_that_were_tried_with_their_margins():
    assert recheck(interval(0.1, 0.2, 0.0)).holds
    assert recheck(interval(0.1, 0.15, 9.0)).failing.tolist() == [1, 2]
    assert recheck(interval(0.1, slack=0.011)).failing.tolist() == [0]
    assert recheck(interval(0.1, slack=0.0105 * (1 + 1e-12))).holds
    assert recheck(interval(0.0, 0.1, margins=None)).failing.tolist() == [1]
    assert not recheck(interval(0.0, predicted=np.array([1]))).holds
    assert not recheck(interval(0.0, logits=None)).holds
    nothing_tried = interval(0.1).header | dict(procedure=dict(name="interval"))
    nothing_tried["procedure"]["logit_slack"] = 0.0
    assert not recheck(interval(0.1, header=nothing_tried)).holds


def tried_interval(*radius, **changed):
    """Rows that keep the least margin at every radius that was tried: 0.1 holds."""
    least = np.tile([0.3, 0.01], (len(radius), 1))
    return interval(*radius, margins=None, least_margins=least, **changed)


def test_raised_radius_of_the_interval_certificate_is_seen():
    found = recheck(tried_interval(0.1, 0.2, 0.0))
    assert found.failing.tolist() == [1] and not found.notes
    np.testing.assert_array_equal(found.proven, [0.1, 0.1, 0.1])
    at_the_bound = np.array([[0.3, 0.02 * (1 - 2e-9)]])  # twice the slack, but for 1e-9
    c = tried_interval(0.2)._replace(least_margins=at_the_bound)
    assert not recheck(c).holds
    c = tried_interval(0.2)._replace(least_margins=np.array([[0.3, 0.3]]))
    assert recheck(c).holds
    rising = c._replace(least_margins=np.array([[0.1, 0.3]]))
    assert not recheck(rising).holds, "a larger box has no larger margin"
    above = c._replace(least_margins=np.array([[0.6, 0.3]]))
    assert not recheck(above).holds, "more than at the image itself"


def test_margins_of_format_1_do_not_count_in_format_2(tmp_path):
    head, rows = many.fresh("interval")
    raised = [i for i, row in enumerate(rows) if 0 < row["radius"] < many.BOXES[-1]]
    for i in raised:
        rows[i].update(radius=many.BOXES[-1], margins=[0.001] * 3)
        rows[i]["least_margins"] = [None] * len(many.BOXES)
    for row in rows:
        row.setdefault("margins", [0.001] * 3)
    found = recheck(records.load(many.written(tmp_path, head, rows)))
    assert raised and set(raised) <= set(found.failing.tolist())


def test_classes_of_the_model_cannot_be_left_out():
    c = lipschitz([[1.0, 0.5], [0.5, 1.0]])
    header = c.header | dict(num_classes=2, model=dict(num_classes=3))
    with pytest.raises(InputError, match=names("num_classes", 2, 3)):
        recheck(c._replace(header=header))
    base = dict(header, base=dict(name="lipschitz"))
    with pytest.raises(InputError, match=names("num_classes", 2, 3)):
        recheck(c._replace(header=base))
    assert recheck(c._replace(header=header | dict(model=dict(num_classes=2)))).holds


def test_rows_with_the_margins_of_their_own_radius_only_are_less_checkable():
    c = interval(0.1, 0.2, 0.0)
    assert recheck(c).holds and "2 rows keep" in recheck(c).notes[0]
    unseen = np.array([[0.3, np.nan], [0.3, 0.25], [np.nan, np.nan]])
    c = c._replace(margins=None, least_margins=unseen)
    assert recheck(c).holds
    assert "1 rows keep" in recheck(c).notes[0], "nothing says what 0.2 had"


def test_tolerance_for_rounding_is_at_most_the_slack():
    huge = np.full((1, 10), 1e15)
    for slack in (0.0, 1e-9, 1.0):
        c = lipschitz(huge, pairwise=5.0, slack=slack, radius=np.array([0.154]))
        assert not recheck(c).holds


@pytest.mark.parametrize("tried", ["abc", ["a"], {"a": 1}, [[1], [1, 2]], [10**400]])
def test_radii_of_a_procedure_that_are_none_are_refused(tried):
    with pytest.raises(InputError, match=names("procedure.radii", "--out")):
        recheck(interval(0.1, tried=tried))


@pytest.mark.parametrize("shape", [["a"], [], "8", [8, -8], [None], {}])
def test_image_shapes_that_are_none_ask_for_no_slack(shape):
    c = lipschitz([[1.0, 0.0]])
    assert recheck(
        c._replace(header=c.header | dict(model=dict(image_shape=shape)))
    ).holds
    asked = dict(model=dict(image_shape=[2, 2, 1]), config=dict(model={}))
    with pytest.raises(InputError):
        recheck(c._replace(header=c.header | asked))


def test_diffusion_classifiers_certify_in_l2_alone():
    c = lipschitz([[0.0, -1.0]], n=np.array([20]))
    procedure = dict(name="margin", logit_slack=0.0, n=20)
    header = c.header | dict(method="diffusion_classifier", procedure=procedure)
    header |= dict(alpha=0.001)
    assert recheck(c._replace(header=header | dict(norm="l2"))).holds
    fewer = header | dict(norm="l2", procedure=procedure | dict(n=21))
    assert not recheck(c._replace(header=fewer)).holds
    with pytest.raises(InputError):
        recheck(c._replace(header=header | dict(norm="linf")))
    for alpha in (0, 0.0, 1.0):
        with pytest.raises(InputError, match="alpha"):
            recheck(c._replace(header=header | dict(norm="l2", alpha=alpha)))
    raised = c._replace(logits=c.logits + [[1.0, 0.0]], radius=2 * c.radius)
    assert not recheck(raised._replace(header=header | dict(norm="l2"))).holds


def test_infinite_logits_prove_nothing():
    c = lipschitz([[1.0, -np.inf]], radius=np.array([1e300]))
    assert not recheck(c).holds


def test_header_without_alpha_is_refused():
    c = smoothed(900)
    header = {k: v for k, v in c.header.items() if k != "alpha"}
    with pytest.raises(InputError, match=names("alpha", None)):
        recheck(c._replace(header=header))


LOOKS = (100, 200, 400, 800, N)


def decided(name, p, **options):
    """Rows of a sequential procedure on simulated votes for class 1 of 2."""
    rng = np.random.default_rng(0)
    law = dict(noise="gaussian", norm="l2", sigma=SIGMA, d=1)
    radii = (0.0, 0.25, 0.5)

    def draw(rows, start, size):
        size = np.broadcast_to(size, rows.shape)
        k = rng.binomial(size, p[rows])
        return np.stack([size - k, k], 1)

    given = dict(n0=20, alpha=ALPHA)
    header = dict(n0=20, n=N, noise="gaussian", scale=SIGMA, least_tail=0.0)
    if name == "radii":
        given |= dict(p0=norms.p_needed(radii, **law), values=radii, looks=LOOKS)
        header |= dict(radii=list(radii), looks=list(LOOKS))
        header |= dict(spending=sequential.spending(LOOKS, ALPHA))
    else:
        given |= dict(rho=0.1, radius_of=lambda tail: norms.radius(tail, **law))
        header |= dict(rho=0.1)
        if name == "sequence":
            given |= dict(looks=LOOKS, **options)
            header |= dict(looks=list(LOOKS), **options)
            header |= dict(mixture=[0.5, 0.5])
        else:
            given |= dict(n=N)
            header |= dict(pilot=procedures.PILOT, sizes=pilots.sizes(N).tolist())
            header |= dict(
                rule=pilots.rule(
                    alpha=ALPHA, **{k: given[k] for k in ("n", "rho", "radius_of")}
                )
            )
    d = getattr(procedures, name)(draw, len(p), **given)
    return Certificates(
        index=np.arange(len(p)),
        label=np.ones(len(p), int),
        predicted=np.where(d.answered, d.selected, ABSTAIN),
        radius=np.where(d.answered, d.radius, 0.0),
        n=d.n,
        seconds=np.zeros(len(p)),
        p_lower=d.p_lower,
        counts=d.counts,
        agreeing=d.agreeing,
        selection=d.selection,
        header=dict(
            method="smoothing",
            alpha=ALPHA,
            sigma=SIGMA,
            norm="l2",
            num_classes=2,
            procedure=dict(name=name, **header),
            generator=random_keys.GENERATOR | random_keys.OF_SAMPLES,
        ),
    )


SEQUENTIAL = [
    ("radii", {}),
    ("two_stage", {}),
    ("sequence", dict(bound="union")),
    ("sequence", dict(bound="mixture")),
]


@pytest.mark.parametrize("name, options", SEQUENTIAL)
def test_sequential_rows_hold_and_survive_the_file(name, options, tmp_path):
    c = decided(name, np.linspace(0.02, 0.999, 60), **options)
    assert len(np.unique(c.radius)) > 2 and len(np.unique(c.n)) > 1
    assert recheck(c).holds and recheck(c).checked > 20
    with records.Writer(tmp_path / "c.jsonl", c.header) as writer:
        writer.append(c)
    again = records.load(tmp_path / "c.jsonl")
    np.testing.assert_array_equal(again.agreeing, c.agreeing)
    assert recheck(again).holds


@pytest.mark.parametrize("name, options", SEQUENTIAL)
def test_a_sequential_row_that_claims_too_much_fails(name, options):
    c = decided(name, np.array([0.9, 0.95, 0.98]), **options)
    assert recheck(c).holds and (c.predicted >= 0).all()
    best = recheck(c).proven
    for changes in (
        dict(radius=np.where([0, 1, 0], best + 0.25, c.radius)),
        dict(p_lower=c.p_lower + np.array([0, 0.02, 0])),
        dict(agreeing=c.agreeing + np.array([[0], [30], [0]])),
        dict(n=c.n + np.array([0, 1, 0])),
        dict(counts=c.counts + np.array([[0, 0], [0, 9], [0, 0]])),
        dict(predicted=np.array([1, 0, 1])),
    ):
        assert recheck(c._replace(**changes)).failing.tolist() == [1], list(changes)


def test_votes_that_fall_or_jump_are_no_path():
    c = decided("radii", np.array([0.98, 0.98]))
    jumps = c.agreeing.copy()
    jumps[1, 0] = 101  # of 100
    assert recheck(c._replace(agreeing=jumps)).failing.tolist() == [1]
    rest = [-1] * (len(LOOKS) - 2)
    paths = np.array([[100, 196, *rest], [101, 196, *rest], [100, 99, *rest]])
    k = paths[:, 1]
    c3 = decided("radii", np.full(3, 0.98))._replace(
        radius=np.zeros(3),
        p_lower=np.full(3, 0.5),
        n=np.full(3, 200),
        counts=np.stack([200 - k, k], 1),
        agreeing=paths,
    )
    assert recheck(c3).failing.tolist() == [1, 2]
    gap = c.agreeing.copy()
    gap[1, 0] = -1
    assert recheck(c._replace(agreeing=gap)).failing.tolist() == [1]


@pytest.mark.parametrize(
    "changes, fault",
    [
        (dict(looks=[100, 50, N]), "looks"),
        (dict(looks="all"), "looks"),
        (dict(n=7), "looks"),
        (dict(radii=["a"]), "radii"),
        (dict(noise="salt"), names("noise", "salt")),
    ],
)
def test_header_with_nonsense_of_a_sequential_test_is_refused(changes, fault):
    c = decided("radii", np.array([0.98, 0.98]))
    header = c.header | dict(procedure=c.header["procedure"] | changes)
    with pytest.raises(InputError, match=fault):
        recheck(c._replace(header=header))


@pytest.mark.parametrize("name", ["radii", "sequence", "two_stage"])
def test_votes_of_the_classes_cannot_be_left_out(name):
    options = dict(bound="union") if name == "sequence" else {}
    c = decided(name, np.array([0.98, 0.98]), **options)._replace(counts=None)
    assert not recheck(c).holds and "counts" in recheck(c).reason


def test_two_stage_rows_of_another_pilot_fail():
    c = decided("two_stage", np.array([0.98, 0.98]))
    assert recheck(c).holds
    pilot = c.header["procedure"] | dict(pilot=procedures.PILOT // 2)
    assert not recheck(c._replace(header=c.header | dict(procedure=pilot))).holds


def test_predict_and_certify_hold_for_the_asked_number_of_votes_only():
    for name in ("certify", "predict"):
        c = smoothed([900], name=name, n=np.array([N]))
        if name == "predict":
            c = c._replace(radius=np.zeros(1), p_lower=None)
        assert recheck(c).holds
        fewer = c._replace(n=np.array([N - 1]), counts=c.counts - [[1, 0, 0]])
        assert not recheck(fewer).holds


@pytest.mark.parametrize("d", [1, 0, 5])
def test_size_of_the_images_is_that_of_the_model(d):
    c = smoothed([900])
    header = dict(norm="linf", model=dict(image_shape=[2, 2, 1]))
    header["procedure"] = c.header["procedure"] | dict(d=d, noise="gaussian")
    with pytest.raises(InputError, match=names("d", d, "[2, 2, 1]")):
        recheck(c._replace(header=c.header | header))


@pytest.mark.parametrize(
    "name, changes, fault",
    [
        ("two_stage", dict(n=0), names("n", 1)),
        ("radii", dict(noise=[1]), names("noise", "[1]")),
        ("radii", dict(radii=None), "radii"),
        ("radii", dict(radii=[]), "radii"),
        ("radii", dict(radii=[[0.1]]), "radii"),
    ],
)
def test_damaged_headers_are_named(name, changes, fault):
    c = decided(name, np.array([0.98, 0.98]))
    header = c.header | dict(procedure=c.header["procedure"] | changes)
    with pytest.raises(InputError, match=fault):
        recheck(c._replace(header=header))


@pytest.mark.parametrize("size", [0, 1, 3, 4, 11])
@pytest.mark.parametrize("make", [smoothed, lipschitz])
def test_rows_are_compared_in_blocks_as_all_at_once(monkeypatch, make, size):
    rng = np.random.default_rng(size)
    given = (
        rng.integers(600, N, size) if make is smoothed else rng.normal(size=(size, 4))
    )
    c = make(given)
    c.radius[2::4] += 0.5
    c.predicted[1::5] = ERROR
    whole = recheck(c)
    monkeypatch.setattr(module, "_ROWS", 3)
    blocks = recheck(c)
    wrong = np.arange(2, size, 4)
    assert blocks.failing.tolist() == [i for i in wrong if i % 5 != 1]
    assert blocks.failing.tolist() == whole.failing.tolist()
    np.testing.assert_array_equal(blocks.proven, whole.proven)


def test_evidence_is_copied_some_rows_at_a_time(monkeypatch):
    monkeypatch.setattr(module, "_ROWS", 1000)
    c = lipschitz(np.random.default_rng(0).normal(size=(20_000, 20)))
    tracemalloc.start()
    try:
        assert recheck(c).holds
        assert tracemalloc.get_traced_memory()[1] < c.logits.nbytes
    finally:
        tracemalloc.stop()
