"""LipConvNet with block reflector layers and logit annealing on CIFAR: Lai et al. (2025).

The rows and the recipe are in jaxcert/configs/bronet/lip_convnet.py;
copy that file for a config of your own.
"""

from jaxcert.configs.bronet.lip_convnet import ROWS, get_config

__all__ = ["ROWS", "get_config"]
