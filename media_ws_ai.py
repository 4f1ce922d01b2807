"""One media stream's life: Twilio's socket on one side, the model's on the other, the registry's flag in between.

Two greenlets read, one a socket; both feed the one `CallSession`, whose actions go at once into the two sockets'
outboxes. The caller's frames take the short way and pass no decision. The loop looks at the call's entry on every
frame; a wake ends its waiting at once; the watchdog looks ten times a second, whatever happens.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, cast

import gevent

import realtime_prompt_builder as prompt
import stream_registry
from kav.call import actions, events
from kav.call.conversation import Conversation
from kav.call.deadlines import CallRules
from kav.call.flow import Flow
from kav.call.session import CallSession
from kav.log import about
from kav.settings import Settings
from kav.wire import realtime, twilio_media
from kav.wire.call_tools import CallTools, time_at
from kav.wire.http_tools import HttpTools
from kav.wire.model_leg import ModelLeg
from kav.wire.websocket import GOING_AWAY, NORMAL, Closed, WebSocket
from stream_registry import Entry

MAX_TYPED: Final = 500
"""Characters of a line that a caller types: what one says in half a minute."""

FIN_WAIT_S: Final = 1.0
"""Upper bound of waiting for both FINs before the record is written; they take some milliseconds."""

log = logging.getLogger(__name__)


Ending = tuple[actions.EndReason, stream_registry.AfterStream]
"""Why a call ends, and what follows its stream."""


@dataclass(slots=True)
class Tally:
    """What is counted on one stream."""

    opened_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    frames_in: int = 0
    frames_out: int = 0
    dropped: int = 0
    barge_ins: int = 0
    began_at: float = field(default_factory=time.monotonic)
    first_sound_s: float | None = None
    """From the stream's start to the bot's first sound."""
    reactions_s: list[float] = field(default_factory=list)
    """From each `speech_started` over the bot to Twilio's `clear`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a stream ended: `ghost_s` is the time from the end's trigger to FIN on both sockets."""

    reason: actions.EndReason | None
    ghost_s: float
    tally: Tally


class Stream:
    """One stream of one call, from its accepted `start` to both FINs."""

    def __init__(
        self,
        ws: WebSocket,
        stream_sid: str,
        entry: Entry,
        leg: ModelLeg,
        another_leg: Callable[[ModelLeg], ModelLeg],
        rules: CallRules,
        flow: Flow,
        phrases: prompt.Phrases,
        tools: HttpTools,
        teller: Callable[[Entry], Callable[[Entry], bool] | None] = lambda _: None,
    ) -> None:
        self.call_sid = entry["call_sid"]
        self.stream_sid = stream_sid
        self._ws = ws
        self.entry = entry
        self._leg = leg
        self._another_leg = another_leg
        self._flow = flow
        self._phrases = phrases
        self._encoder = twilio_media.Encoder(stream_sid)
        self._talk = entry["conversation"] or Conversation(flow, phrases.texts)
        self._retells = bool(self._talk.chronicle.turns)
        """The model is a new one in a call that goes on: what was said is told to it first of all."""
        self._session = CallSession(rules, self._talk)
        self._tally = Tally()
        self._last_sequence = 0
        self._typed = 0
        self._stopped_at: float | None = None
        self._end_reason: actions.EndReason | None = None
        self._teller = teller
        self._being_told: Ending | None = None
        """How the call ends: Twilio is being told what follows, and has not said yet that it does so."""
        self._tools = CallTools(self.call_sid, flow, tools, self._decide)
        self._take_by_type, self._perform_by_type = self._takers(), self._performers()

    def _takers(self) -> dict[type, Callable[[Any], None]]:
        return {
            twilio_media.Media: self._take_media,
            twilio_media.Mark: self._take_mark,
            twilio_media.Dtmf: self._take_key,
            twilio_media.Text: self._take_text,
            twilio_media.Stop: self._take_stop,
        }

    def _performers(self) -> dict[type, Callable[[Any], None]]:
        return {
            actions.PlayAudio: self._play,
            actions.SendMark: self._mark,
            actions.ClearPlayback: self._clear,
            actions.RequestResponse: self._request,
            actions.AddCallerText: lambda action: self._tell(
                realtime.message_item(action.item_id, "user", action.text)
            ),
            actions.CancelResponse: lambda action: self._tell(realtime.response_cancel(action.response_id)),
            actions.TruncateItem: lambda action: self._tell(
                realtime.item_truncate(action.item_id, action.audio_end_ms)
            ),
            actions.DeleteItem: lambda action: self._tell(realtime.item_delete(action.item_id)),
            actions.RunTool: self._tools.start,
            actions.SendToolOutput: self._tell_output,
            actions.ProbeModel: lambda action: self._tell(realtime.item_retrieve(_order_item(action.key))),
            actions.ReconnectModel: self._reconnect,
            actions.EndCall: self._end_call,
        }

    # The loop

    def run(self) -> Outcome:
        """Carry the stream until it is over; called by the greenlet that reads Twilio's socket."""
        try:
            self._decide(events.StreamStarted(time.monotonic(), self.entry["direction"]))
            self._leg.claim(self)
            while not self.entry["ended"]:
                self._take(self._ws.receive())
        except Closed as lost:
            if self._stopped_at is None:
                log.info("media socket: %s", lost, extra={"call_sid": self.call_sid})
                self.end("socket_lost")
        except Exception:  # the greenlet's root: the caller hears an apology instead of nothing
            log.exception("stream failed", extra={"call_sid": self.call_sid})
            self.end("error", after_stream="apology")
        finally:
            outcome = self._finish()
        return outcome

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
        number = media.number
        ours = media.stream_sid == self.stream_sid and media.media.track in twilio_media.INBOUND_TRACKS
        repeated = 0 < number <= self._last_sequence
        if payload is None or not ours or repeated:
            self._drop("media that is not base64, not this stream's, or not new")
            return
        self._last_sequence = number or self._last_sequence
        self._tally.frames_in += 1
        self._leg.append(payload)

    def _take_mark(self, mark: twilio_media.Mark) -> None:
        if mark.stream_sid == self.stream_sid:
            self._decide(events.MarkEchoed(time.monotonic(), mark.mark.name))

    def _take_key(self, key: twilio_media.Dtmf) -> None:
        if key.stream_sid == self.stream_sid:
            self._decide(events.KeyPressed(time.monotonic(), key.dtmf.digit))

    def _take_text(self, line: twilio_media.Text) -> None:
        """Take a typed line, of a browser alone: Twilio sends none."""
        text = line.text.strip()
        ours = line.stream_sid == self.stream_sid and self.entry["line"] == "browser"
        if not ours or not 0 < len(text) <= MAX_TYPED:
            self._drop("a typed line that is empty, too long, or not this line's to send")
            return
        self._typed += 1
        self._decide(events.CallerTyped(time.monotonic(), f"typed{self._typed}", text))

    def _take_stop(self, stop: twilio_media.Stop) -> None:
        if stop.stream_sid == self.stream_sid:
            self.end("caller_hung_up")

    def _drop(self, why: str) -> None:
        self._tally.dropped += 1
        if self._tally.dropped.bit_count() == 1:  # the 1st, 2nd, 4th, 8th ...: a flood writes few lines
            log.warning("dropped message %d: %s", self._tally.dropped, why, extra={"call_sid": self.call_sid})

    # The model (Listener of its leg)

    def model_ready(self, at: float) -> None:
        """The model is configured: greet, or, where another was lost, tell it how far the call is."""
        self._talk.chronicle.model = self._leg.model
        if self._retells:
            self._retells = False
            for number, item in enumerate(prompt.retold(self._talk, playing=not self._session.playhead.quiet_by(at))):
                self._tell(realtime.message_item(f"retold{number}", item.role, item.text))
            for run in prompt.retold_tools(self._talk):
                self._tell(realtime.tool_call(run.call_id, run.name, run.arguments))
                if run.duration_ms is not None:
                    self._tell(realtime.tool_output(run.call_id, run.output))
        self._decide(events.ModelReady(at))

    def model_said(self, at: float, said: realtime.Said) -> None:
        """Take one of the model's events."""
        self._session.model_seen(at)
        if isinstance(said, realtime.ErrorEvent):
            error = said.error
            log.info("model refused: %s: %s", error.code, error.message, extra={"call_sid": self.call_sid})
            self._decide(events.RequestRefused(at, error.code or error.type or "", error.event_id))
        elif said is not None and not isinstance(said, realtime.SessionUpdated):
            talked_over = isinstance(said, events.SpeechStarted) and not self._session.playhead.quiet
            self._decide(said)
            if talked_over:
                self._tally.barge_ins += 1
                self._tally.reactions_s.append(time.monotonic() - at)

    def model_lost(self, at: float, detail: str) -> None:
        """The model is gone."""
        self._decide(events.ModelLost(at, detail))

    # Decisions and what is done about them

    def _decide(self, event: events.Event) -> None:
        for action in self._session.handle(event):
            self._perform_by_type[type(action)](action)

    def _tell(self, message: bytes) -> None:
        self._leg.send(message)

    def _reconnect(self, _: actions.ReconnectModel) -> None:
        """Another connection takes the place of one that is lost; what the old one may still say means nothing."""
        log.warning("model lost; connecting once more", extra={"call_sid": self.call_sid})
        self._leg.disown()
        self._leg, self._retells = self._another_leg(self._leg), True
        self._leg.claim(self)

    def _play(self, action: actions.PlayAudio) -> None:
        self._tally.frames_out += 1
        self._ws.send(self._encoder.media(action.payload), action.generation)
        if self._tally.first_sound_s is None:
            self._tally.first_sound_s = time.monotonic() - self._tally.began_at

    def _mark(self, action: actions.SendMark) -> None:
        self._ws.send(self._encoder.mark(action.name), action.generation)

    def _clear(self, action: actions.ClearPlayback) -> None:
        self._ws.overtake(self._encoder.clear, action.generation)

    def _request(self, action: actions.RequestResponse) -> None:
        flow = self._talk.flow  # it may have grown by a message
        order = prompt.order(flow, self._phrases, action, time_at(flow))
        if order:
            self._leg.send(realtime.message_item(_order_item(action.key), "system", order))
        self._leg.send(realtime.response_create(action.key, action.kind, action.tools, prompt.own_tools(self._flow)))

    def _tell_output(self, action: actions.SendToolOutput) -> None:
        """Give the model what a tool has brought; one that is not there yet is told with all the rest."""
        if not self._retells:
            self._tell(realtime.tool_output(action.call_id, action.output))

    def _end_call(self, action: actions.EndCall) -> None:
        after: stream_registry.AfterStream = "transfer" if action.reason == "transferred" else "hang_up"
        if action.apologise:
            passes = self._flow.transfer is not None and action.reason != "shutdown"
            after = "announced_transfer" if passes else "apology"
        tell = self._teller(self.entry) if not self.entry["ended"] else None
        if tell is None:
            self.end(action.reason, after_stream=after)
        elif self._being_told is None:
            self._being_told = ending = action.reason, after
            stream_registry.announce(self.entry, *ending)
            gevent.spawn(self._tell_twilio, tell, ending)  # not killed with the stream: what Twilio is told, it does

    def _tell_twilio(self, tell: Callable[[Entry], bool], ending: Ending) -> None:
        """Tell Twilio first and close after: once the stream is closed, Twilio asks, and nobody knows whom."""
        about(self.call_sid)
        told = False
        try:
            told = tell(self.entry)
        except Exception:  # this greenlet's root: what comes after the stream is asked for then
            log.exception("Twilio could not be told what follows", extra={"call_sid": self.call_sid})
        reason, after_stream = ending
        if self._stopped_at is None:  # else Twilio has left the stream, and the call may have come back with another
            self.end(reason, after_stream=after_stream)
        if told and (self.entry["ended_at"], self.entry["after_stream"]) == (self._stopped_at, after_stream):
            self.entry["after_stream_at"] = time.monotonic()  # there is nothing to ask

    def shut_down(self) -> None:
        """The process stops: let the caller know, and end the call when they have heard it."""
        self._decide(events.Shutdown(time.monotonic()))

    @property
    def speaking(self) -> Literal["caller", "bot", "nobody"]:
        """Who speaks, for whoever watches."""
        if self._session.listening:
            return "caller"
        return "nobody" if self._session.playhead.quiet_by(time.monotonic()) else "bot"

    # The end

    def end(self, reason: actions.EndReason, *, after_stream: stream_registry.AfterStream = "hang_up") -> None:
        """End the call, or, if nobody ended it and only its stream is lost, the stream."""
        if self._being_told is not None:  # Twilio leaves the stream because it was told to: that is no caller's doing
            reason, after_stream = self._being_told
        if reason in actions.RESUMABLE and not self.entry["ended"]:
            self._end_reason = self._end_reason or reason
            self.entry["stream_lost_at"] = time.monotonic()
        else:
            stream_registry.end(self.call_sid, reason, after_stream=after_stream)
        self.stop()

    def stop(self) -> None:
        """Close both sockets now, without waiting; what `wake` in the entry calls."""
        if self._stopped_at is not None:
            return
        self._stopped_at = self.entry["ended_at"] or time.monotonic()
        self._session.handle(events.Ended(self._stopped_at))
        if self.entry["stream"] is self:
            self.entry["stream"] = self.entry["wake"] = None
        stream_registry.changed(self.entry)
        self._ws.close(GOING_AWAY if self.entry["end_reason"] == "shutdown" else NORMAL)
        self._leg.close()

    @property
    def waiting_bytes(self) -> int:
        """How much waits in both outboxes."""
        return self._ws.waiting_bytes + self._leg.waiting_bytes

    def watch(self, now: float, settings: Settings) -> None:
        """Look after what no event announces; called by the watchdog."""
        since = self._ws.reading_since
        if self.entry["ended"]:
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

    def _finish(self) -> Outcome:
        """Once per stream, on every way out: both sockets closed, tools gone."""
        self.stop()
        self._tools.stop()
        model_fin_at = self._leg.wait_fin(FIN_WAIT_S)
        self._ws.wait_fin(FIN_WAIT_S)
        stopped_at = cast("float", self._stopped_at)
        last_fin_at = max(self._ws.fin_at or stopped_at, model_fin_at or stopped_at)
        return Outcome(self._end_reason or self.entry["end_reason"], last_fin_at - stopped_at, self._tally)


def _order_item(key: str) -> str:
    return f"item_{key}"
