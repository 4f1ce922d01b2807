"""Whole calls over real sockets: a Kav process, a strict model and a telephone line."""

from collections.abc import AsyncIterator

import pytest

from rehearsal.world import World

MEDIA_SILENCE_S = 6.0
"""More than `AT_ONCE_S`: what ends because of it has not ended at once."""


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """A world whose Kav serves every test of a module: waiting is short, and a model that is lost is lost."""
    quick = {"HANGUP_FALLBACK_S": "1", "MEDIA_SILENCE_S": str(MEDIA_SILENCE_S), "MODEL_RECONNECTS": "0"}
    async with World(quick) as world:
        yield world
        assert world.model.violations == [], "Kav broke the model's rules"
        assert [notice for call in world.twilio.calls for notice in call.violations] == [], "Kav broke Twilio's rules"
