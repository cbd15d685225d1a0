"""The card of a zoo: its README.md, with the certified table of every network."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from jaxcert.analysis import facts
from jaxcert.analysis.markdown import escape, markdown
from jaxcert.api import sharing
from jaxcert.api.sharing import Shown
from jaxcert.errors import InputError, own_file, replacing
from jaxcert.workdirs import weights
from jaxcert.zoos import index

FILE = "README.md"
_BEGIN = (
    "<!-- networks: written by jaxcert publish, which keeps what stands around it -->"
)
_END = "<!-- end of networks -->"
_NEW = """---
library_name: jaxcert
tags:
- jaxcert
- certified-robustness
- image-classification
---

# Networks with certificates of robustness

Add here whom these networks are for, what they were trained on, and their license.

"""
"""A new card begins with it: the lines that hubs of models read, and words to be replaced."""


def publish(
    workdir: str | Path,
    zoo: str | Path,
    name: str,
    *,
    record: str | Path | None = None,
) -> index.Listed:
    """Put the network of a workdir into a zoo, as `sharing.add` does, and write the zoo's card.
    Returns what the index says of the network.

    Raises InputError as `sharing.add`, and for a README.md whose markers are damaged; then nothing
    is changed.
    """
    path = own_file(zoo, FILE)
    _around(path)
    added = sharing.add(workdir, zoo, name, record=record)
    with replacing(path) as part:
        part.write_text(card(zoo), "utf-8")
    return added


def card(zoo: str | Path) -> str:
    """Return the text of README.md of a zoo: that which is there, with what its networks prove
    between two markers; every record is re-checked. Raises InputError as `publish`."""
    before, after = _around(Path(zoo) / FILE)
    models = weights.read_manifest(Path(zoo) / index.FILE)["models"]
    entries = {m["name"]: m for m in models if "name" in m}
    shown = sharing.listed(str(zoo))
    parts = [_section(one, entries[one.listed.name]) for one in shown]
    return before + "\n\n".join([_BEGIN, *parts, _HOW, _END]) + after


def _around(path: Path) -> tuple[str, str]:
    """Return what stands before and after the networks in a card, which may be missing."""
    if not path.exists():
        return _NEW, "\n"
    text = path.read_text("utf-8")
    parts = re.split(f"{re.escape(_BEGIN)}.*?{re.escape(_END)}", text, flags=re.DOTALL)
    if len(parts) == 2:
        return parts[0], parts[1]
    if len(parts) > 2 or _BEGIN in text or _END in text:
        raise InputError(
            f"{path} has lost one of the lines {_BEGIN!r} and {_END!r}: give each of them once, or "
            "none."
        )
    return text.rstrip() + "\n\n", "\n"


_HOW = """## How to use and check them

```bash
jaxcert zoo PLACE#NAME --workdir runs/NAME
jaxcert report runs/NAME
jaxcert audit runs/NAME
```

PLACE is this folder, or the address of one on a web server; on Hugging Face
`https://huggingface.co/OWNER/REPO/resolve/main`. From Python, `jaxcert.load("zoo:PLACE#NAME")` is
the network. A certificate is for the network of the record, named by its digest, and for images in
[0, 1] that are changed by less than the radius in the norm that is stated. It says nothing about
other changes, and that a class is certified does not make it the right one."""


def _section(shown: Shown, entry: dict[str, Any]) -> str:
    """Return the part of a card on one network."""
    listed, found = shown
    config = found.certificates.header.get("config") or {}
    height, width, channels = (entry["input_shape"][i] for i in (1, 2, 0))
    kept = ("model", "method", "optim")
    settings = {k: config[k] for k in kept if k in config}
    rows = [
        f"- data: {listed.dataset}, images {height} x {width} x {channels} in [0, 1], "
        f"{entry['num_classes']} classes",
        f"- kind: {listed.family}, trained by the method {entry['method']} for "
        f"{entry['training_epochs']} epochs",
        f"- weights: `{listed.weights.name}`, {listed.weights.size:,} bytes, sha256 "
        f"`{listed.weights.sha256}`",
        f"- digest of the network, which the record names: `{listed.digest}`",
        f"- config and record: `{listed.config.name}`, `{listed.record.name}`",
    ]
    lead = [escape(text)] if (text := facts.result(found)) else []
    about = markdown([found._replace(name=listed.name)])
    config_text = json.dumps(settings, indent=1)
    details = f"<details><summary>config</summary>\n\n```json\n{config_text}\n```\n\n</details>"
    parts = [f"## {escape(listed.name)}", *lead, "\n".join(rows), about, details]
    return "\n\n".join(part.strip() for part in parts)
