"""Check the arithmetic of certificate records, evidence to radius, by docs/records.md alone.

`python -m jaxcert.audit RECORD...` or, without jaxcert, `python3 audit.py RECORD...`. Status:
0, each claim follows from its evidence; 1, one claims more, or is missing; 2, not judged.
"""

import argparse
import json
import math
from decimal import MIN_EMIN, Decimal, localcontext
from fractions import Fraction
from functools import lru_cache, partial
from itertools import accumulate, pairwise, permutations
from pathlib import Path

import numpy as np
from scipy import special, stats

OLD, FORMAT = "jaxcert-certificates-1", "jaxcert-certificates-2"
TOLERANCE = 1e-9  # relative, of alpha, constants, slack and radius; 0 if exact
NORMS = dict(bronet="l2", lip_convnet="l2", liresnet="l2", liresnet_pp="l2")
NORMS |= dict(lipnext="l2", dist_net="linf")
THEOREMS = dict(gaussian=("l2", "l1", "linf"), grid=("l2", "l1", "linf"))
THEOREMS |= {"uniform": ("l1", "linf"), "laplace": ("l1",), None: THEOREMS["gaussian"]}


def must(holds: object, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def number(where: dict, name: str, low: float, high: float = 2**31):
    """Return a number of the header from low to high, a whole one if low is."""
    value, kinds = where.get(name), (int,) if type(low) is int else (int, float)
    must(type(value) in kinds and low <= value <= high, f"{name} is {value!r}")
    return value


def first(test) -> float:
    """Return where from 1e-30 to 1 a test begins to hold that then holds on."""
    low, high = 1e-30, 1.0
    for _ in range(64):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if test(middle) else (middle, high)
    return high


def chance(mixed: bool, n: int, k: int, q):
    """Return P(at least k of n votes) where each comes with probability 1 - q, in 60 digits
    for a Decimal. Mixed: return 1 over the likelihood ratio of a mixture (Robbins 1970), which
    is (1 - q)^k q^(n - k) B(1/2, 1/2) / B(k + 1/2, n - k + 1/2), rounded up."""
    if k == 0 or mixed and n * (1 - q) >= k:
        return 1
    if mixed:
        log = special.xlog1py(k, -q) + special.xlogy(n - k, q) + math.log(math.pi)
        log += 1e-14 * n - special.betaln(k + 0.5, n - k + 0.5)
        return math.exp(min(log, 0))
    if isinstance(q, float):
        return float(special.betaincc(n - k + 1, k, q))
    ratios = (q / (1 - q) * (n - i) / (i + 1) for i in range(n - k))  # one miss more
    return sum(accumulate(ratios, lambda x, y: x * y, initial=(1 - q) ** n))


@lru_cache(1 << 18)
def bound(mixed: bool, n: int, k: int, level: float, exact: bool = False) -> float:
    """Return the least q such that k of n votes reject, at a level, that 1 - p >= q, 1 where
    there is none; if exact, a q that is larger by 1e-13 and surely does."""
    q = first(lambda q: chance(mixed, n, k, q) <= level)
    if not exact or mixed or q == 1:
        return q
    with localcontext(prec=60, Emin=MIN_EMIN):
        q += 1e-13 * min(q, 1 - q)
        return q if chance(mixed, n, k, Decimal(q)) <= level else 1.0


@lru_cache(512)
def boundary(q: float, looks: tuple, spending: tuple, exact: bool) -> list[int]:
    """Return the counts c_j that reject 1 - p >= q: the smallest for which any of k_1 >= c_1,
    ..., k_j >= c_j has a probability of at most spending[j] under q (Lan & DeMets 1983)."""
    wrong = 1e-10 if exact else -TOLERANCE  # the error of probabilities, and its side
    bounds, spent, low, alive = [], 0.0, 0, np.ones(1)  # alive: the law of k_j - low
    for before, look, most in zip((0, *looks), looks, spending, strict=False):
        step = stats.binom(look - before, 1 - q)
        start, last = int(step.ppf(1e-30)), int(step.isf(1e-30))
        low += start
        alive = np.convolve(alive, step.pmf(np.arange(start, last + 1)))
        crossed = np.append(alive[::-1].cumsum()[::-1] * (1 + wrong), 0.0)
        above = int(np.argmax(crossed <= max(most - spent - 1e-25, 0.0)))
        bounds.append(low + above if above < len(alive) else look + 1)
        spent, alive = spent + float(crossed[above]) + 1e-25, alive[: max(above, 1)]
    return bounds


@lru_cache(1 << 14)
def second_stage(radius, sizes: tuple, level, rho, pilot, k, c) -> int:
    """Return the first size to prove 1 - rho of the largest's radius if shares stay, or 0."""
    both = ((m, k * m // pilot, m - c * m // pilot) for m in sizes)
    found = {m: radius(*(bound(False, m, x, level) for x in xs)) for m, *xs in both}
    return next((m for m in found if found[m] >= (1 - rho) * found[sizes[-1]] > 0), 0)


def radius_of(noise, b, d, least, lost, q, u) -> float:
    """Return the radius that 1 - p <= q, and at most u for any other class, prove (Cohen et
    al. 2019: gaussian; Yang et al. 2020: uniform; Teng et al. 2020: laplace)."""
    q, u = (max(x + least / 4, least) for x in (q, min(q, u)))
    if q + u >= 1:
        return 0.0
    if noise == "uniform":  # a shift loses at most this share of the cube
        return -2 * b * math.expm1(math.log1p((q + u - 1) / 2 + lost) / d)
    s = -float(special.ndtri(q) + special.ndtri(u)) / 2
    if noise == "laplace":  # a shift changes no probability by more than e^(r / b)
        s = max(math.log((1 - q) / u) / 2, -math.log(q + u))
    return b * (s - lost * (1 + s)) / math.sqrt(d)


def smoothing(head: dict, exact: bool):
    """Return the check of rows of votes, by the procedure that the header names."""
    asked, name, norm = head["procedure"], head["name"], head["norm"]
    kind, rival, noise = map(asked.get, "bound rival noise".split())
    kinds = ("union", "mixture") if name == "sequence" else (None, "single")
    more = name not in ("predict", "radii") and rival in ("runner_up", "auto")
    fits = kind in kinds and (more or rival in (None, "single"))
    if not fits or norm not in THEOREMS.get(noise, ()):
        raise NotImplementedError(f"{(name, kind, rival, noise, norm)}")
    alpha, n = number(head, "alpha", 1e-300, 1 - 1e-9), number(asked, "n", 1)
    d = number(asked, "d", head["pixels"] or 1, 2**40) if norm == "linf" else 1
    # float32 noise has 2^23 values and ends near 5 sigma: it shows no 1 - p below 1e-6
    limited = noise != "grid" and n * 1e-6 > min(1.0, -math.log(alpha))
    least = max(1e-6 * limited, asked.get("least_tail", 0))
    wide = dict(uniform=math.sqrt(3.0), laplace=math.sqrt(0.5)).get(noise, 1.0)
    b = float(np.float32(wide * number(head, "sigma", 1e-30, 1e30)))  # as drawn
    radius = partial(radius_of, noise, b, d, least, 2e-15 * exact)
    looks = tuple(100 << j for j in range(32) if 100 << j < n) + (n,)
    spending = tuple(alpha * (look / n) ** 0.3 for look in looks)
    sizes = tuple(np.unique(np.geomspace(min(100, n), n, 80).astype(int)).tolist())
    fixed = dict(looks=looks, spending=spending, sizes=sizes, scale=b)
    for key, x in (fixed | dict(mixture=[0.5, 0.5])).items():
        must(np.allclose(asked.get(key, x), x, 1e-15, 0), f"{key} is not {x}")
    looks = looks if name in ("radii", "sequence") else (n,)
    pilot = number(asked, "pilot", 1) if name == "two_stage" else 0
    mixed, parts = kind == "mixture", len(looks) if kind == "union" else 1
    level, tried = alpha * (1 + TOLERANCE * (not exact)), asked.get("radii", [])
    needed = [first(lambda q, r=r: radius(q, 1) <= r) * (1 - 1e-15) for r in tried]

    def are_votes(votes: list, most: int) -> bool:
        return all(type(x) is int and x >= 0 for x in votes) and sum(votes) <= most

    def split(votes: list[int], used: int, y: int) -> tuple[int, int]:
        """Return (k, c): the votes for y, and the most that another class may have."""
        undrawn = (used - sum(votes)) * (noise == "grid")
        return votes[y], max(votes[:y] + votes[y + 1 :], default=0) + undrawn

    def chosen(row: dict) -> tuple[float, bool]:
        """Return the level of each bound, and whether the best other class has one as well."""
        y, classes, votes = row["predicted"], len(row["counts"]), row.get("selection")
        if votes is not None or not head["old"]:
            n0 = number(asked, "n0", 1)
            fits = are_votes(votes, n0) and len(votes) == classes
            must(fits and votes.index(max(1, *votes)) == y, f"{votes} choose not {y}")
        both = more and classes > 2
        if both and rival == "auto":
            k, c = (x * n // n0 for x in split(votes, n0, y))
            q, u = (bound(False, n, x, level / 2) for x in (k, n - c))
            both = radius(q, u) > radius(bound(False, n, k, level), 1) * (1 + 1e-9)
        return (level / 2, True) if both else (level, False)

    def seen(row: dict, part: float, both: bool) -> list[tuple[int, int, int]]:
        """Return (n, k, c) at each look that counts, with k and c as `split` has them."""
        counts, used, ends, y = row["counts"], row["n"] - pilot, looks, row["predicted"]
        (k, c), others = split(counts, used, y), counts[:y] + counts[y + 1 :]
        c *= both
        at = row.get("agreeing", [k])
        at = [at, row.get("rivals", [c]) if both else [min(x, 0) for x in at]]
        if pilot:
            start, at, ends = [x[0] for x in at], [x[1:] for x in at], (used,)
            must(are_votes(start, pilot), f"{start} are no votes of {pilot}")
            how = number(asked, "rho", 0.0, 1.0), pilot, start[0]
            ask = second_stage(radius, sizes, part, *how, start[1] if both else pilot)
            rule = [m for least, m in asked.get("rule", []) if least <= start[0]]
            must({ask, *rule[-1:]} == {used}, f"{used} samples, of a pilot of {ask}")
        must(used in ends and are_votes(counts, used), f"{counts} of {used}, asked {n}")
        path = [(0, 0, 0), *zip(ends, *at, strict=True)][: ends.index(used) + 2]
        rest = {x for votes in at for x in votes[len(path) - 1 :]}
        must(rest <= {-1} and path[-1] == (used, k, c), f"{at}, {k}, {c} are counted")
        for (s, *old), (t, *new) in pairwise(path):
            steps = [y - x for x, y in zip(old, new, strict=True)]
            room = used - sum(counts) + sum(min(x, new[1]) for x in others)
            fits = are_votes(steps, t - s) and are_votes(new, t)
            must(fits and (not both or t - new[0] <= room), f"{at}, of {counts}")
        return path[1:]

    def check(row: dict) -> None:
        r, counts, p_lower = row["radius"], row["counts"], row.get("p_lower")
        if name == "predict":
            k, second = split(counts, n, row["predicted"])
            p = 2 * chance(False, k + second, k, 0.5) * (1 + 1e-12 * exact)
            fits = are_votes(counts, n) and row["n"] == n and r == 0 and p <= level
            must(fits, f"{counts} of {n} prove {r!r}")
            return
        part, both = chosen(row)
        votes = seen(row, part, both)
        if name == "radii":
            for q in needed[: tried.index(r) + 1] + [1 - x for x in [p_lower] if x]:
                need = boundary(q, looks, spending, exact)
                sure = any(k >= c for (_, k, _), c in zip(votes, need, strict=False))
                must(sure, f"radius {r!r}, p_lower {p_lower!r}: {need} of {votes}")
            return
        q = min(bound(mixed, t, k, part / parts, exact) for t, k, _ in votes)
        u = min(bound(mixed, t, t - c, part / parts, exact) for t, _, c in votes)
        found, q = radius(q, u if both else 1), max(q + least / 4, least)
        fits = r <= found > 0 and Fraction(p_lower or 0) + Fraction(q) <= 1
        must(fits, f"radius {r!r}, p_lower {p_lower!r}: {votes} prove {found}, 1-{q}")

    return check


def margin(head: dict, exact: bool):
    """Return the check of rows of logits: r L_yj <= z_y - z_j - 2 slack (Tsuzuku et al. 2018).
    Drawn: z_y - z_j is a lower bound of a mean (Chen et al., arXiv:2402.02316)."""
    asked, old, K = head["procedure"], head["old"], head["num_classes"]
    t, drawn = Fraction(0 if exact else TOLERANCE), head["alpha"] > 0
    layers = [] if drawn or old else [Fraction(x["bound"]) for x in head["layers"]]
    last = head["pairwise_bound" if drawn or old else "head"]
    n, product = number(asked, "n", 2, 10**6) if drawn else 1, math.prod(layers)
    if drawn and not old:
        w, s = (np.array(asked[x], float) for x in ("weights", "sigmas"))
        must(w.shape == s.shape == (len(w),) and min(*w, *s) >= 0, f"{w}, {s}")
        cap, direct = number(asked, "cap", 1e-9, 1.0), 1 / head["pixels"] ** 0.5
        last = sum(w * (cap * (8 / math.pi) ** 0.5 / s + min(2, 4 * cap**0.5) * direct))
        last, span = last * (1 + 1e-14 * exact), cap * w.sum()
        (log, ln), kind = np.log([2, 1] / np.float64(head["alpha"])), asked["bound"]
        wide = dict(bernstein=14 * log / (3 * n - 3), hoeffding=(2 * ln / n) ** 0.5)
        wide, log = span * (wide[kind] + 1e-14 * exact), log * (kind == "bernstein")
    bound, last = (np.full((K, K), x).tolist() for x in (head["pairwise_bound"], last))
    for i, j in permutations(range(K), 2):
        given, least = bound[i][j], product * Fraction(last[i][j])
        fits = least * (1 - t) <= given <= least * (1 + t + Fraction(1e-9))
        fits = fits and min([0, *layers]) == 0 <= given <= bound[j][i] * (1 + 2e-9)
        must(fits, f"pairwise_bound {given!r}, of {float(least)!r}")
    least = 2.0**-30 * max(map(max, bound)) * head["pixels"] ** 0.5 * (1 - TOLERANCE)
    lost = 2 * Fraction(number(asked, "logit_slack", least * (not drawn))) * (1 - t)

    def check(row: dict) -> None:
        y, r, z = row["predicted"], row["radius"], [*map(Fraction, row["logits"])]
        must(row["n"] == n and (not drawn or z[y] == 0 < r), f"n {row['n']}, {r!r}")
        for j in [j for j in range(max(K, len(z))) if j != y]:  # not K: none there
            gap, reach = z[y] - z[j], Fraction(r) * Fraction(bound[y][j])
            fits = gap >= 0 and (r == 0 or reach * (1 - t) <= gap * (1 + t) - lost)
            if drawn and not old:
                m, v = row["means"][j], row["variances"][j]
                lower = m - math.sqrt(2 * v * log / n) - wide
                fits = fits and abs(m) * (1 - 1e-9) <= span and gap <= lower
            must(fits, f"radius {r!r}: the gap {float(gap)!r} to class {j} proves less")

    return check


def interval(head: dict, exact: bool):
    """Return the check of rows of interval margins (Zhang et al., arXiv:2102.05363)."""
    asked, t, nan = head["procedure"], 0 if exact else TOLERANCE, math.nan
    head.setdefault("pairwise_bound", 1.0)  # of a distance net in format 1
    margin(head, exact)  # checks the constants and the slack
    tried, slack = asked["radii"], 2 * asked["logit_slack"]
    must(tried == sorted(set(tried)) and max(tried) <= 1, f"radii {tried} were tried")

    def check(row: dict) -> None:
        z, y, r = [*map(Fraction, row["logits"])], row["predicted"], row["radius"]
        gap = z[y] - max(z[:y] + z[y + 1 :])
        must(gap >= 0 and len(z) == head["num_classes"], "it has not the largest logit")
        found = [nan if x is None else x for x in row.get("least_margins", [])]
        if own := head["old"] and row.get("margins"):  # those of the row's own radius
            found = [min(own[:y] + own[y + 1 :]) if x == r else nan for x in tried]
        must(r == 0 or found[tried.index(r)] > slack * (1 - t), f"{r!r} has no margin")
        for x in found:  # margins do not grow with the box
            must(not x > gap + slack * (1 + t), f"margin {x!r} follows {gap!r}")
            gap = gap if math.isnan(x) else min(gap, x)

    return check


CHECKS = {("smoothing", x): smoothing for x in ("certify", "predict", "radii")}
CHECKS |= {("smoothing", x): smoothing for x in ("two_stage", "sequence")}
CHECKS |= {("lipschitz", "margin"): margin, ("interval", "interval"): interval}
CHECKS["diffusion_classifier", "margin"] = margin


def opened(head: dict, exact: bool):
    """Return the check of rows below a header, which must not contradict its config."""
    for key in ("config", "procedure", "model", "base", "generator", "network"):
        head[key] = head[key] if isinstance(head.get(key), dict) else {}
    config, asked, base, model = map(head.get, ("config", "procedure", "base", "model"))
    shape = head["network"].get("image_shape") or model.get("image_shape")
    old = head.get("format") == OLD and not head["network"] and "scale" not in asked
    method, name, norm = head.get("method"), asked.get("name"), head.get("norm", "l2")
    head |= dict(old=old, pixels=math.prod(shape or [0]), name=name, norm=norm)
    if head.get("format") not in (OLD, FORMAT) or (method, name) not in CHECKS:
        raise NotImplementedError(f"{method!r}, {name!r} of {head.get('format')!r}")
    drawn = (voted := method == "smoothing") or method == "diffusion_classifier"
    made = dict(implementation="threefry2x32", partitionable=old) | head["generator"]
    must(not drawn or [*made.values()][:2] == ["threefry2x32", True], f"noise: {made}")
    base = base if voted and base.get("name") != method else {}
    must(old or (asked.get("noise") if voted else shape), "no noise, or no image_shape")
    number(head, "alpha", 1e-300 * drawn, (1 - 1e-9) * drawn)
    known = {norm, "l2" if drawn else NORMS.get(model.get("name"), norm)}
    kinds = [x["kind"] for x in head.get("layers") or []]
    own = "linf" if any(x.endswith("NormDist") for x in kinds) else "l2"
    known |= {head["network"].get("norm", norm if old else None), *[own][: len(kinds)]}
    must(voted or known == {norm} <= {*THEOREMS[None]}, f"norms are {known}")
    wanted = dict(config.get("certify", {}), dataset=config.get("data", {}).get("name"))
    wanted |= {k: config.get(k) for k in ("model", "precision")}
    wanted["num_classes"] = (base or model).get("num_classes")
    wanted["image_shape"] = model.get("image_shape")
    start, stop, step = (wanted.get(k, 10**7) for k in ("start", "stop", "step"))
    head["rows"] = range(start, min(stop or 10**7, head.get("images", 0)), step)
    said = dict(noise="gaussian", rival="single") | base | asked
    said |= {k: head.get(k) for k in "split seed alpha dataset model precision".split()}
    said |= dict(name=base.get("name", method), procedure=name, norm=norm)
    said |= dict(num_classes=number(head, "num_classes", 1), image_shape=shape)
    said["sigma"] = np.float32(head.get("sigma", 0))  # as drawn
    wanted["sigma"] = wanted.get("sigma") and np.float32(wanted["sigma"])
    if wanted.get("radii") and "radii" in asked:
        radii = sorted({float(r) for r in wanted["radii"] if r or drawn})
        wanted["radii"] = radii[: len(asked["radii"])] if drawn else radii
    for k in wanted.keys() & said.keys():
        must(wanted[k] in (None, said[k]), f"{k} {said[k]!r}, not {wanted[k]!r}")
    told = "alpha sigma norm noise procedure n n0 " * voted
    told += "radii name split dataset model precision num_classes image_shape"
    head["untold"] = [k for k in told.split() if k in said and wanted.get(k) is None]
    return CHECKS[method, name](head, exact)


def audit(path: str | Path, *, exact: bool = False) -> tuple[int, list[str], list[str]]:
    """Return (status, faults, what is not seen) of a record, or of one in a workdir."""

    def once(pairs: list) -> dict:
        must(len(dict(pairs)) == len(pairs), "a key stands there twice")
        return dict(pairs)

    file, seen, faults, asked, head, check = Path(path), {}, [], set(), {}, print
    try:
        file = file / "certificates.jsonl" if file.is_dir() else file
        lines = file.read_bytes().splitlines()
        must("format" in json.loads(lines[0]).keys(), "no header")
    except Exception:
        return 2, [f"cannot be judged: no record can be read from {file}"], []
    for line, text in enumerate(lines, 1):
        try:
            row = json.loads(text, object_pairs_hook=once)
            for x in row.get("requests") or [None] * (line == 1):
                slices = range(x["start"], x["stop"], x["step"]) if x else [None]
                asked.update(slices[: 10**7])  # more than data sets have
            if line == 1:
                head, check = row, opened(row, exact)
                continue
            numbers = [row["index"], row["predicted"], row["n"], row["label"] or 0]
            (index, y, n, label), r, K = numbers, row["radius"], head["num_classes"]
            fits = all(type(x) is int for x in numbers) and type(r) in (int, float)
            width = len(row.get("counts") or row.get("logits") or []) or K
            fits = fits and -2 <= y < K > label >= 0 <= n and width >= K
            must(fits, f"index, class, n, label {numbers}, r {r}, {width}/{K} classes")
            must(0 <= r < math.inf and (y >= 0 or r == 0), f"radius {r!r} of class {y}")
            known = index not in seen and 0 <= index < head.get("images", math.inf)
            must(known, f"image {index} was there before, or is beyond the data set")
            seen[index] = line
            if y >= 0:
                check(row)
        except NotImplementedError as why:
            return 2, [f"cannot be judged: {why}"], []
        except Exception as error:  # any: what cannot be checked is not proven
            faults.append(f"line {line}: {getattr(error, 'msg', error) or repr(error)}")
            if not head:
                return 1, faults, []
    lost = {*asked, *head["rows"]} - {*seen, None}
    more = {*seen} - asked if None not in asked else ()
    faults += [f"line 1: {len(lost)} requested rows are missing"] * bool(lost)
    faults += [f"line {seen[x]}: no request names the image" for x in sorted(more)]
    unseen = ["whether votes, logits, margins, means and norms are the network's"]
    unseen += ["what format 1 lacks, see docs/howto/audit.md"] * head["old"]
    unseen += ["rows that were deleted: a request is not known"] * (None in asked)
    unseen += ["the config's " + ", ".join(head["untold"])] * bool(head["untold"])
    unseen += ["whether its rival was chosen beforehand"] * ("bounded_again" in head)
    return int(bool(faults)), faults, [f"not seen: {each}" for each in unseen]


def main(argv: list[str] | None = None) -> int:
    """Run the command. Returns the exit status."""
    parser = argparse.ArgumentParser("audit.py", description=__doc__)
    parser.add_argument("records", nargs="+", metavar="RECORD", help="file, or workdir")
    parser.add_argument("--exact", action="store_true", help="allow no tolerance")
    given, found = parser.parse_args(argv), set()
    for path in given.records:
        status, faults, unseen = audit(path, exact=given.exact)
        said = "holds; level reached: arithmetic", f"{len(faults)} FAULTS", "not judged"
        print(f"{path}: {said[status]}", *faults[:10], *unseen, sep="\n  ")
        found.add(status)
    return 1 if 1 in found else max(found)


if __name__ == "__main__":
    raise SystemExit(main())
