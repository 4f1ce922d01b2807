"""Takes media sockets in: who may, who is live, and who looks after what no event announces."""

import hmac
import logging
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, cast

import gevent
from gevent.event import Event

import realtime_prompt_builder as prompt
import stream_registry
from call_notebook import TAKE_EVERY_S, Notebook
from kav import metrics
from kav.call.admission import Lateness, Spending
from kav.call.conversation import Conversation
from kav.call.deadlines import CallRules
from kav.call.flow import Flow
from kav.flow_files import Flows
from kav.log import about
from kav.records import Records
from kav.settings import Settings
from kav.wire import twilio_media
from kav.wire.connector import Connector, Route
from kav.wire.http_tools import HttpTools
from kav.wire.model_leg import ModelLeg
from kav.wire.websocket import POLICY_VIOLATION, WebSocket
from media_ws_ai import Outcome, Stream
from stream_registry import Entry, Line

START_TIMEOUT_S: Final = 10.0
"""How long a socket may be silent before its `start`: Twilio sends it at once."""

WATCH_EVERY_S: Final = 0.1
"""The slow net beneath all wakes: what nobody announced is noticed this soon."""

LATE_HUB_S: Final = 0.5
"""A watchdog this late means that the process stood still: the time counts against nobody."""

log = logging.getLogger(__name__)


