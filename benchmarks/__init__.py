"""Benchmarks: ratios to a PyTorch peer in the same run, and fractions of a floor.

On a CPU `python -m benchmarks.run --help`, on a GPU `python -m benchmarks.campaign --help`.
A cell is a file here with `rows(device, tiny)` and
`jaxcert(row, device)`; its peers, if any, are a file in peers/ with `peer` and `strong`.
Cells import jax and peers import torch inside functions: the parent process imports
neither.
"""
