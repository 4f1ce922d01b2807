"""The model's side: a Realtime server (GA) that understands what Kav sends on the bench, and speaks by the clock.

It knows which call a session belongs to by the stamps in the caller's audio, so nothing is told behind Kav's back.
"""

import base64
import hashlib
import json
import re
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any

from bench import stamps
from bench.endpoint import Endpoint
from bench.frames import frame
from bench.loop import Loop, Timer
from bench.measure import Measure

_APPEND = b'{"type":"input_audio_buffer.append","audio":"'
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
ANSWER = "טוב, תודה ששאלת."
"""What the model says when it is not told what to say."""

_TOLD = re.compile("“([^”]*)”")
_SIDE_QUESTION = '{"question":"מתי אתם פתוחים","language":"he"}'

LATE_DELTAS = 3
"""Deltas of the old response that are still on their way when the caller begins to speak."""


@dataclass(frozen=True, slots=True)
class Speech:
    """How the model speaks."""

    delta_ms: int = 200
    speed: float = 1.0
    """How many seconds of audio come in a second."""
    length_s: float = inf
    updated_after_s: float = 0.0
    """How long it takes to confirm `session.update`."""
    latency_s: float = 0.0
    """From `response.create` to whatever it brings first."""


@dataclass(slots=True)
class Response:
    """One response, and the only audio item in it; both bear its number."""

    number: int
    sent: int = 0
    """Deltas sent."""
    active: bool = True


