"""One whole Kav in this process, for whoever asks it anything over HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flask import Flask

import stream_registry
from app import create_app
from kav.settings import Settings

URL = "https://kav.example.com"
TOKEN, API_TOKEN, PASSWORD = "the-auth-token", "the-operators-token", "open sesame, please"
SECRETS = (TOKEN, API_TOKEN, PASSWORD, "sk-the-openai-key", "the-key-of-the-cookies", "the-metrics-token")
NOBODY = "127.0.0.1:1"


def settings(folder: Path, **changed: object) -> Settings:
    known: dict[str, object] = {
        "PUBLIC_BASE_URL": URL,
        "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
        "TWILIO_AUTH_TOKEN": TOKEN,
        "TWILIO_API_BASE_URL": f"http://{NOBODY}",
        "OPENAI_API_KEY": SECRETS[3],
        "OPENAI_REALTIME_URL": f"ws://{NOBODY}",
        "KAV_API_TOKEN": API_TOKEN,
        "KAV_CONSOLE_PASSWORD": PASSWORD,
        "KAV_SECRET_KEY": SECRETS[4],
        "KAV_METRICS_TOKEN": SECRETS[5],
        "KAV_DEFAULT_NUMBERS": "*",
        "CALLS_PER_MINUTE": 1_000_000,
        "CALLS_PER_CALLER_PER_HOUR": 0,
        "DATABASE_URL": f"sqlite:///{folder / 'kav.db'}",
        **changed,
    }
    return Settings(_env_file=None, **known)  # type: ignore[call-arg, arg-type]  # pydantic-settings' own argument


@contextmanager
def installation(folder: Path, **changed: object) -> Iterator[Flask]:
    """Kav with its records; nobody is behind it: neither Twilio nor a model."""
    app = create_app(settings(folder, **changed))
    records = app.extensions["kav"].records
    assert records.start().wait(10)
    stream_registry.registry.clear()
    try:
        yield app
    finally:
        stream_registry.registry.clear()
        records.stop(5)
