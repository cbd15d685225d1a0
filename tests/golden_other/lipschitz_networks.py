"""LipConvNet, LiResNet and LiResNet++."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from . import forms
from .forms import conv, layer, maxmin, normal, per_channel
from .lipschitz_layers import (
    dense_of_conv,
    householder1,
    householder2,
    lot_conv,
    regularised,
    rows_head,
    single_angles,
)

MEAN, STD = (0.4914, 0.4822, 0.4465), 0.2507


# LipConvNet


def lip_convnet(draw, *, stages, blocks, width, classes, act="maxmin", head="orthogonal",
                residual=False, gamma=0.5, batch=3):  # fmt: skip
    names = [str(i) for i in range(blocks)]
    if residual:
        names = [
            "in_block",
            *(f"hidden_block.{i}" for i in range(blocks - 2)),
            "out_block",
        ]
    params, c, order = {}, 3, []
    for stage in range(1, stages + 1):
        for i, name in enumerate(names):
            last = i == blocks - 1
            inside, out = (4 * c, 2 * width) if last else (c, width)
            k = 1 if last and stage == stages else 3
            at = f"layer{stage}.{name}"
            params[f"{at}.conv.weight"] = normal(draw, out, inside, k, k, scale=0.5)
            params[f"{at}.conv.bias"] = normal(draw, out, scale=0.1)
            half = out // 2
            if act == "hh1":
                theta = single_angles(draw, half).reshape(1, -1, 1, 1)
                params[f"{at}.activation.theta"] = theta
            if act == "hh2":
                for j in range(3):
                    params[f"{at}.activation.theta{j}"] = single_angles(draw, half)
            order.append((at, 2 if last else 1, residual and 0 < i < blocks - 1))
            c = out
        width *= 2
    shape = (classes, c) if head == "lln" else (classes, c, 1, 1)
    params["last_layer.weight"] = normal(draw, *shape)
    params["last_layer.bias"] = normal(draw, classes)
    side = 2**stages
    pixels = draw.integers(256, size=(batch, 3, side, side)).astype(np.uint8)
    y = draw.integers(classes, size=batch)
    x = (pixels / 255.0 - np.reshape(MEAN, (1, 3, 1, 1))) / STD
    x = forms.single(x)

    def logits(p):
        z = jnp.asarray(x)
        for at, stride, mixed in order:
            out = lot_conv(
                z, p[f"{at}.conv.weight"], p[f"{at}.conv.bias"], stride=stride
            )
            angles = {
                n.split(".")[-1]: v for n, v in p.items() if f"{at}.activation" in n
            }
            function = {"maxmin": maxmin, "hh1": householder1, "hh2": householder2}[act]
            out = function(out, **angles)
            z = (z + out) / 2 if mixed else out
        if head == "lln":
            weight, bias = p["last_layer.weight"], p["last_layer.bias"]
            return rows_head(z.reshape(len(z), -1), weight, bias)
        return lot_conv(z, p["last_layer.weight"], p["last_layer.bias"])[:, :, 0, 0]

    def pairwise(p):
        if head == "lln":
            return forms.pairs_of(forms.unit_rows(p["last_layer.weight"])) / STD
        return jnp.full((classes, classes), math.sqrt(2.0) / STD)

    def loss(p):
        z = logits(p)
        value, cert = regularised(z, pairwise(p), y, gamma)
        return value, (z, cert)

    (value, (z, cert)), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    found = {f"p.{name}": np.float32(value) for name, value in params.items()}
    return found | {
        "x01_u8": pixels, "labels": y, "logits": z, "train_cert": cert,
        f"loss_gamma{gamma}": value, "eval_logits": z,
        "grad_l2_norms": [np.linalg.norm(grads[name]) for name in sorted(grads)],
        "g_first": grads[f"{order[0][0]}.conv.weight"],
        "eval_radius": forms.radius(z, pairwise(params), z.argmax(1)),
    }  # fmt: skip


# LiResNet and LiResNet++


def power(f, v, steps, through=False):
    """(|f v|, v) after `steps` of v <- f^T f v / |f^T f v|"""
    for _ in range(steps):
        image, pull = jax.vjp(f, v)
        v = pull(image)[0]
        v = v / jnp.sqrt((v * v).sum())
    v = v if through else jax.lax.stop_gradient(v)
    return jnp.sqrt((f(v) ** 2).sum()), v


def many(f, v, steps):
    """The value after many steps, which need no gradient, compiled once."""
    gram = jax.linear_transpose(f, v)

    def step(_, v):
        v = gram(f(v))[0]
        return v / jnp.sqrt((v * v).sum())

    v = jax.lax.fori_loop(0, steps, step, v)
    return jnp.sqrt((f(v) ** 2).sum())


def block_kernel(weight, gain, depth):
    """I + depth^(-1/2) g W, OIHW; g one factor per output"""
    c, k = len(weight), weight.shape[-1]
    eye = np.zeros(weight.shape)
    eye[:, :, k // 2, k // 2] = np.eye(c)
    return eye + weight * jnp.reshape(gain, (-1, 1, 1, 1)) / math.sqrt(depth)


def liresnet_layers(draw, width=4, side=8, depth=3):
    def block(x, weight, affine, bias):
        kernel = block_kernel(weight, affine, depth)
        return conv(x, kernel, padding=1) + per_channel(bias)

    arrays = dict(weight=normal(draw, width, width, 3, 3, scale=0.3),
                  affine=normal(draw, width, 1, 1, 1), bias=normal(draw, width))  # fmt: skip
    found = layer(draw, "block", block, normal(draw, 3, width, side, side), **arrays)
    found |= dict(block_depth=depth, stem_weight=normal(draw, width, 2, 5, 5, scale=0.3),
                  neckconv_weight=normal(draw, 2 * width, width, 4, 4, scale=0.3))  # fmt: skip
    kernel = np.asarray(block_kernel(arrays["weight"], arrays["affine"], depth))
    cases = {
        "block": (kernel, dict(padding=1), (1, 3, 7, 400)),
        "stem": (found["stem_weight"], dict(stride=2, padding=2), (2, 400)),
        "neckconv": (found["neckconv_weight"], dict(stride=4), (4, 400)),
    }
    for name, (w, how, counts) in cases.items():
        v = normal(draw, 1, w.shape[1], side, side)
        found[f"pi_{name}_x0"] = v

        def f(x, w=w, how=how):
            return conv(x, w, **how)

        for k in counts:
            found[f"pi_{name}_k{k}"] = many(f, jnp.asarray(v), k)
        found[f"pi_{name}_true"] = np.linalg.norm(
            dense_of_conv(w, v.shape[1:], **how), 2
        )
    start = found["pi_block_x0"]
    for k in (3, 7):

        def value(weight, k=k):
            kernel = block_kernel(weight, arrays["affine"], depth)
            return power(lambda x: conv(x, kernel, padding=1), start, k, through=True)

        slope, v = jax.jit(jax.grad(value, has_aux=True))(arrays["weight"])
        found[f"pi_block_k{k}_gweight_through"] = slope
        found[f"pi_block_k{k}_state"] = v
    matrix, v = normal(draw, 5, 11), normal(draw, 1, 11)
    found |= dict(lin_weight=matrix, pi_lin_x0=v, pi_lin_true=np.linalg.norm(matrix, 2))
    return found | {
        f"pi_lin_k{k}": many(lambda x: x @ matrix.T, jnp.asarray(v), k) for k in (2, 9)
    }


def tiny(draw, arrays, scale=0.3):
    """Drawn parameters by name and shape."""
    return {name: normal(draw, *shape, scale=scale) for name, shape in arrays.items()}


def images(draw, batch, channels, side, classes):
    pixels = draw.integers(256, size=(batch, channels, side, side)).astype(np.uint8)
    x = (pixels / np.float32(255)).astype(np.float32).astype(np.float64)
    return pixels, x, draw.integers(classes, size=batch)


def liresnet(draw, depth=2, width=4, dense=6, classes=5, side=16, channels=2):
    half, flat = side // 2, 2 * width * (side // 8) ** 2
    blocks = [f"backbone.{2 * i}" for i in range(depth)]
    shapes = {"stem.0.weight": (width, channels, 5, 5), "stem.0.bias": (width,)}
    for b in blocks:
        shapes |= {f"{b}.weight": (width, width, 3, 3), f"{b}.affine": (width, 1, 1, 1),
                   f"{b}.bias": (width,)}  # fmt: skip
    shapes |= {
        "neck.0.weight": (2 * width, width, 4, 4), "neck.0.bias": (2 * width,),
        "neck.3.weight": (dense, flat), "neck.3.bias": (dense,),
        "head.weight": (classes, dense), "head.bias": (classes,),
    }  # fmt: skip
    params = tiny(draw, shapes)
    group = normal(draw, 1, depth * width, half, half)
    start = {"stem.0": normal(draw, 1, channels, side, side), "neck.3": normal(draw, 1, flat),
             "neck.0": normal(draw, 1, width, half, half)}  # fmt: skip
    start |= dict(zip(blocks, np.split(group, depth, 1), strict=True))
    pixels, x, y = images(draw, 3, channels, side, classes)

    def maps(p):
        kernels = {
            b: block_kernel(p[f"{b}.weight"], p[f"{b}.affine"], depth) for b in blocks
        }
        found = {"stem.0": lambda x: conv(x, p["stem.0.weight"], stride=2, padding=2)}
        found |= {b: lambda x, k=k: conv(x, k, padding=1) for b, k in kernels.items()}
        found["neck.0"] = lambda x: conv(x, p["neck.0.weight"], stride=4)
        found["neck.3"] = lambda x: x @ p["neck.3.weight"].T
        return found

    def logits(p):
        z = jnp.asarray(x) - 0.5
        for name, f in maps(p).items():
            bias = p[f"{name}.bias"]
            if name == "neck.3":
                z = maxmin(f(z.reshape(len(z), -1)) + bias)
            else:
                z = maxmin(f(z) + per_channel(bias))
        return rows_head(z, p["head.weight"], p["head.bias"])

    def below(p, steps):
        return math.prod(power(f, start[n], steps, True)[0] for n, f in maps(p).items())

    def constants(p, below):
        return below * forms.pairs_of(forms.unit_rows(p["head.weight"]))

    trained, evaluated, times = 4, 600, 1.5

    def loss(p):
        z, norm = logits(p), below(p, trained)
        eps = times * 36 / 255
        return forms.cross_entropy(z + eps * constants(p, norm)[y], y), (z, norm)

    (value, (z, norm)), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    each = [many(f, jnp.asarray(start[n]), evaluated) for n, f in maps(params).items()]
    final = math.prod(each)
    found = {f"p.{n}": np.float32(v) for n, v in params.items()}
    found |= {f"s.{n}.init_x": np.float32(v) for n, v in start.items()}
    return found | {
        "s.init_layer": np.float32(group), "x_u8": pixels, "labels": y,
        "meta": np.array([depth, width]), "logits": z, f"loss_eps{times}x": value,
        f"sub_lipschitz_{trained}": norm, f"sub_lipschitz_{evaluated}": final,
        f"per_layer_{evaluated}": each,
        f"eval_radius_{evaluated}": forms.radius(z, constants(params, final), z.argmax(1)),
        "grad_l2_norms": [np.linalg.norm(grads[n]) for n in sorted(grads)],
    }  # fmt: skip


def cholesky(x):
    """Rows made orthogonal: R^-1 X, R R^T = X X^T + e I, e = mean diag / 1000, a constant"""
    s = x @ jnp.swapaxes(x, -1, -2)
    e = jnp.einsum("...ii->...", s)[..., None, None] / s.shape[-1] / 1000
    root = jnp.linalg.cholesky(s + jax.lax.stop_gradient(e) * jnp.eye(s.shape[-1]))
    return jax.scipy.linalg.solve_triangular(root, x, lower=True)


def centred(x, weights, gamma, bias, mean=None):
    """(y, means of the branches); those given are taken off in evaluation."""
    seen = []
    for i, (w, g, b) in enumerate(zip(weights, gamma, bias, strict=True)):
        branch = conv(x, w * g, padding=1) / math.sqrt(len(weights))
        seen.append(branch.mean((0, 2, 3)))
        off = seen[i] if mean is None else mean[i]
        x = maxmin(x + branch + per_channel(b - off))
    return x, jnp.stack(seen)


def stack(x, weights, gamma, bias):
    for w, g, b in zip(weights, gamma, bias, strict=True):
        q = cholesky(jnp.eye(len(w)) + g * w / math.sqrt(len(weights)))
        x = maxmin(x @ q.T + b)
    return x


def neck(x, kernel, weight, bias):
    c = x.shape[1]
    x = conv(x, cholesky(kernel).reshape(-1, c, 4, 4), stride=4)
    return maxmin(x.reshape(len(x), -1) @ cholesky(weight).T + bias)


def product_of_blocks(weights, gamma, side, steps):
    """By power iteration from ones whose vector has no gradient."""
    ones = jnp.ones((1, weights.shape[1], side, side))
    total = 1.0
    for w, g in zip(weights, gamma, strict=True):
        kernel = block_kernel(w, g, len(weights))
        total *= power(lambda x, k=kernel: conv(x, k, padding=1), ones, steps)[0]
    return total


def liresnet_pp_layers(draw, depth=2, width=4, side=5):
    arrays = dict(weights=normal(draw, depth, width, width, 3, 3, scale=0.3),
                  gamma=normal(draw, depth, width, 1, 1, 1),
                  bias=normal(draw, depth, width))  # fmt: skip
    x, before = normal(draw, 4, width, side, side), normal(draw, depth, width)
    found = layer(draw, "conv_train", lambda x, **p: centred(x, **p)[0], x, **arrays)
    after = before + 0.1 * (centred(x, **arrays)[1] - before)
    found |= dict(conv_running_mean0=before, conv_running_mean1=after,
                  conv_eval_y=centred(x, **arrays, mean=after)[0])  # fmt: skip
    both = arrays["weights"], arrays["gamma"]
    kernels = [
        np.asarray(block_kernel(w, g, depth)) for w, g in zip(*both, strict=True)
    ]
    for k in (1, 6):
        value = jax.jit(
            jax.value_and_grad(lambda w, k=k: product_of_blocks(w, both[1], side, k))
        )
        found[f"conv_pi_k{k}"], found[f"conv_pi_k{k}_gweights"] = value(both[0])
    found["conv_true_norms"] = [
        np.linalg.norm(dense_of_conv(k, (width, side, side), padding=1), 2)
        for k in kernels
    ]
    chol = layer(draw, "chol", cholesky, normal(draw, 3, 5, 6))
    values = np.linalg.svd(np.asarray(chol["chol_y"]), compute_uv=False)
    found |= chol | dict(chol_sv_minmax=[values.min(), values.max()])
    n = 6
    found |= layer(draw, "mlp", stack, normal(draw, 5, n), weights=normal(draw, 2, n, n),
                   gamma=normal(draw, 2, n, 1), bias=normal(draw, 2, n))  # fmt: skip
    c, out = 6, 4
    kernel, weight = normal(draw, c, 16 * c), normal(draw, out, 4 * c)
    found |= layer(draw, "neck", neck, normal(draw, 3, c, 8, 8), kernel=kernel,
                   weight=weight, bias=normal(draw, out))  # fmt: skip
    norms = [np.linalg.norm(cholesky(m), 2) for m in (kernel, weight)]
    return found | dict(neck_lipschitz_eval=math.prod(norms))


def liresnet_pp(
    draw, depth=3, width=6, dense=8, layers=1, classes=7, side=16, channels=1
):
    half, flat = side // 2, width * (side // 8) ** 2
    params = tiny(draw, {
        "stem.0.weight": (width, channels, 5, 5), "stem.0.bias": (width,),
        "conv.weights": (depth, width, width, 3, 3), "conv.gamma": (depth, width, 1, 1, 1),
        "conv.bias": (depth, width), "neck.kernel": (width, 16 * width),
        "neck.weight": (dense, flat), "neck.bias": (dense,),
        "linear.weights": (layers, dense, dense), "linear.gamma": (layers, dense, 1),
        "linear.bias": (layers, dense), "head.weight": (classes, dense),
        "head.bias": (classes,),
    })  # fmt: skip
    before = normal(draw, depth, width, scale=0.1)
    pixels, x, y = images(draw, 5, channels, side, classes)

    def group(p, part):
        return {n.split(".")[1]: v for n, v in p.items() if n.startswith(f"{part}.")}

    def stem(x, p):
        return conv(x, p["stem.0.weight"], stride=2, padding=2)

    def logits(p, mean=None):
        z = maxmin(stem(jnp.asarray(x) - 0.5, p) + per_channel(p["stem.0.bias"]))
        z, means = centred(z, **group(p, "conv"), mean=mean)
        z = stack(neck(z, **group(p, "neck")), **group(p, "linear"))
        return rows_head(z, p["head.weight"], p["head.bias"]), means

    def below(p, steps):
        ones = jnp.ones((1, channels, side, side))
        blocks = product_of_blocks(p["conv.weights"], p["conv.gamma"], half, steps)
        return blocks * power(lambda x: stem(x, p), ones, steps)[0]

    def constants(p, below):
        return below * forms.pairs_of(forms.unit_rows(p["head.weight"]))

    def loss(p):
        (z, means), norm = logits(p), below(p, 10)
        moved = emma(z, constants(p, norm), y, 1.3 * 36 / 255)
        return forms.cross_entropy(moved, y), (z, means, norm)

    (value, (z, means, norm)), grads = jax.jit(
        jax.value_and_grad(loss, has_aux=True)
    )(params)  # fmt: skip
    shifted = z - z[jnp.arange(len(y)), y][:, None]
    ones = jnp.ones((1, width, half, half))
    kernels = [
        block_kernel(w, g, depth)
        for w, g in zip(params["conv.weights"], params["conv.gamma"], strict=True)
    ]
    final = many(lambda x: stem(x, params), jnp.ones((1, channels, side, side)), 500)
    for kernel in kernels:
        final *= many(lambda x, k=kernel: conv(x, k, padding=1), ones, 500)
    stacked = np.eye(dense) + params["linear.gamma"] * params[
        "linear.weights"
    ] / math.sqrt(layers)
    for q in [params["neck.kernel"], params["neck.weight"], *stacked]:
        final *= np.linalg.norm(cholesky(q), 2)
    z, _ = logits(params, before + 0.1 * (means - before))
    found = {f"p.{n}": np.float32(v) for n, v in params.items()}
    return found | {
        "s.conv.running_mean": before, "x_u8": pixels, "labels": y,
        "meta": np.array([depth, width, dense, layers]), "sub_lipschitz_train": norm,
        "train_logits_shifted": shifted, "train_loss": value, "eval_logits": z,
        "grad_l2_norms": [np.linalg.norm(grads[n]) for n in sorted(grads)],
        "sub_lipschitz_eval": final,
        "eval_radius": forms.radius(z, constants(params, final), z.argmax(1)),
    }  # fmt: skip


def emma(z, pairwise, y, eps):
    d, shift = z - z[jnp.arange(len(y)), y][:, None], eps * pairwise[y]
    share = jnp.clip(-d / jnp.maximum(shift, 1e-8), 0.01, 1)
    return d + jax.lax.stop_gradient(share) * shift
