"""Diffusion classifiers on ImageNet, 64x64: Chen et al. (2024).

The rows and the recipe are in jaxcert/configs/diffusion_classifier/imagenet64.py;
copy that file for a config of your own.
"""

from jaxcert.configs.diffusion_classifier.imagenet64 import ROWS, get_config

__all__ = ["ROWS", "get_config"]
