"""ResNet-50 on ImageNet for randomized smoothing.

The rows and the recipe are in jaxcert/configs/smoothing/imagenet.py;
copy that file for a config of your own.
"""

from jaxcert.configs.smoothing.imagenet import ROWS, get_config

__all__ = ["ROWS", "get_config"]
