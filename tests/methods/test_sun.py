"""Sun et al. against the original step; what is discarded and how the rest is weighted."""

from __future__ import annotations

import itertools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Golden, close, golden_each
from refusals import names
from scipy.special import ndtri
from smoothing_step import check_gradients, network

from jaxcert import config as configs
from jaxcert import records
from jaxcert.certificates.statistics import clopper_pearson_lower
from jaxcert.data import loader
from jaxcert.errors import InputError
from jaxcert.interfaces import Model, Run, TrainState
from jaxcert.methods import gaussian, sun
from jaxcert.training import loop


@pytest.mark.golden("smoothing")
@golden_each("smoothing", "loss_sun_sphere_*.npz")
def test_step_is_the_original(x64, file):
    golden = Golden(file)
    model, params, state = network(golden["x"])
    x = golden["x"].transpose(0, 2, 3, 1)
    noise = golden["sigma"] * golden["noise_std_normal"].transpose(0, 1, 3, 4, 2)
    assert len(noise) == golden["m"]
    norm = "linf" if "linf" in file.stem else "l2"

    def step(params):
        moved = sun.attack(
            model,
            params,
            state,
            x,
            golden["y"],
            noise,
            steps=int(golden["steps"]),
            eps=float(golden["step_size"]),
            norm=norm,
        )
        loss, aux = gaussian.objective(model, params, state, x, golden["y"], moved)
        return loss, (*aux, moved)

    (loss, (after, metrics, moved)), grads = jax.jit(
        jax.value_and_grad(step, has_aux=True)
    )(params)
    attacked = golden["adv_noise"].transpose(0, 1, 3, 4, 2)
    close(moved, attacked)
    for deltas, name in ((noise, "pred_before"), (moved, "pred_after")):
        logits = model.apply(params, state, (x + deltas).reshape(-1, *x.shape[1:]))[0]
        predicted = logits.argmax(-1).reshape(deltas.shape[:2])
        np.testing.assert_array_equal(predicted, golden[name])
    np.testing.assert_allclose(loss, golden["loss"], rtol=1e-9)
    assert metrics["loss"] == loss
    check_gradients(golden, grads, after)


@pytest.mark.golden("smoothing")
@golden_each("smoothing", "sun_reweighting*.npz")
def test_weights_are_those_of_the_code_and_not_the_printed_ones(monkeypatch, file):
    golden = Golden(file)
    count, n = golden["count"], int(golden["n"])
    monkeypatch.setattr(sun, "ALPHA", float(golden["alpha"]))
    ours = sun.weight(count, n)
    np.testing.assert_allclose(ours, golden["weight_code"], rtol=1e-9)
    relative = ours / ours.min()
    np.testing.assert_allclose(relative, golden["weight_code_normalised"], rtol=1e-9)
    lower = clopper_pearson_lower(count, n, sun.ALPHA)
    np.testing.assert_allclose(lower, golden["lower"], rtol=1e-9)
    # the printed formula with a share of 3/4 as its reference, instead of p = 3/4
    prefix = "weight_paper_with_reference_count"
    for name in [name for name in golden if name.startswith(prefix)]:
        assert int(name.removeprefix(prefix)) == 3 * n // 4
        np.testing.assert_allclose(relative, golden[name], rtol=1e-9)
    printed = np.maximum(1, ndtri(lower) / ndtri(0.75))
    np.testing.assert_allclose(printed, golden["weight_paper_literal"], rtol=1e-9)
    assert golden.unread() == []


def test_votes_are_bounded_at_the_level_of_the_official_code():
    assert sun.ALPHA == 0.1


N, BATCH, SIGMA = 10, 4, 0.5
RUN = Run(steps_per_epoch=3, total_steps=90, data_size=N)
SHARES = np.array([0.02, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0])


def brightness_model():
    """Class 1 where the mean pixel is above the parameter."""

    def apply(params, state, x, *, train=False, key=None):
        assert not train
        bright = x.mean((1, 2, 3)) - params
        return jnp.stack([-bright, bright], 1), state

    return Model(None, apply, None, 2, (2, 2, 1))


def bright_images():
    """Images that noise leaves in class 1 with probability SHARES, once, in batches of
    which the last is filled up from the start."""
    above = SIGMA / 2 * ndtri(np.clip(SHARES, 1e-9, 1 - 1e-9))
    image = np.broadcast_to(above[:, None, None, None], (N, 2, 2, 1))
    for first in range(0, N, BATCH):
        rows = np.arange(first, first + BATCH)
        yield {
            "image": jnp.float32(image[rows % N]),
            "label": jnp.ones(BATCH, jnp.int32),
            "index": jnp.where(rows < N, rows, -1),
        }


