"""LOT on MNIST padded to 32x32: LipConvnet-10 of width 8, small enough for a CPU.

The rows and the recipe are in jaxcert/configs/lot/mnist.py;
copy that file for a config of your own.
"""

from jaxcert.configs.lot.mnist import ROWS, get_config

__all__ = ["ROWS", "get_config"]
