"""The browser phone: a page that is a caller, so that anybody tries a flow without a telephone or an account.

The page speaks Twilio's media protocol (Media Streams, "WebSocket messages") to the same desk as Twilio does, and types
lines besides. No telephone network is behind it: nothing rings, and what Twilio's voice would say is shown as text.
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flask import Blueprint, Flask, Request, Response, abort, g, jsonify, render_template, request, url_for

import stream_registry
from call_admission import Admission
from kav.call.admission import Hindrance
from kav.call.chronicle import Turn
from kav.call.conversation import Conversation
from kav.call.flow import Flow
from kav.call.variables import MAX_VALUE, fill, harmless
from kav.console.base import Base
from kav.console.door import Door
from kav.flow_files import Flows
from kav.records import Records
from kav.settings import Settings
from kav.wire.websocket import WebSocket
from kav.wire.websocket_server import AdmittingSock
from media_desk import MediaDesk
from media_ws_ai import MAX_TYPED
from realtime_prompt_builder import Phrases
from stream_registry import Entry

BROWSER: Final = "browser"
"""Stands where the number of a page's caller would stand: whatever number it pretends to have is nobody's."""

SOCKET_PATH: Final = "/console/phone/media"

MAX_PHONES: Final = 10
"""Browser calls at once, those that are still to open their socket included: callers come first."""

TURNS_TOLD: Final = 12
"""Of a call, at each look: older ones do not change any more."""

LEFT_TO_RIGHT: Final = "\u2066"
ISOLATE_ENDS: Final = "\u2069"
"""Around a number: its plus sign would wander to its other end among Hebrew words (Unicode, UAX 9)."""

STATUSES: Final[Mapping[Hindrance, int]] = {"draining": 503, "late": 503, "full": 503, "flow_full": 429, "spent": 429}
"""As the operator's API answers."""

NUMBER: Final = re.compile(r"\+?[0-9]{3,15}")


class Refused(Exception):
    """A call that cannot be placed: the key of the text that says why, the HTTP status, and what the text names."""

    def __init__(self, key: str, status: int, **named: object) -> None:
        super().__init__(key)
        self.key, self.status, self.named = key, status, named


@dataclass(frozen=True, slots=True)
class Exchange:
    """Where the pages' calls are put through."""

    settings: Settings
    media: MediaDesk
    records: Records
    phrases: Phrases
    flows: Flows
    door: Door
    admission: Admission

    def add_socket(self, app: Flask) -> None:
        """Register the socket that pages speak through."""
        AdmittingSock(app, self.admit).route(SOCKET_PATH, endpoint="phone_media")(self.carry)

    def admit(self, upgrade: Request) -> Response | None:
        """Before the upgrade: an operator, from a page of this console's, and room for one more."""
        if not self.door.admits_socket(upgrade):
            return Response("forbidden\n", 403, content_type="text/plain")
        return Response("full\n", 503, content_type="text/plain") if self.media.full else None

    def carry(self, ws: WebSocket) -> None:
        """Carry one page's stream."""
        self.media.media(ws, "browser")

    def place(self, flow: Flow, number: str) -> Entry:
        """Register a call over `flow` by, or to, somebody at a page; `number` is what the script takes for theirs.

        Raises:
            Refused: there is no room, or no money.
        """
        phones = sum(entry["line"] == "browser" and not entry["ended"] for entry in stream_registry.registry.values())
        if phones >= MAX_PHONES:
            raise Refused("phone.refused.phones", 429, most=MAX_PHONES)
        own = flow.numbers[0] if flow.numbers else ""
        from_, to = (own, BROWSER) if flow.direction == "outbound" else (BROWSER, own)
        call_sid = f"CAweb{secrets.token_hex(14)}"
        entry = stream_registry.register(
            call_sid, direction=flow.direction, flow=flow, from_number=from_, to_number=to, line="browser"
        )
        self._check_room(entry)
        entry["conversation"] = Conversation(flow, self.phrases.texts, number)
        self.records.save_call(
            call_sid, line="browser", direction=flow.direction, business=flow.id, from_number=from_, to_number=to
        )
        self.media.prewarm(entry)
        return entry

    def _check_room(self, entry: Entry) -> None:
        """Forget a new call that cannot be taken, and raise Refused: a page's call costs what a telephone's does."""
        hindered = self.admission.hindrance(entry)
        if hindered is not None:
            stream_registry.end(entry["call_sid"], "refused")
            stream_registry.remove(entry)
            raise Refused(f"phone.refused.{hindered}", STATUSES[hindered])

    def epilogue(self, entry: Entry) -> str:
        """Return what the telephone network would say after the stream."""
        flow, after = entry["flow"], entry["after_stream"]
        talk = entry["conversation"]
        language = talk.language.current if talk is not None else flow.language
        if after == "apology":
            return self.phrases.text("apology", language)
        if after == "announced_transfer" and flow.transfer is not None:
            return flow.transfer.announcement.get(language) or self.phrases.text("transfer", language)
        return ""


