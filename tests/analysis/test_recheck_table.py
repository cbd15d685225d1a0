"""docs/recheck.md: each modification that it names, applied to a record."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from jaxcert import config as configs
from jaxcert import random_keys, records
from jaxcert.analysis import recheck, recheck_header
from jaxcert.analysis import report as reports
from jaxcert.certificates import statistics
from jaxcert.data import sources
from jaxcert.data.recorded import data_digest
from jaxcert.errors import InputError

DOCS = Path(__file__).parents[2] / "docs" / "recheck.md"
N, ALPHA, SIGMA = 1000, 0.001, 0.5
SHAPE = [8, 8, 1]
SLACK = 1e-7
"""Above 2^-30 times the constant 2 times the diameter 8."""
PAIRWISE = 2.0 * (1 + 1e-12)
"""The product of the layers below, rounded up."""
DIGITS = sources.open("digits", "test")
INDEX = np.arange(0, 12, 2)


def header(method, norm, alpha, procedure, model, **more):
    certify = dict(name=method, split="test", start=0, stop=12, step=2, seed=0)
    certify |= dict(radii=[0.0, 0.1, 0.2])
    if method == "smoothing":
        certify |= dict(alpha=alpha, sigma=SIGMA, norm=norm, noise="gaussian")
        certify |= dict(procedure="certify", n0=100, n=N)
    model = dict(name=model, image_shape=SHAPE, num_classes=10)
    return dict(
        format=records.FORMAT,
        method=method,
        norm=norm,
        alpha=alpha,
        num_classes=10,
        procedure=procedure,
        dataset="digits",
        split="test",
        data_digest=data_digest(DIGITS),
        images=len(DIGITS.label),
        requests=[dict(start=0, stop=11, step=2)],
        model=model,
        precision="highest",
        checkpoint="0123",
        seed=0,
        config=dict(
            model=model,
            certify=certify,
            precision="highest",
            data=dict(name="digits", dir="", pad=0),
        ),
        **more,
    )


def constants(norm, kind):
    layers = [
        dict(name="normalisation", kind="normalisation", method="exact", bound=4.0),
        dict(name="first", kind=kind, method="gram", bound=0.5),
    ]
    network = dict(norm=norm, image_shape=SHAPE)
    return dict(network=network, layers=layers, head=1.0, pairwise_bound=PAIRWISE)


def base(kind):
    """Six rows, the last of them wrong -> Certificates."""
    label = DIGITS.label[INDEX]
    predicted = label.copy()
    predicted[-1] = (label[-1] + 1) % 10
    logits = np.tile(np.linspace(0, 0.4, 10), (6, 1))
    logits[np.arange(6), predicted] = np.array([1.0, 1.2, 1.4, 1.6, 0.9, 1.0])
    columns = dict(index=INDEX, label=label, predicted=predicted)
    columns |= dict(n=np.ones(6, int), seconds=np.zeros(6))
    others = logits.copy()
    others[np.arange(6), predicted] = -np.inf
    margin = logits.max(1) - others.max(1)
    if kind == "smoothing":
        k = np.array([700, 800, 900, 950, 990, 700])
        counts = np.zeros((6, 10), int)
        counts[np.arange(6), predicted] = k
        procedure = dict(name="certify", n0=100, n=N, noise="gaussian")
        procedure |= dict(scale=SIGMA, least_tail=0.0)
        told = header("smoothing", "l2", ALPHA, procedure, "small_cnn", sigma=SIGMA)
        told["generator"] = random_keys.GENERATOR | random_keys.OF_SAMPLES
        return records.Certificates(
            **columns | dict(n=np.full(6, N)),
            radius=statistics.smoothing_radius(k, N, ALPHA, SIGMA),
            p_lower=statistics.clopper_pearson_lower(k, N, ALPHA),
            counts=counts,
            selection=np.minimum(counts, 90),
            header=told,
        )
    if kind == "lipschitz":
        procedure = dict(name="margin", logit_slack=SLACK)
        told = header("lipschitz", "l2", 0, procedure, "lip_convnet")
        told |= constants("l2", "lot.Conv")
        radius = (margin - 2 * SLACK) / PAIRWISE * (1 - 1e-14)
        return records.Certificates(
            **columns, radius=radius, logits=logits, header=told
        )
    procedure = dict(name="interval", radii=[0.1, 0.2], logit_slack=SLACK)
    told = header("interval", "linf", 0, procedure, "dist_net")
    told |= constants("linf", "norm_dist.NormDist")
    least = np.stack([margin - 0.1, margin - 0.9], 1)
    radius = np.where(least > 0, [0.1, 0.2], 0.0).max(1)
    return records.Certificates(
        **columns, radius=radius, logits=logits, least_margins=least, header=told
    )


def outcome(path):
    """passes | noted | fails | refused | not re-checked"""
    try:
        (entry,) = reports.entries([path])
    except InputError:
        return "refused"
    if not entry.recheck.holds:
        return "fails"
    if entry.recheck.reason:
        return "not re-checked"
    return "noted" if entry.recheck.notes else "passes"


def put(where, **values):
    """In the header, its procedure, or one of its config's sections."""

    def edit(head, rows):
        place = head
        for name in where.split(".") if where else ():
            place = place[name]
        place.update(values)

    return edit


