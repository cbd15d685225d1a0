"""jaxcert: train classifiers whose predictions come with a proof, and certify them.

Networks
    load            the network of a trained workdir
    load_weights    a network of the papers' own PyTorch code, from its state dict
    smooth          the certifier of any function of images, by randomized smoothing
    on_host         a NumPy function, PyTorch module or ONNX file, for smooth
    oracle          a slow function or an address that is asked and may fail, for smooth

Certificates
    certify_images  the class of each image, and the radius within which it cannot change
    predictor       the same for one image at a time, compiled once
    Server          a predictor behind a small HTTP endpoint
    Certificates    what certify_images returns and a record file holds

Records
    write_records   certificates with their evidence into a file
    open_records    such a file as Certificates
    recheck         every radius computed again from its evidence
    write_report    tables and pages on one or several record files

Errors
    InputError      the exception of every mistake in what is given, in one sentence

Images are [N,H,W,C], uint8 or floats in [0, 1], and so is the scale of every radius. Networks
are trained by `jaxcert train`; `jaxcert --help` lists all commands. Modules are imported when a
name is used: `import jaxcert` imports neither jax nor numpy.
"""

import importlib
import os
import signal
import sys
from typing import TYPE_CHECKING

# Of `python -m jaxcert.X`, whose arguments Python calls so until it has found the module, and of
# the script `jaxcert`.
_CALLED = next(iter(getattr(sys, "argv", [])), "")
_COMMAND = _CALLED == "-m" or os.path.basename(_CALLED) == "jaxcert"
if _COMMAND and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback, from the first line on

if _COMMAND:
    from jaxcert.errors.terminal import begin

    begin()

from jaxcert.errors import InputError  # noqa: E402
from jaxcert.version import __version__  # noqa: E402, F401

if TYPE_CHECKING:
    from jaxcert.api.certifying import certify_images, predictor, smooth
    from jaxcert.api.files import open_records, recheck, write_records, write_report
    from jaxcert.api.networks import load, load_weights
    from jaxcert.api.serving import Server
    from jaxcert.certificate import Certificates
    from jaxcert.host.classifiers import on_host
    from jaxcert.host.oracle import oracle

__all__ = [
    "load",
    "load_weights",
    "smooth",
    "on_host",
    "oracle",
    "certify_images",
    "predictor",
    "Server",
    "Certificates",
    "write_records",
    "open_records",
    "recheck",
    "write_report",
    "InputError",
]

_MODULES = {
    "load": "api.networks",
    "load_weights": "api.networks",
    "smooth": "api.certifying",
    "on_host": "host.classifiers",
    "oracle": "host.oracle",
    "certify_images": "api.certifying",
    "predictor": "api.certifying",
    "Server": "api.serving",
    "Certificates": "certificate",
    "write_records": "api.files",
    "open_records": "api.files",
    "recheck": "api.files",
    "write_report": "api.files",
}
"""Public name -> the module that defines it, imported at its first use."""


if not TYPE_CHECKING:  # to a type checker it would mean that any name is there

    def __getattr__(name):
        if name not in _MODULES:
            raise AttributeError(f"module 'jaxcert' has no attribute {name!r}")
        value = getattr(importlib.import_module(f"jaxcert.{_MODULES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
