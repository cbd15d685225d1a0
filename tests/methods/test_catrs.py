"""CAT-RS against the original step, and where its soft labels come from."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Golden, close, golden_each
from refusals import names
from smoothing_step import check_gradients, network

from jaxcert import config as configs
from jaxcert import records
from jaxcert.certificates import run as certification
from jaxcert.errors import InputError
from jaxcert.interfaces import Run
from jaxcert.methods import _smoothing, catrs
from jaxcert.models import small_cnn
from jaxcert.training import loop


@pytest.mark.golden("smoothing")
@golden_each("smoothing", "loss_catrs*.npz")
def test_step_is_the_original(x64, file):
    golden, mask = Golden(file), "confmask" in file.stem
    model, params, state = network(golden["x"])
    x = golden["x"].transpose(0, 2, 3, 1)
    noise = golden["sigma"] * golden["noise_std_normal"].transpose(0, 1, 3, 4, 2)
    assert len(noise) == golden["m"]
    soft, draws = golden["smoothed_pred"], golden["accept_sample"]
    attacked = golden["adv_noise"].transpose(0, 1, 3, 4, 2)
    options = dict(eps=float(golden["max_norm"]), steps=int(golden["steps"]))

    def step(params):
        asked = []

        def accept(w):
            asked.append(w)
            return jnp.asarray(draws)

        loss, aux = catrs.objective(
            model,
            params,
            state,
            x,
            golden["y"],
            soft,
            noise,
            accept,
            lbd=float(golden["lbd"]),
            confidence_mask=mask,
            **options,
        )
        return loss, (*aux, asked[0])

    (loss, (after, metrics, w)), grads = jax.jit(
        jax.value_and_grad(step, has_aux=True)
    )(params)
    np.testing.assert_allclose(w, golden["binomial_prob"], rtol=1e-9)
    np.testing.assert_allclose(loss, golden["loss"], rtol=1e-9)
    assert metrics["loss"] == loss
    _, between = model.apply(
        params, state, (x + noise).reshape(-1, *x.shape[1:]), train=True
    )
    moved = catrs.attack(model, params, between, x, soft, noise, **options)
    close(moved, attacked)
    check_gradients(golden, grads, after)


RUN = Run(steps_per_epoch=5, total_steps=20, data_size=8)
SOFT = "runs/first/train.jsonl"
PREDICT = dict(
    method="smoothing",
    norm="l2",
    alpha=0.001,
    sigma=0.25,
    num_classes=3,
    procedure=dict(name="predict", n=4),
    split="train",
)


def votes(*index):
    """Rows of a record: image i has 1 + i % 3 of 5 votes for its class i % 3."""
    size = len(index)
    label = np.array(index) % 3
    counts = np.ones((size, 3), np.int64)
    counts[range(size), label] = 1 + label
    return records.Certificates(
        index=np.array(index, np.int64),
        label=label.astype(np.int32),
        predicted=np.full(size, records.ABSTAIN, np.int32),
        radius=np.zeros(size),
        n=np.full(size, 5, np.int64),
        seconds=np.zeros(size),
        counts=counts,
    )


def write(path, rows, **header):
    with records.Writer(path, {**PREDICT, **header}) as writer:
        writer.append(rows)
    return str(path)


def test_soft_labels_are_the_votes_in_the_order_of_the_images(tmp_path):
    path = write(tmp_path / "r.jsonl", votes(2, 0, 3, 1))
    share, label = _smoothing.first_votes(path, 4, 3)
    np.testing.assert_array_equal(
        share, [[0.2, 0.2, 0.2], [0.2, 0.4, 0.2], [0.2, 0.2, 0.6], [0.2] * 3]
    )
    np.testing.assert_array_equal(label, [0, 1, 2, 0])


@pytest.mark.parametrize(
    "rows,header,words",
    [
        (
            votes(0, 1, 3),
            {},
            names("r.jsonl", "3 of 4"),
        ),
        (votes(0, 1, 2, 3, 4), {}, names("r.jsonl", "image 4", 4)),
        (
            votes(0, 1, 2, 3),
            dict(split="test"),
            names("r.jsonl", "split", "test", "train"),
        ),
        (votes(0, 1, 2, 3)._replace(counts=None), {}, names("r.jsonl", "votes")),
        (
            votes(0, 1, 2, 3)._replace(counts=np.ones((4, 2), int), label=np.zeros(4)),
            dict(num_classes=2),
            names("r.jsonl", "2 classes", 3),
        ),
    ],
)
def test_record_of_something_else_is_refused(tmp_path, rows, header, words):
    path = write(tmp_path / "r.jsonl", rows, **header)
    with pytest.raises(InputError, match=words):
        _smoothing.first_votes(path, 4, 3)


def test_missing_record_is_told_with_the_command_that_makes_it():
    model = small_cnn.make(image_shape=(4, 4, 1), width=4)
    method = catrs.make(model, RUN, sigma=0.25, soft_labels=SOFT)
    with pytest.raises(
        InputError,
        match="--workdir runs/first --config.certify.start=0 --config.certify.stop=0 "
        "--config.certify.step=1 --config.certify.split=train --config.certify."
        f"procedure=predict --config.certify.n=10000 --out {SOFT}`",
    ):
        method.init_extra()


def test_images_find_their_soft_labels_and_generated_ones_their_label(monkeypatch):
    model = small_cnn.make(num_classes=3, image_shape=(4, 4, 1), width=4)
    seen = []

    def objective(model, params, state, image, label, soft, noise, accept, **options):
        w = jnp.linspace(0, 1, 4096)
        seen.append((soft, noise, accept(w), options["eps"]))
        return 0, (state, {})

    monkeypatch.setattr(catrs, "objective", objective)
    table = np.random.default_rng(0).dirichlet(np.ones(3), 8).astype(np.float32)
    batch = dict(
        image=jnp.zeros((3, 4, 4, 1)),
        label=jnp.array([0, 1, 2]),
        index=jnp.array([7, -1, 2]),
    )
    method = catrs.make(
        model, RUN, sigma=0.5, m=2, soft_labels=SOFT, eps=0.5, double_eps_epoch=2
    )
    for step in (9, 10):
        extra = {"soft_labels": table}
        method.loss({}, {}, extra, batch, jax.random.key(0), step, None)
    (soft, noise, drawn, eps), (*_, doubled) = seen
    np.testing.assert_array_equal(soft, [table[7], [0, 1, 0], table[2]])
    assert noise.shape == (2, 3, 4, 4, 1)
    assert (eps, doubled) == (0.5, 1.0)
    assert drawn[0] == 0 and drawn[-1] == 2 and set(np.unique(drawn)) == {0, 1, 2}
    assert abs(drawn.mean() - 1) < 5 / np.sqrt(2 * 4096)  # of Binomial(2, w), w uniform


@pytest.mark.parametrize(
    "key,value",
    [
        ("sigma", 0.0),
        ("steps", 0),
        ("eps", -1.0),
        ("lbd", float("inf")),
        ("double_eps_epoch", -1),
        ("soft_labels", ""),
    ],
)
def test_nonsense_is_refused(key, value):
    with pytest.raises(InputError, match=names(f"method.{key}", value)):
        catrs.make(None, RUN, **{"sigma": 0.25, "soft_labels": "labels", key: value})


@pytest.mark.slow
def test_training_on_the_votes_of_a_first_model(tmp_path):
    """The record is what the certify command writes; its table is kept in the run."""
    rng = np.random.default_rng(0)
    for split, size in (("train", 30), ("test", 4)):
        label = np.arange(size) % 3
        image = rng.integers(0, 99, (size, 4, 4, 1)) + 75 * label[:, None, None, None]
        np.savez(tmp_path / f"{split}.npz", image=image.astype(np.uint8), label=label)
    config = configs.base()
    config.model = dict(name="small_cnn", num_classes=3, image_shape=(4, 4, 1), width=4)
    config.data.update(name=f"npz:{tmp_path}", batch=10, epochs=2)
    config.optim.lr = 0.01
    config.method = dict(name="gaussian", sigma=0.25)
    config.certify.update(name="smoothing", procedure="predict", n=20, sigma=0.25)
    loop.train(config, tmp_path / "first")
    config.certify.split = "train"
    path = tmp_path / "first" / "train.jsonl"
    rows = certification.certify(config, tmp_path / "first", out=path)
    config.method = dict(name="catrs", sigma=0.25, m=2, steps=1, soft_labels=str(path))
    state = loop.train(config, tmp_path / "second")
    expected = np.empty((30, 3))
    expected[rows.index] = rows.counts / 20
    np.testing.assert_allclose(state.extra["soft_labels"], expected, rtol=1e-6)
    np.testing.assert_allclose(expected.sum(1), 1)
