"""Kinds of modified records that an auditor has to reject, and kinds that none can see: what is
changed: (record, edit of its header and rows). An edit changes the first row, or all."""

# ruff: noqa: E501

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

from jaxcert import audit
from tests import audit_many as many


def put(*place, **values):
    """In the header, or in a part of it."""

    def edit(head, rows):
        for name in place:
            head = head[name]
        head.update(values)

    return edit


def drop(*place):
    def edit(head, rows):
        for name in place[:-1]:
            head = head[name]
        head.pop(place[-1])

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


def times(factor, *place):
    """A number of the header, or all of a list."""

    def edit(head, rows):
        for name in place[:-1]:
            head = head[name]
        value = head[place[-1]]
        value = (
            [x * factor for x in value] if isinstance(value, list) else value * factor
        )
        head[place[-1]] = value

    return edit


def layer(change):
    return lambda head, rows: change(head["layers"])


def abstained(**values):
    """A row that abstained."""

    def edit(head, rows):
        next(one for one in rows if one["predicted"] == -1).update(values)

    return edit


def one_vote_less(head, rows):
    rows[0]["counts"][0] -= 1


def votes_moved(head, rows):
    counts = rows[0]["counts"]
    counts[0], counts[1] = counts[0] - 400, counts[1] + 400


def selection_moved(head, rows):
    """The class had few votes of the selection, as if chosen by those that count."""
    rows[0]["selection"] = [1, 99, 0]


def larger_selection(head, rows):
    rows[0]["selection"][0] += 100


def one_look(head, rows):
    """As if the last look had been the only one."""
    head["procedure"]["looks"] = head["procedure"]["looks"][-1:]
    for one in rows:
        one["agreeing"] = one["agreeing"][-1:]


def at_look(j, value, key="agreeing"):
    def edit(head, rows):
        rows[0][key][j] = value(rows[0][key][j])

    return edit


def unproven(head, rows):
    """The next of the radii that were tried, in every row."""
    for one in rows:
        more = [r for r in many.TRIED if r > one["radius"]]
        if one["predicted"] == 0 and more:
            one["radius"] = more[0]


def another_size(head, rows):
    rows[0]["n"] += 1


def all_votes(head, rows):
    """More votes than the pilot asks for, which prove more than the row claims."""
    rows[0]["n"] = 2 * many.N
    rows[0]["counts"] = [many.N, 0, 0]
    rows[0]["agreeing"][1] = many.N


def wider_box(head, rows):
    """A radius that was not tried, with a margin."""
    for place in (head["procedure"], head["config"]["certify"]):
        place["radii"] = [*place["radii"], 1.5]
    for one in rows:
        one["least_margins"].append(1e-3)
        one["radius"] = 1.5


def growing(head, rows):
    rows[0]["least_margins"][-1] = rows[0]["least_margins"][0] + 1


def constant_of_a_pair(head, rows):
    bound = [[head["pairwise_bound"]] * 3 for _ in range(3)]
    bound[0][1] = 0.1
    head["pairwise_bound"] = bound


def own_logit(value):
    return lambda head, rows: rows[0]["logits"].__setitem__(rows[0]["predicted"], value)


def logits_below_all(head, rows):
    y = rows[0]["predicted"]
    logits = [9.0 if j == y else -math.inf for j in range(3)]
    rows[0].update(logits=logits, radius=1e300)


def other_class(head, rows):
    rows[0]["predicted"] = (rows[0]["predicted"] + 1) % 3


def beyond_its_mean(head, rows):
    """Lower bounds of the margins that their means do not have, with their radius."""
    rows[0]["logits"] = [1.01 * z for z in rows[0]["logits"]]
    rows[0]["radius"] *= 1.01


def variance_below_0(head, rows):
    rows[0]["variances"] = [-v for v in rows[0]["variances"]]


def mean_beyond_all(head, rows):
    rows[0]["means"] = [1e3 * m for m in rows[0]["means"]]


def smaller_images(head, rows):
    """A network of one pixel needs a smaller slack."""
    head["network"]["image_shape"] = [1, 1, 1]
    head["procedure"]["logit_slack"] /= 4


def fewer_classes(head, rows):
    head["num_classes"] = 2
    for one in rows:
        for key in {"counts", "selection"} & set(one):
            one[key] = one[key][:2]


