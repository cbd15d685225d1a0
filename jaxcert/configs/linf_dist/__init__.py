"""l_inf-dist nets: Zhang et al. (2021, 2022)."""
