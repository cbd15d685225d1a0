"""Training for smoothing and its certificates on the 8x8 digits: a minute on a laptop.

The rows and the recipe are in jaxcert/configs/smoothing/digits.py;
copy that file for a config of your own.
"""

from jaxcert.configs.smoothing.digits import ROWS, get_config

__all__ = ["ROWS", "get_config"]