def fewer_logits(*edits):
    """The best other class of every row is left out, with the radius that follows."""

    def edit(head, rows):
        head["num_classes"] = 2
        for one in rows:
            z, y = one["logits"], one["predicted"]
            one.update(logits=[z[y], min(z)], predicted=0, label=0)
            lost = 2.001 * head["procedure"]["logit_slack"]
            one["radius"] = max((z[y] - min(z) - lost) / head["pairwise_bound"], 0.0)
        for more in edits:
            more(head, rows)

    return edit


def without_shape(head, rows):
    for model in head["model"], head["config"]["model"], head["network"]:
        model.pop("image_shape", None)
    head["procedure"]["logit_slack"] = 0.0


def own_margins(head, rows):
    """Margins of the row's own radius alone, as format 1 has them."""
    for one in rows:
        one.update(radius=many.BOXES[-1], margins=[0.01] * 3)
        one["logits"] = [float(j == one["predicted"]) for j in range(3)]


def without_norm(head, rows):
    """A norm that neither the network nor its model says, nor a layer."""
    head.update(norm="linf", layers=[], head=head["pairwise_bound"])
    for place in head["network"], head["model"], head["config"]["model"]:
        place.pop("norm", None), place.pop("name", None)


def one_weight(head, rows):
    """One weight for all levels makes the same constant, and means of a smaller range."""
    asked, pixels = head["procedure"], math.prod(many.SHAPE)
    asked["weights"] = [weight] = asked["weights"][:1]
    each = [(8 / math.pi) ** 0.5 / s + 2 / pixels**0.5 for s in asked["sigmas"]]
    head["pairwise_bound"] = weight * sum(each) * (1 + 1e-12)
    for one in rows:
        one.update(means=[0.0] * 3, predicted=-1, radius=0.0)


def another_base(**values):
    """A base classifier that the config names as well."""
    base = dict(name="denoised_smoothing", **values)
    return both(put(base=base), put("config", "certify", name="denoised_smoothing"))


def copied(**values):
    return lambda head, rows: rows.append(dict(rows[5], **values))


def header_of(**how):
    return lambda head, rows: head.update(copy.deepcopy(many.voted(**how)[0]))


