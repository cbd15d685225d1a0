"""LOT on CIFAR-100: Altstidl et al. (2023), Table 3 (size l at 200 epochs, cosine).

The rows and the recipe are in jaxcert/configs/lot/cifar100.py;
copy that file for a config of your own.
"""

from jaxcert.configs.lot.cifar100 import ROWS, get_config

__all__ = ["ROWS", "get_config"]
