"""Arrays of diffusion models: U-Nets, loss, samplers, classifiers, radii, quality."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy import linalg, ndimage, special, stats

from . import forms
from .forms import conv, per_channel

P_MEAN, P_STD = -1.2, 1.2


# U-Nets


def silu(x):
    return x * jax.nn.sigmoid(x)


def resampled(x, how, taps, pad=None):
    """Filtered by taps on both axes, to half or to twice the side."""
    if not how:
        return x
    f = np.outer(taps, taps) / np.sum(taps) ** 2
    pad, c = (len(taps) - 1) // 2 if pad is None else pad, x.shape[1]
    depthwise = dict(feature_group_count=c, dimension_numbers=("NCHW", "OIHW", "NCHW"))
    w = np.tile(f, (c, 1, 1, 1))
    if how == "down":
        return jax.lax.conv_general_dilated(x, w, (2, 2), [(pad, pad)] * 2, **depthwise)
    outside = len(taps) - 1 - pad
    return jax.lax.conv_general_dilated(
        x, 4 * w, (1, 1), [(outside, outside)] * 2, lhs_dilation=(2, 2), **depthwise
    )


class UNet:
    """F(x, c_noise, one-hot classes, augmentation). Parameters are drawn where the first
    pass meets them, by the names of the original state dict."""

    def __init__(self, draw, kind, side, colours, width, multipliers, blocks, attention=(),
                 embedding=4, classes=0, augment=0):  # fmt: skip
        self.draw, self.kind, self.params = draw, kind, {}
        self.side, self.colours, self.classes, self.augment = (
            side,
            colours,
            classes,
            augment,
        )
        self.width, self.multipliers, self.blocks = width, multipliers, blocks
        self.attention, self.features = attention, embedding * width
        self.adm = kind == "adm"
        self.taps = [1, 3, 3, 1] if kind == "ncsnpp" else [1, 1]
        self.eps, self.scale = (1e-5, 1.0) if self.adm else (1e-6, math.sqrt(0.5))

    def tensor(self, name, *shape, scale=None):
        if name not in self.params:
            fan = math.prod(shape[1:]) if len(shape) > 1 else 100
            z = self.draw.normal(size=shape) * (scale or 1 / math.sqrt(fan))
            one = "norm" in name and name.endswith("weight")
            self.params[name] = forms.single(1 + z if one else z)
        return self.params[name]

    def linear(self, name, x, features, bias=True):
        y = x @ self.tensor(f"{name}.weight", features, x.shape[1]).T
        return y + self.tensor(f"{name}.bias", features) if bias else y

    def conv(self, name, x, features, k=3, resample=None):
        if resample:
            self.filter(name)
        w = self.tensor(f"{name}.weight", features, x.shape[1], k, k)
        y = conv(resampled(x, resample, self.taps), w, padding=k // 2)
        return y + per_channel(self.tensor(f"{name}.bias", features))

    def filter(self, name):
        f = np.outer(self.taps, self.taps) / np.sum(self.taps) ** 2
        self.params[f"{name}.resample_filter"] = f[None, None]

    def norm(self, name, x):
        b, c, h, w = x.shape
        groups = x.reshape(b, min(32, c // 4), -1)
        mean, var = groups.mean(2, keepdims=True), groups.var(2, keepdims=True)
        x = ((groups - mean) / jnp.sqrt(var + self.eps)).reshape(x.shape)
        gain, shift = (self.tensor(f"{name}.{leaf}", c) for leaf in ("weight", "bias"))
        return x * per_channel(gain) + per_channel(shift)

    def block(self, name, x, e, features, *, resample=None, heads=0):
        first = x
        x = self.conv(
            f"{name}.conv0", silu(self.norm(f"{name}.norm0", x)), features, 3, resample
        )
        affine = self.linear(f"{name}.affine", e, features * (1 + self.adm))[
            ..., None, None
        ]
        if self.adm:
            a, b = jnp.split(affine, 2, 1)
            x = self.norm(f"{name}.norm1", x) * (1 + a) + b
        else:
            x = self.norm(f"{name}.norm1", x + affine)
        x = self.conv(f"{name}.conv1", silu(x), features)
        if first.shape[1] != features or (resample and not self.adm):
            first = self.conv(f"{name}.skip", first, features, 1, resample)
        elif resample:
            self.filter(f"{name}.skip")
            first = resampled(first, resample, self.taps)
        x = (x + first) * self.scale
        if heads:
            qkv = self.conv(
                f"{name}.qkv", self.norm(f"{name}.norm2", x), 3 * features, 1
            )
            q, k, v = jnp.moveaxis(
                qkv.reshape(len(x), heads, -1, 3, x[0, 0].size), 3, 0
            )
            w = jax.nn.softmax(
                jnp.einsum("bhcq,bhck->bhqk", q, k) / math.sqrt(q.shape[2])
            )
            y = jnp.einsum("bhqk,bhck->bhcq", w, v).reshape(x.shape)
            x = (self.conv(f"{name}.proj", y, features, 1) + x) * self.scale
        return x

    def embedded(self, c_noise, labels, augment):
        if self.kind == "ncsnpp":
            freqs = self.tensor("map_noise.freqs", self.width, scale=16.0)
            angle = 2 * np.pi * np.outer(c_noise, freqs)
        else:
            n = self.width // 2
            power = np.arange(n) / (n if self.adm else n - 1)
            angle = np.outer(c_noise, 1e-4**power)
        waves = [np.cos(angle), np.sin(angle)]
        e = np.concatenate(waves if self.adm else waves[::-1], 1)
        if self.classes and not self.adm:
            e = e + self.linear(
                "map_label", labels * math.sqrt(self.classes), e.shape[1]
            )
        if self.augment:
            e = e + self.linear("map_augment", augment, e.shape[1], bias=False)
        e = self.linear("map_layer1", silu(self.linear("map_layer0", e, self.features)),
                        self.features)  # fmt: skip
        if self.classes and self.adm:
            e = e + self.linear("map_label", labels, self.features, bias=False)
        return silu(e)

    def __call__(self, x, c_noise, labels, augment=None):
        if augment is None:
            augment = np.zeros((len(x), self.augment))
        e = self.embedded(c_noise, labels, augment)
        sides = [self.side >> i for i in range(len(self.multipliers))]
        widths = [self.width * m for m in self.multipliers]
        image, kept = x, []

        def heads(n, c, attends=True):
            if not attends or n not in self.attention:
                return 0
            return c // 64 if self.adm else 1

        for i, (n, c) in enumerate(zip(sides, widths, strict=True)):
            at = f"enc.{n}x{n}"
            if i == 0:
                x = self.conv(f"{at}_conv", x, c if self.adm else self.width)
            else:
                x = self.block(f"{at}_down", x, e, x.shape[1], resample="down")
                if self.kind == "ncsnpp":
                    x = image = (
                        x + self.aux(f"{at}_aux_residual", image, x.shape[1])
                    ) * (self.scale)
            kept.append(x)
            for j in range(self.blocks):
                x = self.block(f"{at}_block{j}", x, e, c, heads=heads(n, c))
                kept.append(x)
        for n, c in zip(sides[::-1], widths[::-1], strict=True):
            at = f"dec.{n}x{n}"
            if n == sides[-1]:
                always = c // 64 if self.adm else 1
                x = self.block(f"{at}_in0", x, e, c, heads=always)
                x = self.block(f"{at}_in1", x, e, c)
            else:
                x = self.block(f"{at}_up", x, e, x.shape[1], resample="up")
            for j in range(self.blocks + 1):
                x = jnp.concatenate([x, kept.pop()], 1)
                attends = heads(n, c, self.adm or j == self.blocks)
                x = self.block(f"{at}_block{j}", x, e, c, heads=attends)
        out = "out_" if self.adm else f"dec.{self.side}x{self.side}_aux_"
        return self.conv(f"{out}conv", silu(self.norm(f"{out}norm", x)), self.colours)

    def aux(self, name, image, features):
        """The convolution before the filter, which has no zeros around then."""
        self.filter(name)
        w = self.tensor(f"{name}.weight", features, image.shape[1], 3, 3)
        border = (len(self.taps) - 1) // 2
        y = conv(image, w, padding=1 + border)
        y = y + per_channel(self.tensor(f"{name}.bias", features))
        return resampled(y, "down", self.taps, pad=0)

    def denoised(self, x, sigma, labels, augment=None):
        skip, out, inside, c_noise = coefficients(sigma)
        return skip * x + out * self(inside * x, c_noise, labels, augment)


def coefficients(sigma):
    """c_skip, c_out, c_in [B,1,1,1] and c_noise [B]"""
    s = np.reshape(sigma, (-1, 1, 1, 1))
    total = s**2 + 0.25
    return (
        0.25 / total,
        s * 0.5 / np.sqrt(total),
        1 / np.sqrt(total),
        np.log(s).ravel() / 4,
    )


NETWORKS = {
    "songunet_ddpmpp_other": dict(
        kind="ddpmpp", side=8, colours=3, width=8, multipliers=(1, 3), blocks=1,
        attention=(4,), embedding=3, classes=4, augment=9),
    "songunet_grey_other": dict(
        kind="ddpmpp", side=12, colours=1, width=8, multipliers=(2, 1), blocks=1,
        attention=(12,), embedding=2, classes=7),
    "songunet_ncsnpp_other": dict(
        kind="ncsnpp", side=8, colours=3, width=4, multipliers=(1, 2), blocks=2,
        attention=(4,), embedding=4),
    "dhariwal_adm_other": dict(
        kind="adm", side=8, colours=1, width=32, multipliers=(1, 2), blocks=1,
        attention=(4,), embedding=2, classes=3),
}  # fmt: skip


def drawn(name):
    return UNet(np.random.default_rng(11), **NETWORKS[name])


def network(draw, name, batch=4):
    net = drawn(name)
    sigma = np.float32(np.exp(draw.normal(size=batch)))
    x = forms.normal(draw, batch, net.colours, net.side, net.side)
    labels = np.eye(max(net.classes, 1))[draw.integers(max(net.classes, 1), size=batch)]
    labels = labels[:, : net.classes]
    s = sigma.astype(np.float64)
    _, _, inside, c_noise = coefficients(s)
    f = net(inside * x, c_noise, labels)
    found = dict(x=np.float32(x), sigma=sigma, F_x=np.float32(f), F_x_f64=f)
    found["D_x"] = np.float32(net.denoised(x, s, labels))
    if net.classes:
        found |= dict(labels_onehot=np.float32(labels))
        found["D_x_nolabel"] = np.float32(net.denoised(x, s, 0 * labels))
    if net.augment:
        augment = forms.normal(draw, batch, net.augment)
        found |= dict(augment_labels=np.float32(augment))
        found["D_x_aug"] = np.float32(net.denoised(x, s, labels, augment))
    return found | {f"param/model.{n}": np.float32(v) for n, v in net.params.items()}


def block(draw, c_in=8, c_out=12, heads=2, side=4):
    """One that doubles the side, with more than one head."""
    net = UNet(draw, "adm", side, 1, 4, (1,), 1)
    x, e = forms.normal(draw, 3, c_in, side, side), forms.normal(draw, 3, 10)
    y = net.block("b", x, e, c_out, resample="up", heads=heads)
    found = {
        f"param/{n.removeprefix('b.')}": np.float32(v) for n, v in net.params.items()
    }
    return found | dict(x=np.float32(x), emb=np.float32(e), y=np.float32(y))


def preconditioned(draw, batch=4, side=5):
    x, f = (np.float32(draw.normal(size=(batch, 2, side, side))) for _ in range(2))
    sigma = np.float32(np.exp(draw.normal(size=batch)))
    skip, out, inside, c_noise = coefficients(sigma.astype(np.float64))
    found = dict(D_x=skip * x + out * f, net_input=inside * x, c_noise=c_noise)
    found = {n: np.float32(v) for n, v in found.items()}
    return found | dict(x=x, F_x=f, sigma=sigma)


def loss(draw, batch=4):
    net = drawn("songunet_ddpmpp_other")
    image = forms.single(draw.uniform(-1, 1, (batch, net.colours, net.side, net.side)))
    labels = np.eye(net.classes)[draw.integers(net.classes, size=batch)]
    normal = forms.normal(draw, batch, 1, 1, 1)
    noise = forms.normal(draw, *image.shape)
    sigma = np.exp(P_STD * normal + P_MEAN)
    weight = (sigma**2 + 0.25) / (sigma * 0.5) ** 2
    error = net.denoised(image + sigma * noise, sigma.ravel(), labels) - image
    each = np.asarray(weight * error**2)
    found = dict(images=image, labels_onehot=labels, rnd_normal=normal, noise_unit=noise,
                 sigma=sigma, weight=weight, loss=each)  # fmt: skip
    found = {n: np.float32(v) for n, v in found.items()}
    return found | dict(loss_train_scalar=each.sum() / batch, loss_mean=each.mean())


# An analytic denoiser: classes are mixtures of Gaussians


class Mixture:
    def __init__(self, draw, classes, parts, shape, s0=0.2):
        self.mu = 0.4 * draw.normal(size=(classes, parts, *shape))
        self.logpi = np.log(draw.dirichlet(np.ones(parts), size=classes))
        self.s0 = s0

    def stored(self):
        return dict(mu=self.mu, logpi=self.logpi, s0=self.s0)

    def __call__(self, x, sigma, y=None):
        """Clean images of x [B,...] in [-1, 1]; y: a class for all, [B], or none"""
        mu, log = self.mu[y], self.logpi[y]
        if y is None:
            mu = self.mu.reshape(1, -1, *x.shape[1:])
            log = self.logpi.reshape(1, -1) - math.log(len(self.mu))
        mu = np.broadcast_to(mu, (len(x), *mu.shape[-x.ndim :]))
        v = self.s0**2 + sigma**2
        square = ((x[:, None] - mu) ** 2).reshape(*mu.shape[:2], -1).sum(2)
        r = special.softmax(log - square / (2 * v), axis=-1)
        clean = (self.s0**2 * x[:, None] + sigma**2 * mu) / v
        return np.einsum("bm,bm...->b...", r, clean)


def schedule(n, low=0.002, high=80.0, rho=7):
    i = np.arange(n) / (n - 1)
    root = high ** (1 / rho) + i * (low ** (1 / rho) - high ** (1 / rho))
    return np.append(root**rho, 0)


def heun(draw, *, steps, batch, shape=(2, 3, 3), classes=4, **churn):
    denoise = Mixture(draw, classes, 3, shape)
    y = draw.integers(classes, size=batch)
    latents = draw.normal(size=(batch, *shape))
    noise, calls = draw.normal(size=(steps, batch, *shape)), []

    def slope(x, t):
        out = denoise(x, t, y)
        calls.append((x, t, out))
        return (x - out) / t

    levels = schedule(steps)
    x = latents * levels[0]
    for i, (t, after) in enumerate(zip(levels[:-1], levels[1:], strict=True)):
        gamma = 0.0
        if churn and churn["S_min"] <= t <= churn["S_max"]:
            gamma = min(churn["S_churn"] / steps, math.sqrt(2) - 1)
        raised = t * (1 + gamma)
        x = x + math.sqrt(raised**2 - t**2) * churn.get("S_noise", 1) * noise[i]
        d = slope(x, raised)
        further = x + (after - raised) * d
        if after:
            further = x + (after - raised) * (d + slope(further, after)) / 2
        x = further
    net_x, net_sigma, net_out = map(np.array, zip(*calls, strict=True))
    return denoise.stored() | dict(
        latents=latents, labels_onehot=np.float32(np.eye(classes)[y]), noise=noise, x_final=x,
        net_x=net_x, net_sigma=net_sigma, net_out=net_out, kw_num_steps=steps,
    ) | {f"kw_{k}": v for k, v in churn.items()}  # fmt: skip


def rates(batch, lr):
    steps = np.array([0, 1, 5, 40, 900, 6_000, 20_000, 26_041, 40_000, 100_000])
    seen = steps * batch
    half = np.minimum(500_000.0, seen / 20)
    return dict(
        cur_nimg=seen, lr=lr * np.minimum(seen / 10e6, 1), ema_halflife_nimg=half,
        ema_beta=0.5 ** (batch / np.maximum(half, 1e-8)), batch=batch, base_lr=lr,
    )  # fmt: skip


def frechet(draw, features=4):
    a = draw.normal(size=(40, features)) @ draw.normal(size=(features, features))
    b = 0.5 + draw.normal(size=(33, features))
    found = dict(feat_a=a, feat_b=b, mu=a.mean(0), sigma=np.cov(a.T),
                 mu_ref=b.mean(0), sigma_ref=np.cov(b.T))  # fmt: skip
    root = linalg.sqrtm(found["sigma"] @ found["sigma_ref"]).real
    spread = np.trace(found["sigma"] + found["sigma_ref"] - 2 * root)
    return found | dict(fid=((found["mu"] - found["mu_ref"]) ** 2).sum() + spread)


# Diffusion classifiers, with the weights and the off-by-ones of the published code


def density(s):
    z = (np.log(s) - P_MEAN) * P_STD
    return np.exp(-(z**2) / 2) / (P_STD * math.sqrt(2 * math.pi)) / s


def weight_of(s):
    return (s**2 + 0.25) / (s * 0.5) ** 2


def logits_of(denoise, weights, sigma, noise, base, target, spread, pull=None):
    """-sum_t W_t mean (h(base + spread_t eps_t, s_t, y) - target + pull_t eps_t)^2"""
    total = np.zeros((len(base), len(denoise.mu)))
    for t, s in enumerate(sigma):
        eps = noise[:, t]
        wanted = target - (0 if pull is None else pull[t] * eps)
        for y in range(total.shape[1]):
            error = denoise(base + spread[t] * eps, s, np.full(len(base), y)) - wanted
            total[:, y] -= weights[t] * (error**2).reshape(len(base), -1).mean(1)
    return total


def classifiers(draw, batch=3, classes=3, points=14, shape=(2, 3, 3)):
    denoise = Mixture(draw, classes, 2, shape)
    found = denoise.stored()

    def images(sigma=0.0):
        y = draw.integers(classes, size=batch)
        x = denoise.mu[y, 0] + sigma * draw.normal(size=(batch, *shape))
        return np.float32((x + 1) / 2)

    def noise(n):
        return np.float32(draw.normal(size=(batch, n, *shape)))

    def single(**named):
        return {n: np.float32(v) for n, v in named.items()}

    grid = np.linspace(1e-4, 3, points)
    step, s, eps = grid[1] - grid[0], grid[1:-1], noise(points - 2)
    x01 = images()
    x = 2 * x01.astype(np.float64) - 1
    given = (denoise, weight_of(s) * density(grid[:-2]) * step, s, eps, x, x, s)
    found |= single(
        x01=x01, dc_sigma_grid=grid, dc_noise=eps, dc_p_x=density(grid[:-1]),
        dc_dt=np.full(points - 1, step), dc_logits=logits_of(*given),
        dc_elbo_logits=logits_of(denoise, step / s**3, *given[2:]),
    )  # fmt: skip
    for name in ("0.2", "0.6"):
        tau, x01 = 2 * float(name), images(0.3)
        x = 2 * x01.astype(np.float64) - 1
        clean = denoise(x, tau)
        grid = np.linspace(tau, 3, points)
        step = grid[1] - grid[0]
        s, at, eps = grid[6:-1], grid[5:-2], noise(points - 7)
        r = np.sqrt(s**2 - tau**2)
        weff = weight_of(at) * density(at) * step
        weff = weff * (s + at) ** 2 * r**2 / (4 * s**2 * (at**2 - tau**2))
        exact = logits_of(denoise, weff, s, eps, x, x, r, tau**2 / r)
        found |= single(**{f"epndc_logits_{name}": exact, f"epndc_noise_{name}": eps})
        found |= {f"epndc_logits_f64_{name}": exact, f"epndc_weff_{name}": weff}
        s, eps = grid[1:-1], noise(points - 2)
        weights = weight_of(s) * density(grid[:-2]) * step
        value = logits_of(denoise, weights, s, eps, clean, clean, s)
        found |= single(**{f"apndc_logits_{name}": value, f"apndc_noise_{name}": eps})
        s, eps = grid[2:-1], noise(points - 3)
        weights = weight_of(s) * density(grid[:-3]) * step
        value = logits_of(denoise, weights, s, eps, x, clean, np.sqrt(s**2 - tau**2))
        kind = "apndc_from_xtau"
        found |= single(**{f"{kind}_logits_{name}": value, f"{kind}_noise_{name}": eps})
        grids = {f"{k}_grid_{name}": grid for k in ("epndc", "apndc", kind)}
        found |= single(**grids, **{f"xtau01_{name}": x01})
    return found


def sift(
    draw, classes=9, keep=4, points=801, sigma=0.3, threshold=2e-4, shape=(1, 3, 3)
):
    denoise, tau = Mixture(draw, classes, 1, shape), 2 * sigma
    x01 = denoise.mu[[0, 4, 7], 0] + tau * draw.normal(size=(3, *shape))
    x01 = np.float32((x01 + 1) / 2)
    x = 2 * x01.astype(np.float64) - 1
    clean, step = denoise(x, 0.5), (3 - tau) / (points - 1)
    found = denoise.stored() | dict(xtau01=x01, sigma_rs=sigma, dt=np.float32(step),
                                    threshold=threshold, keep=keep)  # fmt: skip
    logits = np.full((len(x), classes), -999.0)

    def losses(i, s, eps):
        w = weight_of(s) * density(s) * step
        noisy = np.repeat((clean[i] + s * eps)[None], classes, 0)
        error = denoise(noisy, s, np.arange(classes)) - clean[i]
        return w * (error**2).reshape(classes, -1).mean(1)

    for i in range(len(x)):
        total, alive, drawn = np.zeros(classes), np.ones(classes, bool), []
        for s in np.linspace(tau, 3, 50):
            drawn.append(np.float32(draw.normal(size=shape)))
            total += losses(i, s, drawn[-1].astype(np.float64))
            alive &= total <= total[alive].min() + threshold
            if alive.sum() <= keep:
                break
        least = np.argsort(np.where(alive, total, np.inf))[:keep]
        alive &= np.isin(np.arange(classes), least)
        eps = np.float32(draw.normal(size=(126, *shape)))
        refined = np.mean([losses(i, s, e.astype(np.float64)) for s, e in
                           zip(np.linspace(tau, 3, 126), eps, strict=True)], 0)  # fmt: skip
        logits[i, alive] = -refined[alive]
        found |= {f"sift_noise_{i}": np.array(drawn), f"refine_noise_{i}": eps}
    return found | dict(logits=np.float32(logits))


def radii(draw, batch=5, classes=6, dims=300):
    z, label = draw.normal(size=(batch, classes)), draw.integers(classes, size=batch)
    label[:3] = z[:3].argmax(1)
    rows = np.arange(batch)
    others = z.copy()
    others[rows, label] = -np.inf
    margin, sigma = z[rows, label] - others.max(1), np.linspace(0.5, 3, 40)
    unit, root = sigma / 2, math.sqrt(2 / math.pi)
    repo = (1 + root) * np.mean(1 / sigma)
    n, alpha, votes = 3_000, 0.01, np.array([1200, 1500, 1600, 2400, 2990, 3000])
    lower = stats.beta.ppf(alpha, votes, n - votes + 1)
    half = np.where(lower < 0.5, 0, special.ndtri(lower))
    return dict(
        logits=z, label=label, margin=margin, sigma_edm=sigma, D=dims, lipschitz_repo=repo,
        radius_repo=np.maximum(0, margin / (2 * repo)),
        lipschitz_paper_logit_unit01=np.mean(1 / unit) * (root + 2 / math.sqrt(dims)),
        lipschitz_sound_logit_unit01=np.mean(root / (2 * unit)) + 2 / math.sqrt(dims),
        lipschitz_margin_unit01=np.mean(root / unit) + 2 / math.sqrt(dims),
        nA=votes, n=n, alpha=alpha, p_lower=lower, radius_sigma04=0.4 * half,
        radius_sigma12=1.2 * half,
    )  # fmt: skip


def mixing(draw):
    found = {}
    for i, (n_real, n_gen, batch, share) in enumerate(
        [(90, 400, 25, 0.6), (1_000, 5_000, 64, 0.3)]
    ):
        count = -(-n_real // batch)
        generated = int(share * batch)
        drawn = count * generated
        case = dict(
            n_real=n_real, n_gen=n_gen, batch=batch, fraction=share, num_batches=count,
            real_per_batch=np.full(count, batch - generated), gen_drawn=drawn,
            batch_size=np.full(count, batch),
            unique_real_seen=count * (batch - generated),
            unique_gen_seen=len(set(draw.integers(n_gen, size=drawn).tolist())),
        )  # fmt: skip
        found |= {f"case{i}_{name}": value for name, value in case.items()}
    return found


# The geometric augmentation of training images


SYM6 = np.array([
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057,
    -0.048311742585633, 0.4910559419267466, 0.787641141030194, 0.3379294217276218,
    -0.07263752278646252, -0.021060292512300564, 0.04472490177066578,
    0.0017677118642428036, -0.007800708325034148,
])  # fmt: skip
"""low-pass filter of the wavelet"""


def filtered(rows, columns, offset=0):
    """[rows, columns]: entry (n, k) is the tap n - 2 k + 5 - offset."""
    t = np.subtract.outer(np.arange(rows), 2 * np.arange(columns)) + 5 - offset
    return np.where((t >= 0) & (t < 12), SYM6[np.clip(t, 0, 11)], 0)


def warped(image, source, move):
    """out(z) = image(source (z - move)) from the centre, [H,H]: mirrored beyond its
    borders, enlarged twice, sampled at twice the pixels, made smaller."""
    side = len(image)
    wide = np.pad(image, side - 1, mode="reflect")
    up = filtered(2 * len(wide), len(wide))
    fine = up @ wide @ up.T
    count = 2 * (side + 6)
    at = (np.arange(count) - (count - 2) / 2) / 2
    z = np.stack(np.meshgrid(at, at), -1) - move  # x before y
    x, y = np.moveaxis(2 * z @ source.T + 3 * (side - 1), -1, 0)
    sampled = ndimage.map_coordinates(fine, [y, x], order=1, mode="grid-constant")
    down = filtered(count, side, offset=6).T
    return down @ sampled @ down.T


def turn(angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]])


def augmented(draw, p, batch=6, side=7, colours=2):
    images = np.float32(draw.uniform(-1, 1, (batch, colours, side, side)))
    how = dict(
        randint=lambda *s: draw.integers(2, size=s).astype(float),
        rand=lambda *s: draw.uniform(size=s),
        randn=lambda *s: draw.normal(size=s),
    )
    kinds = ["randint", "rand"] * 2 + ["randn", "rand", "rand", "rand"]
    kinds += ["randn", "rand", "rand", "rand", "randn", "rand"]
    shapes = [(batch, 1, 1, 1)] * 4 + [(batch,)] * 8 + [(2, batch), (1, batch)]
    drawn = [how[k](*s) for k, s in zip(kinds, shapes, strict=True)]
    out, labels = np.zeros(images.shape), np.zeros((batch, 9))
    for i in range(batch):
        d = [v.reshape(-1, batch)[:, i] for v in drawn]
        flip_x = d[0][0]  # tossed for every image
        flip_y, scale, angle, stretch = (
            float(value[0] * (gate[0] < p))
            for value, gate in ((d[2], d[3]), (d[4], d[5]),
                                (np.pi * (2 * d[6] - 1), d[7]), (d[8], d[10]))
        )  # fmt: skip
        axis = float(np.pi * (2 * d[9][0] - 1) * (d[11][0] < 0.5))
        move = d[12] * (d[13] < p)
        size, ratio = 2 ** (-0.2 * scale), 2 ** (0.2 * stretch)
        source = turn(angle - axis) @ np.diag([size / ratio, size * ratio]) @ turn(axis)
        image = images[i].astype(float)
        image = image[:, :, ::-1] if flip_x else image
        image = image[:, ::-1] if flip_y else image
        out[i] = [warped(c, source, 0.125 * side * move) for c in image]
        labels[i] = [flip_x, flip_y, scale, np.cos(angle) - 1, np.sin(angle),
                     stretch * np.cos(axis), stretch * np.sin(axis), *move]  # fmt: skip
    found = dict(images=images, out=np.float32(out), labels=np.float32(labels))
    found |= dict(n_draws=len(drawn), kinds=np.array(kinds))
    return found | {f"draw{i:02d}": v for i, v in enumerate(drawn)}


FILES = {
    "edm_precond_other": preconditioned,
    **{name: partial(network, name=name) for name in NETWORKS},
    "adm_block_multihead_other": block,
    "edm_loss_other": loss,
    "heun_deterministic7": partial(heun, steps=7, batch=3),
    "heun_churn_other": partial(
        heun, steps=9, batch=2, S_churn=15, S_min=0.1, S_max=30, S_noise=1.01
    ),
    "sigma_schedule_other": lambda draw: {
        f"n{n}_min{low}_max{high}_rho{rho}": schedule(n, low, high, rho)
        for n, low, high, rho in ((7, 0.004, 60, 5), (31, 0.002, 80, 7))
    },
    "lr_ema_schedule_other": lambda draw: rates(384, 0.0007),
    "frechet_other": frechet,
    "diffusion_classifiers_other": classifiers,
    "sift_refine_other": sift,
    "radii_other": radii,
    "mixing_sampler_other": mixing,
    "augment_pipe_p1_other": partial(augmented, p=1.0),
    "augment_pipe_p025": partial(augmented, p=0.25),
}
