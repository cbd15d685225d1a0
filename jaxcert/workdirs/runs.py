"""Which run a workdir holds."""

from __future__ import annotations

from pathlib import Path

from ml_collections import ConfigDict

from jaxcert import config as configs
from jaxcert.errors import InputError


def refuse_another(workdir: Path, config: ConfigDict) -> int:
    """Raises InputError if the workdir holds a run of another config, or checkpoints
    without a config. Returns the epochs of the run that is there, which may get more;
    those of `config` if there is none, or none that took a step."""
    if not (workdir / "config.json").exists():
        if any((workdir / "checkpoints").glob("[0-9]*")):
            raise InputError(
                f"{workdir} has checkpoints and no config.json to tell of which run: restore "
                "it or name another --workdir."
            )
        return config.data.epochs
    there = configs.read(workdir)
    metrics = workdir / "metrics.jsonl"
    trained = any((workdir / "checkpoints").glob("[0-9]*"))
    if not trained and not (metrics.is_file() and metrics.stat().st_size):
        return config.data.epochs  # nothing of that run would be lost
    before, after = there.data.epochs, config.data.epochs
    longer = type(before) is int and before < after
    different = configs.differences(there, config)
    if longer:
        different = [d for d in different if not d.startswith("data.epochs ")]
    if different:
        key = different[0].partition(" ")[0]
        raise InputError(
            f"{workdir} holds a run of another config, different in {different[0]}: name "
            f"another --workdir, or continue with --config.{key} as it is there."
        )
    return before
