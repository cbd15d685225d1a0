"""The command of a paper: what it plans, what it does again after a kill, and what it refuses."""

from __future__ import annotations

import csv
import functools
import json
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest
from command_line import end
from refusals import names, tells
from study_runs import of_counts, workdir

from jaxcert import config as configs
from jaxcert import paper, papers
from jaxcert.errors import InputError
from jaxcert.interfaces import Run
from jaxcert.papers import gradient_norms, paper_runs, plans

METHODS = {"gaussian", "stability", "smoothadv", "macer", "consistency"}
METHODS |= {"smoothmix", "catrs", "sun"}


def configs_of(rows, what="train"):
    return [s.config for row in rows for s in row.steps if s.what == what]


@functools.cache
def altstidl():
    return plans.plan("altstidl", "digits", workdir="runs/a")


def test_digits_of_altstidl_are_four_systems_two_sizes_epochs_and_seeds():
    rows = altstidl()
    assert len({row.folder for row in rows}) == len(rows)
    edm, *runs = rows
    assert edm.steps[1].more["count"] == 5000
    cells = {}
    for row in runs:
        c = row.steps[0].config
        assert c.data.generated == ("runs/a/" + edm.steps[1].out) * bool(
            c.data.generated_count
        )
        size, _, system = row.folder.partition("_")
        family = system.partition("_digits")[0]
        key = family, size, c.data.epochs
        of = cells.setdefault(key, Counter())
        share = c.data.generated_share if c.data.generated_count else 0.7
        of[c.data.generated_count, share] += 1
        assert [s.out for s in row.steps] == ["", "certificates.jsonl", "train.jsonl"]
        assert c.eval.every_epochs and c.data.epochs > c.eval.every_epochs
    assert len(cells) == 4 * 2 * 2
    for of in cells.values():
        assert {k: of[k] for k in of if k[1] == 0.7} == {
            (n, 0.7): 2 for n in (0, 1000, 5000)
        }
    shares = [{k[1] for k in of if k[0] == 5000} for of in cells.values()]
    assert sum(s == set(plans.SHARES) for s in shares) == 2 and len(plans.SHARES) == 6
    widths = {(c.model.name, c.model.width) for c in configs_of(runs)}
    assert {w for n, w in widths if n == "dist_net"} == {96, 192}


def test_generated_images_are_of_the_size_that_the_systems_take():
    edm, *runs = plans.plan("altstidl", "mnist", workdir="runs/a", seeds=1)
    (shape,) = {c.model.image_shape for c in configs_of([edm])}
    assert shape == (32, 32, 1)
    for c in configs_of([edm, *runs]):
        assert c.model.image_shape == shape and c.data.pad == 32
        assert not c.reference.paper  # of other networks


def test_digits_of_sun_are_eight_methods_and_the_parts_of_theirs():
    rows = plans.plan("sun", "digits", workdir="runs/s", seeds=2)
    whole = Counter()
    parts = set()
    for c in configs_of(rows):
        method = c.method
        if method.name == "sun" and not all(method[p] for p in plans.PARTS):
            parts.add((method.sigma, *(method[p] for p in plans.PARTS)))
        else:
            whole[method.name, method.sigma] += 1
    # Gaussian training with one copy of each image is the first row of Table 3 at sigma 0.5
    twice = {(name, sigma): 2 for name in METHODS for sigma in (0.25, 0.5)}
    assert whole == twice | {("gaussian", 0.5): 4}
    first = {
        (c.method.sigma, c.method.m)
        for c in configs_of(rows)
        if c.method.name == "gaussian"
    }
    assert first == {(0.25, 4), (0.5, 4), (0.5, 1)}
    assert len(parts) == 2 * 6
    assert {c.seed for c in configs_of(rows)} == {0, 1}
    assert len({row.folder for row in rows}) == len(rows)


def test_votes_of_catrs_are_those_of_a_row_before_it():
    rows = plans.plan("sun", "cifar10", workdir="runs/s")
    made = {
        f"runs/s/{row.folder}/{step.out}": i
        for i, row in enumerate(rows)
        for step in row.steps
    }
    for i, row in enumerate(rows):
        if row.steps[0].config.method.name == "catrs":
            votes = row.steps[0].config.method.soft_labels
            assert made[votes] < i
            first = rows[made[votes]].steps
            (asked,) = [s.config.certify for s in first if s.out == "train.jsonl"]
            assert (asked.split, asked.procedure, asked.n) == (
                "train",
                "predict",
                10_000,
            )


