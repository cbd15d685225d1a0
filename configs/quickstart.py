"""LOT on the 8x8 optical digits: trained and certified in two minutes on a laptop.

The rows and the recipe are in jaxcert/configs/quickstart.py;
copy that file for a config of your own.
"""

from jaxcert.configs.quickstart import ROWS, get_config

__all__ = ["ROWS", "get_config"]
