"""BRONet on the 8x8 digits, for trying things out: seconds per epoch on a CPU.

The rows and the recipe are in jaxcert/configs/bronet/digits.py;
copy that file for a config of your own.
"""

from jaxcert.configs.bronet.digits import ROWS, get_config

__all__ = ["ROWS", "get_config"]
