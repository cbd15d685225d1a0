"""EDM on CIFAR-10: Karras et al. (2022), Table 7, the DDPM++ and NCSN++ networks.

The rows and the recipe are in jaxcert/configs/edm/cifar10.py;
copy that file for a config of your own.
"""

from jaxcert.configs.edm.cifar10 import ROWS, get_config

__all__ = ["ROWS", "get_config"]
