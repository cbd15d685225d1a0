"""SortNet: Zhang et al. (2022)."""
