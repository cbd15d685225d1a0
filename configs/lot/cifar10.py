"""LOT on CIFAR-10: Altstidl et al. (2023), Tables 2 (cosine) and 4 (multi-step).

The rows and the recipe are in jaxcert/configs/lot/cifar10.py;
copy that file for a config of your own.
"""

from jaxcert.configs.lot.cifar10 import ROWS, get_config

__all__ = ["ROWS", "get_config"]
