"""ONNX files as base classifiers, with a session of the same interface as onnxruntime's, and
with onnxruntime itself where it is there."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from refusals import names

import jaxcert
from jaxcert.host import onnx_file

SHAPE, CLASSES = (2, 3, 2), 4
IMAGES = np.random.default_rng(3).integers(0, 256, (3, *SHAPE), np.uint8)
WEIGHTS = np.random.default_rng(4).normal(size=(12, CLASSES)).astype(np.float32)
VOTES = dict(num_classes=CLASSES, sigma=0.25, n0=20, n=200)


def linear(image):
    return image.reshape(len(image), -1) @ WEIGHTS


def of_nchw(image):
    return linear(image.transpose(0, 3, 1, 2))


class Session:
    """onnxruntime.InferenceSession of a linear classifier; its file has the shape and type of
    its input, as Python writes them."""

    def __init__(self, path, providers):
        assert providers == ["CPUExecutionProvider"]
        text = open(path).read()
        if not text.startswith("["):
            raise RuntimeError("INVALID_PROTOBUF\nand more")
        self.inputs, self.seen = eval(text, {}), []  # noqa: S307

    def get_inputs(self):
        return [
            SimpleNamespace(name=f"x{i}", type=f"tensor({kind})", shape=shape)
            for i, (kind, *shape) in enumerate(self.inputs)
        ]

    def get_outputs(self):
        return [SimpleNamespace(name="logits"), SimpleNamespace(name="features")]

    def run(self, outputs, given):
        assert outputs == ["logits"] and set(given) == {"x0"}
        x, shape = given["x0"], self.inputs[0][1:]
        for wanted, size in zip(shape, x.shape, strict=True):
            if isinstance(wanted, int) and wanted != size:
                raise RuntimeError(f"Got invalid dimensions: {x.shape}")
        assert x.flags.c_contiguous
        return [linear(x.astype(np.float32))]


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Writes such a file."""
    fake = SimpleNamespace(
        InferenceSession=Session,
        get_available_providers=lambda: ["CPUExecutionProvider"],
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)

    def write(*inputs):
        path = tmp_path / "net.onnx"
        path.write_text(repr(list(inputs)))
        return path

    return write


def certify(f, **options):
    return jaxcert.certify_images(jaxcert.smooth(f, **VOTES | options), IMAGES)


@pytest.mark.parametrize(
    "given, order",
    [
        (("float", "batch", 2, 2, 3), of_nchw),
        (("float", None, 2, 3, 2), linear),
        (("double", 64, "c", "h", "w"), of_nchw),  # 660 are no multiple of 64
    ],
)
def test_votes_are_those_of_the_file(file, given, order):
    rows = certify(str(file(given)))
    expected = certify(jaxcert.on_host(order))
    np.testing.assert_array_equal(rows.counts, expected.counts)
    np.testing.assert_array_equal(rows.selection, expected.selection)


def test_a_record_has_the_digest_of_the_file_and_of_its_weights(file):
    path = file(("float", None, 2, 3, 2))
    base = jaxcert.smooth(path, **VOTES).header["base"]
    assert base["stated"] == "net.onnx" and base["digest"] == onnx_file.digest(path)
    entry = b"\n\x08location\x12\x0bnet.weights" + b"\n\x08location\x12\x04gone"
    path.write_bytes(path.read_bytes() + entry)
    found = {base["digest"], onnx_file.digest(path)}
    for weights in (b"1", b"2"):
        (path.parent / "net.weights").write_bytes(weights)
        found.add(onnx_file.digest(path))
    assert len(found) == 4
    named = jaxcert.on_host(file(("float", None, 2, 3, 2)), name="net, version 2")
    assert named.base["stated"] == "net, version 2"


@pytest.mark.parametrize(
    "inputs, said",
    [
        ([("float", 1, 12)], ("tensor(float)", "[1, 12]")),
        ([("uint8", 1, 2, 2, 3)], ("tensor(uint8)",)),
        ([("float", 1, 2, 2, 3)] * 2, ("x1",)),
        ([], ("nothing",)),
        ([("float", 1, 2, 5, 5)], ("[1, 2, 5, 5]", "[2, 3, 2]")),
    ],
)
def test_files_that_do_not_take_these_images(file, inputs, said):
    with pytest.raises(jaxcert.InputError) as error:
        certify(file(*inputs))
    for part in ("net.onnx takes", *said):
        assert part in str(error.value)


def test_files_that_cannot_be_run(file, tmp_path, monkeypatch):
    with pytest.raises(
        jaxcert.InputError, match=names("net.onnx", "4 outputs", "7 classes")
    ):
        certify(file(("float", None, 2, 3, 2)), num_classes=7)
    monkeypatch.setattr(Session, "run", lambda *_: 1 / 0)
    with pytest.raises(jaxcert.InputError, match=names("net.onnx", "division by zero")):
        certify(file(("float", None, 2, 3, 2)))
    (tmp_path / "net.onnx").write_text("no")
    with pytest.raises(jaxcert.InputError, match=names("net.onnx", "INVALID_PROTOBUF")):
        certify(tmp_path / "net.onnx")
    with pytest.raises(jaxcert.InputError, match=names("gone.onnx")):
        certify(tmp_path / "gone.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(jaxcert.InputError, match="pip install 'jaxcert.onnx.'"):
        certify(tmp_path / "net.onnx")


@pytest.mark.parametrize("batch", ["n", 7])
def test_onnxruntime_runs_a_file(tmp_path, batch):
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["logits"]),
        ],
        "linear",
        [helper.make_tensor_value_info("x", kind, [batch, 2, 2, 3])],
        [helper.make_tensor_value_info("logits", kind, [batch, CLASSES])],
        [onnx.numpy_helper.from_array(WEIGHTS, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    path = tmp_path / "net.onnx"
    onnx.save(
        model,
        path,
        save_as_external_data=True,
        location="net.weights",
        size_threshold=0,
    )
    rows = certify(path)
    np.testing.assert_array_equal(rows.counts, certify(jaxcert.on_host(of_nchw)).counts)
    before = onnx_file.digest(path)
    (tmp_path / "net.weights").write_bytes(b"other")
    assert onnx_file.digest(path) != before
    with pytest.raises(jaxcert.InputError, match=names("net.onnx")):
        certify(path, num_classes=7)
