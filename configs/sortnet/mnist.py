"""SortNet on MNIST, Zhang et al. (2022): radii 0.1 and 0.3.

The rows and the recipe are in jaxcert/configs/sortnet/mnist.py;
copy that file for a config of your own.
"""

from jaxcert.configs.sortnet.mnist import ROWS, get_config

__all__ = ["ROWS", "get_config"]
