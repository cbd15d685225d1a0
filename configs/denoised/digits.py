"""Classifiers for denoised smoothing on the 8x8 digits: seconds on a CPU.

The rows and the recipe are in jaxcert/configs/denoised/digits.py;
copy that file for a config of your own.
"""

from jaxcert.configs.denoised.digits import ROWS, get_config

__all__ = ["ROWS", "get_config"]
