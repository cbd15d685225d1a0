"""l_inf-dist nets on CIFAR-10, the networks of Zhang et al. (2021, 2022).

The rows and the recipe are in jaxcert/configs/linf_dist/cifar10.py;
copy that file for a config of your own.
"""

from jaxcert.configs.linf_dist.cifar10 import ROWS, get_config

__all__ = ["ROWS", "get_config"]
