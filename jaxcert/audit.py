"""Check the arithmetic of certificate records, evidence to radius, by a program of its own.

    python -m jaxcert.audit RECORD...
    python3 audit.py RECORD...          this one file, without jaxcert

It shares no code with the rest of jaxcert, and inverts none of the papers' formulas: radius r
is true if the class has a probability above some p0(r), and proven if the votes reject, at
level alpha, p0(r) or less. Exit status: 0, every claim follows from its evidence; 1,
something claims more, contradicts itself or is missing; 2, not judged.
"""

import argparse
import json
import math
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy import special, stats

FORMAT = "jaxcert-certificates-1"
TOLERANCE = 1e-9
"""Relative: of alpha for votes; of constants, slack and radius for margins. 0 if exact."""
NORMS = dict(bronet="l2", lip_convnet="l2", liresnet="l2", liresnet_pp="l2")
NORMS |= dict(dist_net="linf")
THEOREMS = dict(gaussian="l1 l2 linf", grid="l1 l2 linf")
THEOREMS |= dict(uniform="l1 linf", laplace="l1")
SPENDING = 0.3  # `radii` may spend alpha (n_j / n)^SPENDING up to look j
LEAST_TAIL = 1e-6
"""Float32 noise has 2^23 values and ends near 5 sigma: it shows no smaller 1 - p."""
DIGITS = Context(prec=60, Emax=MAX_EMAX, Emin=MIN_EMIN)
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")
UNSEEN = {
    "smoothing": "whether the network cast these votes, and n0 others chose the class",
    "lipschitz": "whether logits, pairwise_bound and logit_slack are the network's",
    "interval": "whether logits, margins and logit_slack are the network's",
    "diffusion_classifier": "the means, variances, levels and weights behind the logits",
    "radii": f"how alpha is spent: (n_j / n)^{SPENDING} is assumed",
    "two_stage": "the rule from a pilot's votes to N: that of version 0.1 is assumed",
}