def state_of(weights, threshold=0.0):
    extra = {"weights": jnp.float32(weights)}
    return TrainState(jnp.int32(0), jnp.float32(threshold), {}, extra, (), None)


@pytest.mark.parametrize("m", [1, 64])
def test_copies_predicted_as_the_label_are_counted(m):
    n = 2000
    count = sun.counter(brightness_model(), sigma=SIGMA, m=m)
    arguments = state_of(np.zeros(N)), bright_images(), jax.random.key(0), n
    share = count(*arguments) / n
    error = np.sqrt(SHARES * (1 - SHARES) / n)
    assert (np.abs(share - SHARES) <= 4.5 * error).all()
    assert share[-1] == 1 and share[0] < 0.1  # written by no filled row


def make(**options):
    return sun.make(
        brightness_model(), RUN, **{"sigma": SIGMA, "m": 2, "start_epoch": 6, **options}
    )


def refreshed(method, weights, threshold=0.0):
    state = state_of(weights, threshold)
    return method.refresh.fn(state, bright_images, jax.random.key(1))["weights"]


def test_what_is_discarded_stays_so_and_the_rest_is_weighted():
    method = make(p_t=0.4)
    before = method.init_extra()["weights"]
    assert before.shape == (N,) and not before.any()
    first = refreshed(method, before)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first > 0, SHARES > 0.4)
    levels = np.float32(sun.weight(np.arange(12, 17), 16))
    assert set(first[2:]) <= set(levels) and first[-1] == levels[-1]
    assert first[3] < first[-1]
    later = refreshed(method, first, threshold=-100.0)  # now every copy is right
    np.testing.assert_array_equal(later, np.where(SHARES > 0.4, levels[-1], 0))
    worse = refreshed(method, first, threshold=100.0)  # and now none
    np.testing.assert_array_equal(worse, np.where(SHARES > 0.4, levels[0], 0))


def test_each_part_has_its_switch():
    """The rows of Table 3."""
    for discard, reweight, adversarial in itertools.product([False, True], repeat=3):
        parts = dict(discard=discard, reweight=reweight, adversarial=adversarial)
        method = make(**parts)
        start = 6 if discard else 0
        attacks = [e for e in range(30) if method.phase(3 * e) == "attack"]
        assert attacks == (list(range(start, 30)) if adversarial else [])
        assert method.phase(3 * start - 1) == "plain" or not adversarial
        if not any(parts.values()):
            assert method.refresh is None and method.init_extra() == ()
            continue
        due = [epoch for epoch in range(30) if method.refresh.due(epoch)]
        assert due == (list(range(start, 30, 10)) if reweight else [start])
        weights = refreshed(method, np.zeros(N))
        np.testing.assert_array_equal(weights > 0, (SHARES > 0.4) | (not discard))
        assert (len(np.unique(weights[weights > 0])) > 1) == reweight


def test_discarding_everything_is_refused():
    with pytest.raises(InputError, match=names("50%", "0%", "method.p_t")):
        refreshed(make(), np.zeros(N), threshold=100.0)


def test_images_are_discarded_by_the_votes_of_another_model(tmp_path):
    path, label = tmp_path / "train.jsonl", np.arange(N, dtype=np.int32) % 2
    right = np.arange(N)  # of 10 votes
    counts = np.stack([right, 10 - right], 1)
    counts[label == 1] = counts[label == 1, ::-1]
    order = np.random.default_rng(0).permutation(N)
    rows = records.Certificates(
        index=order,
        label=label[order],
        predicted=np.full(N, records.ABSTAIN, np.int32),
        radius=np.zeros(N),
        n=np.full(N, 10),
        seconds=np.zeros(N),
        counts=counts[order],
    )
    header = dict(method="smoothing", norm="l2", alpha=0.001, sigma=SIGMA)
    header |= dict(num_classes=2, procedure=dict(name="predict", n=10), split="train")
    with records.Writer(path, header) as writer:
        writer.append(rows)
    method = make(p_t=0.3, reweight=False, votes=str(path))
    weights = refreshed(method, method.init_extra()["weights"], threshold=100.0)
    np.testing.assert_array_equal(weights, right >= 3)
    with pytest.raises(
        InputError, match=names("runs/none/train.jsonl", "--workdir runs/none")
    ):
        make(votes="runs/none/train.jsonl").init_extra()
    with pytest.raises(InputError, match=names("100%", "method.p_t")):
        make(p_t=1.0, votes=str(path)).init_extra()


