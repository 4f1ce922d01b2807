"""The media socket's messages: what Twilio sends, built from byte templates, and what it accepts, parsed strictly.

Pure. The source of every shape is Twilio's "WebSocket messages" page (Media Streams).
"""

import base64
import json
from collections.abc import Mapping

import msgspec

from rehearsal.audio import FRAME_BYTES, SILENCE

SILENT_FRAME = bytes([SILENCE]) * FRAME_BYTES
CONNECTED = b'{"event":"connected","protocol":"Call","version":"1.0.0"}'
_SILENT_BASE64 = base64.b64encode(SILENT_FRAME)


class Payload(msgspec.Struct, forbid_unknown_fields=True):
    """A media message's audio; base64 on the wire."""

    payload: bytes


class MarkName(msgspec.Struct, forbid_unknown_fields=True):
    """A mark's name."""

    name: str


class Media(msgspec.Struct, tag_field="event", tag="media", forbid_unknown_fields=True, rename="camel"):
    """Audio for the caller."""

    stream_sid: str
    media: Payload


class Mark(msgspec.Struct, tag_field="event", tag="mark", forbid_unknown_fields=True, rename="camel"):
    """A request to be told when everything before it has been played."""

    stream_sid: str
    mark: MarkName


class Clear(msgspec.Struct, tag_field="event", tag="clear", forbid_unknown_fields=True, rename="camel"):
    """A request to drop what is buffered."""

    stream_sid: str


_decoder: msgspec.json.Decoder[Media | Mark | Clear] = msgspec.json.Decoder(Media | Mark | Clear)


class NotUnderstood(Exception):
    """A message that Twilio would refuse, with the code that its debugger would show."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


def parse(message: str | bytes, stream_sid: str) -> Media | Mark | Clear:
    """A message from the app. Raises `NotUnderstood`: 31950 for a binary frame, 31951 for anything else."""
    if isinstance(message, bytes):
        raise NotUnderstood(31950, f"A binary frame of {len(message)} bytes; Twilio reads text frames only")
    try:
        understood = _decoder.decode(message)
    except msgspec.MsgspecError as error:
        raise NotUnderstood(31951, f"{error} in {message[:200]!r}") from error
    if understood.stream_sid != stream_sid:
        raise NotUnderstood(31951, f"streamSid {understood.stream_sid!r} is not this stream's, {stream_sid}")
    if isinstance(understood, Media) and not understood.media.payload:
        raise NotUnderstood(31951, "A media message without audio")
    return understood


class Frames:
    """Builds one stream's messages and numbers them; Twilio sends its numbers as strings."""

    def __init__(self, account_sid: str, call_sid: str, stream_sid: str) -> None:
        self.sequence_number = 0
        self.chunk = 0
        self._account_sid, self._call_sid, self._stream_sid = account_sid, call_sid, stream_sid
        self._media = (
            b'{"event":"media","sequenceNumber":"%d","media":{"track":"inbound","chunk":"%d","timestamp":"%d",'
            b'"payload":"%b"},"streamSid":"' + stream_sid.encode() + b'"}'
        )

    def start(self, parameters: Mapping[str, str], extra: Mapping[str, object] | None = None) -> bytes:
        """The `start` message; `extra` overrides or adds fields of its `start` object."""
        start = {
            "accountSid": self._account_sid,
            "streamSid": self._stream_sid,
            "callSid": self._call_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": dict(parameters),
        }
        return self._message("start", start={**start, **(extra or {})})

    def media(self, frame: bytes, timestamp_ms: int) -> bytes:
        """One frame of the caller's audio."""
        self.sequence_number += 1
        self.chunk += 1
        payload = _SILENT_BASE64 if frame is SILENT_FRAME else base64.b64encode(frame)
        return self._media % (self.sequence_number, self.chunk, timestamp_ms, payload)

    def mark(self, name: str) -> bytes:
        """A mark's echo."""
        return self._message("mark", mark={"name": name})

    def dtmf(self, digit: str) -> bytes:
        """A key pressed by the caller."""
        return self._message("dtmf", dtmf={"track": "inbound_track", "digit": digit})

    def stop(self) -> bytes:
        """The stream's last message."""
        return self._message("stop", stop={"accountSid": self._account_sid, "callSid": self._call_sid})

    def _message(self, event: str, **body: object) -> bytes:
        self.sequence_number += 1
        message = {"event": event, "sequenceNumber": str(self.sequence_number), **body, "streamSid": self._stream_sid}
        return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()
