"""The attack command: upper bounds beside the certificates, and what contradicts them."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from refusals import names

from jaxcert import attack, records, sharding
from jaxcert import config as configs
from jaxcert.analysis import metrics
from jaxcert.analysis import report as reports
from jaxcert.attacks import audit as audits
from jaxcert.attacks.apgd import apgd
from jaxcert.certificate import certified_accuracy
from jaxcert.certificates import run as certification
from jaxcert.data import sources
from jaxcert.errors import InputError
from jaxcert.interfaces import Network
from jaxcert.ops.images import unit
from jaxcert.records import Certificates
from jaxcert.training import loop
from jaxcert.workdirs import checkpoint

CONFIGS = Path(__file__).parents[1] / "configs"
CONFIG = CONFIGS / "sortnet" / "digits.py"
CONFIG_L2 = CONFIGS / "liresnet" / "digits.py"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A network of three steps, certified and attacked on twelve images."""
    workdir = tmp_path_factory.mktemp("attack") / "run"
    config = configs.tiny(configs.load(str(CONFIG)))
    loop.train(config, workdir)
    config.certify.stop = 12
    certification.certify(config, workdir)
    config.certify.name = "lipschitz"
    certification.certify(config, workdir, out=workdir / "lipschitz.jsonl")
    return workdir


def run(workdir, *more):
    return attack.main(
        ["--workdir", str(workdir), "--steps", "5", "--config.certify.stop=12", *more]
    )


def test_certificates_stand_beside_the_attack_and_a_false_one_is_an_error(
    workdir, capsys
):
    assert run(workdir) == 0
    said = capsys.readouterr().out
    assert "under pgd" in said and "12 images; no certificate is contradicted" in said
    assert "certificates.jsonl" in said and "lipschitz.jsonl" in said
    attacks = audits.attack(small(workdir), workdir, steps=5)  # nothing is left to do
    found = np.isfinite(attacks.distance)
    assert found.any() and (attacks.radius == 0).all()
    assert (attacks.distance[found] < 0.2).all()
    radii = [r for r in small(workdir).certify.radii if r > 0]
    for r in radii:  # an attack of radius r counts at r, not first at the next one
        near = np.abs(attacks.distance[found] - r) < 1e-6
        assert (attacks.distance[found][near] < r).all()
    lost = (found & attacks.correct).sum()
    survive = (attacks.correct.sum() - lost) / len(found)
    assert audits.attacked_accuracy(attacks, [max(radii)])[0] == survive

    at = int(np.flatnonzero(found)[0])
    with claimed(workdir, at, attacks.distance[at] * 1.01):
        with pytest.raises(InputError, match=names("1 images", f"image {at}")):
            run(workdir)


def test_radius_that_a_certificate_did_not_try_is_marked(workdir, tmp_path, capsys):
    tried = records.load(workdir / "certificates.jsonl").header["procedure"]["radii"]
    assert 0.01 not in tried
    words = [f"--config.certify.radii=(0.01,{tried[0]})", "--out", str(tmp_path / "a")]
    assert run(workdir, *words) == 0
    lines = capsys.readouterr().out.splitlines()
    cells = {line.split()[0]: line.split()[1:] for line in lines if line.strip()}
    assert cells["certificates.jsonl"][0] == "--" != cells["certificates.jsonl"][1]
    assert "--" not in cells["lipschitz.jsonl"], "which has the radius of every image"
    assert "--: this record did not try that radius." in lines


@contextmanager
def claimed(workdir, at, radius):
    """certificates.jsonl with another radius for one image."""
    path = workdir / "certificates.jsonl"
    before = path.read_text()
    lines = before.splitlines()
    row = json.loads(lines[at + 1]) | {"radius": float(radius)}
    lines[at + 1] = json.dumps(row)
    path.write_text("\n".join(lines) + "\n")
    try:
        yield
    finally:
        path.write_text(before)


@pytest.fixture(scope="module")
def workdir_l2(tmp_path_factory):
    """A network of three steps, certified on twelve images."""
    workdir = tmp_path_factory.mktemp("attack_l2") / "run"
    config = configs.tiny(configs.load(str(CONFIG_L2)))
    loop.train(config, workdir)
    config.certify.stop = 12
    certification.certify(config, workdir)
    return workdir


