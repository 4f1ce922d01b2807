"""Fixtures of the console's tests."""

from tests.console.desk import open_console, place

__all__ = ["open_console", "place"]
