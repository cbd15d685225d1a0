"""Checkpoints: orbax, asynchronous, whole or not at all.

`checkpoints/<step>/` holds three items: `state`, the TrainState (an imported network has
none); `evaluation`, the parameters (averaged ones where there are) and model state to
certify with; `meta`, the step and the shapes and digests of both, so that a damaged file is
noticed, and what an evaluation said of it, where `checkpoint.best` chooses by that. Orbax
renames a finished checkpoint into place: one that was interrupted is never seen.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
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

from jaxcert import random_keys, sharding
from jaxcert.errors import InputError
from jaxcert.interfaces import Model, Network, PyTree, TrainState


class Loaded(NamedTuple):
    network: Network
    step: int
    digest: str


class Checkpoints:
    """The checkpoints of one workdir. The newest `keep` stay and, where `best` names a
    metric, the one that is best by it; of several equal ones the earliest."""

    def __init__(self, workdir: str | Path, *, keep: int = 2, best: str = ""):
        self.path = Path(workdir).absolute() / "checkpoints"
        self._best, self._keep = best, keep
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self, cleanup_tmp_directories=True
        )
        self._manager = ocp.CheckpointManager(self.path, options=options)
        self._values = _values(self._manager, best)

    def should_preserve(self, checkpoints, *, context) -> list[bool]:
        """Return whether to keep each of all checkpoints, the oldest first; orbax asks
        this after it has written one."""
        best, newest = _best_step(self._values), len(checkpoints) - self._keep
        return [i >= newest or c.step == best for i, c in enumerate(checkpoints)]

    def is_best(self, value: float) -> bool:
        """Return whether a value is above those of all checkpoints."""
        return value > max(self._values.values(), default=-math.inf)

    def save(
        self, state: TrainState, model_state: PyTree, value: float | None = None
    ) -> None:
        """Start writing a checkpoint. `model_state` is the one to evaluate with,
        `value` what the evaluation that `best` names gave."""
        params = state.params if state.ema is None else state.ema
        evaluation = {"params": params, "state": model_state}
        items = {"state": _flatten(state), "evaluation": _flatten(evaluation)}
        step = int(sharding.to_host(state.step))
        more = {} if value is None else {"chosen": {"by": self._best, "value": value}}
        if value is not None:
            self._values[step] = value
        self._write(step, items, **more)

    def save_evaluation(self, params: PyTree, model_state: PyTree) -> None:
        """Start writing a network that was not trained here, at step 0: `load_network`
        reads it, `restore` refuses it."""
        evaluation = {"params": params, "state": model_state}
        self._write(0, {"evaluation": _flatten(evaluation)})

    def _write(self, step: int, items: dict[str, dict[str, Any]], **more: Any) -> None:
        digests = {name: digest(sharding.to_host(item)) for name, item in items.items()}
        saves = {name: ocp.args.StandardSave(item) for name, item in items.items()}
        shapes = {name: _shapes(item) for name, item in items.items()}
        meta = ocp.args.JsonSave(
            {"step": step, "digest": digests, "shapes": shapes, **more}
        )
        with _disk_errors(self.path):
            self._manager.save(step, args=ocp.args.Composite(**saves, meta=meta))

    def latest(self) -> int | None:
        return self._manager.latest_step()

    def restore(self, like: TrainState, mesh: Mesh) -> TrainState:
        """Restore the newest state onto the devices of `mesh`. `like` gives its
        structure."""
        flat = _restore(self._manager, self.latest(), "state", _flatten(like), mesh)[0]
        return _unflatten(like, flat)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_: object) -> None:
        with _disk_errors(self.path):
            self._manager.wait_until_finished()
            self._manager.close()


@contextmanager
def _quietly() -> Iterator[None]:
    """Orbax logs by absl what load_network asks for, or raises as well. Inside, the logger of
    absl is silent unless the program has set its level; afterwards it is as it was."""
    logger = logging.getLogger("absl")
    level = logger.level
    if level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


@_quietly()
def load_network(
    model: Model, workdir: str | Path, *, mesh: Mesh, best: str = ""
) -> Loaded:
    """Load the newest network of a workdir or, where `best` (checkpoint.best of its
    config) names a metric, the best one. Raises InputError if there is none or it is
    damaged."""
    path = Path(workdir).absolute() / "checkpoints"
    if not path.is_dir():
        raise InputError(f"{workdir} has no checkpoints: train into it first.")
    try:
        options = ocp.CheckpointManagerOptions(read_only=True)
        manager = ocp.CheckpointManager(path, options=options)
    except Exception as error:  # orbax reads what all checkpoints say of themselves
        raise InputError(
            f"the checkpoints in {path} cannot be read ({type(error).__name__}): restore them, "
            "or train again into another --workdir."
        ) from error
    with manager as m:
        step = m.latest_step()
        if step is None:
            raise InputError(
                f"{workdir} has no finished checkpoint: train into it first."
            )
        if best:
            step = _best_step(_values(m, best))
        if step is None:
            raise InputError(
                f"{workdir} has no checkpoint that was evaluated by {best}: train further, or "
                "take the newest with --config.checkpoint.best= (empty)."
            )
        with random_keys.pinned():
            params, state = jax.eval_shape(model.init, random_keys.key(0))
        like = {"params": params, "state": state}
        flat, found = _restore(m, step, "evaluation", _flatten(like), mesh)
    tree = _unflatten(like, flat)
    return Loaded(Network(model, tree["params"], tree["state"]), step, found)


def selected_on(best: str) -> str:
    """Return 'holdout' or 'test', the split that a checkpoint.best chooses by, and ''
    for an empty one."""
    return best and (best.partition(":")[0] if ":" in best else "holdout")


def network_digest(network: Network) -> str:
    """The digest that a checkpoint of this network has."""
    return digest(arrays_of(network))


def arrays_of(network: Network) -> dict[str, np.ndarray]:
    """Return the arrays of a network by the names that a checkpoint gives them."""
    flat = _flatten({"params": network.params, "state": network.state})
    return {name: np.asarray(leaf) for name, leaf in flat.items()}


def arranged(arrays: dict[str, np.ndarray], params, state, *, where: str) -> PyTree:
    """Return {params, state} with the arrays in the places of these trees of shapes.
    Raises InputError for arrays of other names, shapes or types."""
    like = {"params": params, "state": state}
    flat = _flatten(like)
    found, wanted = _shapes(arrays), _shapes(flat)
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            raise InputError(
                f"{where} is of another network than its model: {name} is "
                f"{found.get(name)} there and {wanted.get(name)} in the model; export it again."
            )
        _check_type(where, "evaluation", name, arrays[name].dtype, flat[name].dtype)
    return _unflatten(like, arrays)


def digest(arrays: dict[str, np.ndarray]) -> str:
    """Return the digest of the names, types, shapes and bytes of arrays."""
    total = hashlib.blake2b(digest_size=16)
    for name, value in sorted(arrays.items()):
        value = np.ascontiguousarray(value)
        total.update(f"{name} {value.dtype} {value.shape}".encode())
        total.update(value.tobytes())
    return total.hexdigest()


def _values(manager, best: str) -> dict[int, float]:
    """Return {step: value} of the checkpoints that were evaluated by `best`. Damaged
    ones are left to whoever restores them."""
    found = {}
    for step in manager.all_steps() if best else ():
        path = manager.directory / str(step) / "meta" / "metadata"
        try:
            chosen = json.loads(path.read_text()).get("chosen", {})
            if chosen.get("by") == best:
                found[step] = float(chosen["value"])
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            continue
    return found


def _best_step(values: dict[int, float]) -> int | None:
    """Return the earliest step of the largest value; None if there is none."""
    return min(values, key=lambda step: (-values[step], step), default=None)


def _restore(manager, step, item, like, mesh) -> tuple[dict[str, jax.Array], str]:
    where = f"checkpoint {manager.directory / str(step)}"
    try:
        meta = manager.restore(
            step, args=ocp.args.Composite(meta=ocp.args.JsonRestore())
        ).meta
        expected, shapes = meta["digest"].get(item), meta["shapes"].get(item)
    except Exception as error:  # orbax raises plain Exceptions for files cut off
        raise _damaged(manager, step, error) from error
    if expected is None:
        raise InputError(
            f"{where} is of an imported network and has no {item} to continue from: name "
            "another --workdir."
        )
    wanted = _shapes(like)
    if not isinstance(shapes, dict):
        raise _damaged(manager, step, "it does not say its shapes")
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
        if _shapes(stored.tree) != wanted:  # what they take in memory is known by these
            raise TypeError
    except Exception as error:
        raise _damaged(manager, step, error) from error
    if types.keys() != like.keys():
        raise _damaged(manager, step, "its arrays are others than it says")
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
        raise _damaged(manager, step, error) from error
    if digest(sharding.to_host(restored)) != expected:
        raise _damaged(manager, step, "its digest differs")
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
    """Turn the error of a full disk into the exception that Python's own files raise."""
    try:
        yield
    except ValueError as error:
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if code is None:
            raise
        number = int(code[1])
        raise OSError(number, os.strerror(number), str(path)) from None


def _damaged(manager: Any, step: int, error: Any) -> InputError:
    what = error if isinstance(error, str) else type(error).__name__
    where = f"checkpoint {manager.directory / str(step)} is damaged ({what})"
    if len(manager.all_steps()) > 1:
        return InputError(
            f"{where}: delete it to go on from another one that is there."
        )
    return InputError(
        f"{where} and there is no other: restore it, or begin again in another --workdir."
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
