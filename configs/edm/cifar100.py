"""EDM on CIFAR-100: the recipe of configs/edm/cifar10.py with 100 classes.

The rows and the recipe are in jaxcert/configs/edm/cifar100.py;
copy that file for a config of your own.
"""

from jaxcert.configs.edm.cifar100 import ROWS, get_config

__all__ = ["ROWS", "get_config"]