class ModelSession(Endpoint):
    """One socket of Kav's, and the model behind it."""

    def __init__(self, server: "ModelServer", sock: socket.socket) -> None:
        super().__init__(server.loop, sock, masks=False, tls=server.tls)
        self.call = 0
        """Number of the call, once its audio has told."""
        self.speech = server.speech
        self.updated_at: float | None = None
        self.requested_at: float | None = None
        """When the first `response.create` came."""
        self.first_delta_at: float | None = None
        self.response: Response | None = None
        self.mute = False
        self.on_event: Callable[[str, dict[str, Any], float], None] | None = None
        """Told of cancel, truncate, delete and create, with the event and its time of arrival."""
        self._server = server
        self._measure = server.measure
        self._words = ANSWER
        """What the model is going to say."""
        self._next_frame: int | None = None
        self._talking: Timer | None = None
        self._delta = bytearray()
        self._delta_at = 0

    # The protocol

    def opened(self, head: bytes) -> None:
        key = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:"))
        accept = base64.b64encode(hashlib.sha1(key.split(b":")[1].strip() + _GUID).digest())
        self.connection.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        self._say({"type": "session.created", "session": {"type": "realtime", "object": "realtime.session"}})

    def said(self, message: bytes, arrived_at: float) -> None:
        if message.startswith(_APPEND):
            self._heard(message, arrived_at)
            return
        event = json.loads(message)
        kind = event["type"]
        if kind == "session.update":
            self.loop.later(self.speech.updated_after_s, lambda: self._updated(event["session"]))
        elif kind == "conversation.item.create":
            self._read_item(event["item"])
        elif kind == "response.create":
            self._create(event, arrived_at)
        elif kind == "response.cancel":
            self._cancel()
        elif kind == "conversation.item.truncate":
            self._say({"type": "conversation.item.truncated", "item_id": event["item_id"]})
        if self.on_event is not None:
            self.on_event(kind, event, arrived_at)

    def over(self) -> None:
        self.stop_talking()
        self._server.sessions.discard(self)
        self._server.by_call.pop(self.call, None)

    def _heard(self, message: bytes, arrived_at: float) -> None:
        stamp = stamps.read(message, len(_APPEND))
        measure = self._measure
        measure.to_model_s.append(arrived_at - stamp.sent_at)
        if self._next_frame is None:
            self.call = stamp.name
            self._server.by_call[stamp.name] = self
            self._next_frame = 0
        if stamp.number != self._next_frame or not message.endswith(self._server.frame_tail):
            measure.frames_lost += max(1, stamp.number - self._next_frame)
        self._next_frame = stamp.number + 1
        self._server.frames_heard += 1

    def _updated(self, session: dict[str, Any]) -> None:
        if not self.gone:
            self.updated_at = time.time()
            self._say({"type": "session.updated", "session": session})

    def _read_item(self, item: dict[str, Any]) -> None:
        """Note the words that a system message gives to say: Kav checks that they were said."""
        if item["type"] == "message":
            text = item["content"][0]["text"]
            _, quoted, words = text.partition("«")
            told = _TOLD.findall(text)
            self._words = words.rpartition("»")[0] if quoted else f"{ANSWER} {told[-1]}" if told else self._words

    def _create(self, event: dict[str, Any], arrived_at: float) -> None:
        self.requested_at = self.requested_at or arrived_at
        if self.response is not None and self.response.active:
            self._measure.refusals.append("conversation_already_has_active_response")
            return
        self._server.responses += 1
        self.response = Response(self._server.responses)
        act = self._judge if event["response"].get("tool_choice") == "required" else self._answer
        self.loop.later(self.speech.latency_s, partial(act, self.response, event))

    def _answer(self, response: Response, event: dict[str, Any]) -> None:
        """Begin to speak."""
        if self._has_begun(response, event):
            item = {"id": self._id("item"), "type": "message", "role": "assistant", "status": "in_progress"}
            self._say({"type": "response.output_item.added", "response_id": self._id("resp"), "item": item})
            self._begin()

    def _judge(self, response: Response, event: dict[str, Any]) -> None:
        """Call the tool with which any turn may be judged, any number of times: the caller has asked something."""
        if not self._has_begun(response, event):
            return
        call = {
            "id": self._id("item"),
            "type": "function_call",
            "status": "completed",
            "call_id": self._id("call"),
            "name": "side_question",
            "arguments": _SIDE_QUESTION,
        }
        added = {**call, "status": "in_progress", "arguments": ""}
        self._say({"type": "response.output_item.added", "response_id": self._id("resp"), "item": added})
        self._say({"type": "response.output_item.done", "response_id": self._id("resp"), "item": call})
        response.active = False
        done = {"id": self._id("resp"), "status": "completed", "status_details": None, "metadata": None}
        self._say({"type": "response.done", "response": done})

    def _has_begun(self, response: Response, event: dict[str, Any]) -> bool:
        """Announce a response; False if it was cancelled before."""
        if response is not self.response or not response.active or self.gone:
            return False
        body = {"id": self._id("resp"), "status": "in_progress", "metadata": event["response"].get("metadata")}
        self._say({"type": "response.created", "response": body})
        return True

    def _cancel(self) -> None:
        if self.response is None or not self.response.active:
            error = {"type": "invalid_request_error", "code": "response_cancel_not_active", "message": "none active"}
            self._say({"type": "error", "error": error})
            return
        self._finish("cancelled")

    # Speaking

    def caller_speaks(self) -> float:
        """Say that the caller speaks, and cancel as `interrupt_response` does; return when that was said."""
        at = time.time()
        self._say({"type": "input_audio_buffer.speech_started", "item_id": "item_caller", "audio_start_ms": 0})
        if self.response is not None and self.response.active:
            for _ in range(LATE_DELTAS):
                self._speak()
            self._finish("cancelled")
        return at

    def caller_is_done(self) -> None:
        """Say that the caller's turn is over."""
        if not self.gone:
            self._say({"type": "input_audio_buffer.speech_stopped", "item_id": "item_caller", "audio_end_ms": 0})
            self._say({"type": "input_audio_buffer.committed", "item_id": "item_caller", "previous_item_id": None})

    def stop_talking(self) -> None:
        if self._talking is not None:
            self._talking.cancelled = True
            self._talking = None

    def _begin(self) -> None:
        payload = stamps.audio(self.speech.delta_ms)
        head = (
            b'{"type":"response.output_audio.delta","event_id":"event_bench","response_id":"%s","item_id":"%s",'
            b'"output_index":0,"content_index":0,"delta":"'
        ) % (self._id("resp").encode(), self._id("item").encode())
        self._delta = bytearray(frame(head + payload + b'"}', masked=False))
        self._delta_at = len(self._delta) - len(payload) - 2
        self._speak()
        self._talking = self.loop.later(
            self.speech.delta_ms / 1000 / self.speech.speed,
            self._speak_on,
            period_s=self.speech.delta_ms / 1000 / self.speech.speed,
        )

    def _speak_on(self) -> None:
        if self.gone or self.response is None or not self.response.active:
            self.stop_talking()
        elif self.response.sent * self.speech.delta_ms >= self.speech.length_s * 1000:
            self._finish("completed")
        elif not self.mute:
            self._speak()

    def _speak(self) -> None:
        response = self.response
        assert response is not None
        sent_at = time.time()
        self.first_delta_at = self.first_delta_at or sent_at
        self._delta[self._delta_at : self._delta_at + 32] = stamps.write(sent_at, response.number, response.sent)
        response.sent += 1
        self._measure.deltas_sent += 1
        self.connection.send(self._delta)

    def _finish(self, status: str) -> None:
        assert self.response is not None
        self.stop_talking()
        self.response.active = False
        ids = {"response_id": self._id("resp"), "item_id": self._id("item")}
        words, self._words = self._words, ANSWER
        self._say({"type": "response.output_audio_transcript.done", **ids, "transcript": words})
        self._say({"type": "response.output_audio.done", **ids})
        details = {"type": "cancelled", "reason": "turn_detected"} if status == "cancelled" else None
        done = {"id": self._id("resp"), "status": status, "status_details": details, "metadata": None}
        self._say({"type": "response.done", "response": done})

    def _id(self, kind: str) -> str:
        assert self.response is not None
        return f"{kind}_{self.response.number:08d}"

    def _say(self, event: dict[str, Any]) -> None:
        if not self.gone:
            self.send(json.dumps({"event_id": "event_bench", **event}).encode())


class ModelServer:
    """Listens for Kav, and holds the sessions."""

    def __init__(self, loop: Loop, measure: Measure, frame_tail: bytes, tls: ssl.SSLContext | None = None) -> None:
        self.loop, self.measure, self.tls = loop, measure, tls
        self.speech = Speech()
        """How sessions speak that are opened from now on."""
        self.sessions: set[ModelSession] = set()
        self.by_call: dict[int, ModelSession] = {}
        self.responses = 0
        self.frames_heard = 0
        self.frame_tail = frame_tail
        """How every append must end, if the caller's audio came through bit for bit."""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        loop.watch(self._listener.fileno(), self._accept)

    def close(self) -> None:
        self.loop.forget(self._listener.fileno())
        self._listener.close()
        for session in list(self.sessions):
            session.connection.close()

    def _accept(self, _: int) -> None:
        sock, _address = self._listener.accept()
        self.sessions.add(ModelSession(self, sock))
