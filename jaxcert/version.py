"""The version of the library, which headers of records state."""

__version__ = "0.1.0"
