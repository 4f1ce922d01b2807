"""One media stream as Twilio holds it: the caller's voice at 50 frames a second, the bot's in a playback buffer."""

import asyncio
import time
from array import array
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rehearsal.audio import FRAME_BYTES, FRAME_S, SILENCE
from rehearsal.twilio import frames
from rehearsal.twilio.observed import Changes, Received
from rehearsal.twilio.playback import Playback
from rehearsal.twilio.ticker import Ticker
from rehearsal.websocket import Gone, Peer


@dataclass(frozen=True)
class Spoken:
    """What became of a line that the caller said: when its first and last frame left, and whether all of it did."""

    began_at: float
    ended_at: float
    complete: bool


@dataclass
class _Saying:
    audio: bytes
    done: "asyncio.Future[Spoken]"
    position: int = 0
    began_at: float = 0.0

    def finish(self, now: float, complete: bool) -> None:
        if not self.done.done():
            self.done.set_result(Spoken(self.began_at or now, now, complete))


@dataclass
class Told:
    """Where a stream reports to: its call's changes, and the debugger."""

    changes: Changes = field(default_factory=Changes)
    violation: Callable[[int, str], None] = lambda _code, _text: None


class MediaStream:
    """A connected media socket; `start()` opens its mouth and ears. Times are monotonic seconds.

    Kept for the test: `sent_frames` (exact payloads in order) with `sent_at` and `due_at` (when each left, and when the
    schedule wanted it to), `received`, `clears`, `marks_sent` and `marks_echoed` as (time, name), `playback`, `peer`.
    """

    def __init__(self, peer: Peer, sids: tuple[str, str, str], ticker: Ticker, told: Told) -> None:
        """`sids` are those of account, call and stream."""
        self.peer = peer
        self.sid = sids[2]
        self.playback = Playback()
        self.frames = frames.Frames(*sids)
        self.sent_frames: list[bytes] = []
        self.sent_at, self.due_at = array("d"), array("d")
        self.received: list[Received] = []
        self.clears: list[float] = []
        self.marks_sent: list[tuple[float, str]] = []
        self.marks_echoed: list[tuple[float, str]] = []
        self.started_at: float | None = None
        self.over = asyncio.Event()
        """Set when the verb is over for Twilio: the app has closed, the socket is lost, or the call has ended."""
        self._ticker, self._told = ticker, told
        self._lines: deque[_Saying] = deque()
        self._frozen = self._stopped = False
        self._next_s = 0.0
        self._mark_timer: asyncio.TimerHandle | None = None
        peer.deliver_to(self._message)
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    def start(self, parameters: Mapping[str, str], extra: Mapping[str, object]) -> None:
        """Send `connected` and `start`, and begin to send frames."""
        self.peer.send_text(frames.CONNECTED)
        self.peer.send_text(self.frames.start(parameters, extra))
        self.started_at = time.monotonic()
        self._ticker.add(self._tick)
        self._told.changes.notify()

    # The caller's acts

    async def say(self, audio: bytes) -> Spoken:
        """Speak, after what is being said already; returns when the last frame has left, or the stream is over."""
        line = _Saying(audio, asyncio.get_running_loop().create_future())
        if self.over.is_set() or not audio:
            line.finish(time.monotonic(), complete=not audio)
        else:
            self._lines.append(line)
        return await line.done

    def dtmf(self, digits: str) -> None:
        """Press keys."""
        for digit in digits:
            self.peer.send_text(self.frames.dtmf(digit))

    def freeze_media(self) -> None:
        """Keep the socket, send no more frames."""
        self._frozen = True

    def thaw_media(self) -> None:
        """Send frames again, from now on; what was not sent meanwhile is lost, as it is in a network."""
        self._frozen = False

    # Ends

    def hang_up(self) -> None:
        """The call is over: `stop`, then a close frame."""
        if not self.over.is_set():
            self.peer.send_text(self.frames.stop())
            self.peer.close(1000)
        self._end(time.monotonic())

    def drop(self, kind: str, verb_ends: bool) -> None:
        """Lose the socket without `stop`: "no_stop" (plain close), "fin", "reset", or "vanish".

        Nobody tells Twilio's end of a vanished line; its verb ends when the app's FIN is noticed.
        """
        acts = {"no_stop": self.peer.close, "fin": self.peer.drop, "reset": self.peer.reset, "vanish": self.peer.vanish}
        if kind not in acts:
            raise ValueError(f"No such way to drop a stream: {kind!r}; say one of {', '.join(acts)}")
        acts[kind]()
        self._fall_silent()
        if kind != "vanish" and verb_ends:
            self._end(time.monotonic())

    def abort(self) -> None:
        """Free everything at once; the rehearsal is over."""
        self._end(time.monotonic())
        self._watcher.cancel()
        self.peer.abort()

    # Frames out

    def _tick(self, at: float) -> None:
        if not self.sent_frames:
            self._next_s = at
        if self._frozen:
            self._next_s = at + FRAME_S
            return
        while self._next_s <= at + FRAME_S / 2:
            self._send_frame(self._next_s)
            self._next_s += FRAME_S

    def _send_frame(self, due: float) -> None:
        first = self.due_at[0] if self.due_at else due
        frame = self._next_frame() if self._lines else frames.SILENT_FRAME
        if not self.peer.send_text(self.frames.media(frame, round((due - first) * 1000))):
            return
        self.sent_frames.append(frame)
        self.sent_at.append(time.monotonic())
        self.due_at.append(due)

    def _next_frame(self) -> bytes:
        line, now = self._lines[0], time.monotonic()
        line.began_at = line.began_at or now
        frame = line.audio[line.position : line.position + FRAME_BYTES]
        line.position += FRAME_BYTES
        if line.position >= len(line.audio):
            self._lines.popleft().finish(now, complete=True)
        return frame.ljust(FRAME_BYTES, bytes([SILENCE]))

    # Messages in

    def _message(self, message: str | bytes, at: float) -> None:
        if self.over.is_set():
            return
        if self.started_at is None:
            self._told.violation(31951, f"Sent before `start`: {message[:200]!r}")
            return
        try:
            understood = frames.parse(message, self.sid)
        except frames.NotUnderstood as finding:
            self._told.violation(finding.code, finding.text)
            return
        if isinstance(understood, frames.Media):
            self._hear(understood.media.payload, at)
        elif isinstance(understood, frames.Mark):
            self._mark(understood.mark.name, at)
        else:
            self._clear(at)
        self._told.changes.notify()

    def _hear(self, audio: bytes, at: float) -> None:
        self.received.append(Received(at, "media", audio=audio))
        if not self.playback.append(audio, at):
            self._told.violation(31931, "More than ten minutes of audio are buffered; the new audio is discarded")

    def _mark(self, name: str, at: float) -> None:
        self.received.append(Received(at, "mark", name))
        self.marks_sent.append((at, name))
        self.playback.mark(name, at)
        self._echo_due(at)

    def _clear(self, at: float) -> None:
        self.received.append(Received(at, "clear"))
        self.clears.append(at)
        self._echo_due(at)  # what was due before the clear is echoed before it
        self._echo(self.playback.clear(at))

    def _echo_due(self, now: float) -> None:
        self._echo(self.playback.due(now))
        if self._mark_timer is not None:
            self._mark_timer.cancel()
            self._mark_timer = None
        if (due := self.playback.next_due()) is not None:
            self._mark_timer = asyncio.get_running_loop().call_at(due, self._on_mark_time, due)

    def _on_mark_time(self, due: float) -> None:
        if not self.over.is_set():
            self._echo_due(max(due, time.monotonic()))
            self._told.changes.notify()

    def _echo(self, names: list[str]) -> None:
        for name in names:
            if self.peer.send_text(self.frames.mark(name)):
                self.marks_echoed.append((time.monotonic(), name))

    # The end

    async def _watch(self) -> None:
        """Notice the app's close frame, FIN or RST; messages themselves go to `_message`."""
        try:
            await self.peer.receive()
        except Gone:
            self._end(time.monotonic())

    def _end(self, now: float) -> None:
        if self.over.is_set():
            return
        self._fall_silent()
        self.playback.stop(now)
        self.over.set()
        self._told.changes.notify()

    def _fall_silent(self) -> None:
        self._ticker.remove(self._tick)
        if self._mark_timer is not None:
            self._mark_timer.cancel()
        while self._lines:
            self._lines.popleft().finish(time.monotonic(), complete=False)
