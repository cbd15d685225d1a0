"""LipNeXt on MNIST, in 7x7 tokens, small enough for a CPU.

The recipe is in jaxcert/configs/lipnext/mnist.py;
copy that file for a config of your own.
"""

from jaxcert.configs.lipnext.mnist import ROWS, get_config

__all__ = ["ROWS", "get_config"]
