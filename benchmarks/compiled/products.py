"""Floating-point operations of matrix products and convolutions, by the unit that does them."""

from __future__ import annotations

import math
import re
from collections import Counter

from benchmarks.compiled.hlo import Array, Operation

UNITS = ("f8", "f16", "bf16", "tf32", "f32", "f64")
"""The units of products, the fastest first."""


def flops(op: Operation, operands: list[Operation]) -> Counter:
    """Return the FLOPs of a matrix product or a convolution, by unit."""
    arrays = [o.result[0] for o in operands]
    if not arrays:
        return Counter()
    target = op.quoted("custom_call_target")
    is_convolution = op.code == "convolution" or "$conv" in target
    amount = (
        _convolution(op, arrays, target) if is_convolution else _contraction(op, arrays)
    )
    unit, times = _unit(op, arrays[0].dtype)
    complex_products = 4 if arrays[0].dtype in ("c64", "c128") else 1
    return Counter({unit: amount * times * complex_products})


def _contraction(op: Operation, arrays: list[Array]) -> int:
    """Return 2 m n k; the dimensions are in the attributes of a dot, or in the JSON of
    a library call."""
    found = re.search(r"\blhs_contracting_dims=\{([\d,]*)\}", op.attributes)
    found = found or re.search(
        r'"lhs_contracting_dimensions":\[([^\]]*)\]', op.attributes
    )
    if not found:
        return 0
    dims = [int(d) for d in re.findall(r"\d+", found[1])]
    return 2 * op.result[0].elements * math.prod(arrays[0].shape[d] for d in dims)


def _convolution(op: Operation, arrays: list[Array], target: str) -> int:
    """Return 2 x outputs of the forward convolution x inputs of one output."""
    labels = re.search(r"\bdim_labels=(\w+)_(\w+)->(\w+)", op.attributes)
    if not labels:
        return 0
    result = op.result[0]
    if "BackwardFilter" in target:
        kernel, output = result, arrays[1]
    elif "BackwardInput" in target:
        kernel, output = arrays[1], arrays[0]
    else:
        kernel, output = arrays[1], result
    size = re.search(r"\bwindow=\{[^}]*\bsize=([\dx]+)", op.attributes)
    taps = math.prod(int(n) for n in size[1].split("x")) if size else 1
    holes = re.search(r"\bwindow=\{[^}]*\blhs_dilate=([\dx]+)", op.attributes)
    zeros = math.prod(int(n) for n in holes[1].split("x")) if holes else 1
    return 2 * output.elements * kernel.shape[labels[2].index("i")] * taps // zeros


def _unit(op: Operation, dtype: str) -> tuple[str, int]:
    """Return (unit, how many of its products make one) for operands of this type.
    Float32 goes to the tensor cores as TF32 unless the highest precision, or an
    algorithm, says otherwise."""
    if dtype in ("bf16", "f16"):
        return dtype, 1
    if dtype.startswith("f8"):
        return "f8", 1
    if dtype in ("f64", "c128"):
        return "f64", 1
    if dtype not in ("f32", "c64"):
        return "f32", 1
    said = re.search(r'\balgorithm[="]+:?"?((?:dot|ALG_DOT)_\w+)', op.attributes)
    algorithm = said[1].lower() if said else ""
    several = re.search(r"_x(\d)$", algorithm)
    times = int(several[1]) if several else 1
    for name in ("tf32", "bf16"):
        if f"dot_{name}_" in algorithm:
            return name, times
    highest = re.search(
        r'operand_precision=\{[^}]*highest|"operand_precision":\[[^\]]*HIGHEST',
        op.attributes,
    )
    if highest or "dot_f32_f32" in algorithm:
        return "f32", 1
    return "tf32", 1
