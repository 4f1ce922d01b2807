"""Guards what comes over the media socket: it is one of Twilio's messages, or refused as none."""

import base64
import json

from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Raw

from kav.wire import twilio_media
from kav.wire.twilio_media import MAX_PAYLOAD_BYTES, MalformedMessage, audio_bytes, base64_text, decode
from rehearsal.twilio.frames import CONNECTED, Frames
from tests.fuzz import WORDS, altered, dumped, fuzzed, mutated

FRAMES = Frames("AC1", "CA1", "MZ1")
HONEST = [
    CONNECTED,
    FRAMES.start({"token": "t", "direction": "inbound"}),
    FRAMES.media(b"\xff" * 160, 20),
    FRAMES.mark("g0:1"),
    FRAMES.dtmf("#"),
    FRAMES.stop(),
    '{"event":"text","streamSid":"MZ1","text":"שלום"}'.encode(),
]


@fuzzed
@given(mutated(HONEST) | altered([json.loads(message) for message in HONEST]).map(dumped) | st.binary(max_size=300))
@example(b'{"event":"mark","mark":{"name":"\\ud800"}}')
@example(b'{"event":"start","start":{"callSid":"CA1","streamSid":"MZ1","customParameters":{"token":"\\udfff"}}}')
def test_a_message_is_read_or_refused_and_all_that_is_read_can_be_said_again(message: bytes) -> None:
    try:
        said = decode(message)
    except MalformedMessage:
        return
    if isinstance(said, twilio_media.Media):
        assert said.number >= 0
        checked(said.media.payload)
    elif isinstance(said, twilio_media.Start):
        said.start.custom_parameters.get("token", "").encode()
        twilio_media.Encoder(said.start.stream_sid).mark("g0:1").decode()
    elif isinstance(said, twilio_media.Mark):
        twilio_media.Encoder("MZ1").mark(said.mark.name).decode()


@fuzzed
@given(WORDS.map(lambda text: dumped(text)) | st.binary(max_size=64) | st.binary().map(base64.b64encode))
@example(b'"AAA="')
@example(b'"A\\/=="')
def test_what_passes_for_audio_is_base64_and_its_length_is_right(raw: bytes) -> None:
    checked(Raw(raw))
    checked(Raw(b'"' + raw + b'"'))


def checked(payload: Raw) -> None:
    text = base64_text(payload, MAX_PAYLOAD_BYTES)
    if text is not None:
        assert len(base64.b64decode(json.loads(text), validate=True)) == audio_bytes(text) > 0
        assert len(text) <= MAX_PAYLOAD_BYTES
