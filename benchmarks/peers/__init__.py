"""PyTorch implementations to compare with, written from the papers.

`peer` keeps the structure of the published code (eager, NCHW, default precision flags,
its host synchronisations); `strong` is the best a PyTorch user gets without new kernels.
"""
