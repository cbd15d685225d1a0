"""PyTorch modules as base classifiers. PyTorch is imported where one is given."""

from __future__ import annotations

import hashlib
import io
import itertools
from typing import Any

import numpy as np

from jaxcert.errors import InputError
from jaxcert.host.answers import classes_of, first_line
from jaxcert.interfaces import HostVote

FIXED_BY = "digest: sha256 of the module's parameters, buffers and printed form"


def is_of_torch(f: Any) -> bool:
    """Return whether a class of PyTorch made f. PyTorch is not imported for it."""
    return any(c.__module__.partition(".")[0] == "torch" for c in type(f).__mro__)


def classifier(module: Any, name: str = "") -> HostVote:
    """Return the HostVote of a torch.nn.Module; see `classifiers.on_host`."""
    try:
        import torch
    except ImportError:
        raise InputError(
            "f is of PyTorch, which cannot be imported here: install torch."
        ) from None
    if not isinstance(module, torch.nn.Module):
        raise InputError(
            f"f is a {type(module).__name__} of PyTorch: give a torch.nn.Module from images "
            "to logits, or on_host of a function of NumPy arrays."
        )
    _check_mode(module)
    _check_finite(module)
    known = digest(module)

    def check() -> None:
        _check_mode(module)
        if digest(module) != known:
            raise InputError(
                "f, the module, has changed since its certifier was made: make the certifier "
                "again, of the weights that are used."
            )

    def votes(image: np.ndarray, num_classes: int) -> np.ndarray:
        like = _like(module)
        # torch.tensor copies, so that a module may write into its input
        x = torch.tensor(image, **like).permute(0, 3, 1, 2).contiguous()
        try:
            with torch.no_grad():
                found = module(x)
        except torch.cuda.OutOfMemoryError:
            raise InputError(
                f"f, the module, has no memory for {len(image)} images: give a smaller chunk "
                "to smooth."
            ) from None
        except Exception as error:  # any: a module is somebody's own code
            raise InputError(
                f"f, the module, fails for images [B,C,H,W] of {tuple(x.shape)}: "
                f"{first_line(error)}; it must take these and give logits. Images go in as "
                "[N,H,W,C]."
            ) from error
        found = getattr(found, "logits", found)  # what the models of transformers give
        if not isinstance(found, torch.Tensor):
            raise InputError(
                f"f, the module, gives a {type(found).__name__}: wrap it in a module that gives "
                "the logits alone."
            )
        found = found.detach().cpu()
        found = found.double() if found.is_floating_point() else found
        return classes_of(found.numpy(), len(image), num_classes, "f, the module,")

    kind = type(module)
    stated = name or f"{kind.__module__}.{kind.__qualname__}"
    base = {"name": "torch_module", "stated": stated, "digest": known}
    return HostVote(votes, base | {"fixed_by": FIXED_BY}, check)


def digest(module: Any) -> str:
    """Return the sha256 of the printed form of a module, which has its layers and their sizes,
    and of the name, type, shape and bytes of all it holds. The code of `forward` and plain
    attributes are not in it."""
    import torch

    found = hashlib.sha256(repr(module).encode())
    for name, value in _held(module).items():
        if isinstance(value, torch.Tensor) and value.layout == torch.strided:
            flat = value.detach().cpu().contiguous()
            if not flat.is_quantized:
                found.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
                found.update(flat.reshape(-1).view(torch.uint8).numpy())
                continue
        file = (
            io.BytesIO()
        )  # quantized weights and other things that a state dict may hold
        torch.save(value, file)
        found.update(f"\n{name}\n".encode() + file.getvalue())
    return found.hexdigest()


def _held(module: Any) -> dict[str, Any]:
    """Return the state dict, with the buffers that it leaves out."""
    return dict(module.named_buffers()) | module.state_dict()


def _check_mode(module: Any) -> None:
    training = [name for name, part in module.named_modules() if part.training]
    if training:
        part = f" (its part {training[0]})" if training[0] else ""
        raise InputError(
            f"f, the module, is in train mode{part}, in which images change each other's "
            "logits: call f.eval() first."
        )


def _check_finite(module: Any) -> None:
    for name, value in _held(module).items():
        if getattr(value, "is_meta", False):
            raise InputError(
                f"f, the module, has no numbers in {name}: load its weights."
            )
        if getattr(value, "is_floating_point", bool)() and not value.isfinite().all():
            raise InputError(
                f"f, the module, has a number in {name} that is not finite: train or load it "
                "again."
            )


def _like(module: Any) -> dict[str, Any]:
    """Return the device of a module and the type in which it takes images: those of its first
    parameter or buffer of floats."""
    import torch

    tensors = itertools.chain(module.parameters(), module.buffers())
    floats = (tensor for tensor in tensors if tensor.is_floating_point())
    first = next(floats, torch.zeros(0))
    return {"device": first.device, "dtype": first.dtype}
