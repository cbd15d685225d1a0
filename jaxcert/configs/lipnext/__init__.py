"""LipNeXt: Hu, Hu and Fredrikson (2026)."""
