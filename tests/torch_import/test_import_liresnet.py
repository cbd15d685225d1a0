"""State dicts of LiResNet, LiResNet++ and BRONet: the imported network computes what the
original does, whatever does not fit is refused, and a workdir of it can be certified."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import originals
import pytest
from command_line import ROOT, assert_words, end
from conftest import Golden, close, golden_files
from refusals import names, tells

from jaxcert import certify, import_torch, records
from jaxcert.errors import InputError
from jaxcert.models import bronet, liresnet, liresnet_pp
from jaxcert.torch_import import bronet as from_bronet
from jaxcert.torch_import import liresnet as from_liresnet
from jaxcert.torch_import import liresnet_pp as from_liresnet_pp
from tests.models.test_liresnet import steps_of

SHAPE = (8, 8, 2)
CONVERT = {
    "liresnet": from_liresnet.convert_state_dict,
    "liresnet_pp": from_liresnet_pp.convert_state_dict,
    "bronet": from_bronet.convert_state_dict,
}
MODELS = {
    "liresnet": liresnet.make,
    "liresnet_pp": liresnet_pp.make,
    "bronet": bronet.make,
}
NAMES = list(MODELS)


def state_dict(network, image_shape=SHAPE, **sizes):
    """Random, in the originals' names and layout."""
    sizes = dict(depth=2, width=8, dense=6, stack=2, rank=3, classes=4) | sizes
    d, w, n = sizes["depth"], sizes["width"], sizes["dense"]
    side, _, channels = image_shape
    half, pixels = side // 2, (side // 8) ** 2
    shapes = {
        "stem.0.weight": (w, channels, 5, 5),
        "stem.0.bias": (w,),
        "stem.0.init_x": (1, channels, side, side),
        "head.weight": (sizes["classes"], n),
        "head.bias": (sizes["classes"],),
    }
    if network == "liresnet":
        for i in range(0, 2 * d, 2):
            shapes[f"backbone.{i}.weight"] = (w, w, 3, 3)
            shapes[f"backbone.{i}.affine"] = (w, 1, 1, 1)
            shapes[f"backbone.{i}.bias"] = (w,)
        shapes |= {
            "init_layer": (1, d * w, half, half),
            "neck.0.weight": (2 * w, w, 4, 4),
            "neck.0.bias": (2 * w,),
            "neck.0.init_x": (1, w, half, half),
            "neck.3.weight": (n, 2 * w * pixels),
            "neck.3.bias": (n,),
            "neck.3.init_x": (1, 2 * w * pixels),
        }
        return originals.drawn(shapes)
    rank = w if network == "liresnet_pp" else sizes["rank"]
    shapes |= {
        "conv.weights": (d, w, rank, 3, 3),
        "conv.gamma": (d, w, 1, 1, 1),
        "conv.bias": (d, w),
        "conv.running_mean": (d, w),
        "neck.kernel": (w, 16 * w),
        "neck.weight": (n, w * pixels),
        "neck.bias": (n,),
    }
    if network == "liresnet_pp":
        shapes["conv.init_x"] = (1, d * w, half, half)
    if sizes["stack"]:
        shapes |= {
            "linear.weights": (sizes["stack"], n, n),
            "linear.gamma": (sizes["stack"], n, 1),
            "linear.bias": (sizes["stack"], n),
        }
    return originals.drawn(shapes)


def derived(network, arrays):
    """Buffers of the originals that say nothing new."""
    if network == "liresnet":
        blocks = [n.removesuffix("affine") for n in arrays if n.endswith(".affine")]
        names = [block + leaf for block in blocks for leaf in ("identity", "init_x")]
    else:
        names = ["conv.identity"]
        if "linear.weights" in arrays:
            names += ["linear.identity", "linear.eval_weight"]
    if network == "bronet":
        names += ["conv.I_low", "conv.I_full"]
    return {name: np.full((3, 3), np.nan, np.float32) for name in names}


