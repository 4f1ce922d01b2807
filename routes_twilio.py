"""What Twilio asks over HTTP: what to do with a call, how it goes, what comes after its stream.

Every answer is ready in milliseconds and none is ever a 5xx: whatever goes wrong in here, the caller gets words.
Webhooks may come twice, late or out of order, so each of them may be repeated at will.
"""

import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final, cast

import gevent
from flask import Blueprint, Flask, Response, request
from werkzeug.exceptions import HTTPException

import stream_registry
import twilio_gate
from call_admission import Admission
from kav.call.actions import EndReason
from kav.call.events import Direction
from kav.call.flow import Flow
from kav.dialling import AnsweredBy, answered_by
from kav.flow_files import Flows
from kav.records import Records
from kav.settings import Settings
from kav.tickets import Order, Tickets
from kav.wire.twilio_rest import TwilioRest, TwilioRestError, UnreachableError
from media_desk import MediaDesk
from realtime_prompt_builder import DEFAULT_LANGUAGE, Phrases
from stream_registry import TERMINAL_STATUSES, Entry
from twilio_answers import Answers, hang_up

STATUS_WRITE_S: Final = 2.0
"""How long the status webhook waits for its record: Twilio waits longer, a caller is not waiting at all."""

SPEAKING: Final = frozenset(
    f"twilio.{name}" for name in ("voice", "outbound_voice", "voice_fallback", "after_stream", "dial_result")
)
"""Requests whose answer a caller hears."""

TELL_S: Final = 1.5
"""How long a hang-up or an apology by a process that stops may hold up the close of the call's sockets."""

HAND_OVER_S: Final = 5.0
"""How long a hand-over by such a process may, with the look-up of the name: meanwhile the caller hears nothing."""

NOBODY: Final = frozenset({"busy", "no-answer", "failed", "canceled"})
"""DialCallStatus of a human who did not take the call."""

MAX_FORM_BYTES: Final = 64 * 1024

log = logging.getLogger(__name__)


