"""The gradient norm of one image, and the command that compares easy and hard ones."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import CONFIG, assert_words, end
from refusals import names

from jaxcert import config as configs
from jaxcert import gradient_norms
from jaxcert.errors import InputError
from jaxcert.interfaces import Method, Run
from jaxcert.papers import gradient_norms as measuring
from jaxcert.training import loop

SIGMA, NOISES = 0.5, 8
RUN = Run(steps_per_epoch=1, total_steps=10, data_size=20)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("norms") / "run"
    loop.train(configs.tiny(configs.load(CONFIG)), workdir)
    return workdir


@pytest.fixture(scope="module")
def small():
    """A network with BatchNorm whose statistics are not those of a batch."""
    model = configs.build(
        "models",
        configs.ConfigDict(
            dict(name="small_cnn", num_classes=10, image_shape=(8, 8, 1), width=2)
        ),
    )
    params, state = jax.jit(model.init)(jax.random.key(0))
    return model, params, jax.tree.map(lambda x: x + 0.5, state)


def batch(count):
    rng = np.random.default_rng(0)
    return {
        "image": rng.random((count, 8, 8, 1), np.float32),
        "label": np.arange(count, dtype=np.int32) % 10,
        "real": np.ones(count, bool),
        "index": np.arange(count, dtype=np.int32),
    }


def test_norm_is_that_of_one_image_in_inference_mode(small):
    model, params, state = small
    quiet = measuring.inference(model)
    section = configs.ConfigDict(dict(name="gaussian", sigma=SIGMA, m=2))
    method = configs.build("methods", section, model=quiet, run=RUN)
    of = measuring.gradient_norms(quiet, method, sigma=SIGMA, step=9, noises=NOISES)
    images, keys = batch(3), jax.random.split(jax.random.key(1), 3)
    votes, norm = of(params, state, (), keys, images)
    assert (
        votes.shape == norm.shape == (3,) and ((votes >= 0) & (votes <= NOISES)).all()
    )

    image, label = jnp.asarray(images["image"][1]), images["label"][1]
    vote_key, loss_key = jax.random.split(keys[1])
    noise = SIGMA * jax.random.normal(loss_key, (2, 1, *image.shape))

    def loss(params):
        logits, _ = model.apply(params, state, image + noise[:, 0], train=False)
        return -jax.nn.log_softmax(logits)[:, label].mean()

    leaves = jax.tree.leaves(jax.jit(jax.grad(loss))(params))
    alone = np.sqrt(sum(float((leaf**2).sum()) for leaf in leaves))
    assert float(norm[1]) == pytest.approx(alone, rel=1e-4)
    noisy = image + SIGMA * jax.random.normal(vote_key, (NOISES, *image.shape))
    logits, _ = model.apply(params, state, noisy, train=False)
    assert int(votes[1]) == int((logits.argmax(-1) == label).sum())


def test_loss_is_that_of_the_last_step_with_its_tables_and_phase(small):
    model = small[0]._replace(
        apply=lambda params, state, x: (jnp.zeros((len(x), 10)), 0)
    )

    def loss(params, state, extra, batch, key, step, phase):
        assert phase == "attack" and batch["image"].shape == (1, 8, 8, 1)
        scale = extra[batch["index"][0]] * (step == 9) * batch["real"][0]
        return scale * params["w"].sum(), (state, {})

    method = Method(loss=loss, phase=lambda step: "attack" if step == 9 else None)
    of = measuring.gradient_norms(model, method, sigma=SIGMA, step=9)
    keys, params = jax.random.split(jax.random.key(1), 3), {"w": jnp.ones(4)}
    votes, norm = of(params, (), jnp.array([0.0, 1.0, 3.0]), keys, batch(3))
    np.testing.assert_allclose(norm, [0, 2, 6])
    assert votes.tolist() == [100, 0, 0], "ties go to class 0"


def test_before_the_attack_the_same_noise_has_the_plain_loss(small):
    model = small[0]._replace(
        apply=lambda params, state, x: (jnp.zeros((len(x), 10)), 0)
    )

    def loss(params, state, extra, batch, key, step, phase):
        scale = jax.random.uniform(key) * {"plain": 1, "attack": 3}[phase]
        return scale * params["w"].sum(), (state, {})

    method = Method(loss=loss, phase=lambda step: "attack" if step == 9 else "plain")
    keys = jax.random.split(jax.random.key(1), 3)
    given = ({"w": jnp.ones(4)}, (), (), keys, batch(3))
    of = measuring.gradient_norms(model, method, sigma=SIGMA, step=9, noises=2)
    before = measuring.before_attack(method, step=9)(*given)
    np.testing.assert_allclose(of(*given)[1], 3 * before, rtol=1e-6)
    assert measuring.before_attack(method, step=8) is None


def test_inference_keeps_the_statistics(small):
    model, params, state = small
    x = batch(4)["image"]
    logits, after = measuring.inference(model).apply(params, state, x, train=True)
    np.testing.assert_array_equal(logits, model.apply(params, state, x)[0])
    for one, other in zip(*map(jax.tree.leaves, (state, after)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_easy_and_hard_images_and_the_error_of_their_ratio():
    p = np.array([0.9, 0.6, 0.5, 0.4, 0.0])
    norm = np.array([1.0, 3.0, 100.0, 4.0, 12.0])
    found = measuring.compare(p, norm)
    assert found.easy == (2, 2.0, 1.0) and found.hard == (2, 8.0, 4.0)
    assert found.ratio == 0.25
    # relative errors 1/2 and 1/2 add in squares
    assert found.ratio_error == pytest.approx(0.25 * 0.5**0.5)
    nobody = measuring.compare(np.ones(3), np.ones(3))
    assert nobody.hard.images == 0 and np.isnan(nobody.ratio)


def test_command_prints_and_writes_the_three_numbers(workdir, capsys):
    arguments = ["--workdir", str(workdir), "--images", "20"]
    assert gradient_norms.main(arguments) == 0
    printed = capsys.readouterr().out
    assert_words("gaussian's loss on one image, 20 training images", printed)
    assert_words(
        r"easy p > 1/2 +\d+[^\n]*\nhard p < 1/2 +\d+[^\n]*\neasy / hard", printed
    )
    found = json.loads((workdir / "gradient_norms.json").read_text())
    assert "nan" not in printed
    rows = found["rows"]
    assert rows["index"] == list(range(0, 1000, 50)) and len(rows["norm"]) == 20
    norms = measuring.compare(np.array(rows["p"]), np.array(rows["norm"]))
    assert norms.easy.images == found["easy"]["images"] > 0
    assert norms.ratio == pytest.approx(found["ratio"])

    # a part of the images gives the same rows: neither chunks nor their filling count
    assert gradient_norms.main([*arguments[:3], "10"]) == 0
    part = json.loads((workdir / "gradient_norms.json").read_text())["rows"]
    np.testing.assert_allclose(part["norm"], rows["norm"][::2], rtol=1e-5)
    assert part["p"] == rows["p"][::2]


@pytest.mark.parametrize(
    "words, fault",
    [
        ("--images 0", names("--images", 0)),
        ("--images x", "--images.*'x'"),
        ("--nope 1", "unknown argument '--nope'"),
        ("--config.method.name=lot", "method lot"),
        ("--config.method.sigma=0", names("method.sigma", 0.0)),
    ],
)
def test_bad_arguments_end_in_one_sentence(workdir, capsys, words, fault):
    status, said = end(capsys, gradient_norms, "--workdir", workdir, *words.split())
    assert status == 2
    assert_words(fault, said)


def test_method_without_noise_is_refused(workdir):
    config = configs.read(workdir)
    with config.unlocked():
        config.method = dict(name="cross_entropy")
    with pytest.raises(InputError, match=names("method", "cross_entropy", "--workdir")):
        measuring.measure(config, workdir)


def test_help_shows_an_example(capsys):
    with pytest.raises(SystemExit) as ended:
        gradient_norms.main(["--help"])
    assert not ended.value.code
    assert "python -m jaxcert.gradient_norms " in capsys.readouterr().out


def test_mean_of_no_image_is_not_printed_as_a_number(workdir, capsys, monkeypatch):
    norms = measuring.compare(np.array([0.9]), np.array([2.0]))
    empty = dict(easy=norms.easy._asdict(), hard=norms.hard._asdict())
    empty |= dict(ratio=norms.ratio, ratio_error=norms.ratio_error, images=1)
    empty |= dict(method=dict(name="gaussian"))
    monkeypatch.setattr(measuring, "measure", lambda *_, **__: empty)
    assert gradient_norms.main(["--workdir", str(workdir)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["easy", "p", ">", "1/2", "1", "2", "--"] in lines
    assert ["hard", "p", "<", "1/2", "0", "--", "--"] in lines
    assert ["easy", "/", "hard", "--", "--"] in lines
