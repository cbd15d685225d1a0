"""LiResNet++ and BRONet: against the originals, and attempts to break their bounds."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Golden, close, golden_files
from refusals import names

from jaxcert import records
from jaxcert.analysis.recheck import recheck
from jaxcert.certificates import lipschitz
from jaxcert.errors import InputError
from jaxcert.interfaces import Network
from jaxcert.methods import gloro
from jaxcert.models import bronet, liresnet_pp
from jaxcert.nn import cholesky
from jaxcert.nn.activations import maxmin
from jaxcert.nn.liresnet import Blocks, Power
from jaxcert.ops import margins
from tests.models.test_liresnet import steps_of

TINY = dict(
    image_shape=(8, 8, 1), num_classes=4, depth=2, width=8, dense=8, dense_depth=2
)
MODELS = {"liresnet_pp": liresnet_pp.make, "bronet": bronet.make}


def ohwi(weight):
    """[..., O, I, k, k] -> [..., k, k, I, O]"""
    return jnp.asarray(np.moveaxis(weight, (-4, -3), (-1, -2)), jnp.float64)


def nhwc(x):
    return jnp.asarray(np.moveaxis(x, 1, -1))


def same(found, expected):
    """Gradients by the layouts of the originals."""
    close(found["kernel"], expected["kernel"])
    close(found["gain"], expected["gain"])
    close(found["bias"], expected["bias"])


@pytest.mark.slow
@pytest.mark.golden("lipschitz_l2")
def test_layers_are_the_originals(x64):
    for path in golden_files("lipschitz_l2", "liresnet_pp_layers*.npz"):
        g = Golden(path)
        _check_blocks(g)
        _check_dense_stack(g)
        _check_neck(g)
        chol = [
            n for n in g if n.startswith("chol")
        ]  # read by test_orthogonal_matrices
        assert not g.unread(*chol)


def _check_blocks(g):
    depth, width = g["conv_train_bias"].shape
    side = g["conv_train_x"].shape[-1]

    def blocks(steps):
        power = Power(steps, steps, start=jnp.ones)
        return Blocks(depth, (side, width), maxmin, power, centred=True)

    def group(prefix):
        return dict(
            kernel=ohwi(g[f"{prefix}weights"]),
            gain=g[f"{prefix}gamma"].reshape(depth, width),
            bias=g[f"{prefix}bias"],
        )

    params = jax.tree.map(jnp.asarray, group("conv_train_"))
    state = dict(
        batch_stats=dict(mean=jnp.asarray(g["conv_running_mean0"])),
        power=dict(vector=jnp.ones((depth, 1, side, side, width))),
    )
    x = nhwc(g["conv_train_x"])

    @jax.jit
    def train(params, x):
        return blocks(1).apply({"params": params, **state}, x, True, mutable=[*state])

    y, pull, after = jax.vjp(train, params, x, has_aux=True)
    close(y, nhwc(g["conv_train_y"]))
    close(after["batch_stats"]["mean"], g["conv_running_mean1"])
    by_params, by_x = jax.jit(pull)(nhwc(g["conv_train_gy"]))
    close(by_x, nhwc(g["conv_train_gx"]))
    same(by_params, group("conv_train_g_"))
    variables = {"params": params, **after}
    close(blocks(1).apply(variables, x), nhwc(g["conv_eval_y"]))

    def norm(params, steps):
        variables = {"params": params, **state}
        found, _ = blocks(steps).apply(
            variables, True, method="norm", mutable=["power"]
        )
        return found.prod()

    for steps in steps_of(g, "conv_pi_k"):
        close(norm(params, steps), g[f"conv_pi_k{steps}"])
    for steps in steps_of(g, "conv_pi_k", "_gweights"):
        slope = jax.jit(jax.grad(lambda params, n=steps: norm(params, n)))(params)
        close(slope["kernel"], ohwi(g[f"conv_pi_k{steps}_gweights"]))
    bounds = np.array([f() for f in blocks(1).apply(variables, method="bounds")])
    true = g["conv_true_norms"]
    assert (bounds >= true * (1 - 1e-13)).all() and (bounds <= true * (1 + 1e-6)).all()


def _check_dense_stack(g):
    depth, width = g["mlp_bias"].shape

    def group(prefix):
        return dict(
            kernel=g[f"{prefix}weights"].swapaxes(1, 2),
            gain=g[f"{prefix}gamma"].reshape(depth, width),
            bias=g[f"{prefix}bias"],
        )

    stack = cholesky.DenseStack(depth, width, maxmin)
    params = jax.tree.map(jnp.asarray, group("mlp_"))
    x = jnp.asarray(g["mlp_x"])
    y, pull = jax.vjp(lambda p, x: stack.apply({"params": p}, x), params, x)
    close(y, g["mlp_y"])
    by_params, by_x = pull(jnp.asarray(g["mlp_gy"]))
    close(by_x, g["mlp_gx"])
    same(by_params, group("mlp_g_"))


def _check_neck(g):
    (features, inputs), width = g["neck_weight"].shape, len(g["neck_kernel"])
    conv, dense = cholesky.PatchConv(width, width), cholesky.Dense(features, inputs)

    def kernel(flat):
        return ohwi(flat.reshape(width, width, 4, 4))

    def neck(kernel, weight, bias, x):
        x = conv.apply({"params": {"kernel": kernel}}, x)
        x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
        return maxmin(dense.apply({"params": dict(kernel=weight, bias=bias)}, x))

    arrays = kernel(g["neck_kernel"]), g["neck_weight"].T, g["neck_bias"]
    y, pull = jax.vjp(neck, *map(jnp.asarray, arrays), nhwc(g["neck_x"]))
    close(y, g["neck_y"])
    by_kernel, by_weight, by_bias, by_x = pull(jnp.asarray(g["neck_gy"]))
    close(by_kernel, kernel(g["neck_g_kernel"]))
    close(by_weight.T, g["neck_g_weight"])
    close(by_bias, g["neck_g_bias"])
    close(by_x, nhwc(g["neck_gx"]))
    layers = (
        (conv, {"kernel": arrays[0]}),
        (dense, dict(kernel=arrays[1], bias=arrays[2])),
    )
    for name, how in (("norm", dict(train=False)), ("bound", {})):
        found = [m.apply({"params": p}, method=name, **how) for m, p in layers]
        close(np.prod(found), g["neck_lipschitz_eval"], 1e-8)


@pytest.mark.slow
@pytest.mark.golden("lipschitz_l2")
def test_network_loss_and_gradients_are_the_originals(x64):
    for path in golden_files("lipschitz_l2", "liresnet_pp_tiny*.npz"):
        g = Golden(path)
        depth, width, dense, dense_depth = (int(n) for n in g["meta"])
        model = liresnet_pp.make(
            image_shape=(*g["x_u8"].shape[2:], g["x_u8"].shape[1]),
            num_classes=len(g["p.head.bias"]),
            depth=depth,
            width=width,
            dense=dense,
            dense_depth=dense_depth,
            power_steps=10,
        )
        like, state = jax.eval_shape(model.init, jax.random.key(0))
        params = _params_of(g, depth, width)
        assert jax.tree.map(jnp.shape, params) == jax.tree.map(lambda a: a.shape, like)
        state = jax.tree.map(lambda a: jnp.ones(a.shape), state)
        state["batch_stats"]["blocks"]["mean"] = jnp.asarray(g["s.conv.running_mean"])
        x = nhwc((g["x_u8"] / np.float32(255)).astype(np.float32)).astype(float)
        label = jnp.asarray(g["labels"])

        @jax.jit
        def value(params, model=model, state=state, x=x, label=label):
            logits, moved = model.apply(params, state, x, train=True)
            pairwise, moved = model.lipschitz(params, moved, train=True)
            shifted = gloro.emma(logits, pairwise, label, eps=1.3 * 36 / 255)
            return gloro.cross_entropy(shifted, label), (logits, pairwise, moved)

        (loss, (logits, pairwise, moved)), grads = jax.value_and_grad(
            value, has_aux=True
        )(params)
        own = np.take_along_axis(np.asarray(logits), np.asarray(label)[:, None], 1)
        close(logits - own, g["train_logits_shifted"], 1e-8)
        close(_below_head(params, pairwise), g["sub_lipschitz_train"], 1e-8)
        close(loss, g["train_loss"], 1e-8)
        close(_norms(grads), g["grad_l2_norms"], 1e-8)

        state = jax.jit(model.prepare)(params, moved)
        logits, same_state = jax.jit(model.apply)(params, state, x)
        close(logits, g["eval_logits"], 1e-8)
        # the original starts each evaluation from ones again, ours from the carried vector
        start = jax.tree.map(jnp.ones_like, state["power"])
        pairwise, _ = model.lipschitz(params, {**state, "power": start})
        bound = model.lipschitz_bound(params, state)
        ratio = _below_head(params, bound.pairwise) / float(g["sub_lipschitz_eval"])
        assert 1 <= ratio <= 1.02
        # both estimates are below the norm by some times what theirs lacks of the proven one
        tolerance = 1e-4 + 10 * (ratio - 1)
        close(_below_head(params, pairwise), g["sub_lipschitz_eval"], tolerance)
        radius = margins.radius(logits, pairwise, logits.argmax(1))
        close(radius, g["eval_radius"], tolerance)
        assert not g.unread()


def _params_of(g, depth, width):
    stem, head = g["p.stem.0.weight"], g["p.head.weight"]
    kernel = g["p.neck.kernel"].reshape(width, width, 4, 4)
    params = {
        "stem": dict(kernel=ohwi(stem), bias=g["p.stem.0.bias"]),
        "blocks": dict(
            kernel=ohwi(g["p.conv.weights"]),
            gain=g["p.conv.gamma"].reshape(depth, width),
            bias=g["p.conv.bias"],
        ),
        "neck": dict(kernel=ohwi(kernel)),
        "neck_dense": dict(kernel=g["p.neck.weight"].T, bias=g["p.neck.bias"]),
        "stack": dict(
            kernel=g["p.linear.weights"].swapaxes(1, 2),
            gain=g["p.linear.gamma"][..., 0],
            bias=g["p.linear.bias"],
        ),
        "head": dict(kernel=head.T, bias=g["p.head.bias"]),
    }
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), params)


def _below_head(params, pairwise):
    rows = np.asarray(params["head"]["kernel"]).T
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(pairwise)[0, 1] / np.linalg.norm(rows[0] - rows[1])


def _norms(grads):
    """In the order of the original's names."""
    order = [
        *[("blocks", n) for n in ("bias", "gain", "kernel")],
        *[("head", n) for n in ("bias", "kernel")],
        *[("stack", n) for n in ("bias", "gain", "kernel")],
        *[("neck_dense", "bias"), ("neck", "kernel"), ("neck_dense", "kernel")],
        *[("stem", n) for n in ("bias", "kernel")],
    ]
    return np.array([jnp.linalg.norm(grads[a][b]) for a, b in order])


