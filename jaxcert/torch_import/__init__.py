"""PyTorch checkpoints of the papers' own code, read with numpy: one file per network."""