@pytest.mark.slow
@pytest.mark.parametrize("name", ["apgd", "pgd"])
def test_certificates_of_l2_hold_under_attack_and_a_false_one_is_an_error(
    workdir_l2, tmp_path, capsys, name
):
    out, far = tmp_path / "attacks.jsonl", 4.0
    more = ["--out", str(out), f"--config.certify.radii=(0.25,{far})"]
    more += ["--attack", name] if name == "pgd" else []  # apgd is the default
    assert run(workdir_l2, *more) == 0
    said = capsys.readouterr().out
    assert f"under {name}" in said and "at l2 radius" in said
    assert "no certificate is contradicted" in said and "just inside" in said
    attacks = records.load(out)
    assert attacks.header["procedure"] == dict(
        name=name, inside=12, steps=5, radii=[0.25, far]
    )
    found = np.isfinite(attacks.distance)
    assert found.any() and (attacks.distance[found] < far).all()
    at = int(np.flatnonzero(found)[0])
    with claimed(workdir_l2, at, attacks.distance[at] * 1.01):
        with pytest.raises(InputError, match=names("1 images", f"image {at}")):
            run(workdir_l2, *more)


@pytest.mark.slow
def test_a_false_certificate_is_found_just_inside_although_no_radius_is_near(
    workdir_l2, tmp_path
):
    out = tmp_path / "attacks.jsonl"
    more = ["--out", str(out), "--config.certify.radii=(1e-6,)"]
    with claimed(workdir_l2, 3, 4.0):
        with pytest.raises(InputError, match=names("1 images", "image 3")):
            run(workdir_l2, *more)
    distance = records.load(out).distance
    assert distance[3] < 4.0 * audits.INSIDE["float32"]
    assert np.isnan(np.delete(distance, 3)).all()


def small(workdir):
    config = configs.read(workdir)
    config.certify.stop = 12
    return config


def test_a_report_does_not_take_an_attack_for_a_certificate(workdir):
    run(workdir)
    with pytest.raises(InputError, match=names("attacks.jsonl", "jaxcert.attack")):
        reports.report([workdir / "attacks.jsonl"])


@pytest.mark.parametrize(
    "arguments,words",
    [
        (["--steps", "many"], names("--steps", "many")),
        (["--attack", "fgsm"], names("--attack", "fgsm")),
        (["--steps", "0"], names("--steps", 0)),
        (["--config.certify.radii=(0,)"], names("pgd", 0, "certify.radii", "(0,)")),
    ],
)
def test_impossible_attack_is_refused(workdir, tmp_path, arguments, words):
    with pytest.raises(InputError, match=words):
        run(workdir, *arguments, "--out", str(tmp_path / "attacks.jsonl"))
    assert not (tmp_path / "attacks.jsonl").exists()


def test_network_without_lipschitz_constants_is_refused(tmp_path):
    file = CONFIGS / "smoothing" / "digits.py"
    config = configs.tiny(configs.load(str(file)))
    loop.train(config, tmp_path)
    with pytest.raises(
        InputError, match=names("Lipschitz", "certify.name=lipschitz", "lip_convnet")
    ):
        audits.attack(config, tmp_path)


class Line:
    """A line of progress that keeps what it is told."""

    said = []

    def __init__(self, what, total, unit):
        self.total = total

    def update(self, done):
        self.said.append((done, self.total))


def test_parts_are_searched_in_turn_and_what_is_found_not_at_larger_radii(monkeypatch):
    """The class is that of the first pixel, which moves by the whole radius."""
    searched = []

    def search(params, state, keys, image, label, eps):
        searched.append((image.shape, np.unique(np.asarray(eps)).tolist()))
        away = np.zeros(image.shape)
        away[:, 0, 0, 0] = np.asarray(eps)
        return np.asarray(image) + away

    Line.said = []
    for name, value in dict(
        _part=lambda: 5,
        search_of=lambda *_: search,
        _classes_of=lambda *_: lambda image: (image[:, 0, 0, 0] > 0.55).astype(int),
        _certified=lambda *_: {1: 0.9, 2: 0.6},
        Progress=Line,
    ).items():
        monkeypatch.setattr(audits, name, value)
    model = SimpleNamespace(
        norm="linf",
        num_classes=2,
        image_shape=(2, 2, 1),
        prepare=lambda _, state: state,
    )
    config = ConfigDict(dict(certify=dict(radii=(0.2, 0.7, 0.8))))
    given = dict(workdir="", name=None, steps=1)
    attacker = audits.attacker_of(
        config, Network(model, {}, {}), sharding.data_mesh(), **given
    )
    image, index = np.zeros((12, 2, 2, 1)), np.arange(12)
    image[3, 0, 0, 0] = 0.4
    found = attacker.certify(jax.random.key(0), image, np.zeros(12), index)
    # image 2 is lost just inside its radius, all others at the first one above 0.55
    expected = np.full(12, 0.7)
    expected[2], expected[3] = 0.6 * audits.INSIDE["float32"], 0.2
    np.testing.assert_allclose(found.distance, expected, rtol=1e-6)
    assert {shape for shape, _ in searched} == {(5, 2, 2, 1)}
    assert len(searched) == 6 and max(max(eps) for _, eps in searched) < 0.71
    done, total = zip(*Line.said, strict=True)
    assert list(done) == sorted(done) and done[-1] == total[-1] == 48
    assert len(set(done)) >= 6, "the line moves between images"


