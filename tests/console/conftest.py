"""Fixtures of the console's tests."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser

from tests.console.chromium import chromium
from tests.console.desk import open_console, place

__all__ = ["browser", "open_console", "place"]


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One browser for all tests of a file."""
    async with chromium() as browser:
        yield browser
