"""LiResNet on MNIST padded to 32x32, small enough for a CPU.

The rows and the recipe are in jaxcert/configs/liresnet/mnist.py;
copy that file for a config of your own.
"""

from jaxcert.configs.liresnet.mnist import ROWS, get_config

__all__ = ["ROWS", "get_config"]
