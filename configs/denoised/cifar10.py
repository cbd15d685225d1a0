"""Classifiers for denoised smoothing on CIFAR-10: Carlini et al. (2023).

The rows and the recipe are in jaxcert/configs/denoised/cifar10.py;
copy that file for a config of your own.
"""

from jaxcert.configs.denoised.cifar10 import ROWS, get_config

__all__ = ["ROWS", "get_config"]
