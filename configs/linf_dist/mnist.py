"""l_inf-dist nets on MNIST, Zhang et al. (2022): radii 0.1 and 0.3.

The rows and the recipe are in jaxcert/configs/linf_dist/mnist.py;
copy that file for a config of your own.
"""

from jaxcert.configs.linf_dist.mnist import ROWS, get_config

__all__ = ["ROWS", "get_config"]
