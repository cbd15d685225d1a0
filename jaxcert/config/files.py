"""Config files, and the config.json of a workdir."""

from __future__ import annotations

import difflib
import importlib
import inspect
import json
import os
import re
import runpy
import traceback
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxcert.config.checking import check
from jaxcert.config.rows import listed
from jaxcert.config.sections import base
from jaxcert.errors import InputError, check_file, replacing

_SHIPPED = Path(__file__).parents[1] / "configs"
_SMOOTHING = dict(noise="gaussian", norm="l2", rho=0.05, bound="union", rival="single")
"""Values that certify had in older versions, which did not write them."""
_WITHOUT = dict(
    data=dict(holdout=0.0, resize=()),
    checkpoint=dict(best=""),
    eval=dict(images=0, share=0.0, certify={}),
)
"""Values that sections had in older versions, which did not write them."""


def split(argument: str) -> tuple[str, str]:
    """Split FILE[:ROW] into (file, row). A file's name may contain colons, as a drive
    of Windows does: the longest part before a colon that is a file counts."""
    if Path(argument).is_file():
        return argument, ""
    ends = [at for at, letter in enumerate(argument) if letter == ":"]
    for at in reversed(ends):
        if Path(argument[:at]).is_file():
            return argument[:at], argument[at + 1 :]
    drive = re.match(r"[A-Za-z]:[\\/]", argument)
    at = argument.find(":", 2 if drive else 0)
    return (argument, "") if at < 0 else (argument[:at], argument[at + 1 :])


def shipped() -> list[str]:
    """Return the names of the configs in the package, such as `lot/cifar10`."""
    files = _SHIPPED.rglob("[!_]*.py")
    return sorted(f.relative_to(_SHIPPED).with_suffix("").as_posix() for f in files)


def described(name: str) -> tuple[str, str]:
    """Return the first line of the docstring of a packaged config, and the words of its
    rows."""
    module = _executed(str(_SHIPPED / f"{name}.py"))
    return module["__doc__"].partition("\n")[0], listed(module["WORDS"])


def load(argument: str) -> ConfigDict:
    """`lot/cifar10:m,400` -> that row of a config in the package; `FILE:m,400` -> of a file.

    `configs/lot/cifar10.py` is the packaged one where there is no such file. A JSON file is read
    as the config.json of a workdir. Raises InputError for what is neither, and for a broken
    file.
    """
    path, row = split(argument)
    file = _file_of(path)
    if not file:
        raise InputError(_nothing(path))
    if Path(file).suffix == ".json":
        if row:
            raise InputError(f"{path} is of one run and has no rows: leave :{row} out.")
        config = _parsed(Path(file))
        check(config, path)
        return config
    try:
        namespace = _executed(file)
        if "get_config" not in namespace:
            raise InputError(f"{path} has no get_config(arg=''): it is no config file.")
        if not inspect.signature(namespace["get_config"]).parameters:
            raise InputError(
                f"get_config of {path} takes no row: begin it as get_config(arg='')."
            )
        config = namespace["get_config"](row)
    except (InputError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a config file is code: even SystemExit
        frames = traceback.extract_tb(error.__traceback__)
        line = [getattr(error, "lineno", 1)]
        line += [frame.lineno for frame in frames if frame.filename == file]
        what = " ".join(str(error).split())
        raise InputError(
            f"{path}, line {line[-1]}: {type(error).__name__}: {what}; correct the file."
        ) from error
    if not isinstance(config, ConfigDict):
        raise InputError(
            f"get_config of {path} gives no ConfigDict: start from jaxcert.config.base()."
        )
    check(config, path)
    return config


def _file_of(path: str) -> str:
    """Return the file of a config: the path itself or a file of the package, "" for
    neither. Raises InputError for a path that exists and is not a regular file."""
    name = _name_of(path)
    if os.path.lexists(path) and not (name and os.path.isdir(path)):
        check_file(path)
        return path
    return str(_SHIPPED / f"{name}.py") if name else ""


def _name_of(path: str) -> str:
    """Return `lot/cifar10` for itself and for `configs/lot/cifar10.py`; "" if the
    package has no config of that name."""
    name = Path(path).as_posix().removeprefix("configs/").removesuffix(".py")
    return name if name in shipped() else ""


def _executed(file: str) -> dict[str, Any]:
    """Return what a config file defines. Files of the package are imported, because
    they import each other."""
    if Path(file).is_relative_to(_SHIPPED):
        inside = Path(file).relative_to(_SHIPPED.parents[1]).with_suffix("")
        return vars(importlib.import_module(".".join(inside.parts)))
    return runpy.run_path(file)


def _nothing(path: str) -> str:
    """Return the error for a config that was not found, with the places that were
    searched and the nearest names."""
    name = Path(path).as_posix().removeprefix("configs/").removesuffix(".py")
    near = [f"{path}.py"] if Path(f"{path}.py").is_file() else []
    near += [other for other in shipped() if other.startswith(f"{name}/")]
    near = near or difflib.get_close_matches(name, shipped(), 3)
    meant = f" did you mean {' or '.join(near)}?" if near else ""
    return (
        f"no config {path}: there is no file {Path(path).absolute()}, and the package has no "
        f"config {name};{meant} `python -m jaxcert configs` lists them."
    )


def system_name(argument: str) -> str:
    """Return the name of the default workdir: `lot_cifar10_s_200` for
    `lot/cifar10:s,200` and for `configs/lot/cifar10.py:s,200`."""
    path, row = split(argument)
    file = Path(_file_of(path) or path).absolute()
    parts = [file.parent.name, file.stem, *row.split(",")]
    return "_".join(part for part in parts if part and part != "configs")


def save(config: ConfigDict, path: str | Path) -> None:
    """Write the config as JSON; on a full disk the file that was there stays."""
    text = json.dumps(config.to_dict(), indent=1, default=list) + "\n"
    with replacing(path) as part:
        part.write_text(text)


def read(workdir: str | Path) -> ConfigDict:
    """Read config.json of a workdir. Keys that came after the version that wrote it get
    the values that it had without them. Raises InputError if there is none or it cannot
    be read."""
    path = Path(workdir) / "config.json"
    if not path.is_file():
        raise InputError(
            f"{workdir} is no workdir: it has no config.json; train into it first."
        )
    return _parsed(path)


def _parsed(path: Path) -> ConfigDict:
    """Return the config in a JSON file, as `read` does."""
    try:
        config = ConfigDict(
            _tuples(json.loads(path.read_text("utf-8"))), convert_dict=True
        )
        if isinstance(config.get("optim"), ConfigDict):
            config.optim = base().optim.to_dict() | config.optim.to_dict()
        for section, keys in _WITHOUT.items():
            if isinstance(config.get(section), ConfigDict):
                config[section] = keys | config[section].to_dict()
        if isinstance(config.get("data", {}).get("augment"), ConfigDict):
            known = base().data.augment.to_dict()
            config.data.augment = known | config.data.augment.to_dict()
        for key in ("ema_halflife", "init", "batch_statistics", "track"):
            config[key] = config.get(key, base()[key])
        if config.get("certify", {}).get("name") == "smoothing":
            config.certify = _SMOOTHING | config.certify.to_dict()
        return config
    except (ValueError, TypeError, AttributeError, RecursionError, MemoryError):
        fault = f"{path} is damaged: it is no config"
        raise InputError(
            f"{fault}; restore it, or train again into another --workdir."
        ) from None


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_tuples(v) for v in value)
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return value
