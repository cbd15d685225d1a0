"""Diffusion classifiers on the 8x8 digits, for the EDM of configs/edm/digits.py.

The rows and the recipe are in jaxcert/configs/diffusion_classifier/digits.py;
copy that file for a config of your own.
"""

from jaxcert.configs.diffusion_classifier.digits import ROWS, get_config

__all__ = ["ROWS", "get_config"]
