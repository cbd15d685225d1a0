"""LipNeXt on the 8x8 digits: trained and certified in a minute of one core.

The recipe is in jaxcert/configs/lipnext/digits.py;
copy that file for a config of your own.
"""

from jaxcert.configs.lipnext.digits import ROWS, get_config

__all__ = ["ROWS", "get_config"]
