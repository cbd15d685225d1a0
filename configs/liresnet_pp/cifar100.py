"""LiResNet++ on CIFAR-100: Hu et al. (2024). All else is as on CIFAR-10.

The rows and the recipe are in jaxcert/configs/liresnet_pp/cifar100.py;
copy that file for a config of your own.
"""

from jaxcert.configs.liresnet_pp.cifar100 import ROWS, get_config

__all__ = ["ROWS", "get_config"]
