"""Classifiers for denoised smoothing: Carlini et al. (2023)."""
