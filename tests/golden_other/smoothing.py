"""Arrays of randomized smoothing: training steps of a tiny network, bounds, classifiers."""

from __future__ import annotations

import math
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri
from scipy import optimize, special, stats

from . import forms
from .forms import conv, normal, per_channel

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
WIDTH, CLASSES, BATCH, SIDE = 3, 4, 5, 6


# Networks on [B,C,H,W], parameters and statistics by the names of PyTorch


def batch_norm(x, name, p, s, train, after):
    """With the batch's statistics in training, which move the running ones."""
    mean, var = s[f"{name}.running_mean"], s[f"{name}.running_var"]
    if train:
        old, count = (mean, var), x.size // x.shape[1]
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
        for leaf, before, found in (
            ("running_mean", old[0], mean),
            ("running_var", old[1], var * count / (count - 1)),
        ):
            moved = 0.9 * before + 0.1 * found
            after[f"{name}.{leaf}"] = jax.lax.stop_gradient(moved)
    scale = p[f"{name}.weight"] / jnp.sqrt(var + 1e-5)
    return (x - per_channel(mean)) * per_channel(scale) + per_channel(p[f"{name}.bias"])


def normalised(x):
    return (x - per_channel(np.array(MEAN))) / per_channel(np.array(STD))


def tinynet(p, s, x, train=False):
    """(logits, statistics afterwards)"""
    after = dict(s)
    x = normalised(x)
    for i, stride in ((1, 1), (2, 2)):
        x = conv(x, p[f"conv{i}.weight"], stride=stride, padding=1)
        x = jax.nn.relu(batch_norm(x, f"bn{i}", p, s, train, after))
    return x.mean((2, 3)) @ p["fc.weight"].T + p["fc.bias"], after


def resnet(p, s, x, train=False):
    after, x = dict(s), normalised(x)

    def block(x, at, stride):
        y = conv(x, p[f"{at}.conv1.weight"], stride=stride, padding=1)
        y = jax.nn.relu(batch_norm(y, f"{at}.bn1", p, s, train, after))
        y = conv(y, p[f"{at}.conv2.weight"], padding=1)
        y = batch_norm(y, f"{at}.bn2", p, s, train, after)
        if f"{at}.downsample.0.weight" in p:
            x = conv(x, p[f"{at}.downsample.0.weight"], stride=stride)
            x = batch_norm(x, f"{at}.downsample.1", p, s, train, after)
        return jax.nn.relu(x + y)

    x = conv(x, p["1.conv1.weight"], padding=1)
    x = jax.nn.relu(batch_norm(x, "1.bn1", p, s, train, after))
    for at in [
        n.removesuffix(".conv1.weight") for n in p if n.endswith(".conv1.weight")
    ]:
        if "layer" in at:
            x = block(x, at, 2 if re.search(r"layer[23]\.0$", at) else 1)
    return x.mean((2, 3)) @ p["1.fc.weight"].T + p["1.fc.bias"], after


def split(arrays):
    """(parameters, statistics) in float64"""
    arrays = {n: np.float64(a) for n, a in arrays.items() if "num_batches" not in n}
    state = {n: a for n, a in arrays.items() if "running" in n}
    return {n: a for n, a in arrays.items() if n not in state}, state


def resnet_shapes(blocks, width, classes):
    """Of a state dict, in its order."""
    found = {}

    def norm(name, c):
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            found[f"{name}.{leaf}"] = (c,)
        found[f"{name}.num_batches_tracked"] = ()

    found["1.conv1.weight"] = (width, 3, 3, 3)
    norm("1.bn1", width)
    c = width
    for stage in (1, 2, 3):
        for i in range(blocks):
            at, out = f"1.layer{stage}.{i}", width * 2 ** (stage - 1)
            found[f"{at}.conv1.weight"] = (out, c, 3, 3)
            norm(f"{at}.bn1", out)
            found[f"{at}.conv2.weight"] = (out, out, 3, 3)
            norm(f"{at}.bn2", out)
            if c != out:
                found[f"{at}.downsample.0.weight"] = (out, c, 1, 1)
                norm(f"{at}.downsample.1", out)
            c = out
    return found | {"1.fc.weight": (classes, c), "1.fc.bias": (classes,)}


