"""Anything that classifies NumPy arrays in this process, as a base classifier of smoothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxcert.errors import InputError
from jaxcert.host import onnx_file, torch_module
from jaxcert.host.answers import classes_of
from jaxcert.interfaces import HostVote

NOTHING = "nothing in the record; `stated` is what its owner says"
"""The `fixed_by` of a classifier whose code and weights are not seen."""


def on_host(f: Callable[..., Any] | str | Path, *, name: str = "") -> HostVote:
    """Return a classifier that runs outside of JAX, which `smooth` takes in place of a JAX
    function.

    f: a function of NumPy arrays, noisy images [B,H,W,C], float32 in [0, 1] with noise added ->
        classes int [B], or logits float [B,K]; or a PyTorch module in eval mode, of images
        [B,C,H,W] on its device and in the type of its weights, which runs without gradients;
        or the path of an ONNX file with one input, [B,C,H,W] or [B,H,W,C], which onnxruntime
        runs. Its normalisation must be inside of it.
    name: how a record calls it; by default the name of the function, class or file.

    A row whose logits are not all finite is a vote for no class, and so is a negative class: it
    says that there is none for this image, each time it is asked. (What may fail for other
    reasons is an `oracle`.) A module and a file are fixed in the record by a digest, and a
    module that changed since is refused; nothing fixes a function but its name.

    Raises InputError for what cannot be run, for a module in train mode, and for weights that
    are not finite.
    """
    if torch_module.is_of_torch(f):
        return torch_module.classifier(f, name)
    if isinstance(f, str | Path):
        return onnx_file.classifier(Path(f), name)
    if not callable(f):
        raise InputError(
            "f must be a function of images, a PyTorch module or the path of an ONNX file, not "
            f"{type(f).__name__}."
        )
    named = getattr(f, "__qualname__", type(f).__qualname__)

    def votes(image: np.ndarray, num_classes: int) -> np.ndarray:
        # a copy: JAX owns these numbers
        return classes_of(f(np.array(image)), len(image), num_classes, "f")

    base = {"name": "function", "stated": name or named, "fixed_by": NOTHING}
    return HostVote(votes, base)
