"""Diffusion models: noise levels, preconditioning, sampling. No flax, no configuration."""