class Desk:
    """Answers Twilio's webhooks for one installation."""

    def __init__(
        self,
        settings: Settings,
        media: MediaDesk,
        records: Records,
        phrases: Phrases,
        flows: Flows,
        tickets: Tickets,
        admission: Admission,
    ) -> None:
        self._settings = settings
        self._media = media
        self._records = records
        self._answers = Answers(settings, phrases)
        self._flows = flows
        self._tickets = tickets
        self._admission = admission

    def voice(self) -> Response:
        """Somebody calls: answer with a stream, or say why not. A repeated CallSid gets the same answer."""
        form = request.form
        entry = stream_registry.find(form.get("CallSid", ""))
        if entry is None:
            entry = self._called(form)
            if entry is None:
                return self._answers.reject()
            self._admit(entry)
        return self._end_of_line(entry) if entry["ended"] else self._open_stream(entry)

    def _admit(self, entry: Entry) -> None:
        """Let a new call in, or end it before it costs anything: with words, or with the business's human."""
        verdict = self._admission.rule(entry)
        if verdict == "transfer":
            stream_registry.end(entry["call_sid"], "transferred", after_stream="announced_transfer")
        elif verdict != "take":
            stream_registry.end(entry["call_sid"], "refused", after_stream=verdict)

    def outbound_voice(self) -> Response:
        """Somebody answers a call that Kav has placed; its ticket says which. A repeated CallSid gets the same answer.

        Whoever answers a call that Kav knows nothing of (it was restarted meanwhile) hears an apology, not a dead line.
        """
        call_sid = request.form.get("CallSid", "")
        entry = stream_registry.find(call_sid)
        if entry is None:
            entry = self._answered(call_sid)
            if entry is None:
                return self._answers.apology(DEFAULT_LANGUAGE)
            if not entry["ended"] and not self._admission.has_room(entry):
                stream_registry.end(call_sid, "refused", after_stream="apology")
        return self._end_of_line(entry) if entry["ended"] else self._open_stream(entry)

    def machine(self) -> Response:
        """What took the call: a machine gets the flow's message, or nothing; whatever may be a person goes on."""
        call_sid, found = request.form.get("CallSid", ""), answered_by(request.form.get("AnsweredBy", ""))
        entry, order = stream_registry.find(call_sid), self._order(call_sid)
        log.info("answered by: %s", found, extra={"call_sid": call_sid})
        if entry is not None:
            _part_with_machine(entry, found)
        elif order is not None:
            self._tickets.found(_ticket(), order, found)  # the call itself is still to come
        return Response(status=204)

    def voice_fallback(self) -> Response:
        """Twilio could not reach the voice URL, or did not like its answer: words, then the end."""
        return self._answers.apology(DEFAULT_LANGUAGE)

    def status(self) -> Response:
        """A call's status: the flag first, so that the sockets close now; then the record."""
        form = request.form
        call_sid, status = form.get("CallSid", ""), form.get("CallStatus", "")
        entry = stream_registry.find(call_sid)
        if status in TERMINAL_STATUSES and entry is not None:
            entry["terminal_at"] = entry["terminal_at"] or time.monotonic()
            stream_registry.end(call_sid, cast("EndReason", f"call_status_{status}"))
        if entry is not None and _direction(form) != entry["direction"]:
            log.warning("status says another direction; it is not obeyed", extra={"call_sid": call_sid})
        direction = entry["direction"] if entry is not None else _direction(form)
        if entry is None:
            self._note_progress(call_sid, status)
            if status in TERMINAL_STATUSES and call_sid:
                stream_registry.note_over(call_sid)
        if call_sid:
            saved = self._records.save_call_status(call_sid, status, form.get("CallDuration"), direction)
            saved.wait(STATUS_WRITE_S)
        return Response(status=204)

    def stream_status(self) -> Response:
        """Twilio's word on a stream, for whoever looks for a fault: it is logged."""
        form = request.form
        if form.get("StreamEvent") == "stream-error":
            log.warning("stream error: %s", form.get("StreamError", ""), extra={"call_sid": form.get("CallSid", "")})
        return Response(status=204)

    def after_stream(self) -> Response:
        """What comes after the stream: its replacement if it was lost, an apology, or the end."""
        entry = stream_registry.seek(request.form.get("CallSid", ""))
        if entry is None:
            return self._stranger(request.form)
        stream_registry.sharing().await_word(entry)
        repeated = request.headers.get("I-Twilio-Idempotency-Token", "")
        if not repeated or repeated != entry["after_stream_key"]:
            entry["after_stream_key"] = repeated
            self._decide_after_stream(entry, request.form.get("CallStatus", ""))
        entry["after_stream_at"] = time.monotonic()  # after what it decided: the answer says how the call goes on
        return self._end_of_line(entry) if entry["ended"] else self._open_stream(entry)

    def _stranger(self, form: Mapping[str, str]) -> Response:
        """Return what a live call hears that nobody here knows: its process is gone, and with it what was said.

        Its record is not touched: whoever carried it has written its end, or its lease's end will be that.
        """
        call_sid = form.get("CallSid", "")
        if form.get("CallStatus") in TERMINAL_STATUSES or stream_registry.is_forgotten(call_sid):
            return hang_up()
        log.warning("nobody knows this call: it hears an apology", extra={"call_sid": call_sid})
        flow = self._flows.inbound(form.get("To", ""))
        return self._answers.apology(flow.language if flow is not None else DEFAULT_LANGUAGE)

    def _end_of_line(self, entry: Entry) -> Response:
        """Return what follows a call that has ended for Kav."""
        entry["after_stream_at"] = time.monotonic()
        return self._answers.end_of_line(entry, leaving=self._media.closed)

    def tell(self, rest: TwilioRest, entry: Entry) -> bool:
        """Pass a live call to its human, apologise, or hang it up, without being asked; whether that worked.

        For a process that stops: what Twilio asks after the stream may reach the next one, which knows no such call.
        """
        call_sid = entry["call_sid"]
        within_s = HAND_OVER_S if stream_registry.handed_over(entry) else TELL_S
        try:
            with gevent.Timeout(within_s, UnreachableError(f"call {call_sid}: no answer in time")):
                if entry["after_stream"] == "hang_up":
                    rest.hang_up(call_sid)
                else:
                    twiml = self._answers.end_of_line(entry, leaving=self._media.closed).get_data(as_text=True)
                    rest.redirect(call_sid, twiml)
        except TwilioRestError as error:
            log.warning("Twilio could not be told what follows: %s", error, extra={"call_sid": call_sid})
            return False
        return True

    def dial_result(self) -> Response:
        """What became of a hand-over: the end, or, if nobody took the call, back to the bot at the same step."""
        entry = stream_registry.seek(request.form.get("CallSid", ""))
        nobody = request.form.get("DialCallStatus") in NOBODY
        if entry is None and nobody:
            return self._stranger(request.form)
        over = request.form.get("CallStatus") in TERMINAL_STATUSES or (entry is not None and entry["terminal_at"])
        if entry is not None and not nobody:
            entry["human_left_at"] = entry["human_left_at"] or time.monotonic()
        if entry is None or not nobody or over:
            return hang_up()
        if not entry["ended"] and entry["opening"] == "nobody_answers" and entry["token"] is not None:
            return self._open_stream(entry)  # asked before: the answer was lost
        if not stream_registry.handed_over(entry):
            return self._end_of_line(entry) if entry["ended"] else hang_up()
        if entry["stream"] is not None:
            entry["stream"].end("transferred", after_stream=entry["after_stream"])  # Twilio left it: it was told to
        if entry["after_stream"] == "announced_transfer":  # nobody is there, and the model is not either
            _take_back(entry)
            return self._end_of_line(entry)
        stream_registry.reopen(entry, "nobody_answers")
        entry["after_stream_at"] = time.monotonic()
        return self._open_stream(entry)

    def _decide_after_stream(self, entry: Entry, status: str) -> None:
        """A call whose stream was lost, or never opened, gets one fresh stream; after that, words and the end."""
        if entry["ended"]:
            return
        if status in TERMINAL_STATUSES:
            stream_registry.end(entry["call_sid"], cast("EndReason", f"call_status_{status}"))
            return
        if entry["stream"] is not None:
            entry["stream"].end("socket_lost")  # Twilio knew it before Kav: its frames have merely stopped
        if entry["fresh_streams"]:
            stream_registry.end(entry["call_sid"], "socket_lost", after_stream="apology")
            return
        entry["fresh_streams"] += 1
        talk = entry["conversation"]
        if talk is not None and any(turn.who == "bot" and turn.heard for turn in talk.chronicle.turns):
            entry["opening"] = "resumed"  # whoever has heard nothing yet is greeted, and told what a greeting tells
        entry["token"] = stream_registry.new_token()
        log.warning("stream lost; the call gets a fresh one", extra={"call_sid": entry["call_sid"]})

    def _called(self, form: Mapping[str, str]) -> Entry | None:
        """Return a new entry for a call to a number that somebody answers, else None."""
        call_sid, to_number = form.get("CallSid", ""), form.get("To", "")
        if _direction(form) == "outbound":
            log.warning("a call that Kav did not place is not answered", extra={"call_sid": call_sid})
            return None
        if stream_registry.is_forgotten(call_sid):
            log.warning("this call is long over: its webhook is a replay", extra={"call_sid": call_sid})
            return None
        flow = self._flows.inbound(to_number)
        if not call_sid or flow is None:
            log.warning(
                "no business answers %s: name it in a flow file, or in KAV_DEFAULT_NUMBERS",
                to_number,
                extra={"call_sid": call_sid},
            )
            return None
        return self._register(call_sid, "inbound", flow, form.get("From", ""), to_number)

    def _answered(self, call_sid: str) -> Entry | None:
        """Return a new entry for a call that Kav has placed, and use the ticket up; None for one that is no good."""
        order = self._order(call_sid)
        if order is None:
            log.warning("nobody has ordered this call", extra={"call_sid": call_sid})
            return None
        entry = self._register(call_sid, "outbound", order.flow, order.from_, order.to)
        self._tickets.drop(_ticket())  # now that the call itself says whom nobody else may ring
        _part_with_machine(entry, order.answered_by or "person")
        return entry

    def _register(self, call_sid: str, direction: Direction, flow: Flow, from_number: str, to_number: str) -> Entry:
        entry = stream_registry.register(
            call_sid, direction=direction, flow=flow, from_number=from_number, to_number=to_number
        )
        self._records.save_call(
            call_sid, direction=direction, business=flow.id, from_number=from_number, to_number=to_number
        )
        return entry

    def _order(self, call_sid: str) -> Order | None:
        """Return the order whose ticket stands in the URL, if this call may have it."""
        return self._tickets.find(_ticket(), call_sid, time.monotonic())

    def _note_progress(self, call_sid: str, status: str) -> None:
        """Put on record how a call goes that Kav has placed and nobody has answered yet."""
        order = self._order(call_sid)
        if order is None:
            return
        self._records.save_call(
            call_sid, direction="outbound", business=order.flow.id, from_number=order.from_, to_number=order.to
        )
        if status in TERMINAL_STATUSES:
            self._tickets.drop(_ticket())
            self._records.save_call(call_sid, ended_at=datetime.now(UTC), end_reason=f"call_status_{status}")

    def _open_stream(self, entry: Entry) -> Response:
        """Return the stream, whose model begins to connect meanwhile."""
        self._media.prewarm(entry)
        return self._answers.stream(entry)

    def failed(self, error: Exception) -> Response | HTTPException:
        """Answer a request that failed in here: a caller hears an apology, a callback is taken as done."""
        if isinstance(error, HTTPException):
            return error
        log.error("webhook %s failed", request.path, exc_info=error, extra={"call_sid": twilio_gate.call_sid()})
        speaks = request.endpoint in SPEAKING
        return self._answers.apology(DEFAULT_LANGUAGE) if speaks else Response(status=204)


