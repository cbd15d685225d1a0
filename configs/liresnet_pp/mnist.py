"""LiResNet++ on MNIST padded to 32x32, small enough for a CPU.

The rows and the recipe are in jaxcert/configs/liresnet_pp/mnist.py;
copy that file for a config of your own.
"""

from jaxcert.configs.liresnet_pp.mnist import ROWS, get_config

__all__ = ["ROWS", "get_config"]