class MediaDesk:
    """The media sockets of one process."""

    def __init__(
        self,
        settings: Settings,
        connector: Connector,
        phrases: prompt.Phrases,
        flows: Flows,
        records: Records,
        tools: HttpTools,
    ) -> None:
        self._tools = tools
        self._phrases = phrases
        self.live: set[Stream] = set()
        self.sockets = 0
        """Open media sockets, also those that have not said who they are."""
        self.draining = False
        """No new calls are taken; those that have been may still have their streams."""
        self.closed = False
        """No streams are taken either."""
        self.tell: Callable[[Entry], bool] | None = None
        """How Twilio is told what follows a stream, while its question may reach another process."""
        self.hub_lag_s = 0.0
        self.lateness = Lateness(settings.HUB_LAG_SHED_MS / 1000)
        self.spending = Spending()
        self._settings = settings
        self._connector = connector
        self._records = records
        self._notebook = Notebook(settings, records, self.spending)
        self._model_sessions = {flow.id: prompt.build_session(settings, flow) for flow in flows.flows}
        self._stopping = Event()

    @property
    def full(self) -> bool:
        """Whether no further call can be taken."""
        return self.draining or self.crowded

    @property
    def crowded(self) -> bool:
        """Whether no further stream can be taken."""
        return self.closed or self.sockets >= self._settings.MAX_CALLS

    def _rules(self, entry: Entry) -> CallRules:
        """Return the rules of one stream of the call; the limit is the call's, however many streams it has."""
        lasted_s = time.monotonic() - (entry["streamed_at"] or time.monotonic())
        return CallRules(
            max_call_s=self._settings.MAX_CALL_S - lasted_s,
            reply_timeout_s=self._settings.MODEL_REPLY_TIMEOUT_S,
            opening=entry["opening"],
            silence_ask_s=self._settings.SILENCE_ASK_S,
            silence_close_s=self._settings.SILENCE_CLOSE_S,
            reconnects=self._settings.MODEL_RECONNECTS,
            recorded=entry["recorded"],
        )

    def prewarm(self, entry: Entry) -> None:
        """Begin to connect the call's model, once, before its stream is there; one of many may never see it."""
        if stream_registry.sharing().many:
            return
        if entry["model"] is None and entry["stream"] is None and not entry["ended"]:
            leg = self._leg(entry, attempts=2)
            entry["model"], entry["wake"] = leg, leg.close

    def media(self, ws: WebSocket, line: Line = "twilio") -> None:
        """Serve one media socket of one kind of line; the handler behind `/twilio/media`."""
        self.sockets += 1
        try:
            start = _await_start(ws)
            entry = self._claim(start, line) if start is not None else None
            if start is None or entry is None:
                ws.close(POLICY_VIOLATION)
                return
            about(entry["call_sid"])
            flow = entry["flow"]
            entry["conversation"] = entry["conversation"] or Conversation(
                flow, self._phrases.texts, stream_registry.other_party(entry)
            )
            if entry["streamed_at"] is None:
                entry["streamed_at"] = time.monotonic()
                self._records.save_call(entry["call_sid"], started_at=datetime.now(UTC), line=entry["line"])
            rules = self._rules(entry)
            leg, another = self._claim_leg(entry), partial(self._another_leg, entry)
            stream = Stream(
                ws, start.stream_sid, entry, leg, another, rules, flow, self._phrases, self._tools, self._teller
            )
            entry["stream"], entry["wake"] = stream, stream.stop
            self.live.add(stream)
            try:
                self._record(stream, stream.run())
            finally:
                self.live.discard(stream)
        finally:
            self.sockets -= 1

    def _claim(self, start: twilio_media.StartBody, line: Line) -> Entry | None:
        """Return the entry whose token the stream brings, and use the token up; None refuses the stream."""
        entry = stream_registry.seek(start.call_sid, with_token=True)
        why = self._refusal(start, entry, line)
        if entry is not None and not why and not stream_registry.sharing().claim(entry):
            why = "another process has its stream"
        if entry is None or why:
            log.warning("stream refused: %s", why, extra={"call_sid": start.call_sid[:64]})
            return None
        entry["token"] = None
        return entry

    def _refusal(self, start: twilio_media.StartBody, entry: Entry | None, line: Line) -> str:
        """Say why a stream is not taken, or nothing."""
        if entry is None:
            return "no such call"
        if entry["ended"]:
            return "the call is over"
        token, account = entry["token"], self._settings.TWILIO_ACCOUNT_SID
        if token is None or not hmac.compare_digest(start.custom_parameters.get("token", "").encode(), token.encode()):
            return "wrong token, or one that was used"
        if entry["line"] != line:
            return "another kind of line"
        if account and line == "twilio" and start.account_sid != account:
            return "another account"
        if start.custom_parameters.get("direction", "inbound") != entry["direction"]:
            return "its direction is not the call's"
        return ""

    def _teller(self, entry: Entry) -> Callable[[Entry], bool] | None:
        """Return how to tell Twilio what follows without its asking, while its question may reach another process."""
        return self.tell if entry["line"] == "twilio" else None

    def _claim_leg(self, entry: Entry) -> ModelLeg:
        """Return the prewarmed leg if it is any good, else a new one: a refusal may have been a passing one."""
        leg, entry["model"] = cast("ModelLeg | None", entry["model"]), None
        if leg is not None and leg.lost is None:
            return leg
        prewarmed = not stream_registry.sharing().many
        return self._leg(entry, attempts=1 if prewarmed else 2, tried=leg.tried if leg is not None else ())

    def _another_leg(self, entry: Entry, lost: ModelLeg) -> ModelLeg:
        """Return a leg for a call whose own was lost in the middle of it."""
        return self._leg(entry, attempts=2, insists=True, tried=lost.tried)

    def _leg(self, entry: Entry, attempts: int, *, insists: bool = False, tried: Iterable[Route] = ()) -> ModelLeg:
        return ModelLeg(
            entry["call_sid"],
            self._connector,
            self._model_session(entry["flow"]),
            stream_registry.other_party(entry),
            self._settings.MODEL_CONNECT_TIMEOUT_S,
            attempts=attempts,
            insists=insists,
            tried=tried,
        )

    def _model_session(self, flow: Flow) -> dict[str, Any]:
        """Return the model's session: made once a flow, but anew for one that was filled for its call."""
        return prompt.build_session(self._settings, flow) if flow.variables else self._model_sessions[flow.id]

    def _heed(self, call_sid: str) -> None:
        """Put whoever has asked not to be called on the list; the record is queued, nobody waits for it."""
        entry = stream_registry.get(call_sid)
        talk = entry["conversation"] if entry is not None else None
        if entry is None or talk is None or not talk.do_not_call or entry["listed"]:
            return
        entry["listed"] = True
        number = stream_registry.other_party(entry)
        if number.startswith("+"):  # an anonymous caller has no number that anybody could call
            self._records.save_do_not_call(number, call_sid)

    def _record(self, stream: Stream, outcome: Outcome) -> None:
        """Write a finished stream down, once."""
        self._note(stream, last=True)
        ghost_ms, tally = outcome.ghost_s * 1000, outcome.tally
        metrics.note_stream(ghost_s=outcome.ghost_s, first_sound_s=tally.first_sound_s, reactions_s=tally.reactions_s)
        self._heed(stream.call_sid)
        log.info(
            "stream over: %s, sockets closed in %.1f ms", outcome.reason, ghost_ms, extra={"call_sid": stream.call_sid}
        )
        self._records.save_stream(
            stream.stream_sid,
            stream.call_sid,
            opened_at=tally.opened_at,
            ended_at=datetime.now(UTC),
            end_reason=outcome.reason,
            socket_ghost_ms=ghost_ms,
            frames_in=tally.frames_in,
            frames_out=tally.frames_out,
            barge_ins=tally.barge_ins,
            reaction_ms=max(tally.reactions_s) * 1000 if tally.reactions_s else None,
        )
        self._records.save_call(stream.call_sid, socket_ghost_ms=ghost_ms)

    # The watchdog

    def watch(self) -> None:
        """Look after every live stream until `stop`: what no frame and no wake announces is noticed here."""
        last = noted = time.monotonic()
        while not self._stopping.wait(WATCH_EVERY_S):
            now = time.monotonic()
            self.hub_lag_s = max(0.0, now - last - WATCH_EVERY_S)
            metrics.HUB_LAG.observe(self.hub_lag_s)
            self.lateness.observe(now, self.hub_lag_s)
            last = now
            notes, noted = now - noted >= TAKE_EVERY_S, now if now - noted >= TAKE_EVERY_S else noted
            for stream in list(self.live):
                self._look_after(stream, now, notes=notes)

    def _note(self, stream: Stream, *, last: bool) -> None:
        """Put on record what is new of a call."""
        talk = stream.entry["conversation"]
        if talk is not None:
            self._notebook.take(stream.call_sid, stream.stream_sid, talk, last=last)

    def _look_after(self, stream: Stream, now: float, *, notes: bool) -> None:
        try:
            if self.hub_lag_s > LATE_HUB_S:
                stream.forgive(now, self.hub_lag_s)
            stream.watch(now, self._settings)
            self._heed(stream.call_sid)
            if notes:
                self._note(stream, last=False)
        except Exception:  # the watchdog's root, a stream at a time: one that fails must not leave the others alone
            log.exception("watching failed", extra={"call_sid": stream.call_sid})
            stream.end("error", after_stream="apology")

    def stop(self) -> None:
        """Stop the watchdog."""
        self._stopping.set()


def _await_start(ws: WebSocket) -> twilio_media.StartBody | None:
    """Return the stream's `start`, or None if it does not come in time."""
    try:
        with gevent.Timeout(START_TIMEOUT_S):
            while True:
                try:
                    said = twilio_media.decode(ws.receive())
                except twilio_media.MalformedMessage:
                    continue
                if isinstance(said, twilio_media.Start):
                    return said.start
    except gevent.Timeout:
        log.warning("media socket said no start within %s s", START_TIMEOUT_S)
        return None
