"""BRONet on CIFAR-10: Lai et al. (2025), BRONet-L with logit annealing.

The rows and the recipe are in jaxcert/configs/bronet/cifar10.py;
copy that file for a config of your own.
"""

from jaxcert.configs.bronet.cifar10 import ROWS, get_config

__all__ = ["ROWS", "get_config"]
