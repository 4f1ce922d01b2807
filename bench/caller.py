"""The caller's side: Twilio's webhooks, its media socket, its playback buffer, 50 frames a second."""

import random
import time
from collections.abc import Callable
from functools import partial

import msgspec

from bench import stamps
from bench.endpoint import Endpoint, connect
from bench.frames import frame
from bench.loop import Loop, Timer
from bench.measure import Measure
from bench.playback import Playback
from bench.webhook import AUTH_TOKEN, post
from rehearsal.twilio import twiml
from rehearsal.twilio.signing import signed_headers

FRAME_S = 0.02
FRAME = stamps.audio(20)
FRAME_TAIL = FRAME[32:] + b'"}'
"""How an `input_audio_buffer.append` ends that holds a frame as it was sent."""

_ACCOUNT = "AC" + "0" * 32


class _Mark(msgspec.Struct, frozen=True):
    name: str


class _Other(msgspec.Struct):
    event: str
    mark: _Mark = _Mark("")


_decode = msgspec.json.Decoder(_Other).decode


def _whatever(_status: int, _body: str) -> None: ...


class Caller:
    """One call. `talking(caller)` is called when the first frame of the bot's audio has come."""

    def __init__(
        self, loop: Loop, port: int, number: int, measure: Measure, talking: Callable[["Caller"], None], to: str
    ) -> None:
        self.loop, self.port, self.number, self.measure, self.to = loop, port, number, measure, to
        self.talking = talking
        self.call_sid = f"CA{number:032x}"
        self.delay_s = 0.0
        """One-way delay of the network between Twilio and Kav."""
        self.media: MediaSocket | None = None
        self._placed_at = time.time()
        post(loop, port, "/twilio/voice", self._form("ringing"), self._answered)

    def status(self, status: str, answered: Callable[[int, str], None] = _whatever) -> float:
        """Send a status callback; return when."""
        at = time.time()
        post(self.loop, self.port, "/twilio/status", {**self._form(status), "CallDuration": "1"}, answered)
        return at

    def _form(self, status: str) -> dict[str, str]:
        return {
            "CallSid": self.call_sid,
            "AccountSid": _ACCOUNT,
            "From": f"+97250{self.number:07d}",
            "To": self.to,
            "CallStatus": status,
            "Direction": "inbound",
            "ApiVersion": "2010-04-01",
        }

    def _answered(self, status: int, body: str) -> None:
        verbs = twiml.parse(body) if status == 200 else []
        stream = verbs[0].noun("Stream") if verbs else None
        if stream is None:
            self.measure.refusals.append(f"voice webhook: HTTP {status} {body[:200]}")
            return
        self.media = MediaSocket(self, stream.attributes["url"], stream.parameters)


