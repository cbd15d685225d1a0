"""Arrays of l_inf-distance nets and SortNet: neurons, bounds, losses, nets, schedules."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from . import forms
from .forms import normal, pulled

TERMS = 10  # of a sort neuron


# Neurons


def differences(x, w):
    """|x_i - w_oi| [B,O,D], whose derivative at 0 is that of +d"""
    d = x[:, None] - w[None]
    return jnp.where(d >= 0, d, -d)


def distance(x, w, p, kept=None):
    """l_p distances [B,O] over the inputs that are kept [B,D]; of several largest ones at
    p = infinity the first has all of the gradient."""
    d = differences(x, w)
    if kept is not None:
        d = jnp.where(kept[:, None], d, 0.0)
    first = jax.lax.stop_gradient(d).argmax(2)[..., None]
    largest = jnp.take_along_axis(d, first, 2)
    if p == np.inf:
        return largest[..., 0]
    scale = jax.lax.stop_gradient(largest)
    return scale[..., 0] * ((d / scale) ** p).sum(2) ** (1 / p)


def weights_of(rho, terms):
    c = float(rho) ** np.arange(terms)
    return c / c.sum()


def sort_neuron(x, w, rho, terms=TERMS):
    d = -jnp.sort(-differences(x, w), axis=2)[..., :terms]
    return d @ weights_of(rho, d.shape[2])


def key_of(p):
    return "pinf" if p == np.inf else f"p{p:g}".replace(".", "_")


def distances(draw, batch, inputs, outputs, powers, identity=None):
    x, w = normal(draw, batch, inputs), normal(draw, outputs, inputs)
    if identity:
        w[np.arange(outputs), np.arange(outputs) % inputs] = identity
    found = dict(x=x, w=w, g=normal(draw, batch, outputs))
    found |= slopes(found, powers, lambda p: lambda x, w: distance(x, w, p))
    return {k: np.float32(v) if k in ("x", "w", "g") else v for k, v in found.items()}


def slopes(arrays, cases, function_of, name=key_of):
    """y, gx and gw of every case along g."""
    found = {}
    for case in cases:
        y, grads = pulled(function_of(case), arrays["g"], x=arrays["x"], w=arrays["w"])
        names = dict(y=y, gx=grads["x"], gw=grads["w"])
        found |= {f"{which}_{name(case)}": value for which, value in names.items()}
    return found


def ties():
    """Zero distances, equal ones of both signs, and large numbers."""
    x = np.array([[0, 0, 0], [1, -1, 1], [2e4, 3, 2e4], [0.5, 0.5, -0.5], [1, 1, 1.0]])
    w = np.array([[0, 0, 0], [0, 0, 0.0], [1, -1, 1], [-2e4, 3, 6e4]])
    found = dict(x=x, w=w, g=np.arange(1.0, 21).reshape(5, 4))
    found |= slopes(found, [np.inf], lambda p: lambda x, w: distance(x, w, p))
    return {k: np.float32(v) if k in ("x", "w", "g") else v for k, v in found.items()}


def box_of(lower, upper, w):
    """Least and largest |x_i - w_oi| over a box, [B,O,D] each."""
    below, above = lower[:, None] - w[None], upper[:, None] - w[None]
    near = np.maximum(np.maximum(below, -above), 0)
    return near, np.maximum(np.abs(below), np.abs(above))


def interval(lower, upper, w, rho):
    """Bounds of a distance (rho = 0) or a sort neuron."""
    found = []
    for d in box_of(lower, upper, w):
        d = -np.sort(-d, axis=2)[..., : TERMS if rho else 1]
        found.append(d @ weights_of(rho, d.shape[2]))
    return found


def bounds(draw, batch=4, inputs=13, outputs=7):
    lower, w = normal(draw, batch, inputs), normal(draw, outputs, inputs)
    upper = forms.single(lower + draw.uniform(0, 0.5, size=lower.shape))
    found = dict(lower=lower, upper=upper, w=w)
    found = {k: np.float32(v) for k, v in found.items()}
    for name, rho in (("inf", 0), ("sort20", 0.2), ("sort45", 0.45)):
        low, high = interval(lower, upper, w, rho)
        found |= {f"{name}_lower": low, f"{name}_upper": high}
    return found


def sorts(draw, batch=5, inputs=21, outputs=8):
    found = dict(x=normal(draw, batch, inputs), w=normal(draw, outputs, inputs),
                 g=normal(draw, batch, outputs))  # fmt: skip
    cases = [(0, 10), (20, 10), (35, 4), (60, inputs)]

    def function_of(case):
        return lambda x, w: sort_neuron(x, w, case[0] / 100, case[1])

    def name(case):
        return f"rho{case[0]:02d}_k{'all' if case[1] == inputs else case[1]}"

    found |= slopes(found, cases, function_of, name)
    return {k: np.float32(v) if k in ("x", "w", "g") else v for k, v in found.items()}


def masks(draw, batch, features, group, keep):
    """Indices [S,keep] that groups of images keep, and the same as a mask [B,features]."""
    kept = np.array([np.sort(draw.permutation(features)[:keep])
                     for _ in range(-(-batch // group))])  # fmt: skip
    dense = np.zeros((len(kept), features), bool)
    np.put_along_axis(dense, kept, True, 1)
    return kept.astype(np.int32), dense.repeat(group, 0)[:batch]


def stochastic(draw, batch=27, inputs=15, outputs=11, group=12):
    idx_in, mask_in = masks(draw, batch, inputs, group, 9)
    idx_out, mask_out = masks(draw, batch, outputs, group, 7)
    found = dict(x=normal(draw, batch, inputs), w=normal(draw, outputs, inputs),
                 g=np.where(mask_out, normal(draw, batch, outputs), 0))  # fmt: skip

    def function_of(p):
        return lambda x, w: jnp.where(mask_out, distance(x, w, p, mask_in), 0)

    found |= slopes(found, (8, 31, np.inf), function_of)
    single = {k: np.float32(v) if k in ("x", "w", "g") else v for k, v in found.items()}
    return single | dict(
        idx_in=idx_in, idx_out=idx_out, mask_in=mask_in, mask_out=mask_out
    )


def shift(y, mean=None, counted=None):
    """(y less its mean, that mean), or less a running one"""
    if mean is None:
        counted = np.ones(y.shape, bool) if counted is None else counted
        share = counted / np.maximum(counted.sum(0), 1)
        mean = (share * y).sum(0)
    return y - mean, mean


def mean_shifts(draw, batch=21, features=8):
    y, g, before = (normal(draw, *s) for s in ((batch, features),) * 2 + ((features,),))
    mask = masks(draw, batch, features, 8, 5)[1]

    def follow(mean):
        return 0.9 * before + 0.1 * mean

    found = dict(y=y, running_mean_before=before, g=g)
    train, grads = pulled(lambda y: shift(y)[0], g, y=y)
    after = follow(shift(y)[1])
    found |= dict(train_out=train, train_gy=grads["y"], running_mean_after=after)
    found |= dict(eval_out=y - after, eval_gy=g, mask_out=mask)

    def masked(y):
        return jnp.where(mask, shift(y, counted=mask)[0], 0)

    out, grads = pulled(masked, g, y=y)
    found |= dict(masked_train_out=out, masked_train_gy=grads["y"],
                  masked_running_mean_after=follow(shift(y, counted=mask)[1]))  # fmt: skip
    batches = [normal(draw, n, features) for n in (21, 13, 9, 30)]
    found |= {f"reest_batch{i}": b for i, b in enumerate(batches)}
    found["reest_running_mean"] = np.mean([b.mean(0) for b in batches], 0)
    stored = ("y", "running_mean_before", "g")
    return {
        k: np.float32(v) if k in stored or k.startswith("reest_b") else v
        for k, v in found.items()
    }


# Losses of (logits, worst, labels)


def clipped(x, high=np.inf):
    """Between 0 and high, with the slope 1 at both."""
    return jnp.where(x < 0, 0.0, jnp.where(x > high, high, x))


def mixture_of(lam):
    return lambda z, v, y: clipped(v.max(1), 1).mean() + lam * forms.cross_entropy(z, y)


def hinge_of(mix):
    def loss(z, v, y):
        v = clipped(v)
        return ((1 - mix) * v.max(1) + mix * v.mean(1)).mean()

    return loss


def ce_hinge_of(lam):
    def loss(z, v, y):
        own = jnp.eye(z.shape[1], dtype=bool)[y]
        at_label = jnp.where(own, v, 0).sum(1, keepdims=True)
        each = jnp.where(own, 0, v - at_label + 1).max(1)
        return ((z.argmax(1) == y) * each).mean() + lam * forms.cross_entropy(z, y)

    return loss


def ce_mixture_of(lam):
    def loss(z, v, y):
        each = jax.nn.logsumexp(v, 1) - v[jnp.arange(len(y)), y]
        return ((z.argmax(1) == y) * each).mean() + lam * forms.cross_entropy(z, y)

    return loss


def crossentropy_of(lam):
    return lambda z, v, y: forms.cross_entropy(v, y) + lam * forms.cross_entropy(z, y)


def losses(draw, batch=11, classes=6, lam=None, **named):
    y = draw.integers(classes, size=batch)
    z, v = (normal(draw, batch, classes) for _ in range(2))
    y[:6] = z[:6].argmax(1)
    v[np.arange(batch), y] = 0
    found = dict(logits=np.float32(z), worst=np.float32(v), targets=y)
    for name, loss in named.items():
        value, grads = jax.value_and_grad(loss, (0, 1))(z, v, y)
        found |= {f"{name}_value": value, f"{name}_dlogits": grads[0]}
        found[f"{name}_dworst"] = grads[1]
    return found if lam is None else found | dict(lam=lam) | chain(draw, y)


def worst_of(f, y, eps):
    own = jnp.eye(f.shape[1], dtype=bool)[y]
    at_label = f[jnp.arange(len(y)), y][:, None]
    return jnp.where(own, 0, 1 + (f - at_label) / (2 * eps))


def chain(draw, y, classes=6, eps=0.35, scalar=1.4, lam=0.1):
    f = normal(draw, len(y), classes)

    def loss(f):
        worst = worst_of(f, y, eps)
        return mixture_of(lam)(scalar * f, worst, y), worst

    (value, worst), slope = jax.value_and_grad(loss, has_aux=True)(f)
    return dict(f=np.float32(f), eps=eps, f_scalar=scalar, f_lam=lam, f_worst=worst,
                f_mixture_value=value, f_mixture_grad=slope)  # fmt: skip


# Nets


def net(draw, *, depth, width, powers, rho=0.0, hidden=0, batch=19, classes=4, side=3,
        channels=2, group=7, lam=0.07):  # fmt: skip
    mean, std, train_eps, test_eps = np.array([0.45, 0.3]), 0.23, 0.05, 0.012
    pixels = np.float32(draw.uniform(size=(batch, channels, side, side)))
    x = (pixels.astype(np.float64) - mean.reshape(1, -1, 1, 1)) / std
    flat, y = x.reshape(batch, -1), draw.integers(classes, size=batch)
    inputs, layers = flat.shape[1], depth - (2 if hidden else 1)
    sizes = [inputs] + [width] * layers
    params = {"scalar": np.array([1.5])}
    for i in range(layers):
        w = normal(draw, width, sizes[i])
        w[np.arange(width), np.arange(width) % sizes[i]] = -2.5
        params[f"fc_dist.{i}.weight"] = w
    if hidden:
        params["fc_linear.0.weight"] = normal(draw, hidden, width)
        params["fc_linear.0.bias"] = normal(draw, hidden, scale=0.1)
        params["fc_final.weight"] = normal(draw, classes, hidden)
        params["fc_final.bias"] = normal(draw, classes, scale=0.1)
    else:
        params[f"fc_dist.{layers}.weight"] = normal(draw, classes, width)
        params[f"fc_dist.{layers}.bias"] = normal(draw, classes, scale=0.1)
    own = np.eye(classes, dtype=bool)[y]
    dense = [masks(draw, batch, width, group, round((1 - rho) * width))[1]
             for _ in range(layers)] if rho else [None] * layers  # fmt: skip

    def head(p, x):
        h = jnp.tanh(x @ p["fc_linear.0.weight"].T / width**0.5 + p["fc_linear.0.bias"])
        return h @ p["fc_final.weight"].T / hidden**0.5 + p["fc_final.bias"]

    def head_worst(p, low, high):
        w, v = p["fc_linear.0.weight"] / width**0.5, p["fc_final.weight"] / hidden**0.5
        middle = (low + high) / 2 @ w.T + p["fc_linear.0.bias"]
        reach = (high - low) / 2 @ jnp.abs(w).T
        low, high = jnp.tanh(middle - reach), jnp.tanh(middle + reach)
        # of f_j - f_y, [B,K,H]; exactly 0 at the label, where |.| has no slope then
        rows = jnp.where(own[..., None], 0.0, v[None] - v[y][:, None])
        centre = (rows * (low + high)[:, None] / 2).sum(2)
        radius = (jnp.abs(rows) * (high - low)[:, None] / 2).sum(2)
        return centre + radius + p["fc_final.bias"] - p["fc_final.bias"][y][:, None]

    def through(p, x, neuron, running=None, drop=False):
        """(features, means of the mean shifts); neuron(i, x, w, kept)"""
        means, kept = [], None
        for i in range(layers):
            z = neuron(i, x, p[f"fc_dist.{i}.weight"], kept)
            kept = dense[i] if drop else None
            mean = None if running is None else running[i]
            x, mean = shift(z, mean, kept)
            means.append(mean)
        return x, means, kept

    def last(p, x, neuron, kept=None):
        if hidden:
            return head(p, x)
        w, b = (p[f"fc_dist.{layers}.{n}"] for n in ("weight", "bias"))
        return -(neuron(layers, x, w, kept) + b)

    def sorted_neuron(i, x, w, kept):
        return sort_neuron(x, w, rho) if rho and i else distance(x, w, np.inf)

    found = dict(pixels=pixels, x=x, mean=mean, std=std, eps_train_pixel=train_eps,
                 eps_test_pixel=test_eps, targets=y, lam=lam)  # fmt: skip
    found |= {f"param_{n}": v for n, v in params.items()}
    if rho:
        found |= dict(q=1 - rho, rho=rho)
        found |= {f"mask_hidden{i + 1}": m for i, m in enumerate(dense)}
    before = [normal(draw, width) for _ in range(layers)]
    found |= buffers("buffer0_", before)
    for p_norm in powers:

        def loss(p, p_norm=p_norm):
            def neuron(i, x, w, kept):
                return distance(x, w, p_norm, kept)

            features, means, kept = through(p, flat, neuron, drop=bool(rho))
            f = last(p, features, neuron, kept)
            if hidden:
                margin = train_eps / std
                worst = head_worst(p, features - margin, features + margin)
                value = ce_hinge_of(lam)(p["scalar"] * f, worst, y)
            else:
                worst = worst_of(f, y, train_eps / std)
                value = mixture_of(lam)(p["scalar"] * f, worst, y)
            return value, (p["scalar"] * f, worst, means)

        (value, (z, worst, means)), grads = jax.jit(
            jax.value_and_grad(loss, has_aux=True)
        )(params)
        after = [0.9 * b + 0.1 * m for b, m in zip(before, means, strict=True)]
        prefix = f"train_{key_of(p_norm)}_"
        found |= {f"{prefix}logits": z, f"{prefix}worst": worst, f"{prefix}loss": value}
        found |= {f"{prefix}grad_{n}": g for n, g in grads.items()}
        found |= buffers(f"{prefix}buffer_", after)
    halves = flat[: batch // 3], flat[batch // 3 :]
    seen = [through(params, part, sorted_neuron)[1] for part in halves]
    running = [np.mean(each, 0) for each in zip(*seen, strict=True)]
    if rho:
        found["reestimate_split"] = batch // 3
    scale = params["scalar"][0]

    def logits(image):
        x = ((image - mean.reshape(1, -1, 1, 1)) / std).reshape(batch, -1)
        features, _, _ = through(params, x, sorted_neuron, running)
        return scale * last(params, features, sorted_neuron)

    def evaluated(eps):
        z = np.asarray(logits(pixels.astype(np.float64)))
        others = np.arange(classes) != y[:, None]
        image = pixels.astype(np.float64)
        low, high = (
            ((np.clip(image + e, 0, 1) - mean.reshape(1, -1, 1, 1)) / std).reshape(
                batch, -1
            )
            for e in (-eps, eps)
        )
        for i in range(layers):
            w = params[f"fc_dist.{i}.weight"]
            low, high = interval(low, high, w, rho if i else 0)
            low, high = low - running[i], high - running[i]
        if hidden:
            worst = np.where(others, head_worst(params, low, high), 0)
        else:
            w, b = (params[f"fc_dist.{layers}.{n}"] for n in ("weight", "bias"))
            low, high = interval(low, high, w, rho)
            low, high = -(high + b), -(low + b)
            own = np.take_along_axis(low, y[:, None], 1)
            worst = np.where(others, 1 + (high - own) / (2 * eps / std) - 1, 0)
        done = dict(logits=z, worst_ibp=worst, pred=z.argmax(1))
        done["certified_ibp"] = np.where(others, worst, -np.inf).max(1) < 0
        if hidden:
            return done
        f = z / scale
        top = np.sort(f, 1)
        half = (top[:, -1] - top[:, -2]) / 2
        own = np.take_along_axis(f, y[:, None], 1)
        margin = np.where(others, own - f, np.inf).min(1)
        lipschitz = np.where(others, 1 + (f - own) / (2 * eps / std), 0)
        return done | dict(
            certified_lipschitz=margin / 2 * std > eps, worst_lipschitz=lipschitz,
            margin_signed=margin, radius_top2_normalised=half, radius_top2_pixel=half * std,
        )  # fmt: skip

    cases = {"": test_eps} | ({} if hidden or rho else {"eps3_": 3 / 255})
    for prefix, eps in cases.items():
        found |= {f"{prefix}eval_{n}": v for n, v in evaluated(eps).items()}
        found |= buffers(f"{prefix}eval_buffer_", running)
    if not hidden and not rho:
        found["pgd3_norandom_x_adv"] = attacked(
            logits,
            pixels,
            y,
            test_eps,
            3,
            lambda v: (v - mean.reshape(1, -1, 1, 1)) / std,
        )
    return found


def buffers(prefix, means):
    return {
        f"{prefix}fc_dist.{i}.mean_shift.running_mean": mean
        for i, mean in enumerate(means)
    }


def attacked(logits, pixels, y, eps, steps, normalised):
    """Steps of eps / 4 along the sign of the gradient, in the ball and in [0, 1]."""
    x = first = pixels.astype(np.float64)
    slope = jax.jit(jax.grad(lambda x: forms.cross_entropy(logits(x), y)))
    for _ in range(steps):
        x = x + eps / 4 * np.sign(slope(x))
        x = np.clip(np.clip(x, first - eps, first + eps), 0, 1)
    return normalised(x)


# Optimizers and schedules


def adam(draw, decay, size=6, steps=7):
    shape = (size,) if decay is None else (len(decay), size)
    p = start = normal(draw, *shape)
    grads = normal(draw, steps, *shape) * 10.0 ** draw.uniform(-6, 0, size=shape)
    grads[..., 0] = 0
    rates = np.array([0.05, 0.04, 0.04, 0.03, 0.02, 0.01, 0.001])
    m = v = 0 * p
    seen = []
    for t, (g, lr) in enumerate(zip(grads, rates, strict=True), 1):
        if decay is not None:
            p = p * (1 - lr * decay[:, None])
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
        p = p - lr * m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.99**t)) + 1e-10)
        seen.append(p)
    found = dict(p0=start, grads=grads, lrs=rates, params=np.array(seen))
    return found if decay is None else found | dict(weight_decay=decay)


COLUMNS = ("epoch", "batch", "lr", "lr_scalar", "p", "eps_train_normalised", "lam")


def schedules(per_epoch=61, std=0.2009, **presets):
    """(epochs, start and end of p, rate, its factor for the scalar, eps in 255ths, first
    and last lam) of a preset by the name of its command."""
    found = dict(columns=np.array(COLUMNS), batches_per_epoch=per_epoch)
    for name, (epochs, start, end, lr, factor, eps, lam) in presets.items():
        rows = []
        for epoch in (
            0,
            1,
            start,
            start + 1,
            (start + end) // 2,
            end - 1,
            end,
            epochs - 1,
        ):
            for batch in (0, per_epoch // 2, per_epoch - 1):
                at = epoch + batch / per_epoch
                r = min(max((at - start) / (end - start), 0), 1)
                p = np.inf if r == 1 else 8 * 125**r
                rate = lr * 0.5 * (1 + np.cos(np.pi * at / epochs))
                weight = lam[0] * (lam[1] / lam[0]) ** r if lam else 0.0
                rows.append(
                    [epoch, batch, rate, factor * rate, p, eps / 255 / std, weight]
                )
        found[name] = np.array(rows)
    return found


LAM = 0.15
FILES = {
    "lp_dist_other": partial(
        distances, batch=5, inputs=17, outputs=9, powers=(2, 8, 12.5, 100, np.inf)
    ),
    "lp_dist_wide": partial(
        distances, batch=3, inputs=90, outputs=40, powers=(8, 300, np.inf), identity=-9.0
    ),
    "lp_dist_ties_other": lambda draw: ties(),
    "bounds_other": bounds,
    "sort_neuron_other": sorts,
    "sort_stochastic_other": stochastic,
    "mean_shift_other": mean_shifts,
    "losses_linf_dist_other": partial(
        losses, hinge_mix0_4=hinge_of(0.4), mixture_lam0_3=mixture_of(0.3)
    ),
    "losses_sort_other": partial(
        losses, lam=LAM, mixture=mixture_of(LAM), ce_hinge=ce_hinge_of(LAM),
        crossentropy=crossentropy_of(LAM), ce_mixture=ce_mixture_of(LAM),
    ),
    "net_linf_dist_other": partial(net, depth=4, width=14, powers=(8, 25.5, np.inf)),
    "net_sort_other": partial(net, depth=3, width=18, powers=(8, 40, np.inf), rho=0.25),
    "net_hybrid_other": partial(net, depth=3, width=16, powers=(8, np.inf), hidden=6),
    "optimizer_adam_other": partial(adam, decay=None),
    "optimizer_adamw_other": partial(adam, decay=np.array([0.0, 0.03])),
    "schedule_linf_dist_other": lambda draw: schedules(
        cifar_2_255=(1300, 100, 1250, 0.03, 0.2, 10, (0.05, 0.002)),
        icml_hinge_800=(800, 100, 750, 0.02, 0.3, 40, None),
    ),
    "schedule_sort_other": lambda draw: schedules(
        cifar2_255=(3000, 200, 2950, 0.02, 1.0, 8, (1.0, 0.01))
    ),
}  # fmt: skip