TAMPERING = {
    "radius": ("certify", scaled(1.000001)),
    "radius by one tolerance": ("lipschitz", scaled(1 + 3e-9)),
    "radius by one tolerance, of means": ("bernstein", scaled(1 + 3e-9)),
    "radius of an abstention": ("certify", abstained(radius=0.1)),
    "radius below 0": ("certify", row(radius=-0.1)),
    "radius without end": ("lipschitz", row(radius=math.inf)),
    "radius that is no number": ("certify", row(radius="1")),
    "radius of PREDICT": ("predict", row(radius=0.1)),
    "radius that was not tried": ("radii", row(radius=0.011)),
    "radius above those of the votes": ("radii", unproven),
    "radius of looks": ("sequence", scaled(1.000001)),
    "radius of two stages": ("two_stage", scaled(1.000001)),
    "p_lower": ("certify", row(p_lower=0.99999)),
    "p_lower of looks": ("sequence", row(p_lower=0.99999)),
    "p_lower of tried radii": ("radii", row(p_lower=0.99999)),
    "votes, fewer": ("certify", one_vote_less),
    "votes of another class": ("certify", votes_moved),
    "votes, more than samples": ("certify", row(counts=[1000, 1, 0])),
    "votes that are halves": ("certify", row(counts=[999.5, 0.5, 0])),
    "votes below 0": ("certify", row(counts=[1000, -1, 1])),
    "votes of fewer classes": ("certify", fewer_classes),
    "selection of another class": ("certify", selection_moved),
    "selection of more samples": ("certify", larger_selection),
    "selection without a vote": ("certify", row(selection=[0, 0, 0])),
    "selection left out": ("sequence", lambda h, r: r[0].pop("selection")),
    "n0, in both": ("certify", anywhere(n0=50)),
    "class of the prediction": ("certify", row(predicted=1)),
    "class beyond all": ("certify", row(predicted=3)),
    "prediction of equal votes": ("predict", row(predicted=0, counts=[500, 499, 1])),
    "class of a margin": ("lipschitz", other_class),
    "n of a row": ("certify", row(n=999)),
    "n of the procedure": ("certify", put("procedure", n=2000)),
    "n of both, and of every row": ("certify", both(anywhere(n=999), each(lambda o: o.update(n=999)))),
    "alpha": ("certify", put(alpha=0.01)),
    "alpha, smaller, in both": ("certify", both(put(alpha=1e-4), put("config", "certify", alpha=1e-4))),
    "alpha of a proof": ("lipschitz", put(alpha=0.1)),
    "alpha of a diffusion classifier to 0": ("bernstein", both(put(alpha=0), put("config", "certify", alpha=0))),
    "alpha of means, smaller, in both": ("bernstein", both(put(alpha=1e-9), put("config", "certify", alpha=1e-9))),
    "sigma": ("certify", put(sigma=0.6)),
    "sigma by a millionth": ("certify", put(sigma=many.SIGMA * (1 + 1e-6))),
    "sigma in both, but not its scale": ("certify", both(put(sigma=0.6), put("config", "certify", sigma=0.6))),
    "scale of the noise": ("certify", times(1.2, "procedure", "scale")),
    "norm of votes": ("certify", put(norm="l1")),
    "norm linf without d": ("certify", both(put(norm="linf"), put("config", "certify", norm="linf"))),
    "norm of a network": ("lipschitz", put(norm="linf")),
    "norm of a network, said twice": ("lipschitz", both(put(norm="linf"), put("network", norm="linf"))),
    "norm of a network that says none": ("lipschitz", without_norm),
    "norm that is none": ("lipschitz", both(put(norm="l7", model=dict(name="own")), put("network", norm="l7"), put("config", model=dict(name="own")))),
    "norm of a distance net": ("interval", put(norm="l2")),
    "norm of a diffusion classifier": ("bernstein", put(norm="linf")),
    "noise": ("certify", put("procedure", noise="grid")),
    "noise, in both": ("certify", both(anywhere(noise="laplace"), put(norm="l1"), put("config", "certify", norm="l1"), scaled(2))),
    "generator": ("certify", put(generator=dict(implementation="unsafe_rbg"))),
    "generator left out": ("certify", drop("generator")),
    "generator that is not partitionable": ("certify", put("generator", partitionable=False)),
    "generator of draws": ("bernstein", put("generator", implementation="rbg")),
    "noise, beside a base that has the config's": ("certify", both(put("procedure", noise="grid"), another_base(noise="gaussian"))),
    "noise left out": ("certify", both(drop("procedure", "noise"), drop("procedure", "scale"), another_base(noise="gaussian"))),
    "procedure": ("certify", put("procedure", name="predict")),
    "rival": ("certify", put("procedure", rival="auto")),
    "rival of all": ("certify", put("procedure", rival="runner_up")),
    "bound of looks": ("sequence", put("procedure", bound="mixture")),
    "mixture": ("sequence mixture", put("procedure", mixture=[1, 1])),
    "looks": ("radii", one_look),
    "looks of a sequence": ("sequence", one_look),
    "spending": ("radii", times(1.01, "procedure", "spending")),
    "spending at the first look": ("radii", lambda h, r: h["procedure"]["spending"].__setitem__(0, many.ALPHA)),
    "votes at a look": ("sequence", at_look(0, lambda k: k + 1)),
    "votes at a look of tried radii": ("radii", at_look(0, lambda k: k + 1)),
    "votes that go back": ("radii", at_look(1, lambda k: 0)),
    "votes of a look that was not taken": ("sequence", lambda h, r: r[0].update(n=100)),
    "votes of another class at a look": ("sequence runner_up", at_look(0, lambda k: k + 101, "rivals")),
    "votes of another class at a look, too few for the samples": ("sequence runner_up", row(n=1000, counts=[520, 400, 80], agreeing=[40, 90, 200, 415, 520], rivals=[30, 60, 60, 320, 400], p_lower=0.0, radius=0.16)),
    "votes of another class from look to look": ("sequence runner_up", row(n=1000, counts=[600, 300, 100], agreeing=[20, 40, 200, 480, 600], rivals=[40, 80, 200, 280, 300], p_lower=0.0, radius=0.01)),
    "votes of another class, fewer": ("sequence runner_up", at_look(-1, lambda k: -1, "rivals")),
    "pilot": ("two_stage", put("procedure", pilot=500)),
    "votes of the pilot": ("two_stage", at_look(0, lambda k: 700)),
    "votes of the pilot, more": ("two_stage", at_look(0, lambda k: 1001)),
    "size of the second stage": ("two_stage", another_size),
    "largest size of the second stage": ("two_stage", all_votes),
    "sizes": ("two_stage", lambda h, r: h["procedure"]["sizes"].pop()),
    "rule of the pilot": ("two_stage", put("procedure", rule=[[0, 7]])),
    "rule of the pilot left out": ("two_stage", both(drop("procedure", "rule"), all_votes)),
    "rho": ("two_stage", put("procedure", rho=0.5)),
    "rho, in both": ("two_stage", anywhere(rho=0.9)),
    "constant": ("lipschitz", times(1.001, "pairwise_bound")),
    "constant, smaller": ("lipschitz", both(times(0.9, "pairwise_bound"), scaled(1.1))),
    "constant of one order of a pair": ("lipschitz", constant_of_a_pair),
    "constant below 0": ("lipschitz", times(-1, "pairwise_bound")),
    "format of a record with layers": ("lipschitz", both(put(format=audit.OLD), times(0.9, "pairwise_bound"))),
    "format of a record with means": ("bernstein", both(put(format=audit.OLD), beyond_its_mean)),
    "format of a record with selections": ("certify", both(put(format=audit.OLD), selection_moved)),
    "norm of a layer": ("lipschitz", layer(lambda ls: ls[0].update(bound=0.99 * ls[0]["bound"]))),
    "norm of a layer, larger": ("lipschitz", layer(lambda ls: ls[0].update(bound=1.01 * ls[0]["bound"]))),
    "norms of layers below 0": ("lipschitz", layer(lambda ls: [x.update(bound=-x["bound"]) for x in ls[:2]])),
    "layer left out": ("lipschitz", layer(lambda ls: ls.remove(max(ls, key=lambda x: abs(x["bound"] - 1))))),
    "class left out": ("lipschitz", fewer_logits()),
    "class left out, beside a base": ("lipschitz", fewer_logits(put(base=dict(name="lipschitz")))),
    "class of PREDICT left out, beside a base": ("predict", both(fewer_classes, put(base=dict(name="smoothing")))),
    "layers left out": ("lipschitz", drop("layers")),
    "constant of the last layer": ("lipschitz", times(0.99, "head")),
    "norm of a layer of a distance net": ("interval", layer(lambda ls: ls[0].update(bound=0.5))),
    "slack to 0": ("lipschitz", put("procedure", logit_slack=0.0)),
    "slack of smaller images": ("lipschitz", smaller_images),
    "slack to 0, shape of images left out": ("lipschitz", without_shape),
    "slack of boxes to 0": ("interval", put("procedure", logit_slack=0.0)),
    "logits below all": ("lipschitz", logits_below_all),
    "no logits": ("lipschitz", row(logits=[], radius=1e3)),
    "one logit, beside votes": ("lipschitz", row(logits=[5.0], counts=[0, 0, 1], predicted=0, radius=1e3)),
    "one logit of means, beside votes": ("bernstein", row(logits=[0.0], counts=[0, 0, 1], predicted=0, radius=1e3)),
    "two logits of a box, beside votes": ("interval", row(logits=[5.0, 1.0], counts=[0, 0, 1], predicted=0, least_margins=[0.1] * 3, radius=0.2)),
    "logit of a box that is no number": ("interval", row(logits=[5.0, 1.0, math.nan], predicted=0, least_margins=[0.1] * 3, radius=0.2)),
    "equal logits": ("lipschitz", row(logits=[1e15] * 3)),
    "logits without end": ("lipschitz", own_logit(math.inf)),
    "logit of the class of means": ("bernstein", own_logit(1.0)),
    "box beyond the pixels": ("interval", wider_box),
    "radius of a box": ("interval", row(radius=0.2, least_margins=[0.1, 0.1, -0.1])),
    "margin that grows with its box": ("interval", growing),
    "margin beyond the logits": ("interval", row(least_margins=[9.0, 9.0, 9.0], radius=0.2)),
    "margins of format 1 in their place": ("interval", both(own_margins, lambda h, r: [x.pop("least_margins") for x in r])),
    "margins of format 1 beside them": ("interval", own_margins),
    "margins left out": ("interval", both(lambda h, r: r[0].pop("least_margins"), row(radius=0.2))),
    "draws": ("bernstein", row(n=499)),
    "bound of means": ("bernstein", put("procedure", bound="hoeffding")),
    "bound of means that is not known": ("bernstein", anywhere(bound="mine")),
    "margins beyond their means": ("bernstein", beyond_its_mean),
    "margins beyond their means, Hoeffding": ("hoeffding", beyond_its_mean),
    "variance below 0": ("bernstein", variance_below_0),
    "mean beyond all": ("bernstein", mean_beyond_all),
    "weights": ("bernstein", times(0.9, "procedure", "weights")),
    "weights of fewer levels": ("bernstein", one_weight),
    "levels": ("bernstein", times(1.1, "procedure", "sigmas")),
    "weights and constant": ("bernstein", both(times(0.9, "procedure", "weights"), times(0.8, "pairwise_bound"))),
    "cap": ("bernstein", put("procedure", cap=0.5)),
    "row deleted": ("certify", lambda h, r: r.pop(5)),
    "row copied": ("certify", copied()),
    "row of another index": ("certify", lambda h, r: r[5].update(index=27)),
    "row beyond the data set": ("certify", copied(index=900)),
    "row nobody asked for": ("certify", copied(index=24)),
    "label beyond all": ("certify", row(label=3)),
    "evidence left out": ("certify", lambda h, r: r[0].pop("counts")),
    "header of fewer samples": ("certify", header_of(n=500)),
    "header of another procedure": ("certify", header_of(name="sequence")),
    "model": ("lipschitz", put(model=dict(name="liresnet"))),
    "model, said by the procedure": ("lipschitz", both(put(model=dict(name="liresnet")), lambda h, r: h["procedure"].update(model=h["config"]["model"]))),
    "split": ("certify", put(split="train")),
    "seed": ("certify", put(seed=1)),
    "data set": ("certify", put(dataset="mnist")),
    "precision": ("certify", put(precision="bfloat16")),
}  # fmt: skip


