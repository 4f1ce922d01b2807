"""Kavs in this process, in front of a test client: no socket of theirs is open, and their records are real."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask import Flask

import stream_registry
from app import Kav, create_app
from kav.settings import Settings
from tests.local_servers import ACCOUNT, TOKEN, TwilioApi

API_TOKEN = "the-operators-token"
BASE = "https://kav.example.com"

Start = Callable[..., Flask]
"""Builds a Kav with these settings besides; `records=False`: one whose database is not there yet."""


def with_twilio(api: TwilioApi) -> dict[str, Any]:
    """Settings of a Kav that is called at BASE and reaches Twilio's REST API at a stand-in."""
    return {
        "KAV_API_TOKEN": API_TOKEN,
        "PUBLIC_BASE_URL": BASE,
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_AUTH_TOKEN": TOKEN,
        "TWILIO_API_BASE_URL": api.url,
    }


@contextmanager
def kavs(folder: Path, settings: Mapping[str, Any]) -> Iterator[Start]:
    """Yield what starts Kavs, one database for all of them; the registry is empty before and after."""
    started: list[Kav] = []

    def start(*, records: bool = True, **changed: object) -> Flask:
        known: dict[str, Any] = {"DATABASE_URL": f"sqlite:///{folder / 'kav.db'}", **settings, **changed}
        app = create_app(Settings(_env_file=None, **known))  # type: ignore[call-arg]  # pydantic-settings' own argument
        kav: Kav = app.extensions["kav"]
        if records:
            assert kav.records.start().wait(10)
        started.append(kav)
        return app

    stream_registry.registry.clear()
    yield start
    stream_registry.registry.clear()
    for kav in started:
        kav.records.stop(5)
