"""The program that checks records against weights agrees with the networks, and rejects what
they do not give."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxcert import audit_layers, audit_models, audit_network, random_keys, sharding
from jaxcert import config as configs
from jaxcert.certificates import lipschitz, run
from jaxcert.config import ConfigDict
from jaxcert.configs import quickstart
from jaxcert.interfaces import Network
from jaxcert.nn import sll
from jaxcert.workdirs import checkpoint, weights

FOLDER = Path(audit_network.__file__).parent
FILES = ("audit_network.py", "audit_models.py", "audit_layers.py")

LIP = dict(name="lip_convnet", image_shape=(4, 4, 2), num_classes=3, stages=2, width=2)
LIP |= dict(blocks=2, mean=(0.2, 0.5), std=0.5)
RES = dict(image_shape=(8, 8, 1), num_classes=3, depth=2, width=4, dense=4)
RES |= dict(power_steps_evaluated=20)
LIPNEXT = dict(name="lipnext", image_shape=(4, 6, 2), num_classes=3, depth=2)
LIPNEXT |= dict(width=8, patch=2)
DIST = dict(name="dist_net", image_shape=(3, 3, 2), num_classes=3, depth=3, width=6)
DIST |= dict(mean=(0.2, 0.5), std=0.5)
FAMILIES = {
    "lot": LIP | dict(conv="lot", residual=True, blocks=3),
    "lot minimax": LIP | dict(conv="lot", polar="minimax", activation="hh1"),
    "cayley": LIP | dict(conv="cayley", activation="hh2"),
    "bro": LIP | dict(conv="bro", head="lln"),
    "aol": LIP | dict(conv="aol"),
    "sll": LIP | dict(conv="sll"),
    "cpl": LIP | dict(conv="cpl"),
    "soc": LIP | dict(conv="soc"),
    "liresnet": RES | dict(name="liresnet"),
    "liresnet of one block": RES | dict(name="liresnet", depth=1),
    "liresnet_pp": RES | dict(name="liresnet_pp", dense_depth=2),
    "bronet": RES | dict(name="bronet", dense_depth=1),
    "lipnext": LIPNEXT,
    "linf_dist": DIST,
    "sortnet": DIST | dict(rho=0.3, num_terms=4),
    "hybrid": DIST | dict(hidden=4, depth=4),
    "hybrid of parts": DIST | dict(hidden=4, depth=4, stride=1),
}


def drawn(settings, seed=0):
    """A Network of random numbers."""
    section = ConfigDict(settings)
    model = configs.build("models", section)
    draw = np.random.default_rng(seed)

    def leaf(path, s):
        value = draw.normal(size=s.shape) * 0.5
        if path[-1].key in ("alpha", "scale", "gain"):
            value = 1 + 0.3 * value
        if path[-1].key.startswith("theta"):
            value = draw.uniform(0, 2 * np.pi, s.shape)
        return np.asarray(value, s.dtype)

    with random_keys.pinned():
        shapes = jax.eval_shape(model.init, random_keys.key(0))
    tree = jax.tree_util.tree_map_with_path(leaf, shapes)
    return Network(model, *sharding.replicate(tree, sharding.local_mesh()))


def named(settings, network):
    """(arrays, metadata) of a network, whose model is as `export` writes it."""
    arrays = checkpoint.arrays_of(network)
    known = configs.settings("model", settings["name"])
    metadata = {"format": weights.FORMAT, "digest": checkpoint.digest(arrays)}
    return arrays, metadata | {"model": json.dumps(known | settings)}


@pytest.fixture(scope="module", params=FAMILIES, ids=FAMILIES)
def both(request, tmp_path_factory):
    """(network, bound of it, what the program makes of its file)."""
    settings = FAMILIES[request.param]
    network = drawn(settings)
    params, state = lipschitz.evaluated(network, None)
    with jax.enable_x64(True):
        bound = network.model.lipschitz_bound(params, state)
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    weights.write(path, *named(settings, network))
    found = audit_network.read_weights(path).network
    return network._replace(params=params, state=state), bound, found


def images(network, count=5):
    shape = (count, *network.model.image_shape)
    return np.random.default_rng(1).random(shape)


def test_constants_are_those_that_are_proven_and_never_larger(both):
    network, bound, found = both
    off = ~np.eye(3, dtype=bool)
    proven, own = bound.pairwise[off], found.pairwise()[off]
    assert found.norm == network.model.norm and np.isfinite(proven).all()
    assert (own <= proven * (1 + 1e-13)).all()
    np.testing.assert_allclose(own, proven, rtol=1e-6)


def test_every_layer_is_the_records(both):
    _, bound, found = both
    named = [layer for layer in found.layers if layer.name]
    assert [layer.name for layer in named] == [each.name for each in bound.layers]
    own, proven = (
        np.array(values)
        for values in ([x.constant for x in named], [x.bound for x in bound.layers])
    )
    assert (own <= proven * (1 + 1e-13)).all()
    np.testing.assert_allclose(own, proven, rtol=1e-6)
    np.testing.assert_allclose(found.head, bound.head, rtol=1e-9, atol=1e-12)


def test_logits_are_the_networks(both):
    network, _, found = both
    image = images(network)
    with jax.enable_x64(True):
        z = jax.jit(network.model.apply)(network.params, network.state, image)[0]
    scale = np.abs(np.asarray(z)).max()
    np.testing.assert_allclose(found.logits(image), z, rtol=0, atol=1e-9 * scale)


def test_margins_are_the_networks(both):
    network, _, found = both
    if found.norm == "l2":
        assert found.margins is None
        return
    image, y = images(network), np.array([0, 1, 2, 1, 0])
    low, high = np.maximum(image - 0.1, 0), np.minimum(image + 0.1, 1)
    arguments = network.params, network.state, low, high, y
    with jax.enable_x64(True):
        margins = np.asarray(jax.jit(network.model.interval_margins)(*arguments))
    own = np.arange(3) == y[:, None]
    mine = np.where(own, 0.0, found.margins(low, high, y))
    np.testing.assert_allclose(mine, margins, rtol=1e-9, atol=1e-12)
    assert (np.abs(margins[~own]) > 1e-3).all()


def test_every_kind_of_layer_is_known():
    """A new file of layers or Lipschitz networks is missed here."""
    layers = {p.stem for p in (FOLDER / "nn").glob("*.py") if "ConvShell" in text_of(p)}
    assert layers - {"_layer"} == audit_models.LAYERS.keys()
    bounded = {
        p.stem
        for p in (FOLDER / "models").glob("[!_]*.py")
        if "norm=" in text_of(p) or "liresnet_pp.network" in text_of(p)
    }
    assert bounded == audit_models.NETWORKS.keys()


def text_of(path):
    return path.read_text("utf-8")


def test_norm_of_a_large_convolution_is_that_of_its_matrix(monkeypatch):
    kernel = np.random.default_rng(0).normal(size=(3, 3, 2, 3))
    exact = audit_layers.conv_norm(kernel, 7, 2, 1)
    monkeypatch.setattr(audit_layers, "DENSE", 0)
    np.testing.assert_allclose(
        audit_layers.conv_norm(kernel, 7, 2, 1), exact, rtol=1e-12
    )
    # one tap of a single pixel image: the norm of a matrix
    one = np.random.default_rng(0).normal(size=(1, 1, 3, 2))
    found = audit_layers.conv_norm(one, 4)
    np.testing.assert_allclose(found, np.linalg.norm(one[0, 0], 2), rtol=1e-12)


def test_a_potential_layer_that_is_no_contraction():
    """t = 2 / |K|^2 gives 3, as relu may be the identity."""
    kernel = np.random.default_rng(0).normal(size=(3, 3, 2, 2))
    norm = audit_layers.conv_norm(kernel, 4, padding=1)
    p = dict(kernel=kernel, bias=np.zeros(2))
    found = audit_layers.potential(p, 4, 2, np.full(2, 2 / norm**2))[1]
    np.testing.assert_allclose(found, 3, rtol=1e-9)
    proven = sll.residual_bound(kernel, np.full(2, 2 / norm**2), 4, tight=True)
    assert found <= proven < found * (1 + 1e-6)


def test_it_imports_nothing_of_the_library():
    allowed = {"numpy", "scipy"} | set(sys.stdlib_module_names)
    parts = {f"jaxcert.{name.removesuffix('.py')}" for name in FILES}
    for name in FILES:
        for node in ast.walk(ast.parse(text_of(FOLDER / name))):
            if isinstance(node, ast.Import):
                names = [each.name for each in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module]
                if node.module == "jaxcert":
                    names = [f"jaxcert.{each.name}" for each in node.names]
            else:
                continue
            for each in names:
                own = each in parts or f"jaxcert.{each}" in parts
                assert own or each.split(".")[0] in allowed, (name, each)


# Records of the digits


LIPSCHITZ = quickstart.get_config().model.to_dict() | dict(
    width=2, blocks=1, conv="aol"
)
INTERVAL = DIST | dict(image_shape=(8, 8, 1), num_classes=10, mean=(0.3,), depth=2)


@pytest.fixture(scope="module", params=["lipschitz", "interval"])
def record(request, tmp_path_factory):
    """(weights file, record file) of six digits."""
    path = tmp_path_factory.mktemp(request.param)
    config = quickstart.get_config()
    config.model = LIPSCHITZ if request.param == "lipschitz" else INTERVAL
    config.certify.update(name=request.param, stop=6, radii=(0.001, 0.002, 0.5))
    network = drawn(config.model.to_dict(), seed=2)
    configs.save(config, path / "config.json")
    with checkpoint.Checkpoints(path) as checkpoints:
        checkpoints.save_evaluation(network.params, network.state)
    certificates = run.certify(config, path)
    assert (certificates.radius > 0).sum() >= 3
    out = path / "net.safetensors"
    weights.export(config, path, out)
    return out, path / "certificates.jsonl"


def parsed(path):
    head, *rows = map(json.loads, path.read_text().splitlines())
    return head, rows


def audited(out, head, rows, tmp_path, **options):
    path = tmp_path / "changed.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in (head, *rows)))
    found = audit_network.read_weights(out)
    return audit_network.audit(path, found, **options)


def test_a_record_holds(record, capsys):
    out, path = record
    assert audit_network.main([str(out), str(path), str(path.parent)]) == 0
    said = capsys.readouterr().out
    assert said.count("holds; level reached: network") == 2
    assert said.count("6 rows computed again") == 2


def test_the_first_rows_and_the_constants_alone(record, capsys):
    out, path = record
    assert audit_network.main([str(out), str(path), "--rows", "2"]) == 0
    said = capsys.readouterr().out
    assert "2 rows computed again" in said and "not seen: 4 further rows" in said
    assert audit_network.main([str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    named = [layer.name for layer in audit_network.read_weights(out).network.layers]
    assert [line.split()[0] for line in lines[1:-1]] == [*filter(None, named)]
    assert lines[-1].startswith("  constants in l")


def test_the_files_run_alone(record, tmp_path):
    out, path = record
    for name in FILES:
        (tmp_path / name).write_text(text_of(FOLDER / name))
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.modules['jaxcert'] = "
    )
    code += "sys.modules['jax'] = None; import audit_network as a; sys.exit(a.main("
    command = [sys.executable, "-c", code + f"{[str(out), str(path)]!r}))"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "level reached: network" in done.stdout
    assert "not seen: logits" in done.stdout  # the digits are not beside it


def larger(head, rows):
    """The last certified row, raised with evidence that proves it."""
    row = [r for r in rows if r["radius"] > 0][-1]
    y, z = row["predicted"], row["logits"]
    if head["method"] == "lipschitz":
        z[y] += 3 * head["procedure"]["logit_slack"]
        row["radius"] *= 1.0000001
    else:
        z[y] += 1
        row["radius"], row["least_margins"] = 0.5, [0.9, 0.9, 0.9]


def constants(head, rows, factor=0.5):
    for row in rows:
        row["radius"] /= factor
    head["pairwise_bound"] = factor * np.asarray(head["pairwise_bound"])
    head["pairwise_bound"] = head["pairwise_bound"].tolist()


def one_constant(head, rows):
    full = np.array(np.broadcast_to(head["pairwise_bound"], (10, 10)))
    full[0, 3] /= 2
    head["pairwise_bound"] = full.tolist()


def other_margin(head, rows):
    row = [r for r in rows if r["radius"] > 0][0]
    row["least_margins"][0] *= 1.0001


TAMPERED = {
    "a row with other evidence": larger,
    "norm": lambda head, rows: head.update(norm="l1"),
    "std": lambda head, rows: head["model"].update(std=1.0),
    "labels": lambda head, rows: rows[0].update(label=(rows[0]["label"] + 1) % 10),
    "rows of other images": lambda head, rows: rows[0].update(index=300),
    "no such image": lambda head, rows: rows[0].update(index=-1),
    "class": lambda head, rows: rows[0].update(
        predicted=(rows[0]["predicted"] + 1) % 10, radius=0.0
    ),
    "radius without a class": lambda head, rows: rows[0].update(
        predicted=-1, radius=0.1
    ),
    "radius NaN": lambda head, rows: rows[0].update(radius=float("nan")),
    "logits": lambda head, rows: rows[0].update(logits=rows[0]["logits"][::-1]),
    "no logits": lambda head, rows: rows[0].pop("logits"),
    "a row twice": lambda head, rows: rows.append(rows[0]),
    "a label that is no whole number": lambda head, rows: rows[0].update(
        label=float(rows[0]["label"])
    ),
    "a slack of any size": lambda head, rows: head["procedure"].update(
        logit_slack=float("inf")
    ),
    "a slack that is no number": lambda head, rows: head["procedure"].update(
        logit_slack=float("nan")
    ),
}


def other_class(head, rows):
    """A class that the network does not give, below a slack that hides its logits."""
    head["procedure"]["logit_slack"] = 1e9
    y = (rows[0]["predicted"] + 1) % 10
    rows[0].update(predicted=y, radius=0.0, logits=[float(j == y) for j in range(10)])
    rows[0].pop("least_margins", None)


TAMPERED["class, below a large slack"] = other_class
OF_CONSTANTS = {
    "constants": constants,
    "one constant": one_constant,
    "no constants": lambda head, rows: head.pop("pairwise_bound"),
}


@pytest.mark.parametrize("change", TAMPERED.values(), ids=TAMPERED)
def test_what_the_network_does_not_give_is_rejected(record, tmp_path, change):
    out, path = record
    head, rows = parsed(path)
    assert audited(out, head, rows, tmp_path).status == 0
    change(head, rows)
    assert audited(out, head, rows, tmp_path).status == 1


@pytest.mark.parametrize("change", OF_CONSTANTS.values(), ids=OF_CONSTANTS)
def test_smaller_constants_are_rejected(record, tmp_path, change):
    out, path = record
    head, rows = parsed(path)
    if head["method"] == "interval":
        other_margin(head, rows)
    else:
        change(head, rows)
    assert audited(out, head, rows, tmp_path).status == 1


def found_constants(out):
    return audit_network.read_weights(out).network.pairwise()[0, 1]


def test_layers_and_head_of_a_record_are_compared(record, tmp_path):
    out, path = record
    head, rows = parsed(path)
    if head["method"] == "interval":
        return
    own = found_constants(out)
    head["pairwise_bound"] = own * (1 - 2e-9)  # one tolerance below
    assert audited(out, head, rows, tmp_path).status == 1
    head["pairwise_bound"] = own
    assert audited(out, head, rows, tmp_path).status == 0
    head["format"] = audit_network.RECORDS[1]
    found = audit_network.read_weights(out).network
    named = [layer for layer in found.layers if layer.name]
    assert [x.name for x in named][:2] == ["normalisation", "conv1_0"]
    head["layers"] = [dict(name=x.name, bound=x.constant) for x in named]
    head["head"], head["network"] = found.head.tolist(), {"norm": "l2"}
    assert audited(out, head, rows, tmp_path).status == 0
    for i in range(len(named)):
        head["layers"][i]["bound"] *= 1 - 1e-8
        assert audited(out, head, rows, tmp_path).status == 1, named[i].name
        head["layers"][i]["bound"] = named[i].constant * 1.1
    assert audited(out, head, rows, tmp_path).status == 0
    head["head"][1][2] *= 1 - 1e-8
    assert audited(out, head, rows, tmp_path).status == 1
    head["head"] = found.head.tolist()
    assert (
        audited(out, head | {"network": {"norm": "linf"}}, rows, tmp_path).status == 1
    )
    assert (
        audited(out, head | {"layers": head["layers"][1:]}, rows, tmp_path).status == 1
    )


def test_what_does_not_belong_together_is_not_judged(record, tmp_path, capsys):
    out, path = record
    head, rows = parsed(path)
    for changed in (
        dict(checkpoint="0" * 32),
        dict(format="jaxcert-certificates-9"),
        dict(method="smoothing"),
        dict(data_digest="0" * 16),
    ):
        found = audited(out, head | changed, rows, tmp_path)
        assert (found.status, len(found.faults)) == (2, 1), changed
    named = {k: v for k, v in head.items() if k != "checkpoint"}
    found = audited(out, named, rows, tmp_path)
    assert found.status == 0 and "names no checkpoint" in found.notes[-1]
    plain = {k: v for k, v in head.items() if k != "data_digest"}
    for given, digest in ((head, False), (plain, True)):
        notes = audited(out, given, rows, tmp_path).notes
        assert any("data_digest" in note for note in notes) is digest
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(out.read_bytes()[:-4])
    arrays, metadata = weights.read(out)
    name = next(k for k in arrays if k.endswith("kernel"))
    files = {"no.npz": {}, "bits.npz": arrays | {name: arrays[name] * 1.5}}
    files["less.npz"] = {k: v for k, v in arrays.items() if k != name}
    for file, content in files.items():
        said = dict(metadata)
        if file == "less.npz":
            said["digest"] = checkpoint.digest(content)
        weights.write(tmp_path / file, content, said, npz=True)
    np.savez(tmp_path / "plain.npz", a=np.zeros(3))
    for file in ("cut.safetensors", "missing", "plain.npz", *files):
        assert audit_network.main([str(tmp_path / file), str(path)]) == 2, file
        said = capsys.readouterr().out
        assert said.startswith("cannot be judged: ") and said.count("\n") == 1, said
    found = audit_network.audit(tmp_path / "none", audit_network.read_weights(out))
    assert found.status == 2 and str(tmp_path / "none") in found.faults[0]
    model = json.dumps(json.loads(metadata["model"]) | {"name": "mine"})
    weights.write(tmp_path / "mine.npz", arrays, metadata | {"model": model}, npz=True)
    mine = audit_network.read_weights(tmp_path / "mine.npz")
    found = audit_network.audit(path, mine)
    assert found.status == 2 and "mine" in found.faults[0]
    (tmp_path / "folder").mkdir()
    unreadable = {
        "text": b"\xff\x00\n",
        "list": b"[1]\n",
        "cut": b'{"format": ',
        "deep": b"[" * 10**5,
        "folder": None,
        300 * "x": None,
    }
    for name, content in unreadable.items():
        if content:
            (tmp_path / name).write_bytes(content)
        assert audit_network.main([str(out), str(tmp_path / name)]) == 2, name
        said = capsys.readouterr().out.partition("not judged\n")[2]
        assert str(tmp_path / name) in said and said.count("\n") == 1, said
    for wrong in (["--images", str(tmp_path / "none.npz")], ["--rows", "0"]):
        assert audit_network.main([str(out), str(path), *wrong]) == 2


def test_images_of_a_file(record, tmp_path):
    out, path = record
    head, rows = parsed(path)
    with np.load(FOLDER / "data" / "digits.npz") as file:
        image, label = (file[k][file["test"]] for k in ("image", "label"))
    head["dataset"] = "npz:somewhere"
    assert "no images" in audited(out, head, rows, tmp_path).notes[-1]
    mine = tmp_path / "test.npz"
    np.savez(mine, image=image, label=label)
    found = audited(out, head, rows, tmp_path, images=mine)
    assert found.status == 0 and "6 rows" in found.notes[-1]
    np.savez(mine, image=image[::-1], label=label)
    assert audited(out, head, rows, tmp_path, images=mine).status == 2
    np.savez(mine, image=image[:, 1:])
    assert audited(out, head, rows, tmp_path, images=mine).status == 2
    np.savez(mine, image=image[::-1])  # without labels the digest cannot tell
    assert audited(out, head, rows, tmp_path, images=mine).status == 1


def test_a_radius_is_compared_with_what_the_network_proves(record, tmp_path):
    """Even where all that the record says is true: r L < z_y - z_j and not more."""
    out, path = record
    head, rows = parsed(path)
    if head["method"] == "interval":
        return
    found = audit_network.read_weights(out).network
    row = rows[np.argmax([r["radius"] for r in rows])]
    z, y = np.array(row["logits"]), row["predicted"]
    most = np.delete((z[y] - z) / found.pairwise()[y, (y + 1) % 10], y).min()
    row["radius"] = most * (1 - 1e-12)
    assert audited(out, head, rows, tmp_path).status == 0
    row["radius"] = most * (1 + 1e-8)
    assert audited(out, head, rows, tmp_path).status == 1


def other_model(arrays, metadata, **changed):
    model = json.loads(metadata["model"]) | changed
    return arrays, metadata | {"model": json.dumps(model)}


@pytest.mark.parametrize("name", ["liresnet_pp", "aol", "hybrid"])
def test_arrays_that_the_model_has_no_use_for_are_refused(tmp_path, name):
    settings = FAMILIES[name]
    path = tmp_path / "net.npz"
    network = drawn(settings)
    weights.write(path, *named(settings, network), npz=True)
    assert audit_network.read_weights(path).network
    less = {
        "liresnet_pp": [dict(depth=1), dict(dense_depth=1), dict(dense_depth=0)],
        "aol": [dict(stages=1), dict(blocks=1), dict(conv="nope"), dict(mean=None)],
        "hybrid": [dict(depth=3), dict(hidden=0), dict(name="liresnet")],
    }
    for changed in less[name]:
        given = other_model(*named(settings, network), **changed)
        weights.write(path, *given, npz=True)
        with pytest.raises(audit_network.Other):
            audit_network.read_weights(path)


def test_damage_anywhere_ends_in_a_sentence(record, tmp_path, capsys):
    out, path = record
    draw = np.random.default_rng(0)
    for source, number in ((out, 0), (path, 1)):
        content = source.read_bytes()
        end = content.index(b"\n") if number else 2000
        for _ in range(60):
            changed = bytearray(content)
            for _ in range(draw.integers(1, 4)):
                changed[draw.integers(0, end)] = draw.integers(32, 127)
            damaged = tmp_path / source.name
            damaged.write_bytes(changed)
            given = [out, path]
            given[number] = damaged
            assert audit_network.main([*map(str, given), "--rows", "1"]) in (0, 1, 2)
    assert "Traceback" not in capsys.readouterr().out
