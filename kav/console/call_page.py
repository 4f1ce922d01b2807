"""One call's page, as it goes on or as it was, and its end by an operator.

A call that goes on is told out of memory. One that is over is told as it is on record, however long Kav remembers it:
what was erased, or is not to be stored, is not shown either; its chronicle only says what the record is about to.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

import gevent
from flask import Blueprint, abort, g, redirect, render_template, request, url_for
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.wrappers import Response as AnyResponse

import stream_registry
from kav.call.flow import Flow
from kav.console import live as live_calls
from kav.console.account import Account, account, of_chronicle
from kav.console.base import Base
from kav.console.live import LiveCalls
from kav.console.pieces import render_by_pieces
from kav.console.timeline import timeline
from kav.flow_files import Flows
from kav.records import Records
from kav.records.errors import RecordsError
from kav.records.models import CALLS
from stream_registry import Entry

NEWEST: Final = 30
"""Turns of a call that goes on which are shown without being asked for."""
REFRESH_MS: Final = 2000
"""How often the page of a call that never rests is fetched: it takes some 8 ms of CPU, as 100 frames of sound do."""
REFRESH_MS_PER_TURN: Final = 30
"""A long call's page, all of it, is fetched less often: it changes no more often, and costs more."""

SETTLES_S: Final = 60.0
"""How long after a call's end its page looks whether more is known."""

Sound = Literal["made", "none", "unknown"]
"""Whether a call of which Twilio has told no recording is recorded all the same."""

NOTHING_KNOWN: Final[dict[str, Any]] = dict.fromkeys((*CALLS.c.keys(), "seconds"))
"""Of a call that is not on record yet, or whose record cannot be read."""


@dataclass(frozen=True, slots=True)
class CallPage:
    """The page of any call."""

    base: Base
    calls: LiveCalls
    records: Records
    flows: Flows
    store_words: bool

    def add_to(self, pages: Blueprint) -> None:
        """Add the routes to the console's."""
        pages.add_url_rule("/calls/<call_sid>", "call", self.show)
        pages.add_url_rule("/calls/<call_sid>/end", "end_call", self.end, methods=["GET", "POST"])

    def show(self, call_sid: str) -> str:
        """Show one call; of one that goes on, what was said last."""
        entry, record = stream_registry.find(call_sid), self._record(call_sid)
        if entry is None and not record:
            abort(404 if record is not None else 503)
        live = entry is not None and not entry["ended"]
        g.section = "live" if live else "calls"
        remembered = entry if live or self._may_be_told(record) else None
        flow = self._flow((record or {}) | _known_of(entry, remembered), remembered)
        told = _told(NOTHING_KNOWN | (record or {}), flow, remembered)
        gevent.sleep(0)
        shown = told.newest(NEWEST) if live and "all" not in request.args else told
        picture = timeline(shown, shown.turns[0].begins_ms if len(shown.turns) < len(told.turns) else 0)
        gevent.sleep(0)
        return render_by_pieces(
            "call.html",
            sid=call_sid,
            live=live,
            follows=live or (bool(record) and not _has_end(entry, record)),
            now=self._now(entry) if live and entry is not None else None,
            voiced=live and entry is not None and not _is_elsewhere(entry),
            record=NOTHING_KNOWN | (record or {}) | _known_of(entry, remembered),
            unreadable=record is None and not live,
            told=told,
            shown=shown,
            picture=picture,
            flow=flow,
            sound=_sound(entry, record, flow),
            settles=_is_just_over(entry, record),
            refresh_ms=max(REFRESH_MS, REFRESH_MS_PER_TURN * len(shown.turns)),
        )

    def end(self, call_sid: str) -> AnyResponse | str:
        """End a call that goes on, once it was confirmed: it is somebody's conversation."""
        entry = stream_registry.find(call_sid)
        if entry is None:
            abort(404)
        if request.method == "GET" and not entry["ended"]:
            g.section = "live"
            return render_template("end_call.html", sid=call_sid, entry=entry, other=stream_registry.other_party(entry))
        if request.method == "POST":
            stream_registry.end(call_sid, "operator")
            self.calls.forget()
        return redirect(url_for("console.call", call_sid=call_sid), 303)

    def _record(self, call_sid: str) -> dict[str, Any] | None:
        """Return a call's record, empty where it has none; None where it cannot be read now."""
        try:
            return self.records.get_call(call_sid) or {}
        except (RecordsError, SQLAlchemyError):
            if stream_registry.get(call_sid) is None:
                raise
            return None

    def _may_be_told(self, record: dict[str, Any] | None) -> bool:
        """Whether what Kav remembers of a call that is over is, or will be, on record."""
        return self.store_words and record is not None and not record.get("erased_at")

    def _flow(self, record: dict[str, Any], remembered: Entry | None) -> Flow | None:
        if remembered is not None:
            talk = remembered["conversation"]
            return talk.flow if talk is not None else remembered["flow"]
        return next((flow for flow in self.flows.flows if flow.id == record.get("business")), None)

    def _now(self, entry: Entry) -> dict[str, Any]:
        now = time.monotonic()
        seen = None if _is_elsewhere(entry) else self.calls.look(now)
        found = next((call for call in seen or () if call.call_sid == entry["call_sid"]), None)
        return live_calls.show(found or self.calls.picture(entry), self.base.words(), now)


def _is_elsewhere(entry: Entry) -> bool:
    """Whether another process may carry the call's stream, so that this one does not know who is speaking."""
    return stream_registry.sharing().many and entry["stream"] is None


def _has_end(entry: Entry | None, record: dict[str, Any] | None) -> bool:
    """Whether a call is known to be over: one that another process carries may go on though this one has no entry."""
    known = record or {}
    return entry is not None or bool(known.get("end_reason") or known.get("terminal_status"))


def _is_just_over(entry: Entry | None, record: dict[str, Any] | None) -> bool:
    """Whether a call has ended so lately that Twilio's status, its summary or its recording may still come."""
    if entry is not None:
        ended_at = entry["ended_at"]
        return ended_at is not None and time.monotonic() - ended_at < SETTLES_S
    ended = (record or {}).get("ended_at")
    return ended is not None and (datetime.now(UTC) - ended).total_seconds() < SETTLES_S


def _sound(entry: Entry | None, record: dict[str, Any] | None, flow: Flow | None) -> Sound:
    """Return what is known of a recording before Twilio has told of it: that comes after the call's end."""
    if record is not None and record.get("line") == "browser":
        return "none"
    if entry is not None:
        return "made" if entry["recorded"] else "none"
    return "unknown" if record is None or flow is None or flow.recording else "none"


def _told(record: dict[str, Any], flow: Flow | None, remembered: Entry | None) -> Account:
    talk = remembered["conversation"] if remembered is not None else None
    if talk is None or remembered is None:
        return account(record, flow)
    active = talk.lock.active if not remembered["ended"] else None
    return account(record | of_chronicle(talk), flow, active.id if active is not None else "")


def _known_of(entry: Entry | None, remembered: Entry | None) -> dict[str, Any]:
    """Return what the registry knows before the record does; `remembered` where that may be told."""
    if entry is None:
        return {}
    known: dict[str, Any] = {"direction": entry["direction"], "business": entry["business"], "line": entry["line"]}
    if remembered is not None:
        known |= {"from_number": entry["from_number"], "to_number": entry["to_number"]}
    if not entry["ended"] or entry["ended_at"] is None:
        return known
    return known | {"end_reason": entry["end_reason"], "seconds": entry["ended_at"] - entry["created_at"]}
