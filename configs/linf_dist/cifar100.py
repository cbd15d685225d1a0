"""l_inf-dist nets on CIFAR-100: Altstidl et al. (2023), Table 3 (800 epochs of "hinge").

The rows and the recipe are in jaxcert/configs/linf_dist/cifar100.py;
copy that file for a config of your own.
"""

from jaxcert.configs.linf_dist.cifar100 import ROWS, get_config

__all__ = ["ROWS", "get_config"]
