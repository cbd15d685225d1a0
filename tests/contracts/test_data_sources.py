"""Every kind of data set that data.sources.open opens, and what a Source promises."""

from __future__ import annotations

import functools
import io
import re
import struct
import tarfile

import numpy as np
import pytest
from refusals import names

from jaxcert.data import archives, sources
from jaxcert.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:.*differs from the published file")

KINDS = re.findall(r"(\w+)(?::<\w+>)?(?:, | and |$)", sources.NAMES)
SIZES = {"train": 10, "test": 5}


def drawn(split, *shape, classes):
    """uint8 images and labels, among them the first and the last class."""
    draw = np.random.default_rng(len(split))
    image = draw.integers(0, 256, (SIZES[split], *shape), dtype=np.uint8)
    label = draw.integers(0, classes, SIZES[split])
    label[:2] = 0, classes - 1
    return image, label.astype(np.uint8)


def digits(folder, split):
    return "digits", None


def mnist(folder, split):
    image, label = drawn(split, 28, 28, classes=10)
    stem = {"train": "train", "test": "t10k"}[split]
    for name, array in (("images-idx3", image), ("labels-idx1", label)):
        header = struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape)
        (folder / f"{stem}-{name}-ubyte").write_bytes(header + array.tobytes())
    return "mnist", (image[..., None], label)


