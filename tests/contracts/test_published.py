"""Rows of configs that carry a paper's numbers train what the paper trained, and no others
carry any.

jaxcert/papers/published has the tables of Altstidl et al. (2023) and Sun et al. (2024) as
printed.
"""

from __future__ import annotations

import csv
import importlib
from itertools import combinations, product
from pathlib import Path

import pytest
from refusals import names

from jaxcert import config as configs
from jaxcert import papers
from jaxcert.errors import InputError

CONFIGS = configs.shipped()
TABLES = Path(papers.__file__).parent / "published"
IMAGES = {"none": 0, "1m": 1_000_000, "4m": 4_000_000, "5m": 5_000_000}
IMAGES["10m"] = 10_000_000

ALTSTIDL = ("Altstidl et al. 2023", 36 / 255)
LOT = {
    "model.name": "lip_convnet",
    "model.conv": "lot",
    "model.width": 32,
    "model.stages": 5,
    "model.polar": "newton_schulz",
    "method.name": "lot",
    "data.batch": 256,
    "data.generated_share": 0.7,
    "optim.name": "sgd",
    "optim.lr": 0.1,
}
LOT_SIZES = {"s": (2, False), "m": (4, True), "l": (8, True)}
LIRESNET = {
    "model.power_steps": 10,
    "model.power_steps_evaluated": 500,
    "method.eps": 36 / 255,
    "optim.clip_norm": 3.0,
    "optim.schedule": "warmup_cosine",
    "optim.warmup_epochs": 20,
}
GLORO = LIRESNET | {
    "model.name": "liresnet",
    "model.differentiated": True,
    "method.loss": "emma_fixed",
    "method.last": 1.5,
    "data.batch": 256,
    "data.generated_share": 0.7,
    "optim.name": "adamw",
    "optim.weight_decay": 1e-4,
}
GLORO_SIZES = {"xs": (6, 128), "s": (12, 128), "m": (18, 128), "l": (18, 256)}
LIRESNET_PP = LIRESNET | {
    "model.depth": 12,
    "model.width": 512,
    "model.dense": 2048,
    "model.dense_depth": 8,
    "method.last": 3.0,
    "data.epochs": 800,
    "optim.name": "nadam",
    "optim.lookahead": True,
}
DISTANCES = {
    "model.name": "dist_net",
    "model.width": 5120,
    "data.batch": 512,
    "data.epoch_images": 98 * 512,
    "data.generated_share": 0.7,
    "optim.b2": 0.99,
    "optim.eps": 1e-10,
}


def printed(name):
    with open(next(TABLES.glob(f"{name}*.csv"))) as file:
        return list(csv.DictReader(file))


def cell(row):
    return float(row["clean"]), float(row["cert"])


def lot_cifar10():
    cosine = [r for r in printed("altstidl_table2") if r["architecture"] == "LOT"]
    for row in cosine:
        yield _lot(row["size"].lower(), row, "2", "cosine")
    for row in printed("altstidl_table4"):
        yield _lot(row["architecture"][-1].lower(), row, "4", "multistep")


def _lot(size, row, table, schedule):
    blocks, residual = LOT_SIZES[size]
    words = [size, row["epochs"], row["aux"].lower()]
    words += [schedule] * (schedule == "multistep")
    settings = LOT | {
        "model.blocks": blocks,
        "model.residual": residual,
        "model.head": "orthogonal",
        "data.name": "cifar10",
        "data.epochs": int(row["epochs"]),
        "data.generated_count": IMAGES[row["aux"].lower()],
        "optim.schedule": schedule,
    }
    return ",".join(words), (ALTSTIDL[0], table, ALTSTIDL[1], *cell(row)), settings


def altstidl_cifar100(architecture):
    for row in printed("altstidl_table3"):
        if row["architecture"] == architecture:
            yield row["aux"].lower(), cell(row)


def lot_cifar100():
    for images, numbers in altstidl_cifar100("LOT-L"):
        settings = LOT | {
            "model.blocks": 8,
            "model.num_classes": 100,
            "model.head": "lln",
            "data.name": "cifar100",
            "data.epochs": 200,
            "data.generated_count": IMAGES[images],
            "optim.schedule": "cosine",
        }
        yield f"l,200,{images}", (ALTSTIDL[0], "3", ALTSTIDL[1], *numbers), settings


