"""BRONet on CIFAR-100: Lai et al. (2025), BRONet-L with logit annealing; else as CIFAR-10.

The rows and the recipe are in jaxcert/configs/bronet/cifar100.py;
copy that file for a config of your own.
"""

from jaxcert.configs.bronet.cifar100 import ROWS, get_config

__all__ = ["ROWS", "get_config"]