class MediaSocket(Endpoint):
    """The stream of a call."""

    def __init__(self, caller: Caller, url: str, parameters: dict[str, str]) -> None:
        super().__init__(caller.loop, connect(caller.port), masks=True)
        self.caller = caller
        self.stream_sid = f"MZ{caller.number:032x}"
        self.started_at: float | None = None
        self.first_audio_at: float | None = None
        self.playback = Playback()
        self.dead_response = 0
        """Responses up to this number must not be heard any more."""
        self.late_bytes = 0
        self.on_clear: Callable[[float], None] | None = None
        self.on_response: Callable[[int, float], None] | None = None
        """Told when the first audio of a response arrives: its number, and when."""
        self._measure = caller.measure
        self._parameters = parameters
        self._expected: dict[int, int] = {}
        self._marks: list[tuple[str, Timer]] = []
        self._sequence = 0
        self.frames = 0
        self._ticking: Timer | None = None
        self._media_prefix = b'{"event":"media","streamSid":"%s","media":{"payload":"' % self.stream_sid.encode()
        self._frame, self._sequence_at, self._payload_at = self._build_frame()
        self._upgrade(url)

    # The protocol

    def _upgrade(self, url: str) -> None:
        headers = {
            "Host": f"127.0.0.1:{self.caller.port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": "a2F2IGJlbmNoIGEgY2FsbA==",
            "Sec-WebSocket-Version": "13",
            **signed_headers(AUTH_TOKEN, url),
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.connection.send(f"GET /twilio/media HTTP/1.1\r\n{lines}\r\n".encode())

    def opened(self, head: bytes) -> None:
        if b" 101 " not in head.split(b"\r\n", 1)[0]:
            self._measure.refusals.append(f"media socket: {head[:80]!r}")
            self.connection.close()
            return
        self.send(b'{"event":"connected","protocol":"Call","version":"1.0.0"}')
        start = {
            "accountSid": _ACCOUNT,
            "streamSid": self.stream_sid,
            "callSid": self.caller.call_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": self._parameters,
        }
        self.started_at = time.time()
        self._say({"event": "start", "start": start})
        phase = random.random() * FRAME_S
        self._ticking = self.loop.later(phase, self._send_frame, period_s=FRAME_S)

    def said(self, message: bytes, arrived_at: float) -> None:
        if message.startswith(self._media_prefix):
            self._hear(message, arrived_at)
            return
        other = _decode(message)
        if other.event == "mark":
            self._mark(other.mark.name, arrived_at + self.caller.delay_s)
        elif other.event == "clear":
            self._clear(arrived_at)
        else:
            self._measure.refusals.append(f"unknown message {message[:80]!r}")

    def over(self) -> None:
        self.stop_sending()
        for _, timer in self._marks:
            timer.cancelled = True

    def _hear(self, message: bytes, arrived_at: float) -> None:
        at = len(self._media_prefix)
        stamp = stamps.read(message, at)
        self._measure.to_caller_s.append(arrived_at - stamp.sent_at)
        expected = self._expected.get(stamp.name, 0)
        if stamp.number != expected:
            self._measure.frames_lost += max(1, stamp.number - expected)
        if stamp.name not in self._expected and self.on_response is not None:
            self.on_response(stamp.name, arrived_at)
        self._expected = {stamp.name: stamp.number + 1}
        length = (len(message) - at - 3) // 4 * 3 - message.count(b"=", -5)
        if stamp.name <= self.dead_response:
            self.late_bytes += length
        self.playback.append(arrived_at + self.caller.delay_s, stamp.name, length)
        if self.first_audio_at is None:
            self.first_audio_at = arrived_at
            self.caller.talking(self.caller)

    def _mark(self, name: str, now: float) -> None:
        """Echo a mark when it has been played: after the way here, and the way back."""
        echo_at = self.playback.mark_due(now) + self.caller.delay_s
        self._marks = [waiting for waiting in self._marks if not waiting[1].cancelled]
        self._marks.append((name, self.loop.at(echo_at, partial(self._echo, name))))

    def _echo(self, name: str) -> None:
        self._marks = [waiting for waiting in self._marks if waiting[0] != name]
        self._say({"event": "mark", "mark": {"name": name}})

    def _clear(self, arrived_at: float) -> None:
        """Drop what is not played yet, and echo all pending marks at once."""
        cleared_at = arrived_at + self.caller.delay_s
        if self.on_clear is not None:
            self.on_clear(arrived_at)
        self.playback.clear(cleared_at)
        pending, self._marks = self._marks, []
        for name, timer in pending:
            timer.cancelled = True
            self.loop.at(cleared_at + self.caller.delay_s, partial(self._echo, name))

    # The caller's voice

    def _build_frame(self) -> tuple[bytearray, int, int]:
        """Return a whole masked frame, and where its sequence number and its payload stand."""
        message = (
            b'{"event":"media","sequenceNumber":"0000000","media":{"track":"inbound","chunk":"1","timestamp":"5",'
            b'"payload":"%s"},"streamSid":"%s"}'
        ) % (FRAME, self.stream_sid.encode())
        whole = frame(message, masked=True)
        return bytearray(whole), whole.index(b"0000000"), whole.index(FRAME)

    def _send_frame(self) -> None:
        if self.gone:
            self.stop_sending()
            return
        self._sequence += 1
        whole, at = self._frame, self._payload_at
        whole[self._sequence_at : self._sequence_at + 7] = b"%07d" % self._sequence
        whole[at : at + 32] = stamps.write(time.time(), self.caller.number, self.frames)
        self.frames += 1
        self._measure.frames_sent += 1
        self.connection.send(whole)

    def stop_sending(self) -> None:
        if self._ticking is not None:
            self._ticking.cancelled = True

    def stop(self) -> float:
        """Send `stop`, as Twilio does when the caller hangs up; return when."""
        self.stop_sending()
        at = time.time()
        self._say({"event": "stop", "stop": {"accountSid": _ACCOUNT, "callSid": self.caller.call_sid}})
        return at

    def _say(self, message: dict[str, object]) -> None:
        if not self.gone:
            self._sequence += 1
            body = {**message, "sequenceNumber": str(self._sequence), "streamSid": self.stream_sid}
            self.send(msgspec.json.encode(body))
