"""SortNet with a tanh head on 64x64 images, Zhang et al. (2022): radius 1/255.

The rows and the recipe are in jaxcert/configs/sortnet/imagenet.py;
copy that file for a config of your own.
"""

from jaxcert.configs.sortnet.imagenet import ROWS, get_config

__all__ = ["ROWS", "get_config"]