def test_digits_of_chen_are_dc_and_three_kinds_at_two_noises_and_levels():
    rows = plans.plan("chen", "digits", workdir="runs/c")
    found = [c.certify for c in configs_of(rows, "certify")]
    noised = [c for c in found if c.name == "noised_diffusion_classifier"]
    assert Counter((c.kind, c.sigma, c.levels) for c in noised) == {
        (kind, sigma, levels): 1
        for kind in ("epndc", "apndc", "diffpure")
        for sigma in (0.25, 0.5)
        for levels in (8, 24)
    }
    dc = [c for c in found if c.name == "diffusion_classifier"]
    assert {(c.weighting, c.drop_below) for c in dc} == {
        ("edm", 0.0),
        ("uniform", 0.0),
        ("uniform", 0.5),
    }
    assert len({(row.folder, row.steps[-1].out) for row in rows}) == len(rows)
    assert {c.certify.sigma for c in configs_of(rows, "votes")} == {0.25, 0.5}
    edm, classifier = configs_of(rows)
    assert edm.model.name == "edm_unet" and classifier.method.name == "cross_entropy"
    denoised = [c for c in found if c.name == "denoised_smoothing"]
    assert {c.sigma for c in denoised} == {0.25, 0.5}
    folders = {
        row.folder for row in rows if row.steps[0].config.model == classifier.model
    }
    assert {c.networks.classifier for c in denoised} == {f"runs/c/{f}" for f in folders}


@pytest.mark.slow
def test_cifar10_of_altstidl_has_a_row_for_every_published_cell():
    published = Counter()
    for path in Path(papers.__file__).parent.glob("published/altstidl_table[123]*.csv"):
        with open(path, newline="") as file:
            for line in csv.DictReader(file):
                published[float(line["clean"]), float(line["cert"])] += 1
    rows = plans.plan("altstidl", "cifar10", workdir="runs/a")
    ours = Counter(
        (c.reference.clean, c.reference.certified)
        for c in configs_of(rows)
        if c.reference.paper == "Altstidl et al. 2023"
    )
    # SortNet without images carries the numbers of its authors
    assert published - ours == {(53.38, 39.72): 1} and not ours - published


