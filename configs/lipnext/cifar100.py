"""LipNeXt on CIFAR-100: Hu, Hu and Fredrikson (2026). All else is as on CIFAR-10.

The rows and the recipe are in jaxcert/configs/lipnext/cifar100.py;
copy that file for a config of your own.
"""

from jaxcert.configs.lipnext.cifar100 import ROWS, get_config

__all__ = ["ROWS", "get_config"]
