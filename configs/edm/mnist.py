"""EDM on MNIST, small enough for a CPU: 0.3 million parameters.

The rows and the recipe are in jaxcert/configs/edm/mnist.py;
copy that file for a config of your own.
"""

from jaxcert.configs.edm.mnist import ROWS, get_config

__all__ = ["ROWS", "get_config"]
