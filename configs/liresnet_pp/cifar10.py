"""LiResNet++ on CIFAR-10: Hu et al., "A Recipe for Improved Certifiable Robustness" (2024).

The rows and the recipe are in jaxcert/configs/liresnet_pp/cifar10.py;
copy that file for a config of your own.
"""

from jaxcert.configs.liresnet_pp.cifar10 import ROWS, get_config

__all__ = ["ROWS", "get_config"]