@dataclass(frozen=True, slots=True)
class PhonePages:
    """The page, and what it asks for."""

    exchange: Exchange
    base: Base

    def add_to(self, pages: Blueprint) -> None:
        """Add the phone's routes to the console's."""
        pages.add_url_rule("/phone", "phone", self.page)
        pages.add_url_rule("/phone/calls", "phone_call", self.call, methods=["POST"])
        pages.add_url_rule("/phone/calls/<call_sid>", "phone_state", self.state)

    def page(self) -> str:
        """Show the phone."""
        g.section = "phone"
        settings = self.exchange.settings
        return render_template(
            "phone.html",
            flows=self.exchange.flows.flows,
            rehearsal=settings.KAV_REHEARSAL and not settings.OPENAI_API_KEY.get_secret_value(),
            max_typed=MAX_TYPED,
            max_value=MAX_VALUE,
            keys="123456789*0#",
        )

    def call(self) -> tuple[Response, int]:
        """Place a call: answers with the ticket that the page's stream begins with, good for one stream."""
        try:
            entry = self.exchange.place(self._flow(), _number(request.form.get("number", "")))
        except Refused as refused:
            return jsonify(error=self.base.translator()(refused.key, **refused.named)), refused.status
        ticket = {
            "callSid": entry["call_sid"],
            "streamSid": f"MZweb{secrets.token_hex(14)}",
            "token": entry["token"],
            "direction": entry["direction"],
            "socket": SOCKET_PATH,
            "state": url_for("console.phone_state", call_sid=entry["call_sid"]),
        }
        return jsonify(ticket), 201

    def state(self, call_sid: str) -> Response:
        """Tell a page how its call goes, and how it ended."""
        entry = stream_registry.find(call_sid)
        if entry is None or entry["line"] != "browser":
            abort(404)
        told = {**self._talk(entry), "ended": entry["ended"]}
        return jsonify(told | self._end(entry) if entry["ended"] else told)

    def _flow(self) -> Flow:
        """Return the flow that was chosen, filled with what was written for its variables."""
        chosen = request.form.get("flow", "")
        flow = next((flow for flow in self.exchange.flows.flows if flow.id == chosen), None)
        if flow is None:
            raise Refused("phone.no_flow", 400)
        values = {name: harmless(request.form.get(f"variable_{chosen}_{name}", "")) for name in flow.variables}
        if not all(values.values()):
            raise Refused("phone.no_value", 400)
        return fill(flow, values)

    def _talk(self, entry: Entry) -> dict[str, Any]:
        talk, stream = entry["conversation"], entry["stream"]
        turns = talk.chronicle.turns[-TURNS_TOLD:] if talk is not None else []
        return {
            "speaking": stream.speaking if stream is not None else "nobody",
            "step": talk.open_question[0] if talk is not None else "",
            "turns": [_told(turn) for turn in turns],
        }

    def _end(self, entry: Entry) -> dict[str, Any]:
        t, flow = self.base.translator(), entry["flow"]
        transfer = flow.transfer if stream_registry.handed_over(entry) else None
        return {
            "why": self.base.texts.name(self.base.current_language(), "phone_end", entry["end_reason"] or ""),
            "epilogue": self.exchange.epilogue(entry),
            "rings": t("phone.rings", number=f"{LEFT_TO_RIGHT}{transfer.to}{ISOLATE_ENDS}")
            if transfer is not None
            else "",
            "record": url_for("console.call", call_sid=entry["call_sid"]),
        }


def _told(turn: Turn) -> dict[str, Any]:
    heard = turn.heard
    return {
        "number": turn.number,
        "who": turn.who,
        "kind": turn.kind,
        "language": turn.language,
        "heard": heard,
        "unheard": turn.text[len(heard) :],
    }


def _number(written: str) -> str:
    """Return a caller's number as it was written, without what people put between digits; none is anonymous."""
    number = re.sub(r"[\s().-]", "", written)
    if number and not NUMBER.fullmatch(number):
        raise Refused("phone.no_number", 400)
    return number
