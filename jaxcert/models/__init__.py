"""Whole networks: one file each, `make(**config.model) -> Model`."""
