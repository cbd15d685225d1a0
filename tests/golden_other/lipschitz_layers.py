"""Layers, activations and heads of l2 Lipschitz networks."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from . import forms
from .forms import conv, layer, maxmin, normal, per_channel

# Orthogonal convolutions: a matrix at every frequency of the padded image


def spectrum(w, m, sign, centre):
    """[m,m,O,I] of w [O,I,k,k]: sum_ab w[a,b] exp(sign 2 pi i (u(a-s) + v(b-s)) / m)"""
    at = np.arange(w.shape[-1]) - centre
    phase = np.exp(sign * 2j * np.pi * np.outer(np.arange(m), at) / m)
    return jnp.einsum("ua,vb,oiab->uvoi", phase, phase, w)


def at_frequencies(x, q, k):
    """Image x [B,C,n,n] times q [m,m,O,C], m = n + k - 1, cropped to n."""
    r, n = k // 2, x.shape[-1]
    x = jnp.fft.fft2(jnp.pad(x, ((0, 0), (0, 0), (r, r), (r, r))))
    y = jnp.fft.ifft2(jnp.einsum("uvoi,biuv->bouv", q, x)).real
    return y[:, :, r : r + n, r : r + n]


def unshuffled(x):
    b, c, n, _ = x.shape
    x = x.reshape(b, c, n // 2, 2, n // 2, 2).transpose(0, 1, 3, 5, 2, 4)
    return x.reshape(b, 4 * c, n // 2, n // 2)


def adjoint(a):
    return jnp.swapaxes(a, -1, -2).conj()


def polar(f):
    """(F F^H)^(-1/2) F by ten coupled Newton-Schulz steps, as LOT has it."""
    eye = jnp.eye(f.shape[-2])
    s = f @ adjoint(f) + 1e-4 * eye
    c = jnp.sqrt((jnp.abs(s) ** 2).sum((-2, -1), keepdims=True)) + 1e-4
    y, z = s / c, jnp.broadcast_to(eye, s.shape).astype(s.dtype)
    for _ in range(10):
        t = (3 * eye - z @ y) / 2
        y, z = y @ t, t @ z
    return z @ f / jnp.sqrt(c)


def lot_q(weight, n):
    k = weight.shape[-1]
    return polar(spectrum(weight, n + k - 1, +1, k // 2))


def lot_conv(x, weight, bias, *, stride=1):
    x = unshuffled(x) if stride == 2 else x
    y = at_frequencies(x, lot_q(weight, x.shape[-1]), weight.shape[-1])
    return y + per_channel(bias)


def lot_layers(draw):
    found = {}
    cases = {  # inputs, outputs, kernel, stride, side
        "same": (4, 4, 3, 1, 5),
        "more": (2, 6, 3, 1, 6),
        "half": (3, 5, 3, 2, 6),
        "one": (4, 6, 1, 2, 2),
        "lin": (9, 7, 1, 1, 1),
    }
    for name, (c, o, k, stride, n) in cases.items():
        inside = c * stride**2
        weight, bias = normal(draw, o, inside, k, k, scale=0.4), normal(draw, o)
        found |= layer(
            draw, name, lambda x, weight, bias, s=stride: lot_conv(x, weight, bias, stride=s),
            normal(draw, 2, c, n, n), weight=weight, bias=bias,
        )  # fmt: skip
        q = np.asarray(lot_q(jnp.asarray(weight), n // stride))
        q = q.reshape(-1, o, inside)
        values = np.linalg.svd(q, compute_uv=False)
        found[f"{name}_meta"] = np.array([c, o, k, stride, n])
        found[f"{name}_ortho_sv_minmax"] = [values.min(), values.max()]
        if k > 1:
            found[f"{name}_ortho_spectrum_re"] = q.real
            found[f"{name}_ortho_spectrum_im"] = q.imag
    return found


def reflected(x, weight, bias, *, stride=1):
    """BRO: I - 2 V (V^H V + e I)^-1 V^H, e = 1e-5 mean diag(V^H V)"""
    x = unshuffled(x) if stride == 2 else x
    k, c_out, c_in = weight.shape[-1], len(bias), x.shape[1]
    v = spectrum(weight, x.shape[-1] + k - 1, -1, 0)
    gram = adjoint(v) @ v
    rank = v.shape[-1]
    e = 1e-5 * jnp.einsum("...ii->...", gram).real / rank
    gram = gram + e[..., None, None] * jnp.eye(rank)
    q = jnp.eye(v.shape[-2]) - 2 * v @ jnp.linalg.solve(gram, adjoint(v))
    return at_frequencies(x, q[..., :c_out, :c_in], k) + per_channel(bias)


def cayley(w):
    """[(I + A)^-1 (I - A); -2 R (I + A)^-1], A = U - U^H + R^H R, of w = [U; R]"""
    if w.shape[-2] < w.shape[-1]:
        return jnp.swapaxes(cayley(jnp.swapaxes(w, -1, -2)), -1, -2)
    n = w.shape[-1]
    u, r = w[..., :n, :], w[..., n:, :]
    a, eye = u - adjoint(u) + adjoint(r) @ r, jnp.eye(n)
    inverse = jnp.linalg.inv(eye + a)
    return jnp.concatenate([inverse @ (eye - a), -2 * r @ inverse], -2)


def cayley_conv(x, weight, bias, alpha):
    k = weight.shape[-1]
    m = x.shape[-1] + k - 1
    f = spectrum(weight, m, +1, k // 2)
    norm = jnp.sqrt((jnp.abs(f[:, : m // 2 + 1]) ** 2).sum())  # of half of them
    return at_frequencies(x, cayley(alpha * f / norm), k) + per_channel(bias)


# Other layers


def correlations(w):
    """sum over offsets of |w_i correlated with w_j| of filters w [N,C,k,k] -> [N,N]"""
    return jnp.abs(conv(w, w, padding=w.shape[-1] - 1)).sum((2, 3))


def aol(weight):
    sums = correlations(weight.swapaxes(0, 1)).sum(1)
    return weight / jnp.sqrt(sums + 1e-6)[None, :, None, None]


def transposed(w):
    return w[:, :, ::-1, ::-1].swapaxes(0, 1)


def sll(x, kernel, bias, q):
    t = 1 / ((correlations(kernel) * jnp.exp(q)[:, None]) / jnp.exp(q)[:, None]).sum(1)
    hidden = jax.nn.relu(conv(x, kernel, padding=1) + bias)
    return x - 2 * conv(per_channel(t) * hidden, transposed(kernel), padding=1)


def soc(draw, channels=5, inputs=3, outputs=4, n=5):
    weight = normal(draw, channels, channels, 3, 3)
    skew = np.asarray(weight - transposed(weight))
    found, norms = {}, []
    for i, (u, v) in enumerate([((1, 3), (0, 2)), ((1, 2), (0, 3)), ((1, 2, 3), (0,)),
                                ((0, 2, 3), (1,))], 1):  # fmt: skip
        rows = math.prod(skew.shape[a] for a in v)
        left, s, right = np.linalg.svd(skew.transpose(*v, *u).reshape(rows, -1))
        norms.append(s[0])
        for name, axes, vector in (("u", u, right[0]), ("v", v, left[:, 0])):
            shape = [skew.shape[a] if a in axes else 1 for a in range(4)]
            found[f"soc_{name}{i}"] = vector.reshape(shape)
    a, bias = skew / min(norms), normal(draw, outputs)
    x = normal(draw, 2, inputs, n, n)
    term = y = jnp.pad(x, ((0, 0), (0, channels - inputs), (0, 0), (0, 0)))
    for j in range(1, 15):
        term = conv(term, a, padding=1) / j
        y = y + term
    y = y[:, :outputs] + per_channel(bias)
    return found | dict(
        soc_weight=weight, soc_bias=bias, soc_x=x, soc_skew=a, soc_y_eval=y
    )


def gram_bound(g, steps):
    """max over matrices of |G|_Fro^(1 / 2^steps), G <- G^H G"""
    log = np.zeros(len(g))
    for _ in range(steps):
        size = np.linalg.norm(g, axis=(1, 2))
        g = g / size[:, None, None]
        g, log = np.swapaxes(g, 1, 2).conj() @ g, 2 * (log + np.log(size))
    log = log + np.log(np.linalg.norm(g, axis=(1, 2)))
    return np.exp(log / 2**steps).max()


def gram(draw, n=6):
    kernel, dense = normal(draw, 3, 5, 3, 3), normal(draw, 6, 8)

    def torus(n):
        f = np.asarray(spectrum(kernel, n, -1, 0))
        return f.reshape(n * n, *kernel.shape[:2])

    found = dict(gram_kernel=kernel, gram_n=n, gram_dense=dense)
    found |= {f"gram_circular_k{k}": gram_bound(torus(n), k) for k in (1, 3, 6)}
    found |= {f"gram_dense_k{k}": gram_bound(dense[None], k) for k in (1, 5)}
    operator = dense_of_conv(kernel, (5, n, n), padding=1)
    return found | dict(
        gram_circular_big_k6=gram_bound(torus(n + 2), 6),
        gram_true_circular=np.linalg.norm(torus(n), 2, (1, 2)).max(),
        gram_true_zero=np.linalg.norm(operator, 2),
        gram_dense_true=np.linalg.norm(dense, 2),
    )


def dense_of_conv(w, shape, **how):
    return forms.dense_of(lambda x: conv(x, w, **how), *shape)


def later_layers(draw):
    found = soc(draw) | gram(draw)
    cases = {  # inputs, outputs, stride, side, rank
        "bro_same": (6, 6, 1, 5, 2),
        "bro_more": (2, 6, 1, 4, 2),
        "bro_half": (3, 5, 2, 6, 5),
    }
    for name, (c, o, stride, n, rank) in cases.items():
        found |= layer(
            draw, name, lambda x, weight, bias, s=stride: reflected(x, weight, bias, stride=s),
            normal(draw, 3, c, n, n),
            weight=normal(draw, max(c * stride**2, o), rank, 3, 3), bias=normal(draw, o),
        )  # fmt: skip
        found[f"{name}_meta"] = np.array([c, o, 3, stride, n])
    for name, (c, o, n) in {"cayley_same": (5, 5, 4), "cayley_more": (2, 5, 7)}.items():
        found |= layer(
            draw, name, cayley_conv, normal(draw, 3, c, n, n),
            weight=normal(draw, o, c, 3, 3), bias=normal(draw, o), alpha=np.array([4.5]),
        )  # fmt: skip
    aols = layer(draw, "aol", aol, normal(draw, 4, 6, 3, 3))
    names = dict(aol_x="weight", aol_y="out", aol_gy="gy", aol_gx="gweight")
    found |= {f"aol_{names[k]}": v for k, v in aols.items()}
    return found | layer(
        draw, "sll", sll, normal(draw, 3, 4, 5, 5), kernel=normal(draw, 6, 4, 3, 3),
        bias=normal(draw, 1, 6, 1, 1), q=normal(draw, 6),
    )  # fmt: skip


# Activations and heads


def householder1(x, theta):
    a, b = jnp.split(x, 2, 1)
    theta = per_channel(theta)
    c, s = jnp.cos(theta), jnp.sin(theta)
    above = a * jnp.sin(theta / 2) - b * jnp.cos(theta / 2) > 0
    first, second = (
        jnp.where(above, a * c + b * s, a),
        jnp.where(above, a * s - b * c, b),
    )
    return jnp.concatenate([first, second], 1)


def householder2(x, theta0, theta1, theta2):
    a, b = jnp.split(x, 2, 1)
    t0, t1, t2 = map(per_channel, (theta0, theta1, theta2))
    phi = (jnp.arctan2(b, a) - t0 / 2) % (2 * jnp.pi)

    def turn(angle, sign):
        """The reflection (-1) or the rotation (+1) by an angle."""
        c, s = jnp.cos(angle), jnp.sin(angle)
        return jnp.stack([a * c + b * s, sign * (b * c - a * s)])

    ends = t1 / 2, (t1 + t2) / 2, t2 / 2 + jnp.pi
    y = jnp.where(phi < ends[2], turn(t2, 1), turn(t0, -1))
    y = jnp.where(phi < ends[1], turn(t0 + t1, -1), y)
    y = jnp.where(phi < ends[0], jnp.stack([a, b]), y)
    return jnp.concatenate([*y], 1)


def activations(draw):
    c, half = 6, jnp.array([np.pi / 2] * 3)
    x = [normal(draw, 3, c, 4, 4) for _ in range(3)]
    angles = {f"theta{i}": single_angles(draw, c // 2) for i in range(3)}
    found = layer(draw, "maxmin", maxmin, x[0])
    theta = single_angles(draw, c // 2).reshape(1, -1, 1, 1)
    found |= layer(draw, "hh1", householder1, x[1], theta=theta)
    found |= layer(draw, "hh2", householder2, x[2], **angles)
    start = half.reshape(1, -1, 1, 1)
    return found | dict(hh1_init_theta=start, hh1_init_y=householder1(x[1], start))


def single_angles(draw, n):
    return forms.single(draw.uniform(0.5, 2.5, size=n))


def rows_head(x, weight, bias):
    return x @ forms.unit_rows(weight).T + bias


def regularised(z, pairwise, y, gamma):
    cert = forms.radius(z, pairwise, y)
    return forms.cross_entropy(z, y) - gamma * jax.nn.relu(cert).mean(), cert


def head(draw, batch=7, inputs=9, classes=6, gamma=0.3, scale=1 / 0.31):
    x, weight = normal(draw, batch, inputs), normal(draw, classes, inputs)
    bias, y = normal(draw, classes), draw.integers(classes, size=batch)
    found = layer(draw, "lln", rows_head, x, weight=weight, bias=bias)
    z = found["lln_y"]
    predicted = np.asarray(z).argmax(1)
    found |= dict(labels=y, L=scale, logits=z, eval_pred=predicted)

    def constants(weight, kind):
        rows = forms.pairs_of(forms.unit_rows(weight))
        return scale * (rows if kind == "lln" else jnp.full(rows.shape, math.sqrt(2.0)))

    for kind in ("lln", "ortho"):

        def loss(weight, kind=kind):
            z = rows_head(x, weight, bias)
            return regularised(z, constants(weight, kind), y, gamma)

        (value, cert), slope = jax.value_and_grad(loss, has_aux=True)(weight)
        found |= {f"cr_{kind}_cert": cert, f"cr_{kind}_gweight": slope}
        found[f"cr_{kind}_loss_gamma{gamma}"] = value
        found[f"eval_radius_{kind}"] = forms.radius(
            z, constants(weight, kind), predicted
        )

    def dense(x, weight, bias, alpha):
        return x @ cayley(alpha * weight / jnp.sqrt((weight**2).sum())).T + bias

    return found | layer(
        draw,
        "cayley_linear",
        dense,
        x,
        weight=weight,
        bias=bias,
        alpha=np.array([2.75]),
    )
