"""Checkpoints: orbax, asynchronous, whole or not at all.

`checkpoints/<step>/` holds three items: `state`, the TrainState (an imported network has
none); `evaluation`, the parameters (averaged ones where there are) and model state to
certify with; `meta`, the step and the shapes and digests of both, so that a damaged file is
noticed. Orbax renames a finished checkpoint into place: one that was interrupted is never
seen.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import Mesh

from jaxcert.errors import InputError
from jaxcert.interfaces import Model, Network, PyTree, TrainState
from jaxcert.training import sharding


class Loaded(NamedTuple):
    network: Network
    step: int
    digest: str


class Checkpoints:
    """The checkpoints of one workdir."""

    def __init__(self, workdir: str | Path, *, keep: int = 2):
        self.path = Path(workdir).absolute() / "checkpoints"
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, cleanup_tmp_directories=True
        )
        self._manager = ocp.CheckpointManager(self.path, options=options)

    def save(self, state: TrainState, model_state: PyTree) -> None:
        """Start writing; `model_state` is the one to evaluate with."""
        params = state.params if state.ema is None else state.ema
        evaluation = {"params": params, "state": model_state}
        items = {"state": _flatten(state), "evaluation": _flatten(evaluation)}
        self._write(int(sharding.to_host(state.step)), items)

    def save_evaluation(self, params: PyTree, model_state: PyTree) -> None:
        """Start writing a network that was not trained here, at step 0: `load_network`
        reads it, `restore` refuses it."""
        evaluation = {"params": params, "state": model_state}
        self._write(0, {"evaluation": _flatten(evaluation)})

    def _write(self, step: int, items: dict[str, dict[str, Any]]) -> None:
        digests = {name: digest(sharding.to_host(item)) for name, item in items.items()}
        saves = {name: ocp.args.StandardSave(item) for name, item in items.items()}
        shapes = {name: _shapes(item) for name, item in items.items()}
        meta = ocp.args.JsonSave({"step": step, "digest": digests, "shapes": shapes})
        with _disk_errors(self.path):
            self._manager.save(step, args=ocp.args.Composite(**saves, meta=meta))

    def latest(self) -> int | None:
        return self._manager.latest_step()

    def restore(self, like: TrainState, mesh: Mesh) -> TrainState:
        """The newest state, onto the devices of `mesh`. `like` gives its structure."""
        flat = _restore(self._manager, self.latest(), "state", _flatten(like), mesh)[0]
        return _unflatten(like, flat)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_: object) -> None:
        with _disk_errors(self.path):
            self._manager.wait_until_finished()
            self._manager.close()


def load_network(model: Model, workdir: str | Path, *, mesh: Mesh) -> Loaded:
    """The newest evaluation item of a workdir; InputError if there is none or it is bad."""
    path = Path(workdir).absolute() / "checkpoints"
    if not path.is_dir():
        raise InputError(f"{workdir} has no checkpoints: train into it first.")
    with ocp.CheckpointManager(
        path, options=ocp.CheckpointManagerOptions(read_only=True)
    ) as m:
        step = m.latest_step()
        if step is None:
            raise InputError(
                f"{workdir} has no finished checkpoint: train into it first."
            )
        params, state = jax.eval_shape(model.init, jax.random.key(0))
        like = {"params": params, "state": state}
        flat, found = _restore(m, step, "evaluation", _flatten(like), mesh)
    tree = _unflatten(like, flat)
    return Loaded(Network(model, tree["params"], tree["state"]), step, found)


def digest(arrays: dict[str, np.ndarray]) -> str:
    """Of names, types, shapes and bytes."""
    total = hashlib.blake2b(digest_size=16)
    for name, value in sorted(arrays.items()):
        value = np.ascontiguousarray(value)
        total.update(f"{name} {value.dtype} {value.shape}".encode())
        total.update(value.tobytes())
    return total.hexdigest()


def _restore(manager, step, item, like, mesh) -> tuple[dict[str, jax.Array], str]:
    where = f"checkpoint {manager.directory / str(step)}"
    try:
        meta = manager.restore(
            step, args=ocp.args.Composite(meta=ocp.args.JsonRestore())
        ).meta
        expected, shapes = meta["digest"].get(item), meta["shapes"].get(item)
    except Exception as error:  # orbax raises plain Exceptions for files cut off
        raise _damaged(where, error) from error
    if expected is None:
        raise InputError(
            f"{where} is of an imported network and has no {item} to continue from: name "
            "another --workdir."
        )
    wanted = _shapes(like)
    if shapes != wanted:
        names = sorted(shapes.keys() | wanted.keys())
        name = next(n for n in names if shapes.get(n) != wanted.get(n))
        if name not in shapes and "power" in name.split("."):
            raise InputError(
                f"{where} lacks {name}, a vector of the power iteration: it is part of the "
                "network's state, so export the checkpoint again with it."
            )
        raise InputError(
            f"{where} is of another network: {name} is {shapes.get(name)} there and "
            f"{wanted.get(name)} here; use the config it was trained with."
        )
    try:
        stored = ocp.StandardCheckpointHandler().metadata(
            manager.directory / str(step) / item
        )
        types = {name: np.dtype(leaf.dtype) for name, leaf in stored.tree.items()}
    except Exception as error:
        raise _damaged(where, error) from error
    if types.keys() != like.keys():
        raise _damaged(where, "its arrays are others than it says")
    for name, leaf in like.items():
        _check_type(where, item, name, types[name], np.dtype(leaf.dtype))
    everywhere = sharding.replicated(mesh)
    abstract = {
        name: jax.ShapeDtypeStruct(leaf.shape, types[name], sharding=everywhere)
        for name, leaf in like.items()
    }
    try:
        args = ocp.args.Composite(**{item: ocp.args.StandardRestore(abstract)})
        restored = manager.restore(step, args=args)[item]
    except Exception as error:
        raise _damaged(where, error) from error
    if digest(sharding.to_host(restored)) != expected:
        raise _damaged(where, "its digest differs")
    return restored, expected


def _check_type(where, item, name, found: np.dtype, wanted: np.dtype) -> None:
    """Raises InputError where the stored type is not the one in use. A network in float32
    is certified as it is stored, also under JAX_ENABLE_X64."""
    narrow = (found, wanted) == (np.float32, np.float64)
    if found == wanted or item == "evaluation" and narrow:
        return
    if {found.itemsize, wanted.itemsize} == {4, 8}:
        now, then = ("on", "off") if jax.config.jax_enable_x64 else ("off", "on")
        raise InputError(
            f"{where} was written with JAX_ENABLE_X64 {then}, and here it is {now} ({name} is "
            f"{found} there and {wanted} here): run the command as it was trained, with "
            f"JAX_ENABLE_X64={int(then == 'on')}."
        )
    raise InputError(
        f"{where} is of another network: {name} is {found} there and {wanted} here; use the "
        "config it was trained with."
    )


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """A full disk as the exception that Python's own files raise."""
    try:
        yield
    except ValueError as error:
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if code is None:
            raise
        number = int(code[1])
        raise OSError(number, os.strerror(number), str(path)) from None


def _damaged(where: str, error: Any) -> InputError:
    what = error if isinstance(error, str) else type(error).__name__
    return InputError(
        f"{where} is damaged ({what}): delete it to go on from the one before."
    )


def _shapes(flat: dict[str, Any]) -> dict[str, list[int]]:
    return {name: list(leaf.shape) for name, leaf in flat.items()}


def _flatten(tree: PyTree) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in leaves
    }


def _unflatten(like: PyTree, flat: dict[str, Any]) -> PyTree:
    return jax.tree.unflatten(
        jax.tree.structure(like), [flat[name] for name in _flatten(like)]
    )
