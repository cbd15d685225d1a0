"""LiResNet++: Hu et al. (2024)."""
