"""What an error about files, images, configs and settings advises works: the fault, its
sentence, the advice followed, no error.

Sentences of commands are followed in test_advice.py, those of archives, pictures, shards and
imports partly where they are tested.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import shlex
import struct
import tarfile
from functools import partial
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from command_line import CONFIG, ROOT
from PIL import Image
from refusals import names

from jaxcert import __main__ as commands
from jaxcert import cli
from jaxcert import config as configs
from jaxcert.config import check_type
from jaxcert.data import (
    archives,
    download,
    generated,
    loader,
    mixture,
    opened,
    randaugment,
    shards,
    sources,
    write,
)
from jaxcert.data.augment import augment
from jaxcert.errors import InputError
from jaxcert.interfaces import Run, TrainState
from jaxcert.papers import study as studies
from jaxcert.sharding import data_mesh
from jaxcert.training import limits, loop, optim, processes

pytestmark = pytest.mark.filterwarnings("ignore:.*differs from the published file")

IMAGE = np.random.default_rng(0).integers(2, 256, (12, 8, 8, 1), np.uint8)
LABEL = np.arange(12) % 10
UNIT = IMAGE / np.float32(255)
PIXELS = IMAGE.tobytes()


def refused(call, words):
    with pytest.raises(InputError) as caught:
        call()
    said = str(caught.value)
    assert re.search(words, said) and re.fullmatch(r"[^\n]+[.?]", said), said
    return said


def saved(path, image=IMAGE, label=LABEL, save=np.savez):
    path.parent.mkdir(parents=True, exist_ok=True)
    save(path, image=image, label=label)
    return path


# settings of functions --------------------------------------------------------------------


def augmented(image=IMAGE, **settings):
    batch = {"image": image, "real": np.ones(len(image), bool)}
    jax.eval_shape(partial(augment, **settings), jax.random.key(0), batch)


def mixed(**given):
    mixture.make(**dict(real_size=10, generated_size=10, batch=4) | given)


def checked(image=IMAGE, label=LABEL, num_classes=10):
    sources.checked(image, label, num_classes=num_classes, name="x")


def source(image=IMAGE, label=LABEL, num_classes=10):
    return sources.Source(image, label, num_classes, "x")


def together(batch=4, devices=1, **given):
    loader.check(source(), source(**given), batch, devices=devices)


def placed(placement):
    plan = mixture.make(12, 0, batch=4)
    loader.batches(
        source(), None, plan, 0, mesh=data_mesh(), total=1, placement=placement
    )


def optimizer(total=8, epoch=4, **given):
    tx = optim.make(Run(epoch, total, 100), **given)
    jax.eval_shape(tx.init, {"layer": {"kernel": np.ones((2, 2), np.float32)}})


def averaged(ema, halflife):
    optim.averaging(ema, halflife, batch=8)


def opened_data(**data):
    config = configs.tiny(configs.load(CONFIG))
    config.data.update(dict(batch=20, epochs=1) | data)
    opened.open(config)


def memory(batch=20, image=(4, 4, 3), copies=1, width=10, device=3000):
    params = {"w": jax.ShapeDtypeStruct((width,), np.float32)}
    state = TrainState((), params, (), (), (), None)
    limits.check_memory(
        state,
        batch=batch,
        copies=copies,
        image=jax.ShapeDtypeStruct(image, np.uint8),
        devices=[
            SimpleNamespace(
                process_index=0, memory_stats=lambda: {"bytes_limit": device}
            )
        ],
    )


PLAN = dict(
    systems=[CONFIG],
    generated="x",
    counts=[0],
    shares=[0.7],
    epochs=[1.0],
    seeds=[0],
    words=[],
    tiny=True,
)


def plan(**given):
    studies.runs(**PLAN | given)


# (words of the sentence, function, arguments with the fault, arguments as advised)
SETTINGS = [
    (
        names("data.augment.randaugment", 2.0),
        augmented,
        dict(randaugment=2.0),
        dict(randaugment=1.0),
    ),
    (
        names("data.augment.pipe_probability", -1.0),
        augmented,
        dict(pipe_probability=-1.0),
        {},
    ),
    (
        names("data.augment.pipe", "x"),
        augmented,
        dict(pipe="x"),
        dict(pipe="shift"),
    ),
    (names("data.augment.pipe", "x"), augmented, dict(pipe="x"), dict(pipe="")),
    (
        "give one of them",
        augmented,
        dict(resized_crop=True, crop=2),
        dict(resized_crop=True),
    ),
    ("give one of them", augmented, dict(resized_crop=True, crop=2), dict(crop=2)),
    (
        names("data.augment.crop_fill", "x"),
        augmented,
        dict(crop_fill="x"),
        dict(crop_fill="edge"),
    ),
    (names("data.augment.generated_crop", 8), augmented, dict(generated_crop=8), {}),
    (names("data.augment.cutout", 15), augmented, dict(cutout=15), dict(cutout=14)),
    (
        "randaugment .* give 0",
        augmented,
        dict(image=UNIT, randaugment=0.5),
        dict(image=UNIT, randaugment=0.0),
    ),
    (
        names("magnitude", 31),
        partial(randaugment.randaugment, jax.random.key(0)),
        dict(image=IMAGE[0], magnitude=31),
        dict(image=IMAGE[0], magnitude=30),
    ),
    (names("data.batch", 0), mixed, dict(batch=0), dict(batch=2)),
    (names("data.generated_share", 1.1), mixed, dict(share=1.1), dict(share=1.0)),
    (
        names("data.order", "x"),
        mixed,
        dict(order="x"),
        dict(order="wang"),
    ),
    (
        names("data.epoch_images", -1),
        mixed,
        dict(epoch_images=-1),
        dict(epoch_images=0),
    ),
    (names("seed", -1), mixed, dict(seed=-1), dict(seed=0)),
    ("a larger share", mixed, dict(share=0.1), dict(share=0.25)),
    ("or batch", mixed, dict(share=0.1), dict(share=0.1, batch=10)),
    ("or batch, or 0", mixed, dict(share=0.1), dict(share=0.0)),
    ("real training set is empty", mixed, dict(real_size=0), dict(real_size=1)),
    (
        "N,H,W,C. or .N,H,W",
        checked,
        dict(image=IMAGE[0, ..., 0]),
        dict(image=IMAGE[..., 0]),
    ),
    ("one label per image", checked, dict(label=LABEL[1:]), {}),
    ("give at least one", checked, dict(image=IMAGE[:0], label=LABEL[:0]), {}),
    ("whole numbers", checked, dict(label=LABEL + 0.5), dict(label=LABEL)),
    ("labels in 0..9", checked, dict(label=LABEL + 1), {}),
    (
        "numbers of classes from 0",
        checked,
        dict(label=LABEL + 2**30, num_classes=0),
        dict(label=LABEL, num_classes=0),
    ),
    ("uint8, or floats in", checked, dict(image=IMAGE.astype(int)), {}),
    ("uint8, or floats in", checked, dict(image=IMAGE.astype(int)), dict(image=UNIT)),
    ("floats in .0, 1., or", checked, dict(image=UNIT * 255), dict(image=UNIT)),
    ("multiple of their", together, dict(batch=5, devices=2), dict(batch=6, devices=2)),
    ("of the same shape", together, dict(image=IMAGE[:, 1:]), {}),
    ("shape and kind", together, dict(image=UNIT), {}),
    ("images made for x", together, dict(num_classes=9), {}),
    (names("data.placement", "x"), placed, "x", "device"),
    (names("optim.lr", 0.0), optimizer, dict(lr=0.0), dict(lr=1e-3)),
    (
        names("optim.clip_norm", -1.0),
        optimizer,
        dict(clip_norm=-1.0),
        dict(clip_norm=0.0),
    ),
    (names("optim.accumulate", 0), optimizer, dict(accumulate=0), dict(accumulate=1)),
    (names("optim.momentum", 1.0), optimizer, dict(momentum=1.0), dict(momentum=0.99)),
    ("give less", optimizer, dict(accumulate=9), dict(accumulate=8)),
    ("or more epochs", optimizer, dict(accumulate=9), dict(accumulate=9, total=12)),
    (
        names("optim.warmup_steps", -1.0),
        optimizer,
        dict(warmup_steps=-1.0),
        dict(warmup_steps=0.0),
    ),
    (names("optim.b1", 1.0), optimizer, dict(name="adam", b1=1.0), dict(name="adam")),
    (names("optim.eps", 0.0), optimizer, dict(name="adam", eps=0.0), dict(eps=1.0)),
    (
        names("optim.milestones", 4.0),
        optimizer,
        dict(schedule="multistep", milestones=(4.0,)),
        dict(schedule="multistep", milestones=(0.5,)),
    ),
    (
        "must divide",
        optimizer,
        dict(lookahead=True, accumulate=3),
        dict(lookahead=True, accumulate=2),
    ),
    (
        names("optim.name", "x"),
        optimizer,
        dict(name="x"),
        dict(name="nadam"),
    ),
    (
        names("optim.schedule", "x"),
        optimizer,
        dict(schedule="x"),
        dict(schedule="warmup"),
    ),
    (
        "warmup_steps takes .* give less",
        optimizer,
        dict(schedule="warmup", warmup_steps=8.0),
        dict(schedule="warmup", warmup_steps=7.0),
    ),
    (
        "or more epochs",
        optimizer,
        dict(schedule="warmup_cosine", warmup_epochs=2),
        dict(schedule="warmup_cosine", warmup_epochs=2, total=12),
    ),
    (
        "there are kernel, layer",
        optimizer,
        dict(factors={"x": 0.1}),
        dict(factors={"kernel": 0.1}),
    ),
    (
        names("ema", 1.0),
        averaged,
        dict(ema=1.0, halflife=0),
        dict(ema=0.99, halflife=0),
    ),
    (
        names("ema_halflife", -1),
        averaged,
        dict(ema=0.0, halflife=-1),
        dict(ema=0.0, halflife=9),
    ),
    (
        "0 for one of the two",
        averaged,
        dict(ema=0.9, halflife=9),
        dict(ema=0.0, halflife=9),
    ),
    (
        "0 for one of the two",
        averaged,
        dict(ema=0.9, halflife=9),
        dict(ema=0.9, halflife=0),
    ),
    (names("data.epochs", 0), opened_data, dict(epochs=0), dict(epochs=1)),
    ("at most as many", opened_data, dict(batch=1001), dict(batch=1000)),
    (
        "give fewer of either",
        opened_data,
        dict(batch=1, epochs=2**22, epoch_images=2**10),
        dict(batch=1, epochs=2**20, epoch_images=2**10),
    ),
    (
        "give fewer of either",
        opened_data,
        dict(batch=1, epoch_images=2**32),
        dict(batch=1, epoch_images=2**30),
    ),
    ("a share below 1", opened_data, dict(holdout=1.5), dict(holdout=0.5)),
    ("or a number", opened_data, dict(holdout=1.5), dict(holdout=2.0)),
    ("some on both sides", opened_data, dict(holdout=1e-4), dict(holdout=1.0)),
    ("some on both sides", opened_data, dict(holdout=1000.0), dict(holdout=900.0)),
    ("a larger side, or 0", opened_data, dict(pad=7), dict(pad=9)),
    ("a larger side, or 0", opened_data, dict(pad=7), dict(pad=0)),
    ("a smaller side, or 0", opened_data, dict(pad=2**30), dict(pad=16)),
    ("there are digits, mnist", opened_data, dict(name="x"), dict(name="digits")),
    (
        names("split", "x"),
        partial(sources.open, "digits"),
        dict(split="x"),
        dict(split="test"),
    ),
    ("smaller config.model", memory, dict(width=1000), dict(width=10, batch=2)),
    (
        "smaller images or fewer copies",
        memory,
        dict(batch=1, copies=20),
        dict(batch=1, copies=10),
    ),
    (
        "smaller images",
        memory,
        dict(batch=1, image=(40, 40, 3)),
        dict(batch=1, image=(8, 8, 3)),
    ),
    ("N: 'h:1,2,2'|from 0 to N - 1", processes.parse, "h:1,2,2", "h:1,2,1"),
    ("from 0 to N - 1", processes.parse, "h,2,1", "h:1,2,1"),
    ("one from 1 to 65535", processes.parse, "h:0,2,1", "h:65535,2,1"),
    (
        names("--distributed-wait", 0),
        partial(processes.join, "127.0.0.1:1,1,0"),
        dict(limit=0),
        None,
    ),
    (names("--shares", 2.0), plan, dict(shares=[2.0]), dict(shares=[1.0])),
    (names("--epochs", 0.0), plan, dict(epochs=[0.0]), dict(epochs=[0.5])),
    ("by --generated", plan, dict(generated="", counts=[5]), dict(counts=[5])),
    ("number of epochs once", plan, dict(epochs=[1.0, 1.001]), dict(epochs=[1, 2.0])),
    ("numbers from 0 up", cli.parse_radii, "0,x", "0,0.25,36/255"),
    (
        "type int",
        partial(check_type, kind=int, what="x"),
        dict(value="1"),
        dict(value=1),
    ),
    (
        "finite number of at most",
        partial(check_type, kind=float, what="x"),
        dict(value=float("inf")),
        dict(value=2.0**32),
    ),
]


def called(function, given):
    return function(given) if isinstance(given, str) else function(**given)


@pytest.mark.parametrize("words,function,fault,advised", SETTINGS)
def test_settings(words, function, fault, advised):
    refused(lambda: called(function, fault), words)
    if advised is not None:
        called(function, advised)


def test_a_batch_well_below_the_one_that_does_not_fit():
    said = refused(partial(memory, batch=2000), "well below")
    most = int(re.search(r"well below ([\d,]+)", said)[1].replace(",", ""))
    memory(batch=most // 2)
    refused(partial(memory, batch=most + 1), "well below")


# files ------------------------------------------------------------------------------------


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def compressed(path):
    saved(path, save=np.savez_compressed)


# (words, what breaks train.npz, what mends it as advised)
NPZ = {
    "missing": ("no file .*: check the path", lambda p: p.unlink(), saved),
    "cut off": ("copy it again", cut, saved),
    "compressed": ("by np.savez instead of np.savez_compressed", compressed, saved),
    "other names": (
        r"save it by np.savez\(path, image=..., label=...\)",
        lambda p: np.savez(p, x=IMAGE, y=LABEL),
        saved,
    ),
    "0 and 1": (
        r"save round\(255 x\) as uint8",
        lambda p: saved(p, IMAGE % 2),
        lambda p: saved(p, IMAGE % 2 * np.uint8(255)),
    ),
    "0 and 1 as floats": (
        r"or floats in \[0, 1\]",
        lambda p: saved(p, IMAGE % 2),
        lambda p: saved(p, (IMAGE % 2).astype(np.float32)),
    ),
    "damaged": (
        "damaged or cut off in image.npy: copy it again",
        lambda p: p.write_bytes(p.read_bytes().replace(PIXELS, PIXELS[::-1])),
        saved,
    ),
    "circle": (
        "in a circle: name another file",
        lambda p: (p.unlink(), p.symlink_to(p)),
        lambda p: (p.unlink(), saved(p)),
    ),
    "folder": (
        "is a folder: name a regular file",
        lambda p: (p.unlink(), p.mkdir()),
        lambda p: (p.rmdir(), saved(p)),
    ),
}


@pytest.mark.parametrize("words,damage,mend", NPZ.values(), ids=NPZ)
def test_npz_files(tmp_path, words, damage, mend):
    paths = [saved(tmp_path / f"{split}.npz") for split in ("train", "test")]
    opening = partial(sources.open, f"npz:{tmp_path}", "train")
    opening()
    damage(paths[0])
    refused(opening, words)
    mend(paths[0])
    opening()


def test_npy_files(tmp_path):
    opening = partial(sources.open, f"npy:{tmp_path}/own", "train")
    said = refused(opening, "is no folder: give one with")
    (tmp_path / "own").mkdir()
    names = re.findall(r"\w+\.npy", said)
    said = refused(opening, "wants train_image.npy and train_label.npy")
    assert names == re.findall(r"\w+\.npy", said.partition("wants")[2])
    np.savez(tmp_path / "x.npz", IMAGE)
    (tmp_path / "x.npz").rename(tmp_path / "own" / names[0])
    np.save(tmp_path / "own" / names[1], LABEL)
    refused(opening, "save it by np.save")
    np.save(tmp_path / "own" / names[0], IMAGE)
    assert opening().num_classes == 10


def test_images_of_another_size_than_the_models(tmp_path):
    """Followed on a command line, where the words are taken apart as a shell does."""

    def parsed(*more):
        words = ["--config", CONFIG, "--tiny", *more]
        config = cli.parse(words, "", needs="config").config
        source = sources.open(config.data.name, "test", pad=config.data.pad)
        shape, classes = config.model.image_shape, config.model.num_classes
        sources.check_model(source, image_shape=shape, num_classes=classes)

    for fault, padded in (
        ("--config.model.image_shape=(12,12,1)", True),
        ("--config.model.image_shape=(12,12,3)", False),
        ("--config.model.image_shape=(9,8,1)", False),
        ("--config.model.image_shape=(4,4,1)", False),
    ):
        said = refused(partial(parsed, fault), "give images of that size")
        options = [w for w in shlex.split(said.rstrip(".")) if w.startswith("--")]
        assert [o.partition("=")[0] for o in options] == [
            "--config.data.pad",
            "--config.model.image_shape",
        ][0 if padded else 1 :]
        for option in options:
            parsed(fault, option.rstrip(","))
    said = refused(
        partial(parsed, "--config.model.num_classes=4"), "classes, the model"
    )
    parsed(re.search(r"--config.model.num_classes=\d+", said)[0])


def picture(path, image=IMAGE[0, ..., 0], mode=None, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    made = Image.fromarray(image)
    (made.convert(mode) if mode else made).save(path, **more)


CLEAR = np.full((8, 8, 4), 99, np.uint8)
PICTURES = {
    "no folder": (
        "wants pictures in train/<class>/",
        lambda t: (t / "a/0.png").unlink() or (t / "a").rmdir() or t.rmdir(),
        lambda t: picture(t / "a/0.png"),
    ),
    "another class": (
        "a class that .* has not: add",
        lambda t: picture(t.parent / "test/b/0.png"),
        lambda t: (t / "b").mkdir(),
    ),
    "another class removed": (
        "or remove it",
        lambda t: picture(t.parent / "test/b/0.png"),
        lambda t: (t.parent / "test/b").rename(t.parent / "gone"),
    ),
    "no pictures": (
        "may end in .png",
        lambda t: (t / "a/0.png").rename(t / "a/0.x"),
        lambda t: (t / "a/0.x").rename(t / "a/0.png"),
    ),
    "no file": (
        "remove it",
        lambda t: (t / "a/1.png").mkdir(),
        lambda t: (t / "a/1.png").rmdir(),
    ),
    "damaged": (
        "can be read: remove it",
        lambda t: (t / "a/1.png").write_bytes(b"x"),
        lambda t: (t / "a/1.png").unlink(),
    ),
    "frames": (
        "save one of them",
        lambda t: picture(
            t / "a/1.png", save_all=True, append_images=[Image.new("L", (8, 8))]
        ),
        lambda t: picture(t / "a/1.png"),
    ),
    "kind": (
        "save it as grey or RGB",
        lambda t: Image.fromarray(np.full((8, 8), 3, np.int32)).save(
            t / "a/1.png", "TIFF"
        ),
        lambda t: picture(t / "a/1.png", mode="L"),
    ),
    "transparent": (
        "on a background",
        lambda t: picture(t / "a/0.png", CLEAR),
        lambda t: picture(t / "a/0.png", CLEAR[..., 0]),
    ),
    "size": (
        "all to one size and kind",
        lambda t: picture(t / "a/1.png", IMAGE[0, :4, :, 0]),
        lambda t: picture(t / "a/1.png"),
    ),
    "colour": (
        "all to one size and kind",
        lambda t: picture(t / "a/1.png", mode="RGB"),
        lambda t: picture(t / "a/1.png", mode="L"),
    ),
    "16 bits": (
        "bring all to one kind",
        lambda t: picture(t / "a/1.png", IMAGE[0, ..., 0].astype(np.uint16)),
        lambda t: picture(t / "a/1.png"),
    ),
}


@pytest.mark.parametrize("words,damage,mend", PICTURES.values(), ids=PICTURES)
def test_pictures(tmp_path, words, damage, mend):
    for split in ("train", "test"):
        picture(tmp_path / split / "a" / "0.png")

    def opening():
        for split in ("train", "test"):
            sources.open(f"folder:{tmp_path}", split)

    opening()
    damage(tmp_path / "train")
    refused(opening, words)
    mend(tmp_path / "train")
    opening()


def test_a_picture_of_too_many_pixels(tmp_path, monkeypatch):
    picture(tmp_path / "train/a/0.png", IMAGE[0, :4, :4, 0])
    picture(tmp_path / "train/a/1.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)
    opening = partial(sources.open, f"folder:{tmp_path}", "train")
    refused(opening, "no image of a data set has: remove it")
    (tmp_path / "train/a/1.png").unlink()
    assert opening().image.shape == (1, 4, 4, 1)


def test_pictures_that_memory_cannot_hold(tmp_path, monkeypatch):
    for number in range(3):
        picture(tmp_path / f"train/a/{number}.png")
    memory = {"SC_PHYS_PAGES": 1, "SC_PAGE_SIZE": 100}
    monkeypatch.setattr("jaxcert.data.pictures.os.sysconf", memory.get)
    opening = partial(sources.open, f"folder:{tmp_path}", "train")
    refused(opening, "make them smaller")
    for number in range(3):
        picture(tmp_path / f"train/a/{number}.png", IMAGE[0, :4, :4, 0])
    assert opening().image.shape == (3, 4, 4, 1)


# archives ---------------------------------------------------------------------------------

RECORDS = np.zeros((4, 3073), np.uint8)
BINARY = {f"data_batch_{i}.bin": RECORDS.tobytes() for i in range(1, 6)}
DIGITS = np.zeros((3, 28, 28), np.uint8)


def cifar(path, without="", **changed):
    with tarfile.open(path, "w:gz") as tar:
        for name, data in (BINARY | changed).items():
            if name == without:
                continue
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def idx(array):
    return struct.pack(f">{array.ndim + 1}I", 0x800 + array.ndim, *array.shape) + (
        array.tobytes()
    )


def mnist(folder, image=DIGITS, label=(0, 1, 9)):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in (("images-idx3", image), ("labels-idx1", label)):
        path = folder / f"train-{name}-ubyte.gz"
        path.write_bytes(gzip.compress(idx(np.array(array, np.uint8))))
    return folder / "train-images-idx3-ubyte.gz"


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(archives, "_SIZES", {"train": 20, "test": 4})
    monkeypatch.setattr(archives, "_MNIST_SIZES", {"train": 3, "test": 3})


@pytest.fixture
def server(monkeypatch):
    """What is downloaded: good files."""

    def fetch(url, target, md5):
        target.parent.mkdir(parents=True, exist_ok=True)
        if "cifar" in url:
            return cifar(target)
        mnist(target.parent)
        return target

    monkeypatch.setattr(download, "fetch", fetch)


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_archives_that_are_not_there(tmp_path, small, server, monkeypatch, name):
    make = {"cifar10": lambda p: cifar(p), "mnist": lambda p: mnist(p.parent)}[name]
    place = tmp_path / "place"
    opening = partial(sources.open, name, "train")
    said = refused(
        partial(opening, dir=str(place)), f"no folder {place}: create it, or correct"
    )
    place.mkdir()
    said = refused(partial(opening, dir=str(place), download=False), "or fetch it by")
    (option,) = re.findall(r"--config\.data\.download=\w+", said)
    config = configs.override(configs.load(CONFIG), [option])
    opening(dir=str(tmp_path), download=config.data.download)
    (file,) = re.findall(r"put (\S+) there", said)
    make(place / file)
    opening(dir=str(place), download=False)
    monkeypatch.setenv("JAXCERT_DATA", str(place))
    opening(download=False)


ARCHIVES = {
    "cut off": ("cifar10", "copy it again, or remove it", lambda p: cut(p)),
    "no members": (
        "cifar10",
        "copy it again, or remove it",
        lambda p: p.write_bytes(gzip.compress(b"x" * 999)),
    ),
    "bomb": (
        "cifar10",
        "unpacks to more than .* copy it again, or remove it",
        lambda p: p.write_bytes(gzip.compress(bytes(1 << 18))),
    ),
    "a digit of another kind": (
        "mnist",
        "no idx file of MNIST: copy it again, or remove it",
        lambda p: p.write_bytes(gzip.compress(b"x" * 99)),
    ),
    "too few bytes": (
        "mnist",
        "cut off: copy it again, or remove it",
        lambda p: p.write_bytes(gzip.compress(idx(DIGITS)[:-1])),
    ),
    "a batch cut off": (
        "cifar10",
        "no whole number of records: copy it again",
        lambda p: cifar(p, **{"data_batch_3.bin": RECORDS.tobytes()[1:]}),
    ),
    "a batch missing": (
        "cifar10",
        "has no data_batch_1.bin: it is cut off; copy it again",
        lambda p: cifar(p, without="data_batch_1.bin"),
    ),
    "too large": (
        "mnist",
        "no published file has: copy it again",
        lambda p: p.with_suffix("").write_bytes(bytes(1 << 18)),
    ),
    "too few images": (
        "cifar10",
        "cut off; copy it again",
        lambda p: cifar(p, **{"data_batch_3.bin": RECORDS[1:].tobytes()}),
    ),
    "a label of no class": (
        "cifar10",
        "the label 11, .* copy it again",
        lambda p: cifar(p, **{"data_batch_3.bin": bytes([11]) + bytes(3072)}),
    ),
    "too few digits": (
        "mnist",
        "of 28 x 28: copy them again",
        lambda p: mnist(p.parent, DIGITS[1:]),
    ),
}


@pytest.mark.parametrize("name,words,damage", ARCHIVES.values(), ids=ARCHIVES)
def test_damaged_archives(tmp_path, small, server, monkeypatch, name, words, damage):
    """Copied again, and, where this is said, removed and downloaded."""
    monkeypatch.setattr(archives, "_LARGEST", 1 << 17)
    if name == "cifar10":
        path, good = tmp_path / "cifar-10-binary.tar.gz", cifar
    else:
        path, good = mnist(tmp_path), lambda p: mnist(p.parent)
    good(path)
    opening = partial(sources.open, name, "train", dir=str(tmp_path))
    damage(path)
    said = refused(opening, words)
    if "remove it" in said:
        path.unlink()
        opening()
        damage(path)
    path.with_suffix("").unlink(missing_ok=True)  # unpacked, where that is the fault
    good(path)
    opening(download=False)


def test_a_pickle_that_is_none_is_replaced_by_the_archive_that_is_named(
    tmp_path, small
):
    for number in range(1, 6):
        path = tmp_path / "cifar-10-batches-py" / f"data_batch_{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    opening = partial(sources.open, "cifar10", "train", dir=str(tmp_path))
    said = refused(opening, "copy it again, or use cifar")
    cifar(tmp_path / re.search(r"or use (\S+)\.$", said)[1])
    opening(download=False)


def test_a_failed_download_continues_or_is_copied_by_hand(tmp_path, small, monkeypatch):
    """`try again` is followed in data/test_download.py."""
    monkeypatch.setattr(archives, "_CIFAR_URL", "http://127.0.0.1:9/")
    opening = partial(sources.open, "cifar10", "train", dir=str(tmp_path))
    said = refused(opening, "by hand")
    cifar(tmp_path / re.search(r"the file to (\S+) by hand", said)[1])
    opening(download=False)


# generated images -------------------------------------------------------------------------

SMALL = dict(per_record=2, per_shard=4)  # three shards
OPEN = generated.open_generated


GENERATED = {
    "float": (
        "save them as uint8",
        lambda p: saved(p, UNIT),
        lambda p: saved(p, np.round(UNIT * 255).astype(np.uint8)),
    ),
    "0 and 1": (
        r"save round\(255 x\)",
        lambda p: saved(p, UNIT.astype(np.uint8)),
        lambda p: saved(p, np.round(UNIT * 255).astype(np.uint8)),
    ),
    "missing": ("check --config.data.generated", lambda p: p.unlink(), saved),
}


@pytest.mark.parametrize("words,damage,mend", GENERATED.values(), ids=GENERATED)
def test_generated_npz(tmp_path, words, damage, mend):
    path = saved(tmp_path / "a.npz")
    damage(path)
    refused(partial(OPEN, path), words)
    mend(path)
    OPEN(path)


def test_a_number_of_generated_images(tmp_path):
    path = saved(tmp_path / "a.npz")
    refused(partial(OPEN, path, count=-1), names("data.generated_count", -1))
    refused(partial(OPEN, path, count=13), "give fewer, or a larger set")
    assert len(OPEN(path, count=12).label) == len(OPEN(path, count=0).label) == 12
    asked = dict(generated_count=5, generated_share=0.5)
    refused(partial(opened_data, **asked), "by --config.data.generated")
    opened_data(**asked, generated=str(path))


def test_a_compressed_npz_is_unpacked_by_the_command_that_is_named(tmp_path):
    compressed(path := tmp_path / "a.npz")
    said = refused(partial(OPEN, path), "unpack it once by python -m jaxcert.convert")
    words = shlex.split(said.partition("jaxcert.convert ")[2].rstrip("."))
    from jaxcert import convert

    convert.main([w.replace("FOLDER", str(tmp_path / "out")) for w in words])
    assert len(OPEN(tmp_path / "out").label) == 12


FOLDERS = {
    "shapes": (
        "images of one shape in a folder",
        lambda p: saved(p, IMAGE[:, :4]),
        saved,
    ),
    "compressed": ("again by np.savez", compressed, saved),
    "float": ("save them as uint8", lambda p: saved(p, UNIT), saved),
    "Fortran": (
        r"save np.ascontiguousarray\(image\)",
        lambda p: saved(p, np.asfortranarray(IMAGE)),
        lambda p: saved(p, np.ascontiguousarray(np.asfortranarray(IMAGE))),
    ),
}


@pytest.mark.parametrize("words,damage,mend", FOLDERS.values(), ids=FOLDERS)
def test_folders_of_npz(tmp_path, words, damage, mend):
    for name in "ab":
        saved(tmp_path / f"{name}.npz")
    damage(tmp_path / "b.npz")
    refused(partial(OPEN, tmp_path), words)
    mend(tmp_path / "b.npz")
    assert len(OPEN(tmp_path).label) == 24


def unfinished(folder):
    header = json.loads((folder / write.HEADER).read_text())
    del header["count"]
    (folder / write.HEADER).write_text(json.dumps(header | {"done": False}))


def shard(folder, number):
    return next(folder.glob(f"shard-{number:05d}-*"))


def mislabelled(folder):
    """The last shard, with a label that its header has not."""
    name = shard(folder, 2).name
    header = write.read_header(folder)
    other = folder.parent / "other"
    keys = ("image_shape", "num_classes", "request", "per_record", "per_shard")
    writer = write.Writer(other, **{key: header[key] for key in keys})
    writer.append(IMAGE[:11], np.full(11, 99))
    writer.close()
    (folder / name).write_bytes((other / name).read_bytes())


def one_more(folder):
    first = shard(folder, 0)
    (folder / first.name.replace("00000", "00003")).write_bytes(first.read_bytes())


def deleted(folder, said):
    """Delete the file that the sentence begins with."""
    (path,) = re.findall(r"\S+\.array_record", said)
    assert path.startswith(str(folder))
    (folder / path).unlink()


def nothing(folder, said):
    pass


SHARDS = {
    "not finished": ("is not finished: run the command", unfinished, nothing),
    "a header cut off": (
        "or run the command that wrote",
        lambda f: cut(f / write.HEADER),
        nothing,
    ),
    "one missing": ("is missing; run", lambda f: shard(f, 1).unlink(), nothing),
    "the last missing": ("is missing; run", lambda f: shard(f, 2).unlink(), nothing),
    "one damaged": ("delete it and run", lambda f: cut(shard(f, 1)), deleted),
    "the last damaged": ("delete it and run", lambda f: cut(shard(f, 2)), deleted),
    "a label of no class": ("delete it and run", mislabelled, deleted),
    "one too many": ("delete it, and run", one_more, deleted),
    "one with too many": (
        "delete it, and run",
        lambda f: shard(f, 2).write_bytes(shard(f, 0).read_bytes()),
        deleted,
    ),
}


@pytest.mark.parametrize("words,damage,advised", SHARDS.values(), ids=SHARDS)
def test_shards(tmp_path, words, damage, advised):
    """The set is then what it was."""
    count = 12 if damage is one_more else 11  # the last shard is whole, or is not
    path, out = (
        saved(tmp_path / "a.npz", IMAGE[:count], LABEL[:count]),
        tmp_path / "out",
    )
    write.convert(path, out, **SMALL)
    before = OPEN(out)
    images = np.asarray(before.image)
    damage(out)
    said = refused(partial(OPEN, out), words)
    advised(out, said)
    write.convert(path, out, **SMALL)
    after = OPEN(out)
    assert generated.size(out) == count
    np.testing.assert_array_equal(after.image, images)
    np.testing.assert_array_equal(after.label, before.label)


def test_a_shard_too_many_does_not_become_one_of_the_set(tmp_path):
    path, out = saved(tmp_path / "a.npz"), tmp_path / "out"
    write.convert(path, out, **SMALL)
    one_more(out)
    assert write.convert(path, out, **SMALL) == 12
    assert write.read_header(out)["count"] == 12


def test_a_set_that_is_not_finished_has_no_size(tmp_path):
    out = tmp_path / "out"
    write.convert(saved(tmp_path / "a.npz"), out, **SMALL)
    unfinished(out)
    refused(partial(generated.size, out), "is not finished: run the command")
    write.convert(tmp_path / "a.npz", out, **SMALL)
    assert generated.size(out) == 12


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    path, out = saved(tmp_path / "a.npz"), tmp_path / "out"
    out.mkdir()
    said = refused(partial(OPEN, out), "write one by `python -m jaxcert.generate`")
    assert "or `convert`" in said
    (out / write.HEADER).write_text('{"mine": 1}')
    refused(partial(write.convert, path, out), "name another folder by --out")
    assert (out / write.HEADER).read_text() == '{"mine": 1}'
    write.convert(path, tmp_path / "other", **SMALL)
    OPEN(tmp_path / "other")


def test_shards_of_other_images(tmp_path):
    path, out = saved(tmp_path / "a.npz"), tmp_path / "out"
    write.convert(path, out, **SMALL)
    write.convert(path, tmp_path / "other", seed=1, **SMALL)
    foreign = shard(tmp_path / "other", 1)
    (out / foreign.name).write_bytes(foreign.read_bytes())
    refused(partial(OPEN, out), "in folders of their own")
    (out / foreign.name).unlink()
    OPEN(out)
    refused(partial(write.convert, path, out, seed=1), "name another folder by --out")
    refused(partial(write.convert, path, out, seed=-1), names("seed", -1))


def test_a_folder_with_too_many_files_to_open(tmp_path, monkeypatch):
    """The limit of a process, raised to the number that is named."""
    for number in range(3):
        saved(tmp_path / f"{number}.npz")
    hard = [100]
    limit = SimpleNamespace(
        RLIMIT_NOFILE=0,
        RLIM_INFINITY=-1,
        getrlimit=lambda _: (50, hard[0]),
        setrlimit=lambda _, pair: None,
    )
    monkeypatch.setattr(shards, "resource", limit)
    said = refused(partial(OPEN, tmp_path), r"`ulimit -n`")
    hard[0] = int(re.search(r"limit to ([\d,]+)", said)[1].replace(",", ""))
    OPEN(tmp_path)


def test_a_set_that_a_run_did_not_begin_with(tmp_path):
    """Restored, or under another workdir."""
    path, kept = saved(tmp_path / "a.npz"), tmp_path / "run" / "generated.json"
    kept.parent.mkdir()

    def compared(kept=kept, begun=True):
        generated.compare(OPEN(path), kept, begun=begun)

    compared(begun=False)
    whole = path.read_bytes(), kept.read_bytes()
    saved(path, IMAGE[::-1])
    refused(compared, "restore the generated images, or name another --workdir")
    compared(kept=tmp_path / "other.json", begun=False)
    path.write_bytes(whole[0])
    compared()
    cut(kept)
    refused(compared, "restore it, or name another --workdir")
    kept.write_bytes(whole[1])
    compared()


# configs and workdirs ---------------------------------------------------------------------

FILE = """
from jaxcert import config as configs

