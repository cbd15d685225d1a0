"""Training for randomized smoothing on CIFAR-10: the rows of Sun et al. (2024).

The rows and the recipe are in jaxcert/configs/smoothing/cifar10.py;
copy that file for a config of your own.
"""

from jaxcert.configs.smoothing.cifar10 import ROWS, get_config

__all__ = ["ROWS", "get_config"]