def test_share_at_the_threshold_is_kept():
    for hundredth in range(1, 101):
        kept = sun.keep(
            np.array([hundredth - 1, hundredth, 100]) / 100, hundredth / 100
        )
        assert list(kept) == [False, True, True]


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_attacked_noise_keeps_its_length_and_stops_where_it_fools(x64, norm):
    """On a linear network: who is right moves, and stays once it is wrong."""
    direction = jnp.array([3.0, -1.0, 0.5, 0.0]).reshape(2, 2, 1)

    def apply(params, state, x, *, train=False, key=None):
        z = (x * params).sum((1, 2, 3))
        return jnp.stack([z, -z], 1), state

    model = Model(None, apply, None, 2, (2, 2, 1))
    noise = jax.random.normal(jax.random.key(0), (3, 50, 2, 2, 1))
    image, label = jnp.zeros((50, 2, 2, 1)), jnp.zeros(50, jnp.int32)

    def moved(steps):
        return sun.attack(
            model, direction, {}, image, label, noise, steps=steps, eps=0.3, norm=norm
        )

    def value(delta):
        return (delta * direction).sum((2, 3, 4))

    few, many = moved(2), moved(6)
    lengths = [np.linalg.norm(d.reshape(150, 4), axis=1) for d in (noise, many)]
    np.testing.assert_allclose(*lengths, rtol=1e-6)
    wrong = value(noise) < 0
    np.testing.assert_array_equal(many[wrong], noise[wrong])
    fooled = value(few) < 0
    assert (fooled & ~wrong).any() and (value(many) >= 0).any()
    np.testing.assert_array_equal(many[fooled], few[fooled])
    assert (value(many)[~fooled] < value(few)[~fooled]).all()


@pytest.mark.parametrize(
    "key,value",
    [
        ("sigma", -1.0),
        ("m", 0),
        ("norm", "l1"),
        ("p_t", 50.0),
        ("eps", 0.0),
        ("steps", 0),
        ("start_epoch", -1),
        ("reweight_every", 0),
        ("discard_n", 0),
        ("reweight_n", 0),
        ("reweight_n", 4),  # 3 of 4 copies give no weight above 0
    ],
)
def test_nonsense_is_refused(key, value):
    with pytest.raises(InputError, match=names(f"method.{key}", value)):
        make(**{key: value})


def small():
    config = configs.base()
    config.model = dict(name="small_cnn", image_shape=(8, 8, 1), width=4)
    config.method = dict(
        name="sun",
        sigma=0.25,
        m=2,
        start_epoch=3,
        p_t=0.3,
        steps=2,
        discard_n=10,
        reweight_every=2,
    )
    config.data.update(name="digits", batch=50, epochs=6, epoch_images=300)
    config.optim.update(lr=0.1, schedule="constant")
    config.checkpoint.keep = 6
    return config


@pytest.mark.slow
def test_run_discards_weights_and_goes_on_where_it_was_interrupted(
    tmp_path, monkeypatch
):
    drawn, batches = [], loader.batches

    def recorded(*arguments, weights, **options):
        seen = []
        drawn.append((weights, seen))
        for batch in batches(*arguments, weights=weights, **options):
            seen.append(np.asarray(batch["index"]))
            yield batch

    monkeypatch.setattr(loader, "batches", recorded)
    whole = loop.train(small(), tmp_path / "whole")
    (none, _), (first, early), (second, late) = drawn  # epochs 0, 3 and 5
    assert none is None
    kept = first > 0
    assert 0 < kept.sum() < len(first) == 1000
    assert len(np.unique(first[kept])) > 1
    np.testing.assert_array_equal(second > 0, kept)
    assert (first != second).any()
    assert kept[np.concatenate(early + late)].all()
    np.testing.assert_array_equal(whole.extra["weights"], second)
    for epoch in (3, 4):  # the last before the discarding; one between
        part = tmp_path / f"epoch{epoch}"
        shutil.copytree(tmp_path / "whole", part)
        for later in range(epoch + 1, 7):
            shutil.rmtree(part / "checkpoints" / str(6 * later))
        again = loop.train(small(), part)
        assert digest(part) == digest(tmp_path / "whole")
        np.testing.assert_array_equal(again.extra["weights"], second)


def digest(workdir):
    """Of the state after 36 steps."""
    meta = workdir / "checkpoints" / "36" / "meta" / "metadata"
    return json.loads(meta.read_text())["digest"]
