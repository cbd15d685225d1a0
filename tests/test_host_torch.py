"""PyTorch modules as base classifiers: their votes are those of the module itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from refusals import names

import jaxcert
from jaxcert import audit
from jaxcert.host import torch_module

torch = pytest.importorskip("torch")
nn = torch.nn

SHAPE, CLASSES = (4, 8, 3), 5  # height, width and channels differ
IMAGES = np.random.default_rng(3).integers(0, 256, (2, *SHAPE), np.uint8)
VOTES = dict(num_classes=CLASSES, sigma=0.25, n0=10, n=100)


class Block(nn.Module):
    """Two convolutions beside the identity, as in torchvision's ResNet-18."""

    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.downsample = nn.Sequential(
            nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out)
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + self.downsample(x))


def resnet18(width=4):
    layers = [nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)]
    layers += [nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    c_in = width
    for stage in range(4):
        for stride in (2 if stage else 1, 1):
            layers.append(Block(c_in, width * 2**stage, stride))
            c_in = width * 2**stage
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c_in, CLASSES)]
    return nn.Sequential(*layers)


class Answer:
    """What the models of transformers give."""

    def __init__(self, logits):
        self.logits = logits


class Vit(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.first = nn.Parameter(torch.randn(1, 1, width))
        self.places = nn.Parameter(torch.randn(1, 3, width))
        layer = nn.TransformerEncoderLayer(width, 2, 16, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, pixels):
        x = self.patches(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(len(x), -1, -1), x], 1) + self.places
        return Answer(self.head(self.encoder(x)[:, 0]))


class Flat(nn.Module):
    """A multilayer perceptron that views its input, and writes into it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.full((1,), 0.5), persistent=False)
        self.layers = nn.Sequential(
            nn.Linear(4 * 8 * 3, 16), nn.ReLU(), nn.Linear(16, CLASSES)
        )

    def forward(self, x):
        return self.layers(x.sub_(self.mean).view(len(x), -1))


def spread(kind):
    """A module in eval mode, with statistics and logits that tell images apart."""
    torch.manual_seed(0)
    module = kind()
    for name, value in module.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif value.is_floating_point() and value.ndim > 1:
            value.normal_(0, 4 * value[0].numel() ** -0.5)
    return module.eval()


MADE = {"resnet18": resnet18, "vit": Vit, "flat": Flat}


@pytest.mark.parametrize("name", MADE)
def test_votes_are_those_of_the_module(name, tmp_path):
    module, seen = spread(MADE[name]), []

    def keep(image):
        seen.append(image)
        return np.zeros(len(image), int)

    rows = jaxcert.certify_images(jaxcert.smooth(module, **VOTES), IMAGES)
    jaxcert.certify_images(jaxcert.smooth(jaxcert.on_host(keep), **VOTES), IMAGES)
    (noisy,) = seen  # the selection of both images, then their counted votes
    with torch.no_grad():
        found = module(torch.tensor(noisy.transpose(0, 3, 1, 2).copy()))
    votes = getattr(found, "logits", found).argmax(1).numpy()
    for row, part in enumerate((votes[20:120], votes[120:])):
        expected = np.bincount(part, minlength=CLASSES)
        np.testing.assert_array_equal(rows.counts[row], expected)
    assert (rows.counts.max(1) < 100).any()  # more than one class is voted for
    assert all(p.grad is None for p in module.parameters())
    path = tmp_path / "rows.jsonl"
    jaxcert.write_records(path, rows)
    command = [sys.executable, Path(audit.__file__), path]
    assert subprocess.run(command, capture_output=True).returncode == 0
    base = jaxcert.open_records(path).header["base"]
    assert base["digest"] == torch_module.digest(module)
    assert base["stated"].endswith({"resnet18": "Sequential"}.get(name, name.title()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_images_have_the_type_of_the_weights(dtype):
    module = spread(Flat).to(dtype)
    rows = jaxcert.certify_images(jaxcert.smooth(module, **VOTES), IMAGES)
    assert (rows.counts.sum(1) == 100).all()


def test_a_module_in_train_mode_is_refused():
    module = spread(resnet18)
    certifier = jaxcert.smooth(module, **VOTES)
    module[5].bn1.train()
    for call in (
        lambda: jaxcert.smooth(module, **VOTES),
        lambda: jaxcert.certify_images(certifier, IMAGES),
    ):
        with pytest.raises(jaxcert.InputError, match=names("train mode", "5.bn1")):
            call()


def changed(module):
    """Ways in which a module becomes another function."""
    with torch.no_grad():
        for value in (module.layers[0].bias, module.mean):
            before = value.clone()
            value += 1e-3
            yield
            value.copy_(before)
    module.layers[1] = nn.Tanh().eval()
    yield


def test_a_module_that_has_changed_is_refused():
    module = spread(Flat)
    certifier = jaxcert.smooth(module, **VOTES)
    found = {torch_module.digest(module)}
    for _ in changed(module):
        found.add(torch_module.digest(module))
        with pytest.raises(jaxcert.InputError, match=names("has changed")):
            jaxcert.certify_images(certifier, IMAGES)
    assert len(found) == 4
    assert (
        torch_module.digest(spread(Flat)) in found
    )  # the same numbers, the same digest


def test_weights_that_are_not_finite_are_refused():
    module = spread(Flat)
    with torch.no_grad():
        module.layers[2].bias[1] = torch.nan
    with pytest.raises(jaxcert.InputError, match=names("layers.2.bias", "finite")):
        jaxcert.smooth(module, **VOTES)
    with pytest.raises(jaxcert.InputError, match=names("mean")):
        jaxcert.smooth(Flat().eval().to("meta"), **VOTES)


@pytest.mark.parametrize(
    "module, said",
    [
        (Flat(), ("5 outputs", "11 classes")),
        (nn.Linear(7, 5), ("(220, 3, 4, 8)",)),
        (nn.LSTM(8, 3), ("(220, 3, 4, 8)",)),
        (nn.Identity(), ("float64", "[220, 3, 4, 8]")),
    ],
)
def test_modules_that_do_not_classify_these_images(module, said):
    certifier = jaxcert.smooth(module.eval(), **VOTES | dict(num_classes=11))
    with pytest.raises(jaxcert.InputError) as error:
        jaxcert.certify_images(certifier, IMAGES)
    for part in ("f, the module", *said):
        assert part in str(error.value)


def test_what_is_no_module():
    for f in (torch.zeros(3), nn.Parameter(torch.zeros(3))):
        with pytest.raises(jaxcert.InputError, match=names("f", type(f).__name__)):
            jaxcert.smooth(f, **VOTES)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_quantized_weights_are_in_the_digest():
    def quantized(value):
        module = torch.ao.nn.quantized.Linear(3, 2).eval()
        weight = torch.full((2, 3), value)
        weight = torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)
        module.set_weight_bias(weight, torch.ones(2))
        return torch_module.digest(module)

    assert quantized(0.5) == quantized(0.5) != quantized(0.6)