def row(**values):
    def edit(head, rows):
        rows[0].update(values)

    return edit


def both(*edits):
    def edit(head, rows):
        for one in edits:
            one(head, rows)

    return edit


def each(change):
    def edit(head, rows):
        for one in rows:
            change(one)

    return edit


def without(head, rows):
    """The data set is not at hand."""
    head["dataset"] = head["config"]["data"]["name"] = "npz:elsewhere"


def right(one):
    one["label"] = one["predicted"]


def old_margins(one):
    one["margins"] = [0.5] * 10
    one["logits"] = [0.0] * 10
    one["logits"][one["predicted"]] = 0.6
    one.pop("least_margins")


def drop(*names):
    def edit(head, rows):
        for name in names:
            head.pop(name)

    return edit


def dropped_from(where, *names):
    def edit(head, rows):
        place = head
        for name in where.split("."):
            place = place[name]
        for name in names:
            place.pop(name)

    return edit


def unseen_margin(head, rows):
    rows[0]["least_margins"] = [None, 5.0]
    rows[0]["radius"] = 0.2


def radii_times_five(head, rows):
    for place in (head["procedure"], head["config"]["certify"]):
        place["radii"] = [5 * r for r in place["radii"]] + [1.5]
    for one in rows:
        one["radius"] *= 5
        one["least_margins"].append(None)


def last_gone(head, rows):
    rows.pop()


def raised(factor):
    def edit(head, rows):
        rows[0]["radius"] *= factor

    return edit


