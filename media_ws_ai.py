"""One media stream's life: Twilio's socket on one side, the model's on the other, the registry's flag in between.

Two greenlets read, one a socket; both feed the one `CallSession`, whose actions go at once into the two sockets'
outboxes. The caller's frames take the short way and pass no decision. The loop looks at the call's entry on every
frame; a wake ends its waiting at once; the watchdog looks ten times a second, whatever happens.
"""

import hmac
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

import gevent
from gevent.event import Event as Signal

import realtime_prompt_builder as prompt
import stream_registry
from kav.call import actions, events
from kav.call.session import CallRules, CallSession
from kav.records import Records
from kav.settings import Settings
from kav.wire import realtime, twilio_media
from kav.wire.model_leg import ModelLeg
from kav.wire.websocket import GOING_AWAY, NORMAL, POLICY_VIOLATION, Closed, WebSocket
from stream_registry import Entry

START_TIMEOUT_S: Final = 10.0
"""How long a socket may be silent before its `start`: Twilio sends it at once."""

WATCH_EVERY_S: Final = 0.1
"""The slow net beneath all wakes: what nobody announced is noticed this soon."""

LATE_HUB_S: Final = 0.5
"""A watchdog this late means that the process stood still: the time counts against nobody."""

FIN_WAIT_S: Final = 1.0
"""Upper bound of waiting for both FINs before the record is written; they take some milliseconds."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Tally:
    """What is counted on one stream."""

    opened_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    frames_in: int = 0
    frames_out: int = 0
    dropped: int = 0
    barge_ins: int = 0


class Stream:
    """One stream of one call, from its accepted `start` to both FINs."""

    def __init__(
        self, ws: WebSocket, start: twilio_media.StartBody, entry: Entry, leg: ModelLeg, desk: "MediaDesk"
    ) -> None:
        self.call_sid = entry["call_sid"]
        self.stream_sid = start.stream_sid
        self._ws = ws
        self._entry = entry
        self._leg = leg
        self._desk = desk
        self._encoder = twilio_media.Encoder(start.stream_sid)
        self._session = CallSession(desk.rules(entry))
        self._tally = Tally()
        self._last_sequence = 0
        self._stopped_at: float | None = None
        self._end_reason: actions.EndReason | None = None
        self._tools: list[gevent.Greenlet[..., None]] = []
        self._take_by_type: dict[type, Callable[[Any], None]] = {
            twilio_media.Media: self._take_media,
            twilio_media.Mark: self._take_mark,
            twilio_media.Stop: self._take_stop,
        }
        self._perform_by_type: dict[type, Callable[[Any], None]] = {
            actions.PlayAudio: self._play,
            actions.SendMark: self._mark,
            actions.ClearPlayback: self._clear,
            actions.RequestResponse: self._request,
            actions.CancelResponse: lambda action: leg.send(realtime.response_cancel(action.response_id)),
            actions.TruncateItem: lambda action: leg.send(realtime.item_truncate(action.item_id, action.audio_end_ms)),
            actions.DeleteItem: lambda action: leg.send(realtime.item_delete(action.item_id)),
            actions.RunTool: self._run_tool,
            actions.SendToolOutput: lambda action: leg.send(realtime.tool_output(action.call_id, action.output)),
            actions.ProbeModel: lambda action: leg.send(realtime.item_retrieve(_phrase_item(action.key))),
            actions.EndCall: self._end_call,
        }

    # The loop

    def run(self, direction: events.Direction) -> None:
        """Carry the stream until it is over; called by the greenlet that reads Twilio's socket."""
        try:
            self._decide(events.StreamStarted(time.monotonic(), direction))
            self._leg.claim(self)
            while not self._entry["ended"]:
                self._take(self._ws.receive())
        except Closed as lost:
            if self._stopped_at is None:
                log.info("media socket: %s", lost, extra={"call_sid": self.call_sid})
                self.end("socket_lost")
        except Exception:  # the greenlet's root: the caller hears an apology instead of nothing
            log.exception("stream failed", extra={"call_sid": self.call_sid})
            self.end("error", after_stream="apology")
        finally:
            self._finish()

    def _take(self, message: bytes) -> None:
        try:
            said = twilio_media.decode(message)
        except twilio_media.MalformedMessage as error:
            self._drop(str(error))
            return
        take = self._take_by_type.get(type(said))
        if take is not None:
            take(said)

    def _take_media(self, media: twilio_media.Media) -> None:
        """Pass a frame of the caller's on; foreign, repeated or unreadable ones are dropped."""
        payload = twilio_media.base64_text(media.media.payload, twilio_media.MAX_PAYLOAD_BYTES)
        number = int(media.sequence_number) if media.sequence_number.isdecimal() else 0
        ours = media.stream_sid == self.stream_sid and media.media.track in twilio_media.INBOUND_TRACKS
        repeated = 0 < number <= self._last_sequence
        if payload is None or not ours or repeated:
            self._drop("media that is not base64, not this stream's, or not new")
            return
        self._last_sequence = number
        self._tally.frames_in += 1
        self._leg.append(payload)

    def _take_mark(self, mark: twilio_media.Mark) -> None:
        if mark.stream_sid == self.stream_sid:
            self._decide(events.MarkEchoed(time.monotonic(), mark.mark.name))

    def _take_stop(self, stop: twilio_media.Stop) -> None:
        if stop.stream_sid == self.stream_sid:
            self.end("caller_hung_up")

    def _drop(self, why: str) -> None:
        self._tally.dropped += 1
        if self._tally.dropped.bit_count() == 1:  # the 1st, 2nd, 4th, 8th ...: a flood writes few lines
            log.warning("dropped message %d: %s", self._tally.dropped, why, extra={"call_sid": self.call_sid})

    # The model (Listener of its leg)

    def model_ready(self, at: float) -> None:
        """The model is configured: greet."""
        self._decide(events.ModelReady(at))

    def model_said(self, at: float, said: realtime.Translated) -> None:
        """Take one of the model's events."""
        self._session.model_seen(at)
        if isinstance(said, realtime.ErrorEvent):
            error = said.error
            log.info("model refused: %s: %s", error.code, error.message, extra={"call_sid": self.call_sid})
            self._decide(events.RequestRefused(at, error.code or error.type or "", error.event_id))
        elif said is not None and not isinstance(said, realtime.SessionUpdated):
            if isinstance(said, events.SpeechStarted) and not self._session.playhead.quiet:
                self._tally.barge_ins += 1
            self._decide(said)

    def model_lost(self, at: float, detail: str) -> None:
        """The model is gone."""
        self._decide(events.ModelLost(at, detail))

    # Decisions and what is done about them

    def _decide(self, event: events.Event) -> None:
        for action in self._session.handle(event):
            self._perform_by_type[type(action)](action)

    def _play(self, action: actions.PlayAudio) -> None:
        self._tally.frames_out += 1
        self._ws.send(self._encoder.media(action.payload), action.generation)

    def _mark(self, action: actions.SendMark) -> None:
        self._ws.send(self._encoder.mark(action.name), action.generation)

    def _clear(self, action: actions.ClearPlayback) -> None:
        self._ws.overtake(self._encoder.clear, action.generation)

    def _request(self, action: actions.RequestResponse) -> None:
        if action.kind == "phrase":
            words = self._desk.phrases.text(action.phrase, self._entry["language"])
            self._leg.send(realtime.system_item(_phrase_item(action.key), prompt.quote(words)))
        self._leg.send(realtime.response_create(action.key, tools=action.kind == "answer"))

    def _run_tool(self, action: actions.RunTool) -> None:
        def work() -> None:
            output = run_tool(action.name)
            self._decide(events.ToolFinished(time.monotonic(), action.call_id, output))

        self._tools.append(gevent.spawn(work))

    def _end_call(self, action: actions.EndCall) -> None:
        self.end(action.reason, after_stream="apology" if action.apologise else "hang_up")

    # The end

    def end(self, reason: actions.EndReason, *, after_stream: stream_registry.AfterStream = "hang_up") -> None:
        """End the call, or, if nobody ended it and only its stream is lost, the stream."""
        if reason in actions.RESUMABLE and not self._entry["ended"]:
            self._end_reason = self._end_reason or reason
            self._entry["stream_lost_at"] = time.monotonic()
        else:
            stream_registry.end(self.call_sid, reason, after_stream=after_stream)
        self.stop()

    def stop(self) -> None:
        """Close both sockets now, without waiting; what `wake` in the entry calls."""
        if self._stopped_at is not None:
            return
        self._stopped_at = self._entry["ended_at"] or time.monotonic()
        self._session.handle(events.Ended(self._stopped_at))
        if self._entry["stream"] is self:
            self._entry["stream"] = self._entry["wake"] = None
        self._ws.close(GOING_AWAY if self._entry["end_reason"] == "shutdown" else NORMAL)
        self._leg.close()

    def watch(self, now: float, settings: Settings) -> None:
        """Look after what no event announces; called by the watchdog."""
        since = self._ws.reading_since
        if self._entry["ended"]:
            self.stop()
        elif since is not None and now - since > settings.MEDIA_SILENCE_S:
            self.end("no_media")
        elif self._ws.stalled(now, settings.WRITE_STALL_S):
            self.end("write_stalled")
        elif self._leg.stalled(now, settings.WRITE_STALL_S):
            self.model_lost(now, "The model stopped reading.")
        else:
            self._decide(events.Tick(now))

    def forgive(self, now: float, by_s: float) -> None:
        """The process stood still: whoever was waited for starts anew."""
        self._ws.reading_since = now if self._ws.reading_since is not None else None
        self._decide(events.HubLate(now, by_s))

    def _finish(self) -> None:
        """Once per stream, on every way out: both sockets closed, tools gone, the record on its way."""
        self.stop()
        gevent.killall(self._tools, block=False)
        model_fin_at = self._leg.wait_fin(FIN_WAIT_S)
        self._ws.wait_fin(FIN_WAIT_S)
        stopped_at = cast("float", self._stopped_at)
        last_fin_at = max(self._ws.fin_at or stopped_at, model_fin_at or stopped_at)
        self._desk.stream_over(
            self, self._tally, self._end_reason or self._entry["end_reason"], last_fin_at - stopped_at
        )


