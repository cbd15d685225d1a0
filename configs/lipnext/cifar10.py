"""LipNeXt on CIFAR-10: Hu, Hu and Fredrikson (2026), L32W1024 and L32W2048.

The rows and the recipe are in jaxcert/configs/lipnext/cifar10.py;
copy that file for a config of your own.
"""

from jaxcert.configs.lipnext.cifar10 import ROWS, get_config

__all__ = ["ROWS", "get_config"]