def must(holds: object, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def number(where: dict, name: str, low: float, high: float = 2**31):
    """Return a number of the header from low to high, a whole one if low is."""
    value, kinds = where.get(name), (int,) if type(low) is int else (int, float)
    must(type(value) in kinds and low <= value <= high, f"{name} is {value!r}")
    return value


def tail(z: Decimal) -> Decimal:
    """Return P(Z > z) of a standard normal Z: 1/2 - phi(z) (z + z^3 / 3 + z^5 / (3 5) + ...)."""
    z = min(z, Decimal(12))  # beyond, n votes prove nothing anyway
    term, total, i = z, z, 1
    while term > Decimal("1e-70"):
        i += 2
        term *= z * z / i
        total += term
    return Decimal("0.5") - (-z * z / 2).exp() / (2 * PI).sqrt() * total


@lru_cache(1 << 16, typed=True)
def binomial(n: int, k: int, q):
    """Return P(at least k of n votes) where each comes with probability 1 - q; 1 where q is
    not between 0 and 1. In a float it is good to TOLERANCE, as is that of `mixture`."""
    if k <= 0 or not 0 < q < 1:
        return type(q)(1)
    if not isinstance(q, Decimal):
        return float(special.betaincc(n - k + 1, k, q))
    term = total = (1 - q) ** n  # no miss, and then one miss more each time
    for i in range(1, n - k + 1):
        term *= q / (1 - q) * (n - i + 1) / i
        total += term
    return total


def mixture(n, k, q):
    """Return 1 / E, E = B(k + 1/2, n - k + 1/2) / B(1/2, 1/2) / ((1 - q)^k q^(n - k)), a
    likelihood ratio of a mixture (Robbins 1970); 1 unless 1 - q < k / n."""
    if not (0 < q < 1 and n * (1 - q) < k):
        return type(q)(1)
    if not isinstance(q, Decimal):
        log = special.xlog1py(k, -q) + special.xlogy(n - k, q) + math.log(math.pi)
        return math.exp(min(log - special.betaln(k + 0.5, n - k + 0.5) - 1e-14 * n, 0))
    found = (1 - q) ** k * q ** (n - k)
    for i, j in enumerate([*range(k), *range(n - k)], 1):
        found *= 2 * i / Decimal(2 * j + 1)  # B(...) / pi = prod (j + 1/2) / n!
    return found


@lru_cache(512)
def boundary(q: float, looks: tuple[int, ...], alpha: float, exact: bool) -> list[int]:
    """Return the counts c_j that reject 1 - p >= q: the smallest for which any of k_1 >= c_1,
    ..., k_j >= c_j has a probability of at most alpha (n_j / n)^SPENDING under q (Lan & DeMets
    1983). `alive` is the law of k_j, from `low` on, where none was reached."""
    wrong = 1e-10 if exact else -TOLERANCE  # the error of probabilities, and its side
    bounds, spent, low, alive = [], 0.0, 0, np.ones(1)
    for before, look in zip((0, *looks), looks, strict=False):
        step = stats.binom(look - before, 1 - q)
        first, last = int(step.ppf(1e-30)), int(step.isf(1e-30))
        low += first
        alive = np.convolve(alive, step.pmf(np.arange(first, last + 1)))
        crossed = np.append(alive[::-1].cumsum()[::-1] * (1 + wrong), 0.0)
        budget = alpha * (look / looks[-1]) ** SPENDING - spent
        above = int(np.argmax(crossed <= budget))
        bounds.append(low + above if above < len(alive) else look + 1)
        spent, alive = spent + float(crossed[above]) + 1e-25, alive[: max(above, 1)]
    return bounds


@lru_cache(4096)
def second_stage(needed, n, alpha, rho, pilot, k) -> set[int]:
    """Return how many votes k votes of the pilot may ask for: the first of 80 sizes up to n,
    geometric from 100, that would prove 1 - rho of the radius at n if the pilot's share
    stays. They are several only where rounding decides."""
    sizes = np.unique(np.geomspace(min(100, n), n, 80).astype(int)).tolist()
    low, high = Decimal(0), Decimal(10000)
    for _ in range(60):  # low: the largest radius that n votes would prove
        middle = (low + high) / 2
        sure = binomial(n, k * n // pilot, float(needed(middle))) <= alpha
        low, high = (middle, high) if sure else (low, middle)
    ends = [low * Decimal((1 - rho) * (1 + e)) for e in (-TOLERANCE, TOLERANCE)]
    qs = [float(needed(r)) for r in ends if low]
    enough = [[m for m in sizes if binomial(m, k * m // pilot, q) <= alpha] for q in qs]
    return {each[0] for each in enough if each}


def law_of(head: dict, asked: dict, alpha: float, n: int, t: float):
    """Return needed(r), the q such that 1 - p < q proves radius r (Cohen et al. 2019:
    gaussian; Yang et al. 2020: uniform; Teng et al. 2020: laplace), and shown(q), which is q
    less what drawn noise may lack, 0 where it shows no such tail."""
    noise, norm = asked.get("noise", "gaussian"), head.get("norm", "l2")
    if norm not in THEOREMS.get(noise, "").split():
        raise NotImplementedError(f"no theorem of {noise} noise and norm {norm}")
    d = number(asked, "d", head["pixels"] or 1, 2**40) if norm == "linf" else 1
    limited = noise != "grid" and n * LEAST_TAIL > min(1.0, -math.log(alpha))
    least = Decimal(max(asked.get("least_tail", 0), LEAST_TAIL * limited))
    wide = {"uniform": math.sqrt(3.0), "laplace": math.sqrt(0.5)}.get(noise, 1.0)
    scale = float(np.float32(wide * number(head, "sigma", 1e-30, 1e30)))  # as drawn

    def shown(q: Decimal) -> Decimal:
        return q - least / 4 if q >= least * Decimal(1 - t) else Decimal(0)

    def needed(r: Decimal) -> Decimal:
        if noise == "laplace":
            return shown((-r / Decimal(scale)).exp() / 2)
        if noise == "uniform":
            return shown(max(1 - r / Decimal(2 * scale), 0) ** d - Decimal("0.5"))
        return shown(tail(r * Decimal(d).sqrt() / Decimal(scale)))

    return needed, shown


def smoothing(head: dict, exact: bool):
    """Return the check of rows of votes, by the procedure that the header names."""
    asked, to = head["procedure"], Decimal if exact else float
    name, bound = asked.get("name"), asked.get("bound")
    bounds = ("union", "mixture") if name == "sequence" else (None, "single")
    if bound not in bounds or asked.get("rival", "single") != "single":
        raise NotImplementedError(f"{name}: bound {bound}, rival {asked.get('rival')}")
    alpha, n = number(head, "alpha", 1e-300, 1 - 1e-9), number(asked, "n", 1)
    level = Decimal(alpha) if exact else alpha * (1 + TOLERANCE)
    needed, shown = law_of(head, asked, alpha, n, 0 if exact else TOLERANCE)
    generator = head["generator"].get("implementation", "threefry2x32")
    must(generator == "threefry2x32", f"generator {generator} may repeat its noise")
    looks = [*(100 << j for j in range(32) if 100 << j < n), n]
    if name in ("radii", "sequence"):
        must(asked.get("looks") == looks, f"looks are not 100, 200, 400, ... and {n}")
    tried, rho = asked["radii"] if name == "radii" else [], asked.get("rho")
    pilot = asked["pilot"] if name == "two_stage" else 0

    def votes(row: dict) -> tuple[int, int, list[int]]:
        """Return (k, n, votes at the looks)."""
        counts, used, at = row["counts"], row["n"] - pilot, row.get("agreeing", [])
        k = counts[row["predicted"]]
        fits = all(type(x) is int for x in [*counts, *at]) and min(counts) >= 0
        must(fits and sum(counts) <= used, f"{counts} and {at} are no votes of {used}")
        if name in ("certify", "predict"):
            must(used == n, f"{used} samples where {n} were asked for")
        elif name == "two_stage":
            must(0 <= at[0] <= pilot and at[1:] == [k], f"{at} agree, {k} are counted")
            sizes = second_stage(needed, n, alpha, rho, pilot, at[0])
            must(used in sizes, f"{used} samples where {at[0]} of a pilot ask {sizes}")
        else:
            taken = looks.index(used) + 1
            steps, most = np.diff([0, *at[:taken]]), np.diff([0, *looks[:taken]])
            fits = at[taken:] == [-1] * (len(looks) - taken) and at[taken - 1] == k
            fits = fits and ((steps >= 0) & (steps <= most)).all()
            must(fits, f"{at} agree at looks up to {used}, {k} are counted")
        return k, used, [x for x in at if x >= 0]

    def rejects(row: dict, q: Decimal, what: str) -> None:
        """Raises ValueError unless the votes reject that 1 - p is q or more."""
        k, used, at = votes(row)
        if name == "radii":
            needs = boundary(float(q), tuple(looks), alpha, exact)[: len(at)]
            must((np.array(at) >= needs).any(), f"{what} needs {needs} of {at} votes")
            return
        p = binomial(used, k, to(q))
        if name == "sequence":
            of, times = (mixture, 1) if bound == "mixture" else (binomial, len(looks))
            p = times * min(of(t, a, to(q)) for t, a in zip(looks, at, strict=False))
        must(p <= level, f"{what}: {k} of {used} votes by chance {p:.9g} > {alpha}")

    def check(row: dict) -> None:
        r, y = row["radius"], row["predicted"]
        if name == "predict":
            k = votes(row)[0]
            second = max(row["counts"][:y] + row["counts"][y + 1 :])
            p = 2 * binomial(k + second, k, to(0.5))
            must(r == 0 and k >= second and p <= level, f"{k} votes to {second}")
            return
        must(name != "radii" or r in tried, f"radius {r!r} was not tried")
        for each in [x for x in tried if x <= r] or [r]:
            rejects(row, needed(Decimal(each)), f"radius {each!r}")
        if row.get("p_lower") is not None:
            q = 1 - Decimal(row["p_lower"])
            rejects(row, q if tried else shown(q), f"p_lower {row['p_lower']!r}")

    return check


def margin(head: dict, exact: bool):
    """Return the check of rows of logits: r L_yj <= z_y - z_j - 2 slack (Tsuzuku et al. 2018;
    of a diffusion classifier -z_j are bounds of its margins: Chen et al., arXiv:2402.02316)."""
    asked, drawn = head["procedure"], head["method"] == "diffusion_classifier"
    bound = np.array(head.get("pairwise_bound"), float)
    off = bound[~np.eye(len(bound), dtype=bool)] if bound.ndim else bound.reshape(1)
    even = np.allclose(bound, bound.T, rtol=2e-9, atol=0, equal_nan=True)
    must(bound.ndim != 1 and even and (off >= 0).all(), "pairwise_bound is none")
    t, of = (0, Fraction) if exact else (TOLERANCE, float)
    least = 0.0 if drawn else 2.0**-30 * float(off.max()) * head["pixels"] ** 0.5
    slack = number(asked, "logit_slack", least * (1 - TOLERANCE), 1e300)
    n = number(asked, "n", 1) if drawn else 1

    def check(row: dict) -> None:
        z, y, r = row["logits"], row["predicted"], row["radius"]
        must(row["n"] == n, f"{row['n']} samples where {n} were asked for")
        must(not drawn or z[y] == 0 < r, f"logit {z[y]} of the class, radius {r!r}")
        of_y = np.broadcast_to(bound, (len(z), len(z)))[y].tolist()
        for j in [j for j in range(len(z)) if j != y]:
            gap = of(z[y]) - of(z[j])
            left = gap * (1 + t) - 2 * of(slack) * (1 - t)
            fits = r == 0 or of(r) * of(of_y[j]) * (1 - t) <= left
            must(math.inf > gap >= 0 and fits, f"{float(gap)!r} to class {j}: {r!r}")

    return check


def interval(head: dict, exact: bool):
    """Return the check of rows of interval margins (Zhang et al. 2021, arXiv:2102.05363)."""
    asked, t = head["procedure"], 0 if exact else TOLERANCE
    least = 2.0**-30 * head["pixels"] ** 0.5 * (1 - TOLERANCE)
    tried, slack = asked["radii"], 2 * number(asked, "logit_slack", least, 1e300)
    must(tried == sorted(set(tried)) and max(tried) <= 1, f"radii {tried} were tried")

    def check(row: dict) -> None:
        z, y, r = row["logits"], row["predicted"], row["radius"]
        gap = z[y] - max(z[:y] + z[y + 1 :])
        must(math.inf > gap >= 0, "another class has the largest logit")
        found = [math.nan if x is None else x for x in row.get("least_margins", [])]
        if "margins" in row:  # version 0.1: those of the row's own radius
            own = min(row["margins"][:y] + row["margins"][y + 1 :])
            found = [own if x == r else math.nan for x in tried]
        of_r = math.inf if r == 0 else dict(zip(tried, found, strict=True))[r]
        must(of_r > slack * (1 - t), f"radius {r!r} has the margin {of_r!r}")
        for x in found:  # margins do not grow with the box
            must(not x > gap + slack * (1 + t), f"margin {x!r} follows {gap!r}")
            gap = gap if math.isnan(x) else min(gap, x)

    return check


def check_header(head: dict) -> None:
    """Raises ValueError for what the header says against itself or the config inside it."""
    config, certify, asked = head["config"], head["certify"], head["procedure"]
    votes, norm = head["method"] == "smoothing", head.get("norm", "l2")
    drawn = votes or head["method"] == "diffusion_classifier"
    number(head, "alpha", 1e-300 * drawn, (1 - 1e-9) * drawn)
    known = "l2" if drawn else NORMS.get(head["model"].get("name"), norm)
    must(votes or norm == known, f"norm {norm} is not {known}")
    keys = "split seed alpha model precision dataset".split()
    said = asked | {k: head.get(k) for k in keys} | dict(norm=norm)
    said["name"] = head["base"].get("name", head["method"])
    wanted = dict(dataset=head["data"].get("name")) | certify
    wanted |= {k: config.get(k) for k in ("model", "precision")}
    if votes:
        said |= dict(noise=asked.get("noise", "gaussian"), procedure=asked.get("name"))
        said["sigma"] = np.float32(number(head, "sigma", 1e-30, 1e30))
        wanted["sigma"] = np.float32(certify["sigma"]) if "sigma" in certify else None
    if certify.get("radii") and "radii" in asked:
        given = sorted({float(r) for r in certify["radii"] if r or votes})
        wanted["radii"] = given[: len(asked["radii"])] if votes else given
    for k, v in said.items():
        must(wanted.get(k) in (None, v), f"{k} {v!r}, {wanted.get(k)!r} in its config")


def check_row(row: dict, head: dict, seen: dict[int, int]) -> None:
    """Raises ValueError for what no row of any record may have."""
    found = [row[k] for k in ("index", "label", "predicted", "n")]
    must(all(type(x) is int for x in found), f"{found} are not whole numbers")
    (index, label, predicted, n), r, classes = found, row["radius"], head["num_classes"]
    known = index not in seen and 0 <= index < head.get("images", math.inf)
    must(known, f"image {index} was there before, or is beyond the data set")
    must(-2 <= predicted < classes > label >= 0 <= n, f"{found} of {classes} classes")
    must(type(r) in (int, float) and 0 <= r < math.inf, f"radius {r!r}")
    must(predicted >= 0 or r == 0, f"radius {r!r} without a prediction")
    width = len(row.get("counts") or row.get("logits") or []) or classes
    must(width >= classes, f"evidence of {width} classes")


def check_requests(requests: list, seen: dict[int, int]) -> None:
    """Raises ValueError for rows that are missing, or that nobody asked for."""
    known = [range(x["start"], x["stop"], x["step"]) for x in requests if x is not None]
    must(sum(map(len, known)) < 10**8, "more images are asked for than data sets have")
    asked = set().union(*known)
    must(asked <= set(seen), f"{len(asked - set(seen))} requested rows are missing")
    extra = sorted(seen[i] for i in set(seen) - asked) if None not in requests else []
    must(not extra, f"no request names the images of the lines {extra[:9]}")


def once(pairs: list) -> dict:
    must(len(dict(pairs)) == len(pairs), "a key stands there twice")
    return dict(pairs)


VOTES = ("certify", "predict", "radii", "two_stage", "sequence")
CHECKS = {("smoothing", name): smoothing for name in VOTES}
CHECKS |= {(m, "margin"): margin for m in ("lipschitz", "diffusion_classifier")}
CHECKS["interval", "interval"] = interval


def audit(path: str | Path, *, exact: bool = False) -> tuple[int, list[str], list[str]]:
    """Return (status, faults, what is not seen) of a record, or of that in a workdir."""
    path, seen, faults = Path(path), {}, []
    path = path / "certificates.jsonl" if path.is_dir() else path
    with localcontext(DIGITS), np.errstate(all="ignore"):
        try:
            first, *lines = path.read_bytes().splitlines() or [b""]
            if FORMAT.encode() not in first:
                raise NotImplementedError(f"no header of {FORMAT}")
            head = json.loads(first, object_pairs_hook=once)
            for key in ("config", "procedure", "model", "base", "generator"):
                head[key] = head[key] if isinstance(head.get(key), dict) else {}
            head |= {k: head["config"].get(k) or {} for k in ("certify", "data")}
            head["pixels"] = math.prod(head["model"].get("image_shape") or [0])
            kind = head.get("method"), head["procedure"].get("name")
            if head.get("format") != FORMAT or kind not in CHECKS:
                raise NotImplementedError(f"{kind} of {head.get('format')!r}")
            check_header(head)
            check = CHECKS[kind](head, exact)
        except (OSError, NotImplementedError) as why:
            return 2, [f"cannot be judged: {why}"], []
        except Exception as error:  # any: what cannot be checked is not proven
            return 1, [f"line 1: {error or repr(error)}"], []
        requests = [*(head.get("requests") or [None])]
        for line, text in enumerate(lines, 2):
            try:
                row = json.loads(text, object_pairs_hook=once)
                check_row(row, head, seen)
                seen[row["index"]] = line
                requests += row.get("requests", [])
                if row["predicted"] >= 0:
                    check(row)
            except Exception as error:
                faults.append(f"line {line}: {error or repr(error)}")
        try:
            check_requests(requests, seen)
        except Exception as error:
            faults.append(f"line 1: {error}")
    unseen = [UNSEEN[k] for k in kind if k in UNSEEN]
    unseen += ["whether rows were deleted: a request is not known"] * (None in requests)
    unseen += ["the config of the run, which is not there"] * (not head["certify"])
    return int(bool(faults)), faults, unseen


def main(argv: list[str] | None = None) -> int:
    """Run the command. Returns the exit status."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("records", nargs="+", metavar="RECORD", help="file, or workdir")
    parser.add_argument("--exact", action="store_true", help="60 digits, no tolerance")
    given, worst = parser.parse_args(argv), 0
    for path in given.records:
        status, faults, unseen = audit(path, exact=given.exact)
        worst = 1 if 1 in (worst, status) else max(worst, status)
        said = "holds; level reached: arithmetic", f"{len(faults)} FAULTS", "not judged"
        lines = [f"{path}: {said[status]}", *faults[:10]]
        print("\n  ".join(lines + [f"not seen: {each}" for each in unseen]))
    return worst


if __name__ == "__main__":
    raise SystemExit(main())
