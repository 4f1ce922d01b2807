"""A call as its caller and a rehearsal hold it: what the caller does, what they heard, and what to wait for."""

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from rehearsal import audio
from rehearsal.twilio.hostile import hostile
from rehearsal.twilio.leg import Leg
from rehearsal.twilio.observed import WAIT_S, Received
from rehearsal.twilio.playback import Segment
from rehearsal.twilio.program import HangUp
from rehearsal.twilio.stream import MediaStream, Spoken
from rehearsal.websocket import Peer

_MODES = ("never_answers_close", "slow_reader", "freeze_media")
_TOLD_EVENTS = 12  # of the media socket's, in the message of a wait that was in vain


class Call(Leg):
    """One phone call; made by `Twilio.call`. Observations over several streams of a call are joined in order.

    Besides those below: `sid`, `status`, `verbs` (executed), `said` (texts of `<Say>`), `dialled`, `statuses` (the
    callbacks with their answers), `violations` (what the app did wrong), `errors` (what Twilio could not do),
    `placed_at`, `answered_at`, `ended_at`, `streams`.
    """

    # What the caller does

    async def say(self, spoken: bytes) -> Spoken:
        """Speak mu-law audio; returns when its last frame has left."""
        return await self.stream.say(spoken)

    def dtmf(self, digits: str) -> None:
        """Press keys."""
        self.stream.dtmf(digits)

    async def hang_up(self, status: str = "completed") -> None:
        """The caller hangs up: `stop`, close frame, status callback; returns when the call has ended."""
        self.interrupt(HangUp(status))
        await self.until(lambda: self.ended_at is not None)

    def drop(self, kind: str, *, call_goes_on: bool = True) -> None:
        """Let the media socket fail: "no_stop" (plain close), "fin", "reset", "vanish"; or from now on misbehave:
        "never_answers_close", "slow_reader" (see `resume`), "freeze_media".

        A call that goes on asks what to do next (`<Connect action>`) as soon as Twilio knows of the loss; one that does
        not sends its status callback.
        """
        if kind in _MODES:
            self._misbehave(kind)
            return
        self.stream.drop(kind, verb_ends=call_goes_on)
        if not call_goes_on:
            self.interrupt(HangUp())

    def freeze_media(self) -> None:
        """Keep the socket open, send no more frames."""
        self.stream.freeze_media()

    def resume(self) -> None:
        """Send frames and read again after "freeze_media" or "slow_reader"."""
        self.stream.thaw_media()
        self.socket.resume_reading()

    def send_raw(self, message: str | bytes) -> None:
        """Send a message as it is; bytes go into a binary frame."""
        if isinstance(message, bytes):
            self.socket.send_binary(message)
        else:
            self.socket.send_text(message)

    def send_hostile(self, kind: str) -> None:
        """Send one of `rehearsal.twilio.hostile.KINDS`."""
        self.send_raw(hostile(kind, (self.exchange.account_sid, self.sid, self.stream.sid)))

    async def second_stream(self, parameters: Mapping[str, str] | None = None) -> MediaStream:
        """Open another media socket for this call, as an intruder would. Raises `Refused` when that is not let in."""
        url, own = self._last_stream
        stream = await self.connect_stream(url, self.script.line)
        self.intruders.append(stream)
        stream.start(own if parameters is None else parameters, {})
        return stream

    def _misbehave(self, kind: str) -> None:
        if kind == "never_answers_close":
            self.socket.answers_close = False
        elif kind == "slow_reader":
            self.socket.pause_reading()
        else:
            self.stream.freeze_media()

    # What is seen

    @property
    def stream(self) -> MediaStream:
        """The newest media stream. Raises LookupError while there is none."""
        if not self.streams:
            raise LookupError(f"{self.sid} has no media stream: await until_streaming() first; {self.story()}")
        return self.streams[-1]

    @property
    def socket(self) -> Peer:
        """The newest media socket, with `close_frame_at`, `close_code`, `eof_at`, `reset_at`."""
        return self.stream.peer

    @property
    def heard(self) -> list[Segment]:
        """The bot's audio that has really sounded, and when."""
        now = time.monotonic()
        return [segment for stream in self.streams for segment in stream.playback.heard(now)]

    @property
    def heard_ms(self) -> float:
        """Milliseconds of it."""
        now = time.monotonic()
        return sum(stream.playback.heard_ms(now) for stream in self.streams)

    @property
    def discarded(self) -> list[Segment]:
        """The bot's audio that never sounded, because it was cleared or the stream ended."""
        return [segment for stream in self.streams for segment in stream.playback.discarded]

    @property
    def received(self) -> list[Received]:
        """Everything the app sent that Twilio understands."""
        return [message for stream in self.streams for message in stream.received]

    @property
    def media_bytes(self) -> int:
        """Bytes of audio that the app sent."""
        return sum(len(message.audio) for message in self.received)

    @property
    def clears(self) -> list[float]:
        """When the app cleared the buffer."""
        return [at for stream in self.streams for at in stream.clears]

    @property
    def marks_sent(self) -> list[tuple[float, str]]:
        """The app's marks, and when each arrived."""
        return [mark for stream in self.streams for mark in stream.marks_sent]

    @property
    def marks_echoed(self) -> list[tuple[float, str]]:
        """Their echoes, and when each left."""
        return [mark for stream in self.streams for mark in stream.marks_echoed]

    @property
    def sent_frames(self) -> list[bytes]:
        """The payload of every frame that was sent, in order."""
        return [frame for stream in self.streams for frame in stream.sent_frames]

    def story(self) -> str:
        """One line on where the call stands, for an error message."""
        newest = self.streams[-1].received[-_TOLD_EVENTS:] if self.streams else []
        events = ", ".join(f"{message.event} {message.name or len(message.audio) or ''}".strip() for message in newest)
        notices = ", ".join(f"{notice.code} {notice.text}" for notice in (*self.violations, *self.errors))
        return (
            f"call {self.sid} is {self.status}, verbs {self.verbs}, said {self.said}, {len(self.streams)} streams, "
            f"heard {self.heard_ms:.0f} ms, last events [{events}], notices [{notices}]"
        )

    # What to wait for; each returns the monotonic time, or raises TimeoutError with the call's story

    async def until(self, predicate: Callable[[], bool], timeout_s: float = WAIT_S) -> float:
        """Until it is true; looked at whenever something happens to the call, and every 20 ms."""
        return await self.changes.until(predicate, timeout_s, self.story)

    async def until_streaming(self, timeout_s: float = WAIT_S, streams: int = 1) -> float:
        """Until the so-manieth media stream has started."""
        started = [*range(streams)]
        return await self.until(
            lambda: len(self.streams) >= streams and all(self.streams[n].started_at for n in started), timeout_s
        )

    async def until_heard(self, ms: float, timeout_s: float = WAIT_S) -> float:
        """Until the caller has heard so many milliseconds in all; exact to the millisecond."""
        deadline = time.monotonic() + timeout_s
        while (missing_s := (ms - self.heard_ms) / 1000) > 0:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{ms} ms were not heard within {timeout_s} s: {self.story()}")
            buffered = self.streams[-1].playback.buffered_s(time.monotonic()) if self.streams else 0.0
            if buffered >= missing_s:
                await asyncio.sleep(missing_s)
            else:
                await self.changes.wait(min(left, max(buffered, 0.02)))
        return time.monotonic()

    async def until_quiet(self, for_s: float = 0.0, timeout_s: float = WAIT_S) -> float:
        """Until everything buffered has been played, and nothing has sounded for `for_s`."""

        def quiet() -> bool:
            ends = [end for stream in self.streams if (end := stream.playback.sounds_until()) is not None]
            return time.monotonic() - max(ends, default=self.placed_at) >= for_s

        return await self.until(quiet, timeout_s)

    async def until_socket_closed(self, timeout_s: float = WAIT_S) -> float:
        """Until the app's FIN or RST has arrived on the newest media socket."""
        await self.until(lambda: bool(self.streams), timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                await self.socket.gone()
        except TimeoutError:
            raise TimeoutError(f"The media socket was not closed within {timeout_s} s: {self.story()}") from None
        return time.monotonic()

    async def until_ended(self, timeout_s: float = WAIT_S) -> float:
        """Until the call has ended for Twilio."""
        return await self.until(lambda: self.ended_at is not None, timeout_s)

    async def until_reported(self, timeout_s: float = WAIT_S) -> float:
        """Until the call has ended and every status callback has had its answer."""
        return await self.until(lambda: self.task is not None and self.task.done(), timeout_s)

    # What is kept

    def write_wav(self, path: Path) -> None:
        """Both sides on the call's time line: left what the caller said, right what they heard."""
        origin, end = self.placed_at, self.ended_at or time.monotonic()
        said = [pair for stream in self.streams for pair in zip(stream.due_at, stream.sent_frames, strict=True)]
        heard = [(segment.start_s, segment.audio) for segment in (*self.announced, *self.heard)]
        audio.write_stereo_wav(path, audio.on_time_line(said, origin, end), audio.on_time_line(heard, origin, end))
