"""EDM on the 8x8 digits: five minutes on a CPU, 189 thousand parameters.

The rows and the recipe are in jaxcert/configs/edm/digits.py;
copy that file for a config of your own.
"""

from jaxcert.configs.edm.digits import ROWS, get_config

__all__ = ["ROWS", "get_config"]