def liresnet_cifar10():
    for row in printed("altstidl_table2"):
        if row["architecture"] != "GloroNet":
            continue
        size, images = row["size"].lower(), row["aux"].lower()
        depth, width = GLORO_SIZES[size]
        settings = GLORO | {
            "model.depth": depth,
            "model.width": width,
            "data.name": "cifar10",
            "data.epochs": int(row["epochs"]),
            "data.generated_count": IMAGES[images],
        }
        arg = f"{size},{row['epochs']},{images}"
        yield arg, (ALTSTIDL[0], "2", ALTSTIDL[1], *cell(row)), settings


def liresnet_cifar100():
    for images, numbers in altstidl_cifar100("GloroNet-L"):
        settings = GLORO | {
            "model.depth": 18,
            "model.width": 256,
            "model.num_classes": 100,
            "data.name": "cifar100",
            "data.epochs": 800,
            "data.generated_count": IMAGES[images],
        }
        yield images, (ALTSTIDL[0], "3", ALTSTIDL[1], *numbers), settings


def liresnet_pp(data, numbers):
    """Hu et al. (2024), Table 1; 256 real images in each batch."""
    for images, pair in numbers.items():
        settings = LIRESNET_PP | {
            "model.name": "liresnet_pp",
            "method.loss": "emma",
            "data.name": data,
            "data.batch": 256 if images == "none" else 1024,
            "data.generated_share": 0.75,
            "data.generated_count": IMAGES[images],
        }
        yield images, ("Hu et al. 2024", "1", 36 / 255, *pair), settings


def bronet_cifar10():
    """Lai et al. (2025), Table 1."""
    for loss, pair in {"emma": (81.0, 70.2), "annealing": (81.6, 70.6)}.items():
        emma = loss == "emma"
        settings = LIRESNET_PP | {
            "model.name": "bronet",
            "method.name": "gloro" if emma else "logit_annealing",
            "data.name": "cifar10",
            "data.batch": 256,
            "optim.weight_decay": 4e-5,
        }
        arg = "none,emma" if emma else "none"
        yield arg, ("Lai et al. 2025", "1", 36 / 255, *pair), settings


def bronet_cifar100():
    settings = LIRESNET_PP | {
        "model.name": "bronet",
        "model.num_classes": 100,
        "method.name": "logit_annealing",
        "data.name": "cifar100",
        "optim.weight_decay": 4e-5,
    }
    yield "none", ("Lai et al. 2025", "1", 36 / 255, 54.3, 40.2), settings


def lipnext_cifar10():
    """Hu et al. (2026); of what it trains with, the sizes and the loss alone are known."""
    numbers = {1024: (81.5, 71.2), 2048: (85.0, 73.2)}
    for width, pair in numbers.items():
        settings = {
            "model.name": "lipnext",
            "model.depth": 32,
            "model.width": width,
            "model.patch": 4,
            "method.name": "gloro",
            "method.loss": "emma",
            "method.eps": 36 / 255,
            "data.name": "cifar10",
            "data.generated_count": 0,
        }
        for word in ("", ",bf16"):
            paper = ("Hu et al. 2026", "", 36 / 255, *pair)
            yield f"l32w{width}{word}", paper, settings