def get_config(arg=""):
    config = configs.base()
    config.model = configs.ConfigDict(dict(name="small_cnn"))
    config.method = configs.ConfigDict(dict(name="gaussian", sigma=0.1))
    row = configs.words(arg, size=("s", "m"))
    {line}
    return config
"""

# (words, line or whole file with the fault, line as advised)
FILES = [
    ("no get_config", "x = 1", "pass"),
    ("start from jaxcert.config.base()", "return {}", "pass"),
    ("line 9: ZeroDivisionError: .*; correct the file", "1 / 0", "1 / 1"),
    ("unknown key lr: there are .*optim", "config.lr = 1", "config.optim.lr = 1"),
    ("lacks the key seed: there are", "del config['seed']", "pass"),
    (
        "make it a section, with keys",
        "config = configs.ConfigDict(config.to_dict() | dict(log=5))",
        "config.log = configs.ConfigDict(dict(every_steps=5))",
    ),
    (
        "value of type int",
        "config = configs.ConfigDict(config.to_dict() | dict(seed='x'))",
        "config.seed = 1",
    ),
    (names("seed", 2**32), "config.seed = 2**32", "config.seed = 2**32 - 1"),
]


@pytest.mark.parametrize("words,fault,advised", FILES)
def test_config_files(tmp_path, words, fault, advised):
    path = tmp_path / "own.py"
    path.write_text(fault if fault == "x = 1" else FILE.format(line=fault))
    refused(partial(configs.load, str(path)), words)
    path.write_text(FILE.format(line=advised))
    configs.load(str(path))


def test_rows(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(FILE.format(line="pass"))
    for fault, words in (
        ("s,,", "leave that comma out"),
        ("x", r"there are s \| m"),
        ("s,m", r"give one of s \| m"),
    ):
        refused(partial(configs.load, f"{path}:{fault}"), words)
    configs.load(f"{path}:s")


def test_config_files_are_listed_by_the_command_that_is_named(capsys):
    said = refused(partial(configs.load, "configs/nope.py"), "lists them")
    words = re.search(r"`python -m jaxcert (.*?)`", said)[1].split()
    assert commands.main(words) == 0
    shown = [line.split(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert set(configs.shipped()) < set(shown)


def built(config):
    return loop.check(config)


def overridden(*words):
    return cli.parse(["--config", CONFIG, "--tiny", *words], "", needs="config").config


def test_parts_of_a_config(tmp_path):
    """Keys and networks that a method needs or does not take."""

    def asked(**keys):
        needs = dict.fromkeys(keys.pop("networks", ()))
        section = configs.ConfigDict(keys)
        configs.build("methods", section, needs=needs, model=None, run=Run(1, 1, 1))

    refused(partial(asked, name="lot", networks=["x"]), "leave it out of networks")
    refused(partial(asked, name="lot", x=1), "has no key 'x' but .*leave it out")
    refused(partial(asked, name="x"), "there are .*lot")
    asked(name="gaussian", sigma=0.25)
    said = refused(partial(asked, name="gaussian"), "needs the key 'sigma': give it in")
    option = re.search(r"--config\.\S+=", said)[0] + "0.25"
    assert overridden("--config.method.name=gaussian", option).method.sigma == 0.25
    said = refused(partial(asked, name="denoised", sigma=0.1), "needs a network")
    option = re.search(r"--config\.\S+=", said)[0] + str(tmp_path)
    config = overridden("--config.method.name=denoised", option)
    assert config.method.networks.denoiser == str(tmp_path)
    refused(partial(built, config), "train into it first")


def test_command_line():
    said = refused(
        partial(cli.parse, [], "", needs="config"), "--config is missing; for"
    )
    words = shlex.split(re.search(r"for example (.*)\.$", said)[1])
    cli.parse([words[0], str(ROOT / words[1])], "", needs="config")
    said = refused(partial(overridden, "--lr=1"), "unknown argument '--lr=1'; --help")
    with pytest.raises(SystemExit) as ended:
        cli.parse(["--help"], "", needs="config")
    assert ended.value.code == 0
    for fault, words, advised in (
        ("--config.optim.lrr=1", "did you mean 'lr'", "--config.optim.lr=1"),
        ("--config.log.x=1", "there are every_steps", "--config.log.every_steps=1"),
        ("--config.seed.x=1", "leave '.x' out", "--config.seed=1"),
        (
            "--config.log=1",
            "one of its keys, every_steps",
            "--config.log.every_steps=1",
        ),
        ("--config.seed=x", "value of type int, such as 0", "--config.seed=0"),
    ):
        refused(partial(overridden, fault), words)
        overridden(advised)


def test_radii_of_a_certificate_that_has_all_of_them(tmp_path):
    lot = ["--config", str(ROOT / "configs/lot/digits.py"), "--tiny"]
    config = cli.parse(lot, "", needs="config").config
    refused(
        partial(cli._try_radii, config.certify, "0,0.1", False),
        "certify without it, and give --radii to `python -m jaxcert.report`",
    )
