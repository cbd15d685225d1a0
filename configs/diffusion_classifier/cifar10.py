"""Diffusion classifiers on CIFAR-10: Chen et al. (2024), for an EDM of configs/edm/cifar10.py.

The rows and the recipe are in jaxcert/configs/diffusion_classifier/cifar10.py;
copy that file for a config of your own.
"""

from jaxcert.configs.diffusion_classifier.cifar10 import ROWS, get_config

__all__ = ["ROWS", "get_config"]
