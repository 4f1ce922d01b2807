"""Twilio Media Streams as typed messages (bidirectional `<Connect><Stream>`): decodes and encodes, decides nothing.

Audio stays base64 in JSON, byte for byte as it came: decoding it would only cost time. Numbers in Twilio's messages
are JSON strings, but for the media format (Media Streams, "WebSocket messages").
"""

from typing import Final

import msgspec
from msgspec import Raw, Struct

BASE64_BYTES: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

MAX_PAYLOAD_BYTES: Final = 16 * 1024
"""Base64 bytes of one frame: Twilio sends 216 of them (20 ms); a burst of 1.5 s is the most that is forwarded."""

MAX_DIGITS: Final = 18
"""Of a sequence number: an hour has seven; thousands of them are an error to `int`."""

INBOUND_TRACKS: Final = frozenset({"inbound", "inbound_track"})


class MediaPayload(Struct, gc=False):
    """A stretch of the caller's audio: mu-law, 8 kHz, mono, base64; with its quotes, as it stood in the message."""

    payload: Raw
    track: str = "inbound"


class Media(Struct, tag_field="event", tag="media", rename="camel", gc=False):
    """The caller's audio, some 20 ms of it."""

    media: MediaPayload
    stream_sid: str = ""
    sequence_number: str = ""

    @property
    def number(self) -> int:
        """Its place among the stream's messages, from 1; 0 if it does not say."""
        digits = self.sequence_number
        return int(digits) if digits.isdecimal() and len(digits) <= MAX_DIGITS else 0


class StartBody(Struct, rename="camel"):
    """What a stream says of itself."""

    call_sid: str
    stream_sid: str
    account_sid: str = ""
    custom_parameters: dict[str, str] = {}


class Start(Struct, tag_field="event", tag="start", rename="camel"):
    """The stream begins; comes once, after `connected`."""

    start: StartBody
    sequence_number: str = ""


class MarkBody(Struct):
    """A mark's name."""

    name: str = ""


class Mark(Struct, tag_field="event", tag="mark", rename="camel"):
    """Everything sent before this mark was played, or cleared."""

    mark: MarkBody
    stream_sid: str = ""


class DtmfBody(Struct):
    """A key of the telephone: 0-9, * or #."""

    digit: str = ""


class Dtmf(Struct, tag_field="event", tag="dtmf", rename="camel"):
    """The caller pressed a key."""

    dtmf: DtmfBody
    stream_sid: str = ""


class Text(Struct, tag_field="event", tag="text", rename="camel"):
    """A line that the caller has typed: no message of Twilio's, but of the browser phone, which speaks as it does."""

    text: str
    stream_sid: str = ""


class Stop(Struct, tag_field="event", tag="stop", rename="camel"):
    """The stream is over: the caller hung up, or the call left the stream."""

    stream_sid: str = ""


class Connected(Struct, tag_field="event", tag="connected", rename="camel"):
    """The socket's first message."""


Message = Media | Start | Mark | Dtmf | Text | Stop | Connected

_decoder: Final[msgspec.json.Decoder[Message]] = msgspec.json.Decoder(Message)


class MalformedMessage(ValueError):
    """A message that is not one of Twilio's; it is dropped, the call goes on."""


def decode(message: bytes) -> Message:
    """Return one message of Twilio's, typed.

    Raises:
        MalformedMessage: it is not JSON, of no known event, or lacks a field.
    """
    try:
        return _decoder.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage(str(error)) from None


def base64_text(raw: Raw, limit: int) -> bytes | None:
    """Return the JSON string `raw`, quotes and all, if it is base64 of 1 to `limit` bytes, padded; else None."""
    text = bytes(raw)
    if b"\\" in text:  # "\/" is a slash to JSON, and to nobody else
        text = text.replace(b"\\/", b"/")
    whole = 6 <= len(text) <= limit and len(text) % 4 == 2 and text[:1] == b'"' and text[-4:-3] != b"="
    if not whole or text[1:-1].rstrip(b"=").translate(None, BASE64_BYTES):
        return None
    return text


def audio_bytes(text: bytes) -> int:
    """Return how many bytes of audio the quoted base64 `text` holds."""
    return (len(text) - 2) // 4 * 3 - text.count(b"=", -3)


class Encoder:
    """Encodes what Kav sends on one stream."""

    def __init__(self, stream_sid: str) -> None:
        sid = msgspec.json.encode(stream_sid)
        self._media = b'{"event":"media","streamSid":' + sid + b',"media":{"payload":'
        self._mark = b'{"event":"mark","streamSid":' + sid + b',"mark":{"name":'
        self.clear: Final = b'{"event":"clear","streamSid":' + sid + b"}"

    def media(self, payload: bytes) -> bytes:
        """Encode audio; `payload` is a quoted base64 string."""
        return self._media + payload + b"}}"

    def mark(self, name: str) -> bytes:
        """Encode a mark."""
        return self._mark + msgspec.json.encode(name) + b"}}"