def reference(network, arrays, image):
    """Logits of images [B,H,W,C] as the originals evaluate them, in float64."""
    arrays = {name: array.astype(np.float64) for name, array in arrays.items()}
    x = np.moveaxis(image - 0.5, -1, 1)
    stem = arrays["stem.0.weight"], arrays["stem.0.bias"]
    x = originals.maxmin(originals.conv(x, *stem, stride=2, padding=2))
    for weight, gain, bias in blocks_of(network, arrays):
        depth = len(blocks_of(network, arrays))
        identity = np.zeros(weight.shape)
        identity[:, :, 1, 1] = np.eye(*weight.shape[:2])
        kernel = identity + weight * gain / np.sqrt(depth)
        if network == "bronet":
            y = originals.reflected(x, kernel, len(kernel), 1e-7)
            x = originals.maxmin(y + bias.reshape(1, -1, 1, 1))
        else:
            x = originals.maxmin(originals.conv(x, kernel, bias, padding=1))
    if network == "liresnet":
        neck = arrays["neck.0.weight"], arrays["neck.0.bias"]
        x = originals.maxmin(originals.conv(x, *neck, stride=4)).reshape(len(x), -1)
        x = originals.maxmin(x @ arrays["neck.3.weight"].T + arrays["neck.3.bias"])
        return originals.normalised_rows(x, arrays, "head")
    width = len(arrays["neck.kernel"])
    kernel = originals.cholesky(arrays["neck.kernel"]).reshape(width, width, 4, 4)
    x = originals.conv(x, kernel, stride=4).reshape(len(x), -1)
    x = x @ originals.cholesky(arrays["neck.weight"]).T + arrays["neck.bias"]
    x = originals.maxmin(x)
    stack = [arrays.get(f"linear.{n}", ()) for n in ("weights", "gamma", "bias")]
    for weight, gain, bias in zip(*stack, strict=True):
        raw = np.eye(len(weight)) + weight * gain / np.sqrt(len(stack[0]))
        x = originals.maxmin(x @ originals.cholesky(raw).T + bias)
    return originals.normalised_rows(x, arrays, "head")


def blocks_of(network, arrays):
    """(weight, factor, bias) of every block."""
    if network != "liresnet":
        bias = arrays["conv.bias"] - arrays["conv.running_mean"]
        return list(
            zip(arrays["conv.weights"], arrays["conv.gamma"], bias, strict=True)
        )
    depth = sum(name.endswith(".affine") for name in arrays)
    leaves = ("weight", "affine", "bias")
    return [[arrays[f"backbone.{2 * i}.{a}"] for a in leaves] for i in range(depth)]


def imported(network, arrays, shape=SHAPE, **inside):
    """(model, params, state) in float64."""
    params, state, facts = CONVERT[network](arrays, shape)
    model = MODELS[network](image_shape=shape, **facts, **inside)
    like = jax.eval_shape(model.init, jax.random.key(0))
    assert jax.tree.map(np.shape, like) == jax.tree.map(np.shape, (params, state))
    return model, *jax.tree.map(lambda a: jnp.asarray(a, float), (params, state))


@pytest.mark.parametrize(
    "network,sizes",
    [
        ("liresnet", {}),
        ("liresnet", {"image_shape": (16, 16, 1), "depth": 1}),
        ("liresnet_pp", {}),
        ("bronet", {}),
        ("bronet", {"stack": 0, "rank": 7}),
    ],
    ids=["liresnet", "larger images", "liresnet_pp", "bronet", "no stack"],
)
def test_imported_network_gives_the_originals_logits(x64, network, sizes):
    arrays = state_dict(network, **sizes)
    shape = sizes.get("image_shape", SHAPE)
    image = np.random.default_rng(1).uniform(size=(3, *shape))
    expected = reference(network, arrays, image)
    for given in (arrays, arrays | derived(network, arrays)):
        given = {f"module.{name}": array for name, array in given.items()}
        model, params, state = imported(network, given, shape)
        close(jax.jit(model.apply)(params, state, image)[0], expected, 1e-9)


def test_facts_are_read_off_the_arrays():
    sizes = dict(depth=3, width=10, dense=8, classes=5)
    facts = {
        n: CONVERT[n](state_dict(n, **sizes, stack=1, rank=4), SHAPE)[2] for n in NAMES
    }
    own = dict(depth=3, width=10, dense=8, num_classes=5)
    assert facts["liresnet"] == own
    assert facts["liresnet_pp"] == own | {"dense_depth": 1}
    assert facts["bronet"] == own | {"dense_depth": 1, "ratio": 0.4}


@pytest.mark.parametrize("width", [6, 98])
def test_ratio_of_every_rank_gives_this_rank(width):
    from jaxcert.nn import bro

    for rank in range(1, width):
        ratio = from_bronet._ratio(rank, width)
        assert bro.rank_of(width, width, ratio) == rank