@pytest.mark.slow
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_differences_of_logits_keep_the_proven_constant(x64, make):
    model = make(**TINY)
    params, state = model.init(jax.random.key(0))
    params = jax.tree.map(
        lambda a: a + 0.2 * jax.random.normal(jax.random.key(a.size), a.shape), params
    )
    draw = np.random.default_rng(0)
    x = jnp.asarray(draw.uniform(size=(16, 8, 8, 1)))
    _, state = model.apply(params, state, x, train=True)  # running means that count
    assert all(np.abs(a).max() > 0 for a in jax.tree.leaves(state["batch_stats"]))
    state = jax.jit(model.prepare)(params, state)
    tight = model.lipschitz_bound(params, state).pairwise
    loose = model.lipschitz_bound(params, state, tight=False).pairwise
    estimate = np.asarray(model.lipschitz(params, state)[0])
    assert (tight <= loose).all() and (estimate <= 1.001 * tight).all()
    apply = jax.jit(lambda x: model.apply(params, state, x)[0])
    z = np.asarray(apply(x))
    for size in (1e-3, 1e-1, 1.0):
        step = draw.normal(size=x.shape) * size
        moved = np.asarray(apply(x + step)) - z
        pairs = np.abs(moved[:, :, None] - moved[:, None])
        distance = np.linalg.norm(step.reshape(16, -1), axis=1)[:, None, None]
        assert (pairs <= tight * distance + 1e-12).all()


