"""SortNet on CIFAR-10, Zhang et al. (2022).

The rows and the recipe are in jaxcert/configs/sortnet/cifar10.py;
copy that file for a config of your own.
"""

from jaxcert.configs.sortnet.cifar10 import ROWS, get_config

__all__ = ["ROWS", "get_config"]