def below_head(params, pairwise):
    rows = np.asarray(params["head"]["kernel"]).T
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(pairwise)[0, 1] / np.linalg.norm(rows[0] - rows[1])


def golden(name):
    """(arrays by the originals' names, everything, images) of a golden network."""
    for path in golden_files("lipschitz_l2", name):
        g = Golden(path)
        arrays = {n[2:]: g[n] for n in g if n.startswith(("p.", "s."))}
        pixels = (g["x_u8"] / np.float32(255)).astype(np.float32).astype(float)
        yield g, arrays, np.moveaxis(pixels, 1, -1)


@pytest.mark.golden("lipschitz_l2")
def test_liresnet_is_the_original(x64):
    for g, arrays, image in golden("liresnet_v1_tiny*.npz"):
        steps, _ = steps_of(g, "sub_lipschitz_")
        model, params, state = imported(
            "liresnet", arrays, image.shape[1:], power_steps=steps
        )
        close(jax.jit(model.apply)(params, state, image)[0], g["logits"], 1e-8)
        close(reference("liresnet", arrays, image), g["logits"], 1e-8)
        pairwise, _ = model.lipschitz(params, state, train=True)
        close(below_head(params, pairwise), g[f"sub_lipschitz_{steps}"], 1e-8)


@pytest.mark.golden("lipschitz_l2")
def test_liresnet_pp_is_the_original(x64):
    for g, arrays, image in golden("liresnet_pp_tiny*.npz"):
        depth, width = (int(n) for n in g["meta"][:2])
        side, _, channels = shape = image.shape[1:]
        arrays |= {
            "stem.0.init_x": np.ones((1, channels, side, side), np.float32),
            "conv.init_x": np.ones((1, depth * width, side // 2, side // 2)),
        }
        model, params, state = imported("liresnet_pp", arrays, shape, power_steps=10)
        pairwise, _ = model.lipschitz(params, state, train=True)
        close(below_head(params, pairwise), g["sub_lipschitz_train"], 1e-8)
        # the golden ones are evaluated after a training pass has moved the means
        _, state = jax.jit(partial(model.apply, train=True))(params, state, image)
        close(jax.jit(model.apply)(params, state, image)[0], g["eval_logits"], 1e-8)
        arrays["conv.running_mean"] = np.asarray(state["batch_stats"]["blocks"]["mean"])
        close(reference("liresnet_pp", arrays, image), g["eval_logits"], 1e-8)


@pytest.mark.golden("lipschitz_l2")
def test_reflected_blocks_of_the_reference_are_the_originals():
    for path in golden_files("lipschitz_l2", "later_layers*.npz"):
        g = Golden(path)
        cases = [n[:-2] for n in g if n.startswith("bro") and n.endswith("_x")]
        assert cases
        for case in cases:
            _, c_out, _, stride, _ = (int(n) for n in g[f"{case}_meta"])
            if stride == 1:
                given = g[f"{case}_x"], g[f"{case}_weight"]
                y = originals.reflected(*given, c_out, 1e-5)
                y += g[f"{case}_bias"].reshape(1, -1, 1, 1)
                close(y, g[f"{case}_y"], 1e-8)


@pytest.mark.parametrize("network", NAMES)
def test_every_tensor_is_needed_and_looked_at(network):
    arrays = state_dict(network)
    originals.check_refusals(lambda given: CONVERT[network](given, SHAPE), arrays)


REFUSED = {
    "power of the stem": (
        "bronet",
        {"stem.0.init_x": None},
        names("lacks", "stem.0.init_x", "model.state_dict()"),
    ),
    "power of the blocks": (
        "liresnet",
        {"init_layer": None},
        names("lacks", "init_layer", "model.state_dict()"),
    ),
    "images": (
        "liresnet_pp",
        {"stem.0.init_x": (1, 2, 32, 32)},
        names("stem.0.init_x", "(1, 2, 32, 32)", "(1, 2, 8, 8)", "model.image_shape"),
    ),
    "larger stem": (
        "liresnet",
        {"stem.0.weight": (8, 2, 7, 7)},
        names("stem.0.weight", "(8, 2, 7, 7)", "(8, 2, 5, 5)", "kernel"),
    ),
    "no square": (
        "liresnet",
        {"backbone.2.weight": (8, 6, 3, 3)},
        names("backbone.2.weight", "(8, 6, 3, 3)", "(8, 8, 3, 3)"),
    ),
    "patches": (
        "bronet",
        {"neck.kernel": (128, 8)},
        names("neck.kernel", "(128, 8)", "(8, 128)"),
    ),
    "other orthogonal layer": (
        "bronet",
        {"conv.weights": (2, 8, 8, 3, 3)},
        names("conv.weights", "8 channels", "8 columns", "BRONet"),
    ),
    "BRONet as LiResNet++": (
        "liresnet_pp",
        {"conv.weights": (2, 8, 4, 3, 3)},
        names("conv.weights", "8 channels", "4 columns", "LiResNet++"),
    ),
    "reflected stack": (
        "bronet",
        {"linear.residual_identity": (6, 3)},
        names("has", "linear.residual_identity", "BRONet"),
    ),
    "trained activations": ("liresnet", {"stem.1.theta": (1, 4, 1, 1)}, "stem.1.theta"),
}


@pytest.mark.parametrize("network,changes,words", REFUSED.values(), ids=REFUSED)
def test_what_is_no_such_network_is_refused(network, changes, words):
    arrays = state_dict(network)
    for name, shape in changes.items():
        arrays.pop(name, None)
        if shape:
            arrays[name] = np.ones(shape, np.float32)
    with pytest.raises(InputError) as refused:
        CONVERT[network](arrays, SHAPE)
    assert_words(words, str(refused.value))


DIGITS = {  # as the tiny networks of the configs are
    "liresnet": dict(width=4, dense=8),
    "liresnet_pp": dict(dense=8),
    "bronet": dict(dense=8, rank=4),
}


def written(path, network, **sizes):
    sizes = DIGITS[network] | dict(classes=10) | sizes
    arrays = state_dict(network, (8, 8, 1), **sizes)
    np.savez(path, **arrays, **derived(network, arrays))
    return arrays


def arguments(path, workdir, network):
    config = ROOT / f"configs/{network}/digits.py"
    return ["--state", path, "--config", config, "--tiny", "--workdir", workdir]


@pytest.fixture
def ends(capsys):
    return partial(end, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("network", NAMES)
def test_imported_workdir_is_certified(ends, tmp_path, network):
    path, workdir = tmp_path / "model.npz", tmp_path / "new"
    arrays = written(path, network)
    assert ends(import_torch, *arguments(path, workdir, network)) == (0, "")
    out = workdir / "first.jsonl"
    given = ["--workdir", workdir, "--out", out, "--config.certify.stop=20"]
    assert ends(certify, *given) == (0, "")
    found = records.load(out)
    with np.load(ROOT / "jaxcert/data/digits.npz") as file:
        image = file["image"][file["test"]][:20].reshape(-1, 8, 8, 1) / 255
    logits = reference(network, arrays, image)
    np.testing.assert_allclose(found.logits, logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found.predicted, logits.argmax(1))
    assert (found.radius > 0).all() and np.isfinite(found.radius).all()


MISMATCH = {
    "depth": (
        "liresnet",
        {"depth": 3},
        names("model.npz", "model.depth=3", 2),
    ),
    "dense": ("liresnet_pp", {"dense": 4}, names("model.npz", "model.dense=4", 8)),
    "stack": ("bronet", {"stack": 0}, names("model.npz", "model.dense_depth=0", 2)),
    "rank": ("bronet", {"rank": 2}, names("model.npz", "model.ratio=0.25", 0.5)),
}


@pytest.mark.parametrize("network,sizes,words", MISMATCH.values(), ids=MISMATCH)
def test_config_of_another_network_is_refused(ends, tmp_path, network, sizes, words):
    path, workdir = tmp_path / "model.npz", tmp_path / "new"
    written(path, network, **sizes)
    status, said = ends(import_torch, *arguments(path, workdir, network))
    assert status == 2 and not workdir.exists()
    assert_words(words, said)


def test_state_dict_without_power_iteration_ends_in_a_sentence(ends, tmp_path):
    path, workdir = tmp_path / "model.npz", tmp_path / "new"
    arrays = written(path, "liresnet")
    np.savez(path, **{k: v for k, v in arrays.items() if k != "init_layer"})
    status, said = ends(import_torch, *arguments(path, workdir, "liresnet"))
    assert status == 2 and tells(said, "lacks init_layer")
    assert not workdir.exists()