def linf_dist_cifar10():
    recipes = {2: (10, 0.05, 0.002), 8: (24, 0.1, 0.0005), 16: (40, 0.1, 0.0002)}
    numbers = {2: (60.61, 54.12), 8: (54.30, 40.06), 16: (48.50, 29.04)}
    for radius, (eps, lam, end) in recipes.items():
        settings = DISTANCES | {
            "model.depth": 6,
            "model.identity": 10.0,
            "method.loss": "mixture",
            "method.eps": eps / 255,
            "method.lam": lam,
            "method.lam_end": end,
            "method.p_start": 100.0,
            "method.p_end": 1250.0,
            "data.epochs": 1300,
            "data.generated_count": 0,
            "optim.lr": 0.03,
        }
        paper = ("Zhang et al. 2022", "README", radius / 255, *numbers[radius])
        yield f"{radius}", paper, settings
    for row in printed("altstidl_table1"):
        if row["architecture"] == "linf-dist Net":
            arg, settings = _hinge(int(row["epochs"]) // 800, row["aux"].lower())
            settings["data.name"] = "cifar10"
            yield arg, (ALTSTIDL[0], "1", 8 / 255, *cell(row)), settings


def _hinge(times, images):
    settings = DISTANCES | {
        "model.depth": 6,
        "model.identity": 10.0,
        "model.learn_scale": False,
        "method.loss": "hinge",
        "method.mix": 0.25,
        "method.eps": 40 / 255,
        "method.p_start": 100.0 * times,
        "method.p_end": 750.0 * times,
        "data.epochs": 800 * times,
        "data.generated_count": IMAGES[images],
        "optim.lr": 0.02,
    }
    return f"hinge,{images},{times}x", settings


def linf_dist_cifar100():
    for images, numbers in altstidl_cifar100("linf-dist Net"):
        arg, settings = _hinge(1, images)
        settings |= {"data.name": "cifar100", "model.num_classes": 100}
        yield arg, (ALTSTIDL[0], "3", 8 / 255, *numbers), settings


SORTNET = DISTANCES | {
    "method.name": "sortnet",
    "optim.name": "adamw",
    "optim.lr": 0.02,
    "optim.weight_decay": 0.02,
}


def _sortnet(radius, rho, lam, times, images):
    return SORTNET | {
        "model.depth": 6,
        "model.rho": rho,
        "method.loss": "mixture",
        "method.eps": {2: 8, 8: 24}[radius] / 255,
        "method.lam": lam,
        "method.p_start": 200.0 * times,
        "method.p_end": 2950.0 * times,
        "data.epochs": 3000 * times,
        "data.generated_count": IMAGES[images],
    }


def sortnet_cifar10():
    logs = "Zhang et al. 2022", "logs"
    yield "2", (*logs, 2 / 255, 65.96, 56.67), _sortnet(2, 0.25, 1.0, 1, "none")
    yield "8", (*logs, 8 / 255, 54.84, 40.39), _sortnet(8, 0.15, 0.2, 1, "none")
    for radius, rho, pair in (2, 0.3, (67.72, 56.94)), (8, 0.4, (54.13, 39.99)):
        settings = SORTNET | {
            "model.depth": 7,
            "model.hidden": 512,
            "model.rho": rho,
            "method.loss": "ce_hinge",
            "method.eps": 1.1 * radius / 255,
            "method.eps_end": 500.0,
            "data.epochs": 3000,
        }
        yield f"{radius},mlp", (*logs, radius / 255, *pair), settings
    for row in printed("altstidl_table1"):
        times, images = int(row["epochs"]) // 3000, row["aux"].lower()
        if not row["architecture"].startswith("SortNet"):
            continue
        dropped = row["architecture"].endswith("with dropout")
        if dropped and (times, images) == (1, "none"):
            continue  # the same training, of which the first paper has eight runs
        rho, words = (0.15, "8") if dropped else (0.0, "8,nodrop")
        paper = (ALTSTIDL[0], "1", 8 / 255, *cell(row))
        settings = _sortnet(8, rho, 0.2, times, images)
        yield f"{words},{images},{times}x", paper, settings


def sortnet_cifar100():
    for images, numbers in altstidl_cifar100("SortNet without dropout"):
        settings = _sortnet(8, 0.0, 0.2, 1, images) | {"model.num_classes": 100}
        paper = (ALTSTIDL[0], "3", 8 / 255, *numbers)
        yield f"nodrop,{images}", paper, settings | {"data.name": "cifar100"}


def sortnet_mnist():
    logs = {"0.1": (99.01, 98.14, 0.3, 0.3), "0.3": (98.46, 93.40, 0.45, 0.25)}
    for radius, (clean, certified, eps, rho) in logs.items():
        settings = {
            "model.width": 5120,
            "model.depth": 5,
            "model.rho": rho,
            "method.eps": eps,
            "data.name": "mnist",
            "data.epochs": 1500,
            "method.p_end": 1450.0,
            "optim.lr": 0.02,
        }
        paper = ("Zhang et al. 2022", "logs", float(radius), clean, certified)
        yield radius, paper, settings


def sortnet_imagenet():
    logs = {
        "tiny_imagenet": (24.17, 17.92, 1000),
        "tiny_imagenet,2x": (25.69, 18.18, 1000),
        "imagenet64": (13.48, 9.02, 300),
        "imagenet64,2x": (14.79, 9.54, 300),
    }
    for arg, (clean, certified, epochs) in logs.items():
        settings = {
            "model.width": 5120,
            "model.depth": 7,
            "model.rho": 0.3,
            "model.stride": 4 if arg.endswith("2x") else 0,
            "method.eps": 1.1 / 255,
            "data.epochs": epochs,
        }
        yield arg, ("Zhang et al. 2022", "logs", 1 / 255, clean, certified), settings


NAMES = {"Sun et al.": "sun", "CAT-RS": "catrs"}
COPIES = {"gaussian": (4, 4, 4), "macer": (16, 16, 16), "smoothadv": (4, 8, 2)}
COPIES |= {"consistency": (2, 2, 2), "smoothmix": (2, 2, 2)}
COPIES |= {"catrs": (4, 4, 4), "sun": (4, 4, 4)}
SUN = {float(r["sigma"]): r for r in printed("sun_table4")}


def smoothing_cifar10():
    for row in printed("sun_table2"):
        name = NAMES.get(row["method"], row["method"].lower())
        sigma = float(row["sigma"])
        arg = f"{name},{sigma:.2f}" + ",m4" * (name == "gaussian")
        yield _smoothing(arg, "2", row, name, sigma, sun={} if name == "sun" else None)
    parts = ("discard", "reweight", "adversarial")
    for row in printed("sun_table3"):
        on, sigma = [p for p in parts if row[p] == "1"], float(row["sigma"])
        if not on and sigma == 0.5:
            yield _smoothing("gaussian,0.50,m1", "3", row, "gaussian", 0.5, copies=1)
        elif on and len(on) < 3:  # others are rows of table 2
            flags = {f"method.{part}": part in on for part in parts}
            arg = f"sun,{sigma:.2f},{','.join(on)}"
            yield _smoothing(arg, "3", row, "sun", sigma, sun=flags)
    for table, column, word, key in (
        ("5", "E_t", "et{:g}", "start_epoch"),
        ("6", "p_t", "pt{:g}", "p_t"),
        ("7", "epsilon", "eps{:g}", "eps"),
        ("8", "T", "steps{:g}", "steps"),
        ("9", "sqrt_d_times_epsilon", "linf,eps{:g}", "eps"),
        ("10", "T", "linf,steps{:g}", "steps"),
    ):
        for row in printed(f"sun_table{table}_"):
            value = float(row[column])
            usual = {"start_epoch": 70, "p_t": 0.4, "eps": 0.25, "steps": 6}[key]
            if value == usual and table != "9":
                continue  # a row of table 2, or of table 9
            changed = {f"method.{key}": value}
            changed["method.norm"] = "linf" if "linf" in word else "l2"
            arg = f"sun,0.50,{word.format(value)}"
            yield _smoothing(arg, table, row, "sun", 0.5, sun=changed)


def _smoothing(arg, table, row, name, sigma, *, copies=None, sun=None):
    at = (0.25, 0.5, 1.0).index(sigma)
    settings = {
        "model.name": "resnet",
        "model.depth": 110,
        "model.width": 16,
        "model.dtype": "float32",
        "method.name": name,
        "method.sigma": sigma,
        "method.m": copies or COPIES[name][at],
        "data.name": "cifar10",
        "data.epochs": 150,
        "optim.lr": 0.1,
        "optim.schedule": "multistep",
        "certify.sigma": sigma,
    }
    if sun is not None:
        usual = SUN[sigma]
        settings |= {
            "method.start_epoch": int(usual["E_t"]),
            "method.p_t": float(usual["p_t"]),
            "method.steps": int(usual["T"]),
            "method.eps": float(usual["epsilon"]),
            "method.norm": "l2",
        } | sun
    numbers = float(row["ca_0.00"]), float(row["ca_0.50"])
    return arg, ("Sun et al. 2024", table, 0.5, *numbers), settings


def diffusion_classifier_cifar10():
    """Chen et al. (2024), section 1: what Table 1 has of APNDC with T' = 1000."""
    settings = {
        "certify.kind": "apndc",
        "certify.sigma": 0.25,
        "certify.search": "full",
        "certify.weighting": "repo",
        "certify.levels": 1001,
        "certify.noise_from": "denoised",
        "certify.n": 10_000,
        "certify.stop": 512,
        "data.name": "cifar10",
    }
    numbers = ("Chen et al. 2024", "1", 0.25, 91.2, 82.2)
    yield "apndc,0.25,full,t1001", numbers, settings


PAPERS = {
    "lot/cifar10": lot_cifar10,
    "lot/cifar100": lot_cifar100,
    "liresnet/cifar10": liresnet_cifar10,
    "liresnet/cifar100": liresnet_cifar100,
    "liresnet_pp/cifar10": lambda: liresnet_pp(
        "cifar10", {"none": (81.0, 69.8), "4m": (87.0, 78.1)}
    ),
    "liresnet_pp/cifar100": lambda: liresnet_pp(
        "cifar100", {"none": (53.0, 40.2), "1m": (62.1, 50.1)}
    ),
    "bronet/cifar10": bronet_cifar10,
    "bronet/cifar100": bronet_cifar100,
    "lipnext/cifar10": lipnext_cifar10,
    "linf_dist/cifar10": linf_dist_cifar10,
    "linf_dist/cifar100": linf_dist_cifar100,
    "sortnet/cifar10": sortnet_cifar10,
    "sortnet/cifar100": sortnet_cifar100,
    "sortnet/mnist": sortnet_mnist,
    "sortnet/imagenet": sortnet_imagenet,
    "smoothing/cifar10": smoothing_cifar10,
    "diffusion_classifier/cifar10": diffusion_classifier_cifar10,
}
"""Config -> (row, (paper, table, radius, clean, certified), what the paper trained) of every
row that a paper has."""


def namespace_of(name):
    return vars(importlib.import_module("jaxcert.configs." + name.replace("/", ".")))


def groups_of(namespace):
    """Group -> words of a config file that go with others; those of `budget` stand alone."""
    groups = namespace["WORDS"].items()
    return {name: list(group) for name, group in groups if name != "budget"}


def rows_of(namespace, published):
    """Rows to look at: one word, two words, every row of ROWS, and each published one with
    one word more."""
    groups = groups_of(namespace)
    yield ""
    for count in (1, 2):
        for chosen in combinations(groups.values(), count):
            yield from map(",".join, product(*chosen))
    yield from namespace["ROWS"]
    for row in published:
        yield row
        said = row.split(",")
        for group in groups.values():
            if not set(group) & set(said):
                yield from (f"{row},{word}" for word in group)


def stripped(config):
    """What decides the training, the certificate and the tiny run."""
    return {k: v for k, v in config.to_dict().items() if k != "reference"}


def reference_of(config):
    r = config.reference
    return r.paper, r.table, r.radius, r.clean, r.certified


def value_of(config, key):
    for part in key.split("."):
        config = config[part]
    return config


@pytest.mark.parametrize("name", PAPERS)
def test_published_rows_train_what_the_paper_did_and_carry_its_numbers(name):
    namespace = namespace_of(name)
    for arg, numbers, settings in PAPERS[name]():
        config = namespace["get_config"](arg)
        assert reference_of(config) == numbers, arg
        found = {key: value_of(config, key) for key in settings}
        assert found == settings, arg


@pytest.mark.parametrize("name", CONFIGS)
def test_no_other_row_carries_numbers(name):
    namespace = namespace_of(name)
    known = {}
    for arg, numbers, _ in PAPERS.get(name, tuple)():
        known.setdefault(numbers, []).append(stripped(namespace["get_config"](arg)))
    published = [arg for arg, *_ in PAPERS.get(name, tuple)()]
    carrying = set()
    for arg in dict.fromkeys(rows_of(namespace, published)):
        try:
            config = namespace["get_config"](arg)
        except InputError:
            continue
        if config.reference.paper:
            numbers = reference_of(config)
            assert stripped(config) in known.get(numbers, []), arg
            carrying.add(numbers)
        else:
            assert reference_of(config) == ("", "", 0.0, 0.0, 0.0), arg
    assert carrying == set(known)


@pytest.mark.parametrize("name", CONFIGS)
def test_empty_and_contradictory_words_are_refused(name):
    namespace = namespace_of(name)
    for arg in (",", ",,,,"):
        with pytest.raises(InputError, match=names(repr(arg))):
            namespace["get_config"](arg)
    for group in groups_of(namespace).values():
        single = [word for word in group if "," not in word]
        for word in single:
            with pytest.raises(InputError, match=names(repr(f"{word},"))):
                namespace["get_config"](f"{word},")
        for pair in product(single, single):
            arg = ",".join(pair)
            said = ["twice"] if len(set(pair)) == 1 else map(repr, pair)
            with pytest.raises(InputError, match=names(repr(arg), *said)):
                namespace["get_config"](arg)


@pytest.mark.parametrize("name", CONFIGS)
def test_no_word_is_dropped(name):
    """Beside any other word, the words of a group change the config or are refused."""
    namespace = namespace_of(name)

    def built(*words):
        try:
            return stripped(namespace["get_config"](",".join(filter(None, words))))
        except InputError:
            return None

    groups = groups_of(namespace)
    for name, group in groups.items():
        others = [w for other, words in groups.items() if other != name for w in words]
        for word in ["", *others]:
            without = built(word)
            given = [found for w in group if (found := built(word, w))]
            if without and len(given) > (len(group) > 1):  # one of several: the default
                assert any(found != without for found in given), (word, name)
