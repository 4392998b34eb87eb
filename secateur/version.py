"""The version, which artifacts carry."""

__version__ = "0.1.0"