def _phrase_item(key: str) -> str:
    return f"item_{key}"


def run_tool(name: str) -> str:
    """Return the output of a tool of Kav's own."""
    if name == "current_time":
        return datetime.now(ZoneInfo("Asia/Jerusalem")).strftime("%A %Y-%m-%d %H:%M")
    return f"There is no tool {name!r}."


class MediaDesk:
    """Takes media sockets in: who may, who is live, and who looks after them."""

    def __init__(
        self, settings: Settings, connector: realtime.Connector, phrases: prompt.Phrases, records: Records
    ) -> None:
        self.phrases = phrases
        self.live: set[Stream] = set()
        self.sockets = 0
        """Open media sockets, also those that have not said who they are."""
        self.draining = False
        self.hub_lag_s = 0.0
        self._settings = settings
        self._connector = connector
        self._records = records
        self._model_session = prompt.build_session(settings)
        self._stopping = Signal()

    @property
    def full(self) -> bool:
        """Whether no further stream can be taken."""
        return self.draining or self.sockets >= self._settings.MAX_CALLS

    def rules(self, entry: Entry) -> CallRules:
        """Return the rules of one stream of the call."""
        return CallRules(
            max_call_s=self._settings.MAX_CALL_S,
            reply_timeout_s=self._settings.MODEL_REPLY_TIMEOUT_S,
            opening="resumed" if entry["fresh_streams"] else "greeting",
        )

    def prewarm(self, entry: Entry) -> None:
        """Begin to connect the call's model, once, before its stream is there."""
        if entry["model"] is None and entry["stream"] is None and not entry["ended"]:
            leg = self._leg(entry)
            entry["model"], entry["wake"] = leg, leg.close

    def media(self, ws: WebSocket) -> None:
        """Serve one media socket; the handler behind `/twilio/media`."""
        self.sockets += 1
        try:
            start = _await_start(ws)
            entry = self._claim(start) if start is not None else None
            if start is None or entry is None:
                ws.close(POLICY_VIOLATION)
                return
            stream = Stream(ws, start, entry, self._claim_leg(entry), self)
            entry["stream"], entry["wake"], entry["streamed"] = stream, stream.stop, True
            self.live.add(stream)
            stream.run(entry["direction"])
        finally:
            self.sockets -= 1

    def _claim(self, start: twilio_media.StartBody) -> Entry | None:
        """Return the entry whose token the stream brings, and use the token up; None refuses the stream."""
        entry = stream_registry.get(start.call_sid)
        why = self._refusal(start, entry)
        if entry is None or why:
            log.warning("stream refused: %s", why, extra={"call_sid": start.call_sid[:64]})
            return None
        entry["token"] = None
        return entry

    def _refusal(self, start: twilio_media.StartBody, entry: Entry | None) -> str:
        """Say why a stream is not taken, or nothing."""
        if entry is None:
            return "no such call"
        if entry["ended"]:
            return "the call is over"
        token, account = entry["token"], self._settings.TWILIO_ACCOUNT_SID
        if token is None or not hmac.compare_digest(start.custom_parameters.get("token", "").encode(), token.encode()):
            return "wrong token, or one that was used"
        if account and start.account_sid != account:
            return "another account"
        if start.custom_parameters.get("direction", "inbound") != entry["direction"]:
            return "its direction is not the call's"
        return ""

    def _claim_leg(self, entry: Entry) -> ModelLeg:
        """Return the prewarmed leg if it is any good, else a new one: a refusal may have been a passing one."""
        leg, entry["model"] = cast("ModelLeg | None", entry["model"]), None
        return leg if leg is not None and leg.lost is None else self._leg(entry)

    def _leg(self, entry: Entry) -> ModelLeg:
        timeout_s = self._settings.MODEL_CONNECT_TIMEOUT_S
        return ModelLeg(entry["call_sid"], self._connector, self._model_session, entry["from_number"], timeout_s)

    def stream_over(self, stream: Stream, tally: Tally, reason: actions.EndReason | None, ghost_s: float) -> None:
        """Write a finished stream down; called once by each."""
        self.live.discard(stream)
        now = datetime.now(UTC)
        log.info(
            "stream over: %s, sockets closed in %.1f ms", reason, ghost_s * 1000, extra={"call_sid": stream.call_sid}
        )
        self._records.save_stream(
            stream.stream_sid,
            stream.call_sid,
            opened_at=tally.opened_at,
            ended_at=now,
            end_reason=reason,
            socket_ghost_ms=ghost_s * 1000,
            frames_in=tally.frames_in,
            frames_out=tally.frames_out,
            barge_ins=tally.barge_ins,
        )
        self._records.save_call(stream.call_sid, socket_ghost_ms=ghost_s * 1000)

    # The watchdog

    def watch(self) -> None:
        """Look after every live stream until `stop`: what no frame and no wake announces is noticed here."""
        last = time.monotonic()
        while not self._stopping.wait(WATCH_EVERY_S):
            now = time.monotonic()
            self.hub_lag_s = max(0.0, now - last - WATCH_EVERY_S)
            last = now
            for stream in list(self.live):
                if self.hub_lag_s > LATE_HUB_S:
                    stream.forgive(now, self.hub_lag_s)
                else:
                    stream.watch(now, self._settings)

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
