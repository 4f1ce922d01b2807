"""A console without a network: the whole app in front of a test client, and calls on record to look at."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import stream_registry
from app import Kav, create_app
from kav.call.conversation import Conversation
from kav.call.flow import Flow, Step
from kav.settings import Settings

PASSWORD = "open sesame, please"
CSRF = re.compile(r'<meta name="csrf" content="([^"]+)"')
CLINIC = Flow(
    "clinic",
    "מרפאה",
    "inbound",
    ("+97231110002",),
    ("he", "en"),
    {"he": "שלום."},
    {"he": "להתראות."},
    steps=(Step("name", {"he": "מה השם?", "en": "Your name?"}), Step("day", {"he": "איזה יום?", "en": "Which day?"})),
)


class Visitor:
    """Somebody at a browser."""

    def __init__(self, app: Flask, **environ: Any) -> None:  # noqa: ANN401 - WSGI's
        self.app = app
        self.client: FlaskClient = app.test_client()
        self._environ = environ

    def get(self, path: str, **more: Any) -> TestResponse:  # noqa: ANN401 - Flask's
        return self.client.get(path, environ_base=self._environ, **more)

    def post(self, path: str, *, csrf: str | None = None, **form: str) -> TestResponse:
        sent = form | {"csrf": self.token() if csrf is None else csrf}
        return self.client.post(path, data=sent, environ_base=self._environ)

    def token(self) -> str:
        found = CSRF.search(self.get("/console/login", follow_redirects=True).text)
        assert found is not None
        return found.group(1)

    def log_in(self, password: str = PASSWORD, **form: str) -> TestResponse:
        return self.post("/console/login", password=password, **form)


class Place:
    """One Kav with a console."""

    def __init__(self, folder: Path, **changed: object) -> None:
        known: dict[str, Any] = {
            "DATABASE_URL": f"sqlite:///{folder / 'kav.db'}",
            "KAV_CONSOLE_PASSWORD": PASSWORD,
            "KAV_SECRET_KEY": "the same after every restart",
            **changed,
        }
        self.app = create_app(Settings(_env_file=None, **known))  # type: ignore[call-arg]  # pydantic-settings' own
        self.kav: Kav = self.app.extensions["kav"]

    def visitor(self, **environ: Any) -> Visitor:  # noqa: ANN401 - WSGI's
        return Visitor(self.app, **environ)

    def operator(self) -> Visitor:
        visitor = self.visitor()
        assert visitor.log_in().status_code == 303
        return visitor


Open = Callable[..., Place]


@pytest.fixture
def open_console(tmp_path: Path) -> Iterator[Open]:
    """Open a console; `records=False` is one whose database was never asked."""
    opened: list[Place] = []

    def open_console(*, records: bool = True, **changed: object) -> Place:
        place = Place(tmp_path, **changed)
        if records:
            assert place.kav.records.start().wait(10)
        opened.append(place)
        return place

    stream_registry.registry.clear()
    yield open_console
    stream_registry.registry.clear()
    for place in opened:
        place.kav.records.stop(5)


@pytest.fixture
def place(open_console: Open) -> Place:
    return open_console()


def going_on(call_sid: str = "CAlive", flow: Flow = CLINIC) -> stream_registry.Entry:
    """A call that goes on, somewhere in its script."""
    entry = stream_registry.register(
        call_sid, direction="inbound", flow=flow, from_number="+972501234567", to_number="+97231110002"
    )
    entry["conversation"] = Conversation(flow, {})
    return entry


def recorded(place: Place, call_sid: str = "CApast", **known: Any) -> str:  # noqa: ANN401 - a call's fields
    """A call on record, in which a bit of everything happened."""
    records, now = place.kav.records, datetime.now(UTC)
    fields: dict[str, Any] = {"direction": "inbound", "business": "clinic", "end_reason": "goodbye"}
    fields |= {"from_number": "+972501234567", "flow_done": True, "line_ghost_ms": 40.0}
    fields |= {"created_at": now, "ended_at": now + timedelta(seconds=75), "socket_ghost_ms": 1.5}
    records.save_call(call_sid, **(fields | known))
    turns: list[dict[str, Any]] = [
        {"who": "bot", "kind": "phrase", "text": "שלום, כאן הנציגה.", "at_ms": 150, "audio_ms": 900,
         "marks": "[250,1050]"},
        {"who": "caller", "kind": "caller", "text": "מה השעה?", "at_ms": 3500, "audio_ms": 900, "language": "he"},
        {
            "who": "bot", "kind": "speak", "text": "השעה שלוש. רוצה שנמשיך?", "heard": "השעה שלוש.", "at_ms": 4200,
            "audio_ms": 3000, "heard_ms": 1200, "language": "he", "latency_ms": 700, "judge_ms": 300,
        },
        {"who": "caller", "kind": "caller", "text": "English please", "at_ms": 6500, "audio_ms": 800, "language": "en"},
    ]  # fmt: skip
    for number, turn in enumerate(turns, start=1):
        records.save_turn(call_sid, number, **turn)
    records.save_tool_call(call_sid, "j1", name="side_question", arguments="{}", at_ms=3600, duration_ms=1)
    records.save_tool_call(call_sid, "t1", name="free_slots", arguments='{"day": "x"}', output="[]", at_ms=3700)
    records.save_answer(call_sid, "name", value="דנה", position=1)
    records.save_breach(call_sid, 1, what="resume phrase missing", at_ms=7000)
    records.save_recording(call_sid, "RE" + "0" * 32, duration_s=70)
    records.save_stream(
        f"MZ{call_sid}", call_sid, end_reason=fields["end_reason"], socket_ghost_ms=1.5, frames_in=9, barge_ins=1,
        reaction_ms=4.2,
    )  # fmt: skip
    assert records.save_usage(call_sid, "gpt-realtime-2.1", responses=3, cost_micro_usd=123_400).wait(5)
    return call_sid


def shown(html: str) -> str:
    """The text of a page, without its tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def in_language(visitor: Visitor, code: str) -> Visitor:
    assert visitor.get(f"/console/language/{code}?next=/console/").status_code == 303
    return visitor
