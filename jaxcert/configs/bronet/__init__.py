"""BRONet and other networks of block reflector layers: Lai et al. (2025)."""