def scaled(name, z):
    """A drawn tensor as the rule of generated weights has it."""
    if name.endswith("running_var"):
        return 0.5 + np.abs(z)
    if name.endswith(("running_mean", "bias")):
        return 0.1 * z
    if z.ndim == 4:
        return z * 0.7 * math.sqrt(2 / math.prod(z.shape[1:]))
    return 0.8 + 0.1 * z if z.ndim == 1 else 0.2 * z


def resnet_stored(draw, *, blocks, width, side, classes, batch=4):
    arrays = {}
    for name, shape in resnet_shapes(blocks, width, classes).items():
        if name.endswith("tracked"):
            arrays[name] = np.array(0)
        else:
            arrays[name] = np.float32(scaled(name, draw.normal(size=shape)))
    x = np.float32(draw.uniform(size=(batch, 3, side, side)))
    y = draw.integers(classes, size=batch)
    params, state = split(arrays)

    def loss(p):
        z, after = resnet(p, state, np.float64(x), True)
        return forms.cross_entropy(z, y), (z, after)

    (value, (z, after)), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    some = ("1.conv1.weight", "1.layer2.0.downsample.0.weight", "1.layer3.1.bn2.bias")
    kept = ("1.bn1.running_mean", "1.layer3.1.bn2.running_var")
    found = dict(x=x, y=y, logits_train=z, loss_train=value)
    found["logits_eval"] = resnet(params, state, np.float64(x))[0]
    found |= {f"grad/{n}": grads[n] for n in some}
    return arrays | found | {f"after/{n}": after[n] for n in kept}


def generated(shapes, seed):
    """Weights that a file has only the seed of, and what it has of them."""
    random = np.random.RandomState(seed)  # noqa: NPY002, the rule's generator
    arrays = {
        n: np.float32(scaled(n, random.standard_normal(s))) for n, s in shapes.items()
    }
    sums = [a.sum(dtype=np.float64) for a in arrays.values()]
    return arrays, dict(names=np.array([*shapes]), seed=seed, checksum=sums[:5],
                        shapes=np.array([str(s) for s in shapes.values()]))  # fmt: skip


def resnet_generated(draw, *, blocks, width, side, classes=6, seed=77):
    shapes = resnet_shapes(blocks, width, classes)
    shapes = {n: s for n, s in shapes.items() if not n.endswith("tracked")}
    arrays, found = generated(shapes, seed)
    x = np.float32(draw.uniform(size=(3, 3, side, side)))
    return found | dict(x=x, logits_eval=resnet(*split(arrays), np.float64(x))[0])


