"""Inject telescope files into a Rucio data lake, and prove every step."""

__version__ = "0.1.0"