def rows(index, predicted, label, radius=None, distance=None):
    count = len(index)
    return Certificates(
        index=np.array(index),
        label=np.array(label),
        predicted=np.array(predicted),
        radius=np.zeros(count) if radius is None else np.array(radius),
        n=np.ones(count),
        seconds=np.zeros(count),
        distance=None if distance is None else np.array(distance),
    )


def test_own_radii_are_those_of_the_network_that_is_attacked(tmp_path):
    """Whose checkpoint is not read again: there is none."""
    network = Network(SimpleNamespace(norm="l2"), {"w": np.ones(2)}, {})
    digest = checkpoint.network_digest(network)
    config = ConfigDict(dict(certify=dict(split="test")))
    for i, (asked, split, radius) in enumerate(
        [(digest, "test", 0.1), ("0", "test", 0.9), (digest, "train", 0.8)]
    ):
        head = dict(method="lipschitz", norm="l2", checkpoint=asked, split=split)
        made = rows([3, 5], [1, 1], [1, 1], radius=[radius, 2 * radius])
        records.save(tmp_path / f"{i}.jsonl", head, [made])
    assert audits._certified(tmp_path, config, network) == {3: 0.1, 5: 0.2}


def test_attacked_accuracy_counts_correct_images_that_kept_their_class():
    attacks = rows(
        [0, 1, 2, 3], [1, 1, 0, 2], [1, 1, 1, 2], distance=[0.1, np.nan, 0.05, 0.2]
    )
    found = audits.attacked_accuracy(attacks, [0, 0.05, 0.1, 0.15, 0.2])
    np.testing.assert_allclose(found, [0.75, 0.75, 0.5, 0.5, 0.25])


def test_contradictions_are_joined_by_image_and_class():
    certified = rows([5, 2, 7, 9], [1, 1, 1, 0], [1] * 4, radius=[0.2, 0.2, 0.1, 0.3])
    attacks = rows(
        [2, 5, 9, 7], [1, 1, 1, 1], [1] * 4, distance=[0.3, 0.1, 0.1, np.nan]
    )
    assert audits.contradicted(certified, attacks).tolist() == [5]


@pytest.fixture
def optimised():
    """Programs as users run them; elsewhere tests compile longer than they compute."""
    name = "jax_disable_most_optimizations"
    before = jax.config.values[name]
    jax.config.update(name, False)
    yield
    jax.config.update(name, before)


@pytest.mark.slow  # a minute
def test_certified_images_of_digits_hold_where_a_plain_network_breaks(
    optimised, tmp_path
):
    """Auto-PGD breaks no certificate of a LiResNet, and most predictions of plain training
    at three times its median radius."""
    config = configs.load(f"{CONFIG_L2}:gloro")
    config.data.epochs, config.optim.lr, config.method.eps = 20, 0.01, 0.25
    loop.train(config, tmp_path / "certified")
    c = certification.certify(config, tmp_path / "certified")
    config.certify.radii = (0.0, 0.5)
    attacks = audits.attack(config, tmp_path / "certified", steps=30)
    assert audits.audit(tmp_path / "certified", attacks)
    assert attacks.header["procedure"]["inside"] == len(c.index) == 797
    median = metrics.summary(c, [0.0]).median_radius
    clean = certified_accuracy(c, [0])[0]

    plain = configs.load(str(CONFIGS / "smoothing" / "digits.py"))
    with plain.unlocked():
        plain.method = dict(name="cross_entropy")
        plain.data.update(batch=50, epochs=10, epoch_images=0)
    loop.train(plain, tmp_path / "plain")
    test = sources.open("digits", "test")
    loaded = checkpoint.load_network(
        configs.build("models", plain.model),
        tmp_path / "plain",
        mesh=sharding.data_mesh(),
    )
    model, params, state = loaded.network

    def logits(x):
        return model.apply(params, state, x)[0]

    @jax.jit
    def lost(image, label):
        eps = 3 * median
        found = apgd(logits, image, label, eps=eps, norm="l2", steps=30)
        return logits(found).argmax(1) != label

    image = unit(test.image)
    predicted = np.asarray(logits(image).argmax(1))
    broken = np.asarray(lost(image, predicted))
    found = np.asarray(attacks.distance)
    print(
        f"certified: clean {clean:.3f}, median radius {median:.3f}, broken within its radius "
        f"0 of {len(c.index)}, within 0.5 {np.mean(found < 0.5):.3f}; plain: clean "
        f"{np.mean(predicted == test.label):.3f}, broken at {3 * median:.3f} "
        f"{broken.mean():.3f}"
    )
    assert clean > 0.85 and median > 0.1
    assert np.mean(predicted == test.label) > 0.9
    assert broken.mean() > 0.5