def lenet(draw, classes=5, seed=5, side=28):
    flat = 50 * (((side - 4) // 2 - 4) // 2) ** 2
    shapes = {
        "conv1.weight": (20, 1, 5, 5), "conv1.bias": (20,),
        "conv2.weight": (50, 20, 5, 5), "conv2.bias": (50,),
        "fc1.weight": (500, flat), "fc1.bias": (500,),
        "fc2.weight": (classes, 500), "fc2.bias": (classes,),
    }  # fmt: skip
    arrays, found = generated(shapes, seed)
    p, _ = split(arrays)
    x = np.float32(draw.uniform(size=(3, 1, side, side)))
    z = np.float64(x)
    for i in (1, 2):
        z = jax.nn.relu(conv(z, p[f"conv{i}.weight"]) + per_channel(p[f"conv{i}.bias"]))
        b, c, n, _ = z.shape
        z = z.reshape(b, c, n // 2, 2, n // 2, 2).max((3, 5))
    z = jax.nn.relu(z.reshape(len(z), -1) @ p["fc1.weight"].T + p["fc1.bias"])
    return found | dict(x=x, logits_eval=z @ p["fc2.weight"].T + p["fc2.bias"])


# Steps of the training methods


def l2(x):
    return jnp.sqrt((x**2).sum((-3, -2, -1), keepdims=True))


def along(g):
    return g / (l2(g) + 1e-8)


def in_ball(offset, radius):
    length = l2(offset)
    return jnp.where(length > radius, offset * radius / (length + 1e-7), offset)


def log_mean(z, m):
    """log of the softmax averaged over copies, [m*B,K] -> [B,K]"""
    copies = jax.nn.log_softmax(z).reshape(m, -1, z.shape[1])
    return jax.nn.logsumexp(copies, 0) - math.log(m)


def smoothed_loss(z, y):
    """-log of the mean probability of the label, [B]"""
    return -log_mean(z, len(z) // len(y))[jnp.arange(len(y)), y]


def kl(target, log_q):
    """sum_c t_c (log t_c - log q_c)"""
    return (jnp.where(target > 0, target * jnp.log(target), 0) - target * log_q).sum(-1)


class Step:
    """A tiny network and images, always the same, and a step of each method for drawn
    noise."""

    def __init__(self, draw):
        self.draw, draw = draw, np.random.default_rng(7)
        shapes = {"conv1.weight": (WIDTH, 3, 3, 3), "conv2.weight": (2 * WIDTH, WIDTH, 3, 3),
                  "fc.weight": (CLASSES, 2 * WIDTH), "fc.bias": (CLASSES,)}  # fmt: skip
        for i, c in ((1, WIDTH), (2, 2 * WIDTH)):
            for leaf in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"bn{i}.{leaf}"] = (c,)
        drawn = {n: draw.normal(size=s) for n, s in shapes.items()}
        drawn = {
            n: 3 * z if n == "fc.weight" else scaled(n, z) for n, z in drawn.items()
        }
        self.params, self.state = split(drawn)
        self.y = draw.integers(CLASSES, size=BATCH)
        self.x = draw.uniform(size=(BATCH, 3, SIDE, SIDE))

    def stored(self):
        return self.params | self.state

    def forward(self):
        z, after = tinynet(self.params, self.state, self.x, True)
        found = dict(x=self.x, y=self.y, logits_train=z)
        found["logits_eval"] = tinynet(self.params, self.state, self.x)[0]
        return found | {f"after/{n}": v for n, v in after.items()}

    def evaluated(self, x):
        return tinynet(self.params, self.state, x)[0]

    def noise(self, m, sigma):
        z = self.draw.normal(size=(m, BATCH, 3, SIDE, SIDE))
        stored = dict(x=self.x, y=self.y, noise_std_normal=z, sigma=sigma, m=m)
        return stored, sigma * z

    def image_major(self, stored):
        z = stored["noise_std_normal"].swapaxes(0, 1)
        return stored | dict(noise_std_normal=z.reshape(-1, *z.shape[2:]))

    def differentiated(self, loss):
        """loss(params) -> (value, statistics), with its gradients, as files have them."""
        (value, after), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(
            self.params
        )
        found = dict(loss=value) | {f"grad/{n}": g for n, g in grads.items()}
        return found | {f"after/{n}": v for n, v in after.items()}

    def entropy(self, x, noise):
        """Mean cross-entropy of x + noise in training mode, of one pass."""
        labels = np.tile(self.y, len(noise))

        def loss(p):
            z, after = tinynet(p, self.state, copies(x, noise), True)
            return forms.cross_entropy(z, labels), after

        return self.differentiated(loss)

    def gaussian(self):
        stored, noise = self.noise(3, 0.4)
        return stored | self.entropy(self.x, noise)

    def sun(self, norm, steps, size):
        stored, noise = self.noise(3, 0.6)
        labels, moved = np.tile(self.y, 3), noise

        def predicted(noise):
            return self.evaluated(copies(self.x, noise)).argmax(1).reshape(3, BATCH)

        def loss(noise):
            z = self.evaluated(copies(self.x, noise))
            return forms.cross_entropy(z, labels) * BATCH

        for _ in range(steps):
            g, right = jax.grad(loss)(moved), predicted(moved) == self.y
            away = along(g) if norm == "l2" else jnp.sign(g) / math.sqrt(self.x[0].size)
            further = moved + size * away
            further = further / (l2(further) + 1e-8) * l2(noise)
            moved = jnp.where(right[..., None, None, None], further, moved)
        stored |= dict(steps=steps, step_size=size, adv_noise=moved)
        stored |= dict(pred_before=predicted(noise), pred_after=predicted(moved))
        return stored | self.entropy(self.x, moved)

    def ascent(self, noise, mean=False):
        def loss(x):
            each = smoothed_loss(self.evaluated(copies(x, noise)), self.y)
            return each.mean() if mean else each.sum()

        return jax.jit(jax.grad(loss))

    def smoothadv(self, kind, m, steps=3, eps=0.75):
        stored, noise = self.noise(m, 0.3)
        slope = self.ascent(noise)

        def free(x):
            chance = jax.nn.softmax(self.evaluated(copies(x, noise))).reshape(
                m, BATCH, -1
            )
            own = chance[:, np.arange(BATCH), self.y]
            return -(noise * own[..., None, None, None]).mean(0)

        if kind == "ddn":
            moved = self.nearest(noise, slope, steps, eps)
        else:
            offset = jnp.zeros_like(self.x)
            for _ in range(steps):
                g = (free if kind == "free" else slope)(self.x + offset)
                offset = offset + 2 * eps / steps * g / l2(g)
                offset = in_ball(jnp.clip(self.x + offset, 0, 1) - self.x, eps)
            moved = self.x + offset
        stored |= dict(steps=steps, max_norm=eps, x_adv=np.repeat(moved, m, 0))
        return self.image_major(stored) | self.entropy(moved, noise)

    def nearest(self, noise, slope, steps, eps):
        """DDN: gamma 0.05, 256 levels, the step lengths of t = 1..T."""
        x, m = self.x, len(noise)
        norm = eps * jnp.ones((BATCH, 1, 1, 1))
        offset = best = jnp.zeros_like(x)
        least = l2(jnp.maximum(x, 1 - x))
        most = least
        for t in range(1, steps + 1):
            g = slope(x + offset)
            votes = (
                self.evaluated(copies(x + offset, noise)).argmax(1).reshape(m, BATCH)
            )
            votes = (votes[..., None] == np.arange(CLASSES)).sum(0).argmax(1)
            wrong = (votes != self.y).reshape(-1, 1, 1, 1)
            closer = wrong & (l2(offset) < least)
            best = jnp.where(closer, offset, best)
            least = jnp.where(closer, l2(offset), least)
            rate = 0.01 + 0.99 * (1 + math.cos(math.pi * t / steps)) / 2
            offset = offset + rate * g / l2(g)
            norm = jnp.minimum(norm * jnp.where(wrong, 0.95, 1.05), most)
            moved = jnp.round((x + norm * offset / l2(offset)) * 255) / 255
            offset = jnp.clip(moved, 0, 1) - x
        return x + jnp.round(in_ball(best, eps) * 255) / 255

    def consistency(self, m, lbd, eta, attack=False, steps=4, eps=0.8):
        stored, noise = self.noise(m, 0.35)
        stored |= dict(lbd=lbd, eta=eta)
        x, labels = self.x, np.tile(self.y, m)
        if attack:
            slope = self.ascent(noise, mean=True)
            for _ in range(steps):
                x = x + 2 * eps / steps * along(slope(x))
                x = jnp.clip(self.x + in_ball(x - self.x, eps), 0, 1)
            stored |= dict(x_adv=x, steps=steps, max_norm=eps)

        def loss(p):
            z, after = tinynet(p, self.state, copies(x, noise), True)
            value = forms.cross_entropy(z, labels) + spread(z, m, lbd, eta)
            return value, after

        return stored | self.differentiated(loss)

    def macer(self, lbd, m=4, sigma=0.45, beta=10.0, gamma=6.0):
        stored, noise = self.noise(m, sigma)

        def loss(p):
            z, after = tinynet(p, self.state, copies(self.x, noise), True)
            z = z.reshape(m, BATCH, -1).swapaxes(0, 1)
            return macer_loss(z, self.y, sigma, lbd, beta, gamma), after

        stored |= dict(lbd=float(lbd), beta=beta, gamma=gamma)
        return self.image_major(stored) | self.differentiated(loss)

    def smoothmix(self, mix_step, m=3, steps=3, alpha=0.6, eta=4.0, ramp=0.5):
        stored, noise = self.noise(m, 0.25)
        uniform, slope = self.draw.uniform(size=BATCH), self.ascent(noise)
        labels, start, moved = np.tile(self.y, m), self.x, self.x
        for t in range(steps):
            start = moved if t == mix_step else start
            moved = jnp.clip(moved + alpha * along(slope(moved)), 0, 1)
        most = ramp * alpha * mix_step
        start = jnp.clip(self.x + in_ball(start - self.x, most), 0, 1)
        lam = uniform / 2
        share = lam.reshape(-1, 1, 1, 1)
        mixed = (1 - share) * start + share * moved

        def loss(p):
            z, after = tinynet(p, self.state, copies(start, noise), True)
            mean = jnp.exp(log_mean(z, m))
            target = (1 - lam[:, None]) * mean + lam[:, None] / CLASSES
            other, after = tinynet(p, after, copies(mixed, noise), True)
            each = kl(target, jax.nn.log_softmax(other).reshape(m, BATCH, -1))
            robust = ((mean.argmax(1) == self.y) * each).mean()
            return forms.cross_entropy(z, labels) + eta * ramp * robust, after

        stored |= dict(mix_uniform=uniform, eta=eta, alpha=alpha, steps=steps,
                       mix_step=mix_step, warmup_v=ramp, maxnorm_s=most, x_init=start,
                       x_adv=moved)  # fmt: skip
        return stored | self.differentiated(loss)

    def catrs(self, mask, m=3, lbd=1.5, steps=3, eps=0.9):
        stored, noise = self.noise(m, 0.3)
        soft = np.asarray(jax.nn.softmax(normal(self.draw, BATCH, CLASSES)))
        z, after = tinynet(self.params, self.state, copies(self.x, noise), True)
        right = np.mean(np.asarray(z).argmax(1).reshape(m, BATCH) == self.y, 0)
        chance = soft[np.arange(BATCH), self.y] if mask else right
        accept = np.array([0, m, 1, m, m - 1])[:BATCH].astype(float)
        kept = np.maximum(accept, 1)

        def away(noise, p=self.params, s=after):
            z, _ = tinynet(p, s, copies(self.x, noise))
            return kl(soft, jax.nn.log_softmax(z).reshape(m, BATCH, -1)).sum() / m

        moved, slope = noise, jax.jit(jax.grad(away))

        def mean(x):
            return x.mean((-3, -2, -1), keepdims=True)

        for _ in range(steps):
            further = moved + 2 * eps / steps * along(slope(moved))
            further = noise + in_ball(further - noise, eps)
            moved = (further - mean(further)) * l2(noise) / l2(further) + mean(noise)

        def loss(p):
            z, after = tinynet(p, self.state, copies(self.x, noise), True)
            each = -jax.nn.log_softmax(z).reshape(m, BATCH, -1)
            each = jnp.sort(each[:, np.arange(BATCH), self.y], 0)
            low = jnp.where(np.arange(m)[:, None] < kept, each, 0).sum(0) / m
            z, after = tinynet(p, after, copies(self.x, moved), True)
            high = kl(soft, jax.nn.log_softmax(z).reshape(m, BATCH, -1)).max(0)
            return (low + lbd * jnp.where(kept == m, high, 0)).mean(), after

        stored |= dict(lbd=lbd, steps=steps, max_norm=eps, smoothed_pred=soft,
                       binomial_prob=chance, accept_sample=accept, adv_noise=moved)  # fmt: skip
        return stored | self.differentiated(loss)

    def stability(self, lbd=3.0):
        stored, noise = self.noise(1, 0.4)
        stored.pop("m")

        def loss(p):
            clean, after = tinynet(p, self.state, self.x, True)
            noisy, after = tinynet(p, after, copies(self.x, noise), True)
            cross = -(jax.nn.softmax(clean) * jax.nn.log_softmax(noisy)).sum(1).mean()
            return forms.cross_entropy(clean, self.y) + lbd * cross, after

        return stored | dict(lbd=lbd) | self.differentiated(loss)


def copies(x, noise):
    return (x + noise).reshape(-1, *x.shape[1:])


def spread(z, m, lbd, eta):
    """Mean over images of lbd mean_i KL(mean || s_i) + eta H(mean)"""
    log = log_mean(z, m)
    mean = jnp.exp(log)
    each = (mean * (log - jax.nn.log_softmax(z).reshape(m, *log.shape))).sum(-1)
    return lbd * each.mean() - eta * (mean * log).sum(-1).mean()


def consistency_logits(draw, m=4, batch=7, classes=3, lbd=3.0, eta=0.25):
    z = draw.normal(size=(m, batch, classes))

    def mse(z):
        s = jax.nn.softmax(z)
        return lbd * ((s[0] - s[1]) ** 2).sum(1).mean()

    def of(eta):
        return lambda z: spread(z.reshape(-1, classes), m, lbd, eta)

    found = dict(logits=z, lbd=lbd, eta=eta)
    for name, loss in dict(default=of(eta), xent=of(lbd), kl=of(0.0), mse=mse).items():
        found[f"loss_{name}"], found[f"grad_{name}"] = jax.value_and_grad(loss)(z)
    return found


# MACER on logits [B,m,C]


def macer_loss(z, y, sigma, lbd, beta, gamma):
    rows = np.arange(len(y))
    s = jax.nn.softmax(z).mean(1)
    p = jax.nn.softmax(beta * z).mean(1)
    top = p.argsort(1)[:, ::-1]
    first, second = p[rows, top[:, 0]], p[rows, top[:, 1]]
    xi = ndtri(second) - ndtri(first)
    keep = (top[:, 0] == y) & jnp.isfinite(xi) & (jnp.abs(xi) <= gamma)
    first, second = jnp.where(keep, first, 0.6), jnp.where(keep, second, 0.4)
    xi = ndtri(second) - ndtri(first)
    hinge = jnp.where(keep, sigma / 2 * (xi + gamma), 0)
    return (-jnp.log(s[rows, y] + 1e-10) + lbd * hinge).mean()


def macer_logits(draw, scale, gamma=7.0, beta=12.0, dtype=np.float64, batch=8, m=5):
    sigma, lbd, classes = 0.7, 9.0, 6
    y = draw.integers(classes, size=batch)
    z = scale * draw.normal(size=(batch, m, classes))
    z[np.arange(batch), :, y] += 2 * scale
    z[: batch // 2, :, :] += 3 * scale * np.eye(classes)[y[: batch // 2]][:, None]
    z = z.astype(dtype)
    how = [dtype(v) for v in (sigma, lbd, beta, gamma)]
    value, grad = jax.value_and_grad(macer_loss)(jnp.asarray(z), y, *how)
    return dict(logits=z, y=y, sigma=sigma, lbd=lbd, beta=beta, gamma=gamma,
                loss=np.float64(value), grad=grad)  # fmt: skip


# Bounds of votes


def lower_bound(k, n, alpha):
    with np.errstate(all="ignore"):
        found = stats.beta.ppf(alpha, k, n - np.asarray(k) + 1)
    return np.where(np.asarray(k) == 0, 0.0, found)


def clopper_pearson(draw):
    n = np.repeat([13, 240, 5_000, 70_000], 30)
    share = np.tile(np.concatenate([draw.uniform(0.4, 1, 28), [0, 1]]), 4)
    k, alpha = np.round(share * n).astype(int), np.tile([0.002, 0.05, 0.2], 40)
    lower = lower_bound(k, n, alpha)
    radius = np.where(lower < 0.5, 0, special.ndtri(lower))
    return dict(count=k, n=n, alpha=alpha, lower=lower, abstain=lower < 0.5,
                radius_sigma1=radius)  # fmt: skip


def predict():
    pairs = [(0, 0), (1, 0), (5, 5), (7, 1), (30, 12), (45, 44), (90, 20), (400, 330),
             (5_000, 4_800), (51_000, 49_000)]  # fmt: skip
    p = np.array(
        [stats.binomtest(a, a + b, 0.5).pvalue if a + b else 1 for a, b in pairs]
    )
    count1, count2 = np.array(pairs).T
    return dict(count1=count1, count2=count2, pvalue=p, abstain_alpha_0_01=p > 0.01,
                abstain_alpha_0_1=p > 0.1)  # fmt: skip


def radius_theory():
    n, alpha = np.array([3, 50, 700, 20_000]), np.array([0.05, 0.002])
    p = np.array([0.55, 0.7, 0.97, 0.9995])
    z = special.ndtri(p)
    cases = []
    for acr, classes, sigma, level in ((0.3, 10, 1.0, 0.01), (0.15, 5, 0.25, 0.002)):
        phi = special.ndtr(acr * classes / sigma)
        smallest = math.floor(math.log(level) / math.log(phi)) + 1
        cases.append([acr, classes, sigma, level, 2, smallest])
    return dict(N=n, alpha=alpha, max_radius_sigma1=special.ndtri(alpha ** (1 / n[:, None])),
                p=p, dr_dp_sigma1=math.sqrt(2 * math.pi) * np.exp(z**2 / 2),
                thm1_cases=cases)  # fmt: skip


def reweighting(n, alpha):
    count, at = np.arange(n + 1), 3 * n // 4
    lower = lower_bound(count, n, alpha)
    code = special.ndtri(lower_bound(np.maximum(count, at), n, alpha))
    z = special.ndtri(lower)
    return {
        "count": count, "n": n, "alpha": alpha, "lower": lower, "weight_code": code,
        "weight_code_normalised": code / code.min(),
        "weight_paper_literal": np.maximum(1, z / special.ndtri(0.75)),
        f"weight_paper_with_reference_count{at}": np.maximum(1, z / z[at]),
    }  # fmt: skip


def log_e(k, t, p0):
    """Beta(1/2, 1/2) mixture of the likelihood ratio of k of t votes."""
    log = special.gammaln
    mixed = log(k + 0.5) + log(t - k + 0.5) - log(t + 1.0) - math.log(math.pi)
    return mixed - special.xlogy(k, p0) - special.xlog1py(t - k, -p0)


def boundary(p0, looks, alpha, power):
    """(smallest counts that certify, error that they spend): exact sums."""
    alive, before, spent, counts = np.ones(1), 0, 0.0, []
    for look in looks:
        step = stats.binom.pmf(np.arange(look - before + 1), look - before, p0)
        alive, before = np.convolve(alive, step), look
        tail = np.cumsum(alive[::-1])[::-1]
        above = tail <= alpha * (look / looks[-1]) ** power - spent
        first = int(above.argmax()) if above.any() else look + 1
        spent += tail[first] if first <= look else 0.0
        counts.append(first)
        alive = np.where(np.arange(look + 1) < first, alive, 0)
    return counts, spent


def sequential(draw, looks=(60, 130, 300, 700, 1500), alpha=0.004, power=0.5):
    t = draw.integers(1, 20_000, size=60)
    k, p0 = (t * draw.uniform(0, 1, 60)).astype(int), draw.uniform(0.05, 0.95, 60)
    cs_t = draw.integers(50, 5_000, size=20)
    cs_k = (cs_t * draw.uniform(0.5, 1, 20)).astype(int)

    def lower_end(k, t):
        """Where log E falls to log 1 / alpha, below k / t."""
        return optimize.brentq(
            lambda p: log_e(k, t, p) + math.log(alpha),
            1e-9,
            k / t,
            xtol=1e-15,
            rtol=1e-14,
        )

    levels = [0.5, 0.7, 0.85, 0.97]
    found = [boundary(p, looks, alpha, power) for p in levels]
    every = np.arange(looks[-1] + 1)
    fixed = [int((lower_bound(every, looks[-1], alpha) > p).argmax()) for p in levels]
    shares = np.array([0.45, 0.6, 0.8, 1.0])
    union = np.round(shares[:, None] * looks).astype(int)
    lower = lower_bound(union, np.array(looks), alpha / len(looks))
    return dict(
        count=k, t=t, p0=p0, log_e_value=log_e(k, t, p0), cs_count=cs_k, cs_t=cs_t,
        cs_alpha=alpha, cs_lower=[lower_end(*a) for a in zip(cs_k, cs_t, strict=True)],
        looks=looks, gs_p0=levels, gs_alpha=alpha, gs_spending_power=power,
        gs_boundary=[c for c, _ in found], gs_spent=[s for _, s in found],
        fixed_n_count=fixed, union_counts=union,
        union_lower=np.maximum.accumulate(lower, 1),
    )  # fmt: skip


def of(method, *settings, **named):
    return lambda draw: getattr(Step(draw), method)(*settings, **named)


FILES = {
    "tinynet_other": of("stored"),
    "tinynet_other_forward": of("forward"),
    "loss_gaussian_other": of("gaussian"),
    "loss_sun_sphere_l2_T2_eps0.5": of("sun", "l2", 2, 0.5),
    "loss_sun_sphere_linf_T4_eps0.125": of("sun", "linf", 4, 0.125),
    "loss_smoothadv_pgd_m1": of("smoothadv", "pgd", 1),
    "loss_smoothadv_pgd_m3": of("smoothadv", "pgd", 3),
    "loss_smoothadv_pgd_m3_nograd": of("smoothadv", "free", 3),
    "loss_smoothadv_ddn_m1": of("smoothadv", "ddn", 1),
    "loss_smoothadv_ddn_m3": of("smoothadv", "ddn", 3),
    "loss_consistency_other": of("consistency", 4, 3.0, 0.25),
    "loss_consistency_smoothadv_other": of("consistency", 3, 2.0, 0.75, attack=True),
    "loss_macer_lbd0": of("macer", 0),
    "loss_macer_lbd5": of("macer", 5),
    "loss_smoothmix_m0": of("smoothmix", 0),
    "loss_smoothmix_m2": of("smoothmix", 2),
    "loss_catrs_other": of("catrs", False),
    "loss_catrs_confmask_other": of("catrs", True),
    "loss_stability_other": of("stability"),
    "consistency_logits_other": consistency_logits,
    "macer_logits_other": partial(macer_logits, scale=0.3),
    "macer_logits_hinge_gamma0.5": partial(
        macer_logits, scale=0.4, gamma=0.5, beta=4.0
    ),
    "macer_logits_float32_other": partial(macer_logits, scale=4.0, dtype=np.float32),
    "clopper_pearson_other": clopper_pearson,
    "predict_other": lambda draw: predict(),
    "radius_theory_other": lambda draw: radius_theory(),
    "sequential_other": sequential,
    "sun_reweighting_other": lambda draw: reweighting(20, 0.05),
    "cifar_resnet14": partial(resnet_stored, blocks=2, width=4, side=16, classes=7),
    "cifar_resnet20_generated": partial(resnet_generated, blocks=3, width=8, side=8),
    "lenet_generated_other": lenet,
}
