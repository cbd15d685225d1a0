"""State dicts of BRONet (Lai et al. 2025) -> our trees: LiResNet++'s, see
torch_import/liresnet_pp.py, with the kernels of the reflectors turned by 180 degrees."""

from __future__ import annotations

import numpy as np

from jaxcert.torch_import import liresnet_pp
from jaxcert.torch_import.state_dict import Arrays


def convert_state_dict(
    arrays: Arrays, image_shape: tuple[int, int, int]
) -> tuple[dict, dict, dict]:
    """Return (params, state, facts) of `models.bronet`, as torch_import/liresnet_pp.py
    does, and with `ratio` among the facts."""
    given = arrays, image_shape, liresnet_pp.BRONET
    params, state, facts = liresnet_pp.convert(*given)
    blocks = params["blocks"]
    blocks["kernel"] = blocks["kernel"][:, ::-1, ::-1]
    rank, width = blocks["kernel"].shape[-2:]
    return params, state, facts | {"ratio": _ratio(rank, width)}


def _ratio(rank: int, width: int) -> float:
    """Return the ratio for which int(ratio width) is the rank."""
    ratio = rank / width
    return ratio if int(ratio * width) == rank else float(np.nextafter(ratio, 1))
