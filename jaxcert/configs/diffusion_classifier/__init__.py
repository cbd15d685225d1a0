"""Diffusion classifiers, certified: Chen et al. (2024)."""
