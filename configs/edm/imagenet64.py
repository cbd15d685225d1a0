"""EDM on ImageNet, 64x64: Karras et al. (2022), Table 7, the ADM network.

The rows and the recipe are in jaxcert/configs/edm/imagenet64.py;
copy that file for a config of your own.
"""

from jaxcert.configs.edm.imagenet64 import ROWS, get_config

__all__ = ["ROWS", "get_config"]
