"""The version of the package: here, so that a run's manifest can name it without importing the package's root."""

__version__ = "0.1.0"
