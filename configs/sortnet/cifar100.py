"""SortNet on CIFAR-100: Altstidl et al. (2023), Table 3 (without dropout, 3,000 epochs).

The rows and the recipe are in jaxcert/configs/sortnet/cifar100.py;
copy that file for a config of your own.
"""

from jaxcert.configs.sortnet.cifar100 import ROWS, get_config

__all__ = ["ROWS", "get_config"]