def _direction(form: Mapping[str, str]) -> Direction:
    return "outbound" if form.get("Direction", "inbound").startswith("outbound") else "inbound"


def _take_back(entry: Entry) -> None:
    """End a call anew that was handed over because Kav could not serve it, and that nobody took."""
    reason = entry["end_reason"] or "model_failed"
    entry["after_stream_at"] = time.monotonic()
    stream_registry.reopen(entry, "nobody_answers")
    stream_registry.find(entry["call_sid"])  # others hear that it came back before they hear how it ends
    stream_registry.end(entry["call_sid"], reason, after_stream="apology")


def _part_with_machine(entry: Entry, found: AnsweredBy) -> None:
    """End the call if a machine has it, or a fax: talk to those is billed, and heard by nobody."""
    if found == "person" or entry["direction"] == "inbound":
        return
    leaves_message = found == "machine" and bool(entry["flow"].machine_message)
    stream_registry.end(entry["call_sid"], "machine", after_stream="message" if leaves_message else "hang_up")


def _ticket() -> str:
    """Return the ticket of a call that Kav has placed; Twilio has signed the URL that it stands in."""
    return request.args.get("ticket", "")


def init_app(app: Flask, desk: Desk, gate: twilio_gate.Gate) -> None:
    """Register Twilio's routes."""
    twilio = Blueprint("twilio", __name__, url_prefix="/twilio")
    routes: dict[str, Callable[[], Response]] = {
        "voice": desk.voice,
        "outbound-voice": desk.outbound_voice,
        "machine": desk.machine,
        "voice-fallback": desk.voice_fallback,
        "status": desk.status,
        "stream-status": desk.stream_status,
        "after-stream": desk.after_stream,
        "dial-result": desk.dial_result,
    }
    for name, view in routes.items():
        twilio.add_url_rule(f"/{name}", name.replace("-", "_"), view, methods=["POST"])
    twilio.before_request(gate.webhook)
    twilio.register_error_handler(Exception, desk.failed)
    app.register_blueprint(twilio)