def layers_and_constant(head, rows):
    head["layers"][0]["bound"] *= 0.5
    head["pairwise_bound"] *= 0.5


def sigma_everywhere(head, rows):
    head["sigma"] = head["procedure"]["scale"] = 1.0
    head["config"]["certify"]["sigma"] = 1.0
    scaled(2)(head, rows)


def row_and_request(head, rows):
    rows.sort(key=lambda x: x["index"])
    rows.pop()
    head["requests"] = [dict(start=0, stop=23, step=1)]


def of_model(norm, **changed):
    """The norm everywhere, of a model that the auditor does not know."""
    model = dict(name="mine", image_shape=many.SHAPE, num_classes=3)
    return both(
        put(norm=norm, model=model),
        put("network", norm=norm),
        put("config", model=model),
    )


TAMPERING |= {
    "row deleted, and its request": ("certify", row_and_request),
    "row deleted, and all requests": ("lipschitz", both(row_and_request, drop("requests"))),
    "norm everywhere": ("lipschitz", of_model("linf")),
    "norm everywhere, of distances": ("interval", of_model("l2")),
}  # fmt: skip

UNSEEN = {
    "votes of another row, with its radius": ("certify", lambda h, r: r.__setitem__(5, r[0] | dict(index=r[5]["index"]))),
    "a label": ("certify", row(label=2)),
    "a radius below what is proven": ("certify", scaled(0.5)),
    "a prediction into an abstention": ("certify", row(predicted=-1, radius=0.0)),
    "another checkpoint": ("certify", put(checkpoint="4567")),
    "sigma everywhere, with radii": ("certify", sigma_everywhere),
    "a norm of a layer and the constant": ("lipschitz", layers_and_constant),
    "a larger mean": ("bernstein", lambda h, r: r[0].update(means=[1.01 * m for m in r[0]["means"]])),
    "a row, its request and the config's": ("certify", both(row_and_request, put("config", "certify", stop=23))),
}  # fmt: skip


def variants(kind: str) -> Iterator[tuple[dict, list[dict]]]:
    """Yield records of a kind, each with another row as its first: one of class 0 whose radius
    is above 0."""
    name, *how = kind.split()
    for seed in range(3):
        for first in range(3):
            if name in ("lipschitz", "interval", "bernstein", "hoeffding"):
                family = "l_inf-dist" if name == "interval" else "lip_convnet"
                head, rows = many.bounded(name, family, seed=seed + 1)
            else:
                options = dict(bound="mixture") if how == ["mixture"] else {}
                options |= dict(rival="runner_up") if how == ["runner_up"] else {}
                head, rows = many.voted(name, seed=seed, **options)
            head, rows = copy.deepcopy((head, rows))
            claims = [i for i, one in enumerate(rows) if one["predicted"] >= 0]
            if name not in ("predict", "radii"):
                claims = [i for i in claims if rows[i]["radius"] > 0]
            start = claims[first]
            yield head, rows[start:] + rows[:start]