def votes(head, rows):
    """A consistent row, invented."""
    rows[0] |= rows[4] | {k: rows[0][k] for k in ("index", "label", "predicted")}
    rows[0]["counts"] = [0] * 10
    rows[0]["counts"][rows[0]["predicted"]] = 990
    rows[0]["selection"] = [c // 11 for c in rows[0]["counts"]]


def logits(head, rows):
    rows[0]["logits"] = [0.0] * 10
    rows[0]["logits"][rows[0]["predicted"]] = 9.0
    rows[0]["radius"] = 4.4


def larger_margin(head, rows):
    rows[0]["least_margins"] = [0.5, 0.5]
    rows[0]["radius"] = 0.2


def too_large_margin(head, rows):
    rows[0]["least_margins"] = [5.0, 5.0]
    rows[0]["radius"] = 0.2


def equal_logits(head, rows):
    rows[0]["logits"] = [1e15] * 10
    rows[0]["radius"] = 0.154


def another_class(head, rows):
    """The votes of the selection are those of another row."""
    rows[0]["selection"] = rows[0]["selection"][::-1]


def layer(name, **values):
    def edit(head, rows):
        for one in head["layers"]:
            if one["name"] == name:
                one.update(values)

    return edit


def no_evidence(*names):
    return each(lambda one: [one.pop(name) for name in names])


def slice_gone(head, rows):
    head["requests"] = [dict(start=0, stop=9, step=2)]
    rows.pop()


def infinite_logits(head, rows):
    rows[0]["logits"] = [-np.inf] * 10
    rows[0]["logits"][rows[0]["predicted"]] = 1.0
    rows[0]["radius"] = 1e300


def infinite_margins(head, rows):
    rows[0]["least_margins"] = [np.inf, np.inf]
    rows[0]["radius"] = 0.2


S, L, INTERVAL = "smoothing", "lipschitz", "interval"
RAISED = float(np.float32(0.5000004))
CASES = [
    # what is changed, in which record, how, what comes of it
    ("a radius of smoothing above that of its votes", S, raised(1.001), "fails"),
    ("a Lipschitz radius above that of its logits", L, raised(1 + 3e-9), "fails"),
    (
        "an interval radius raised to the largest tried",
        INTERVAL,
        row(radius=0.2),
        "fails",
    ),
    ("an interval radius that was not tried", INTERVAL, row(radius=0.05), "fails"),
    ("a radius below what is proven", L, raised(0.5), "passes"),
    (
        "a Lipschitz radius raised by less than 1e-9 of it",
        L,
        raised(1 + 5e-10),
        "passes",
    ),
    ("another predicted class", L, row(predicted=0), "fails"),
    (
        "a prediction turned into an abstention",
        S,
        row(predicted=-1, radius=0),
        "passes",
    ),
    ("a radius with an abstention", S, row(predicted=-1), "refused"),
    ("fewer samples than asked for", S, row(n=900), "fails"),
    ("more votes than samples", S, row(n=600), "refused"),
    ("p_lower above that of the votes", S, row(p_lower=0.9), "fails"),
    ("an image that comes twice", S, row(index=2), "refused"),
    ("ten equal logits of 1e15 with a radius", L, equal_logits, "fails"),
    ("margins above the difference of the logits", INTERVAL, too_large_margin, "fails"),
    (
        "the same, without the margins of smaller radii",
        INTERVAL,
        unseen_margin,
        "fails",
    ),
    ("invented votes, with their radius", S, votes, "passes"),
    ("invented logits, with their radius", L, logits, "passes"),
    (
        "invented margins below the difference of the logits",
        INTERVAL,
        larger_margin,
        "passes",
    ),
    (
        "margins of the own radius only, as of version 0.1",
        INTERVAL,
        each(old_margins),
        "fails",
    ),
    (
        "the same in a record of format 1",
        INTERVAL,
        both(each(old_margins), put("", format="jaxcert-certificates-1")),
        "noted",
    ),
    ("seconds", S, row(seconds=9.0), "passes"),
    ("norm of a Lipschitz network", L, put("", norm="linf"), "refused"),
    (
        "norm of a Lipschitz network of format 1",
        L,
        both(
            put("", norm="linf", format="jaxcert-certificates-1"),
            drop("network", "layers", "head"),
        ),
        "refused",
    ),
    ("norm of a distance net", INTERVAL, put("", norm="l2"), "refused"),
    ("norm of smoothing", S, put("", norm="l1"), "refused"),
    (
        "norm of a Lipschitz network, and no model in the header",
        L,
        both(put("", norm="linf"), drop("model")),
        "refused",
    ),
    (
        "no model in the header or the config",
        L,
        both(drop("model"), dropped_from("config", "model")),
        "noted",
    ),
    ("no config", S, drop("config"), "noted"),
    ("no sigma in the config", S, dropped_from("config.certify", "sigma"), "noted"),
    ("no method in the header", L, drop("method"), "refused"),
    ("method", L, put("", method="interval"), "refused"),
    ("alpha", S, put("", alpha=0.01), "refused"),
    ("alpha of a deterministic certificate", L, put("", alpha=0.001), "refused"),
    ("sigma", S, put("", sigma=0.6), "refused"),
    ("num_classes above that of the evidence", S, put("", num_classes=11), "refused"),
    ("n", S, put("procedure", n=900), "refused"),
    ("n with a point, 1000.0", S, put("procedure", n=1000.0), "refused"),
    ("the same of a row", S, row(n=1000.0), "refused"),
    ("n0", S, put("procedure", n0=10), "refused"),
    (
        "n0 below the votes of the selection, in the config as well",
        S,
        both(put("procedure", n0=80), put("config.certify", n0=80)),
        "fails",
    ),
    ("votes of the selection for another class", S, another_class, "fails"),
    ("no votes of the selection", S, no_evidence("selection"), "fails"),
    ("no votes of the selection in one row", S, row(selection=None), "fails"),
    ("the scale of the noise", S, put("procedure", scale=0.4), "refused"),
    ("no scale of the noise", S, dropped_from("procedure", "scale"), "refused"),
    (
        "no smallest tail of the noise",
        S,
        dropped_from("procedure", "least_tail"),
        "refused",
    ),
    ("the generator", S, put("generator", implementation="rbg"), "refused"),
    (
        "a generator that depends on the device",
        S,
        put("generator", partitionable=False),
        "refused",
    ),
    ("no generator", S, drop("generator"), "refused"),
    (
        "the format, to one that is not known",
        S,
        put("", format="jaxcert-certificates-9"),
        "refused",
    ),
    (
        "the format, to that of version 0.1",
        S,
        put("", format=records.FORMAT_1),
        "noted",
    ),
    (
        "the same, and without what that did not have",
        S,
        both(
            put("", format=records.FORMAT_1),
            drop("generator"),
            dropped_from("procedure", "scale", "least_tail"),
            no_evidence("selection"),
        ),
        "noted",
    ),
    ("the noise", S, put("procedure", noise="uniform"), "refused"),
    (
        "no noise in the header, where the config has another than gaussian",
        S,
        both(dropped_from("procedure", "noise"), put("config.certify", noise="grid")),
        "refused",
    ),
    ("the procedure", S, put("procedure", name="predict"), "refused"),
    (
        "a procedure that nothing here re-checks, in the config as well",
        S,
        both(put("procedure", name="bayes"), put("config.certify", procedure="bayes")),
        "not re-checked",
    ),
    (
        "a certificate that nothing here re-checks, in the config as well",
        S,
        both(put("", method="bayes"), put("config.certify", name="bayes")),
        "not re-checked",
    ),
    (
        "the radii that were tried",
        INTERVAL,
        put("procedure", radii=[0.1, 0.3]),
        "refused",
    ),
    (
        "radii above 1 that were tried, in the config as well",
        INTERVAL,
        radii_times_five,
        "refused",
    ),
    (
        "the slack of the logits of a distance net, to 0",
        INTERVAL,
        put("procedure", logit_slack=0.0),
        "refused",
    ),
    ("the slack of the logits, to 0", L, put("procedure", logit_slack=0.0), "refused"),
    (
        "the slack of the logits, to twice",
        L,
        put("procedure", logit_slack=0.2),
        "fails",
    ),
    ("a pairwise bound of one order of two classes", L, None, "refused"),
    ("the pairwise bound, raised a little", L, put("", pairwise_bound=2.1), "refused"),
    ("the pairwise bound, lowered", L, put("", pairwise_bound=1.0), "refused"),
    ("the pairwise bound, to 0", L, put("", pairwise_bound=0), "refused"),
    ("the bound of one layer, raised", L, layer("first", bound=0.6), "refused"),
    ("the bound of one layer, lowered", L, layer("first", bound=0.4), "refused"),
    (
        "the bound of one layer and the pairwise bound, lowered",
        L,
        both(layer("first", bound=0.4), put("", pairwise_bound=1.6 * (1 + 1e-12))),
        "passes",
    ),
    ("the bound of one layer, below 0", L, layer("first", bound=-0.5), "refused"),
    ("a method that proves no bound", L, layer("first", method="power"), "refused"),
    ("no layers", L, drop("layers"), "refused"),
    ("no head", L, drop("head"), "refused"),
    ("the head, lowered", L, put("", head=0.5), "refused"),
    ("the norm of the network alone", L, put("network", norm="linf"), "refused"),
    (
        "both norms, of layers that are Lipschitz in another, and no model",
        L,
        both(
            put("", norm="linf"),
            put("network", norm="linf"),
            both(drop("model"), dropped_from("config", "model")),
        ),
        "refused",
    ),
    ("no word of the network", L, drop("network"), "refused"),
    ("the shape of its images", L, put("network", image_shape=[4, 4, 1]), "refused"),
    ("the model", L, put("", model=dict(name="liresnet")), "refused"),
    ("the data set's name", S, put("", dataset="mnist"), "refused"),
    ("the split", S, put("", split="train"), "refused"),
    ("the seed", S, put("", seed=1), "refused"),
    ("the precision", S, put("", precision="default"), "refused"),
    ("no precision in the header", S, drop("precision"), "refused"),
    ("the checkpoint", S, put("", checkpoint="4567"), "passes"),
    (
        "alpha, in the config as well, with radii that hold",
        S,
        both(put("", alpha=0.01), put("config.certify", alpha=0.01)),
        "passes",
    ),
    (
        "sigma raised, in the config as well, with radii that hold",
        S,
        both(
            put("", sigma=0.6),
            put("config.certify", sigma=0.6),
            put("procedure", scale=0.6),
        ),
        "passes",
    ),
    (
        "alpha 0, in the config as well",
        S,
        both(put("", alpha=0.0), put("config.certify", alpha=0.0)),
        "refused",
    ),
    (
        "sigma raised by less than 1e-6 of it",
        S,
        both(put("", sigma=RAISED), put("procedure", scale=RAISED)),
        "refused",
    ),
    ("infinite logits of the other classes", L, infinite_logits, "refused"),
    ("infinite margins", INTERVAL, infinite_margins, "refused"),
    ("a deleted row", S, last_gone, "noted"),
    ("a deleted row, and the request with it", S, slice_gone, "noted"),
    (
        "a deleted row, and the request and the config's with it",
        S,
        both(slice_gone, put("config.certify", stop=10)),
        "passes",
    ),
    ("a deleted row of a record without requests", S, drop("requests"), "noted"),
    (
        "a deleted row, and no request left",
        S,
        both(last_gone, put("", requests=[])),
        "noted",
    ),
    ("a row that no request asks for", S, both(without, row(index=1)), "noted"),
    (
        "an index beyond the data set, which is not at hand",
        S,
        both(without, row(index=5000)),
        "refused",
    ),
    ("a label, where the data set is at hand", S, each(right), "refused"),
    (
        "the same, and no data digest",
        S,
        both(each(right), drop("data_digest")),
        "refused",
    ),
    ("a label, where it is not", S, both(without, each(right)), "passes"),
    ("no label, where the data set is at hand", S, row(label=None), "refused"),
    ("no label, where it is not", S, both(without, row(label=None)), "passes"),
    (
        "the data digest, where the data set is at hand",
        S,
        put("", data_digest="0"),
        "refused",
    ),
    (
        "the data digest, where it is not",
        S,
        both(without, put("", data_digest="0")),
        "passes",
    ),
]


def one_order(head, rows):
    bound = 2.0 - 2.0 * np.eye(10)
    bound[0, 1] = 1.0
    head["pairwise_bound"] = (bound * (1 + 1e-12)).tolist()
    head["head"] = (bound / 2.0).tolist()  # the layers have the product 2


def written(path, kind, edit):
    c = base(kind)
    with records.Writer(path, c.header) as writer:
        writer.append(c)
    head, *rows = map(json.loads, path.read_text().splitlines())
    edit(head, rows)
    path.write_text("".join(json.dumps(one) + "\n" for one in [head, *rows]))
    return path


@pytest.mark.parametrize("kind", [S, L, INTERVAL])
def test_what_is_not_modified_passes(tmp_path, kind):
    assert outcome(written(tmp_path / "c.jsonl", kind, lambda *_: None)) == "passes"


@pytest.mark.parametrize(
    "kind, edit, expected", [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_outcome_of_a_modification(tmp_path, kind, edit, expected):
    edit = edit or one_order
    assert outcome(written(tmp_path / "c.jsonl", kind, edit)) == expected


@pytest.mark.parametrize(
    "name, expected", [("magic", "passes"), ("denoised_smoothing", "refused")]
)
def test_certificates_that_smooth_something_else_go_by_the_name_of_their_base(
    tmp_path, name, expected
):
    edit = both(put("", base=dict(name="magic")), put("config.certify", name=name))
    assert outcome(written(tmp_path / "c.jsonl", S, edit)) == expected


@pytest.mark.parametrize("left_out", [(), ("selection",)])
def test_of_format_1_the_selection_is_named_where_it_is_not_there(tmp_path, left_out):
    edit = both(put("", format=records.FORMAT_1), no_evidence(*left_out))
    (entry,) = reports.entries([written(tmp_path / "c.jsonl", S, edit)])
    (said,) = [note for note in entry.recheck.notes if records.FORMAT_1 in note]
    assert ("votes that chose a class" in said) == bool(left_out)


def test_page_has_each_modification_with_its_outcome():
    text = DOCS.read_text().partition("| what is changed | record | outcome |")[2]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert table == [[text, kind, end] for text, kind, _, end in CASES]


def built(name):
    """The model for the first of some shapes that it takes."""
    for shape in ((32, 32, 3), (28, 28, 1), (64, 64, 3)):
        asked = dict(name=name, image_shape=shape, num_classes=10)
        try:
            return configs.build("models", configs.ConfigDict(asked))
        except InputError:
            continue
    pytest.fail(f"{name} takes none of the shapes")


def test_norms_of_the_table_are_those_of_the_models():
    """Every model is built; those with a norm are in the table, with theirs."""
    folder = Path(recheck_header.__file__).parents[1] / "models"
    names = [p.stem for p in folder.glob("*.py") if not p.name.startswith("_")]
    found = {}
    for name in names:
        model = built(name)
        if model.norm is not None:
            found[name] = model.norm
    assert found == recheck_header.NORMS


def test_rows_of_another_file_below_a_header_are_legal_and_counted(tmp_path):
    def half(head, rows):
        head["requests"] = [dict(start=0, stop=5, step=2)]

    c = records.load(written(tmp_path / "c.jsonl", S, half))
    assert c.index.tolist() == [0, 2, 4, 6, 8, 10]
    checked = recheck.recheck(c)
    assert checked.holds
    assert len(checked.notes) == 1
    note = "3 rows are of images that no request in the record names"
    assert checked.notes[0].startswith(note)