def cifar(classes):
    def write(folder, split):
        image, label = drawn(split, 32, 32, 3, classes=classes)
        head = label[:, None] if classes == 10 else np.stack([label // 5, label], 1)
        flat = image.transpose(0, 3, 1, 2).reshape(len(image), -1)
        records = np.concatenate([head, flat], 1)
        names = [f"{split}.bin"]
        if classes == 10:
            parts = [f"data_batch_{i}.bin" for i in range(1, 6)]
            names = parts if split == "train" else ["test_batch.bin"]
        path = folder / f"cifar-{classes}-binary.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            for name, part in zip(names, np.split(records, len(names)), strict=True):
                info = tarfile.TarInfo(f"inside/{name}")
                info.size = part.nbytes
                tar.addfile(info, io.BytesIO(part.tobytes()))
        return f"cifar{classes}", (image, label)

    return write


def cifar10_c(folder, split):
    _, known = cifar(10)(folder, split)
    if split == "test":
        image, label = drawn(split, 32, 32, 3, classes=10)
        np.save(folder / "fog.npy", np.concatenate([image + i for i in range(5)]))
        np.save(folder / "labels.npy", np.tile(label, 5))
        known = image + 2, label
    return "cifar10_c:fog:3", known


def arrays(kind, image_of):
    def write(folder, split):
        for each in SIZES:
            image, label = drawn(each, 4, 6, 3, classes=3)
            image = image_of(image)
            if kind == "npz":
                np.savez(folder / f"{each}.npz", image=image, label=label)
            else:
                np.save(folder / f"{each}_image.npy", image)
                np.save(folder / f"{each}_label.npy", label)
        image, label = drawn(split, 4, 6, 3, classes=3)
        return f"{kind}:{folder}", (image_of(image), label)

    return write


def pictures(folder, split):
    from PIL import Image

    for each in SIZES:
        image, label = drawn(each, 4, 6, 3, classes=2)
        for k, name in enumerate(("cat", "dog")):
            (folder / each / name).mkdir(parents=True)
            for i in np.flatnonzero(label == k):
                Image.fromarray(image[i]).save(folder / each / name / f"{i:02}.png")
    image, label = drawn(split, 4, 6, 3, classes=2)
    order = np.argsort(label, kind="stable")
    return f"folder:{folder}", (image[order], label[order])


@functools.cache  # the package refuses a second class of the same name
def tfds_builder():
    core = pytest.importorskip("tensorflow_datasets")

    class ContractPictures(core.core.GeneratorBasedBuilder):
        """Pictures whose grey level is the number of the split's images before them."""

        VERSION = core.core.Version("1.0.0")

        def _info(self):
            image = core.features.Tensor(shape=(4, 4, 1), dtype=np.uint8)
            label = core.features.ClassLabel(num_classes=3)
            features = core.features.FeaturesDict({"image": image, "label": label})
            return core.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {name: self._generate_examples(n) for name, n in SIZES.items()}

        def _generate_examples(self, count):
            for i in range(count):
                yield i, {"image": np.full((4, 4, 1), i, np.uint8), "label": i % 3}

    return ContractPictures


def tfds(folder, split):
    builder = tfds_builder()(data_dir=folder, file_format="array_record")
    builder.download_and_prepare()
    return "tfds:contract_pictures", None


def hf(folder, split):
    pytest.importorskip("datasets")
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    for each in SIZES:
        image, label = drawn(each, 4, 6, 3, classes=3)
        rows = [{"bytes": png(one), "path": None} for one in image]
        table = pyarrow.table({"image": rows, "label": label.astype(np.int64)})
        parquet.write_table(table, folder / f"{each}.parquet")
    return f"hf:{folder}", drawn(split, 4, 6, 3, classes=3)


def png(image):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


def floats(image):
    return (image / 255).astype(np.float64)


WRITERS = {
    "digits": {"digits": digits},
    "mnist": {"mnist": mnist},
    "cifar10": {"cifar10": cifar(10)},
    "cifar100": {"cifar100": cifar(100)},
    "cifar10_c": {"cifar10_c": cifar10_c},
    "tfds": {"tfds": tfds},
    "hf": {"hf": hf},
    "npz": {"npz": arrays("npz", np.copy), "npz of floats": arrays("npz", floats)},
    "npy": {"npy": arrays("npy", np.copy), "npy of floats": arrays("npy", floats)},
    "folder": {"folder": pictures},
}
CASES = {name: write for kind in WRITERS.values() for name, write in kind.items()}


def test_every_kind_has_a_writer_here():
    new = ", ".join(sorted(set(KINDS) - set(WRITERS)))
    assert not new, f"give WRITERS a function that writes a small data set of {new}"
    assert KINDS == list(WRITERS)


@pytest.fixture(params=CASES)
def written(request, tmp_path, monkeypatch):
    """split -> (how it is opened, (image, label) if they are known)"""
    monkeypatch.setattr(archives, "_SIZES", SIZES)
    monkeypatch.setattr(archives, "_MNIST_SIZES", SIZES)

    def write(split):
        folder = tmp_path / split
        folder.mkdir()
        name, known = CASES[request.param](folder, split)
        return dict(name=name, dir=str(folder), download=False), known

    return {split: write(split) for split in SIZES}


def test_source_is_what_it_promises(written):
    found = {}
    for split, (how, known) in written.items():
        source = found[split] = sources.open(split=split, **how)
        count, image = len(source.label), np.asarray(source.image[:])
        assert source.name == how["name"] and source.files == ()
        assert source.image.shape == image.shape == (count, *image.shape[1:])
        assert image.ndim == 4 and image.dtype in (np.uint8, np.float32)
        assert image.min() >= 0 and (image.dtype == np.uint8 or image.max() <= 1)
        assert image.max() > (1 if image.dtype == np.uint8 else 1 / 255)
        assert source.label.shape == (count,) and source.label.dtype == np.int32
        assert source.label.min() == 0 and source.label.max() == source.num_classes - 1
        if known:
            close = (
                dict(rtol=1e-6, atol=0) if image.dtype == np.float32 else dict(rtol=0)
            )
            np.testing.assert_allclose(image, known[0], **close)
            np.testing.assert_array_equal(source.label, known[1])
        chosen = np.array([count - 1, 0, 3])
        np.testing.assert_array_equal(source.image[chosen], image[chosen])
        again = sources.open(split=split, **how)
        np.testing.assert_array_equal(again.image[:], image)
        np.testing.assert_array_equal(again.label, source.label)
    assert found["train"].num_classes == found["test"].num_classes


def test_padding_puts_images_in_the_middle_and_keeps_the_rest(written):
    how, _ = written["test"]
    plain = sources.open(split="test", **how)
    height, width = plain.image.shape[1:3]
    side = max(height, width) + 3
    source = sources.open(split="test", **how, pad=side)
    top, left = (side - height) // 2, (side - width) // 2
    middle = source.image[:, top : top + height, left : left + width]
    np.testing.assert_array_equal(middle, plain.image)
    assert source.image.shape == (
        *plain.image.shape[:1],
        side,
        side,
        plain.image.shape[3],
    )
    assert source.image.sum(dtype=float) == plain.image[:].sum(dtype=float)
    assert source.image.dtype == plain.image.dtype
    assert source._replace(image=0, label=0) == plain._replace(image=0, label=0)


def test_another_split_and_missing_files_are_refused(written, tmp_path):
    how, _ = written["test"]
    with pytest.raises(InputError, match=names("split", "validation")):
        sources.open(split="validation", **how)
    if how["name"] == "digits":
        return
    empty = tmp_path / "empty"
    empty.mkdir()
    name = how["name"].replace(how["dir"], str(empty))
    with pytest.raises(InputError):
        sources.open(name, "test", dir=str(empty), download=False)