def test_a_training_is_finished_with_the_checkpoint_of_its_last_step(tmp_path):
    config = configs.load("lot/digits")
    row = plans.Row("run", "lot", (plans.Step("train", config),), 1.0)
    place = tmp_path / "run"
    (place / "checkpoints" / "290").mkdir(parents=True)
    lines = [
        {"step": 300 * i // 30, "split": "train", "epoch": float(i)} for i in (29, 30)
    ]
    (place / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    assert not paper_runs.finished(row, tmp_path)
    (place / "checkpoints" / "300").mkdir()
    assert paper_runs.finished(row, tmp_path)


def test_a_record_is_finished_with_all_images_that_it_asks_for(tmp_path):
    config = configs.load("lot/digits")
    own = dict(requests=[dict(start=0, stop=12, step=1)], config=config.to_dict())
    for name, count in (("part", 11), ("whole", 12)):
        workdir(tmp_path / name, test=of_counts(3, 4, count), header=own)
    step = plans.Step("certify", config, "certificates.jsonl")
    row = plans.Row("part", "lot", (step,), 1.0)
    assert not paper_runs.finished(row, tmp_path)
    assert paper_runs.finished(row._replace(folder="whole"), tmp_path)
    config.certify.radii = (0.0, 0.5)
    assert not paper_runs.finished(row._replace(folder="whole"), tmp_path)


def test_images_that_are_there_need_no_edm(tmp_path):
    edm = altstidl()[0]
    place = tmp_path / edm.steps[-1].out
    place.mkdir()
    for done in (False, True):
        (place / "images.json").write_text(json.dumps(dict(done=done, count=9000)))
        assert paper_runs.finished(edm, tmp_path) == done


def test_after_a_kill_what_is_finished_is_not_done_again(tmp_path, monkeypatch):
    config = configs.load("lot/digits")
    steps = [plans.Step("norms", config, f"{i}.json") for i in range(4)]
    rows = [plans.Row(f"run{i}", "lot", tuple(steps[2 * i :][:2]), 1.0) for i in (0, 1)]
    done = []

    def work(step, place):
        done.append(f"{place.name}/{step.out}")
        place.mkdir(exist_ok=True)
        killed = len(done) == 4
        (place / step.out).write_text('{"rows": [' if killed else '{"rows": []}')
        if killed:
            raise KeyboardInterrupt

    monkeypatch.setitem(paper_runs.DO, "norms", work)
    monkeypatch.setattr(paper_runs.study, "keep_programs", lambda workdir: None)
    with pytest.raises(KeyboardInterrupt):
        paper_runs.run(rows, tmp_path)
    told = paper_runs.told(rows, tmp_path, scale="digits")
    assert tells(told[0] + ".", "2 rows", "1 to do")
    assert [line.split()[0] for line in told[1:]] == ["done", "to"]
    paper_runs.run(rows, tmp_path)
    assert done == ["run0/0.json", "run0/1.json", "run1/2.json", *2 * ["run1/3.json"]]


def test_rows_of_another_plan_are_refused_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setitem(paper_runs.DO, "train", lambda step, place: None)
    monkeypatch.setattr(paper_runs.loop, "check", lambda config: 0)
    monkeypatch.setattr(paper_runs.study, "keep_programs", lambda workdir: None)
    config = configs.load("lot/digits")
    workdir(tmp_path / "run", evaluations=[{"epoch": 1.0}])
    there = config.to_dict()
    there["optim"]["lr"] = 0.5
    (tmp_path / "run" / "config.json").write_text(json.dumps(there))
    row = plans.Row("run", "lot", (plans.Step("train", config),), 1.0)
    with pytest.raises(InputError, match=names("optim.lr")):
        paper_runs.run([row], tmp_path)


def test_published_numbers_stand_beside_networks_of_their_data_alone():
    edm = configs.load("edm/cifar10:dropped")
    row = configs.load("diffusion_classifier/cifar10:apndc,0.25,full,t1001")
    found = configs.with_certificate(edm, row)
    assert (found.reference.clean, found.reference.certified) == (91.2, 82.2)
    assert found.certify.to_dict() == row.certify.to_dict()
    assert edm.certify.name == ""
    other = configs.with_certificate(configs.load("edm/digits"), row)
    assert other.reference.paper == "" and other.certify.kind == "apndc"
    plain = configs.load("diffusion_classifier/cifar10:apndc,0.25")
    assert plain.reference.paper == ""


@pytest.mark.parametrize(
    "words, fault",
    [
        (["sun", "--plan"], ("--plan", "--scale")),
        (["chen", "--seeds", "2"], ("--seeds", "--scale")),
        (["chen", "--scale", "imagenet"], ("--scale", "imagenet", "digits")),
        (["sun", "--scale", "digits", "--seeds", "-1"], ("--seeds", -1)),
        (["chen", "--logs", "x"], ("--logs", "sun")),
    ],
)
def test_what_the_command_refuses(tmp_path, capsys, words, fault):
    status, said = end(capsys, paper, *words, "--workdir", tmp_path / "none")
    assert status != 0 and tells(said, *map(str, fault))
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_every_method_of_sun_has_gradients():
    """Of shapes alone, as at the last step of each row."""
    for config in configs_of(plans.plan("sun", "digits", workdir="runs/s"), "norms"):
        config = configs.tiny(config)
        total = plans.steps_of(config)
        run = Run(max(1, total // config.data.epochs), total, 24)
        model = gradient_norms.inference(configs.build("models", config.model))
        method = configs.build("methods", config.method, model=model, run=run)
        of = gradient_norms.gradient_norms(model, method, sigma=0.25, step=total - 1)
        params, state = jax.eval_shape(model.init, jax.random.key(0))
        batch = dict(
            image=jax.ShapeDtypeStruct((2, *model.image_shape), np.float32),
            label=jax.ShapeDtypeStruct((2,), np.int32),
            real=jax.ShapeDtypeStruct((2,), bool),
            index=jax.ShapeDtypeStruct((2,), np.int32),
        )
        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 2))
        extra = jax.eval_shape(method.init_extra)
        votes, norm = jax.eval_shape(of, params, state, extra, keys, batch)
        assert votes.shape == norm.shape == (2,), config.method.name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chen", "sun"])
def test_from_nothing_to_the_page(tmp_path, name):
    """A row of each kind, shrunk to seconds."""
    chosen = {
        "chen": ("edm/digits", "dc edm", "apndc 0.25 8 race"),
        "sun": ("sun,0.25",),
    }
    rows = [
        row._replace(steps=tuple(map(tiny, row.steps)))
        for row in plans.plan(name, "digits", workdir=str(tmp_path))
        if row.name.removeprefix("smoothing/digits:") in chosen[name]
    ]
    assert len(rows) == len(chosen[name])
    paper_runs.run(rows, tmp_path)
    assert all(paper_runs.finished(row, tmp_path) for row in rows)
    assert paper.main([name, "--workdir", str(tmp_path)]) == 0
    with open(tmp_path / ("table_2.csv" if name == "sun" else "table_1.csv")) as file:
        lines = [line for line in csv.DictReader(file) if line["source"] != "published"]
    assert len(lines) == 1 and np.isfinite(float(lines[0]["ca_0.25"]))


def tiny(step):
    config = configs.tiny(step.config)
    with config.unlocked():
        config.certify.update(stop=0, step=300, n=20)
    more = dict(images=6) if step.what == "norms" else step.more
    return step._replace(config=config, more=more)
