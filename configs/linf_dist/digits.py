"""l_inf-dist nets on the 8x8 digits: the whole schedule in a minute or two on a CPU.

The rows and the recipe are in jaxcert/configs/linf_dist/digits.py;
copy that file for a config of your own.
"""

from jaxcert.configs.linf_dist.digits import ROWS, get_config

__all__ = ["ROWS", "get_config"]