@pytest.mark.slow
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_prepared_kernels_are_those_that_evaluation_computes(x64, make):
    model = make(**TINY)
    params, state = model.init(jax.random.key(0))
    x = jax.random.uniform(jax.random.key(1), (3, 8, 8, 1))
    prepared = model.prepare(params, state)
    assert "prepared" in prepared and "prepared" not in state
    apply = jax.jit(lambda state: model.apply(params, state, x)[0])
    np.testing.assert_allclose(apply(prepared), apply(state), atol=1e-12)
    assert model.apply(params, prepared, x)[1] is prepared


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize(
    "key,value",
    [
        ("dense", 10),
        ("dense_depth", -1),
        ("dense_depth", 1.5),
        ("width", 5),
        ("power_steps_evaluated", 0),
    ],
)
def test_impossible_sizes_are_refused(make, key, value):
    with pytest.raises(InputError, match=names(f"model.{key}", value)):
        make(**TINY | {key: value})


def test_rank_of_reflected_blocks_is_a_share_of_the_width():
    with pytest.raises(InputError, match=names("model.ratio", 1.5)):
        bronet.make(**TINY, ratio=1.5)


@pytest.mark.slow
def test_kernels_are_prepared_anew_for_other_parameters():
    model = bronet.make(**TINY)
    params, state = model.init(jax.random.key(0))
    other, _ = model.init(jax.random.key(1))
    stale = model.prepare(params, state)
    fresh = model.prepare(other, state)["prepared"]
    again = model.prepare(other, stale)["prepared"]
    jax.tree.map(np.testing.assert_array_equal, again, fresh)


@pytest.mark.slow
def test_a_norm_that_is_not_proven_leaves_nothing_certified(tmp_path):
    """A head row of zeros has no direction: its distances are bounded by nothing."""
    model = liresnet_pp.make(**TINY)
    params, state = model.init(jax.random.key(0))
    params["head"]["kernel"] = params["head"]["kernel"].at[:, 0].set(0.0)
    certifier = lipschitz.make(Network(model, params, state))
    images = np.random.default_rng(0).uniform(size=(3, 8, 8, 1)).astype(np.float32)
    rows = certifier.certify(jax.random.key(0), images, np.zeros(3, int), np.arange(3))
    assert (rows.radius == 0).all()
    path = tmp_path / "certificates.jsonl"
    with records.Writer(path, certifier.header) as writer:
        writer.append(rows)
    found = records.load(path)
    assert (found.radius == 0).all() and recheck(found).holds
