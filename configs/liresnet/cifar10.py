"""GloroNet (LiResNet) on CIFAR-10: Altstidl et al. (2023), Table 2; Hu et al. (2023).

The rows and the recipe are in jaxcert/configs/liresnet/cifar10.py;
copy that file for a config of your own.
"""

from jaxcert.configs.liresnet.cifar10 import ROWS, get_config

__all__ = ["ROWS", "get_config"]
