"""LeNet on MNIST for randomized smoothing: the methods of configs/smoothing/cifar10.py.

The rows and the recipe are in jaxcert/configs/smoothing/mnist.py;
copy that file for a config of your own.
"""

from jaxcert.configs.smoothing.mnist import ROWS, get_config

__all__ = ["ROWS", "get_config"]
