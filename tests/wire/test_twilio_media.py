"""Twilio's messages: read, or refused as malformed; audio stays base64 as it came, and nothing else passes for it."""

import base64
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from kav.wire import twilio_media
from kav.wire.twilio_media import MAX_PAYLOAD_BYTES, MalformedMessage, audio_bytes, base64_text, decode
from rehearsal.twilio.frames import CONNECTED, Frames, parse

FRAMES = Frames("AC1", "CA1", "MZ1")


def test_what_twilio_sends_is_read() -> None:
    media = decode(FRAMES.media(b"\xff" * 160, 20))
    assert isinstance(media, twilio_media.Media)
    assert (media.stream_sid, media.sequence_number, media.media.track) == ("MZ1", "1", "inbound")
    assert bytes(media.media.payload) == b'"' + base64.b64encode(b"\xff" * 160) + b'"'
    start = decode(FRAMES.start({"token": "t", "direction": "outbound"}))
    assert isinstance(start, twilio_media.Start)
    assert start.start.custom_parameters == {"token": "t", "direction": "outbound"}
    mark, dtmf = decode(FRAMES.mark("g0:1")), decode(FRAMES.dtmf("#"))
    assert isinstance(mark, twilio_media.Mark)
    assert mark.mark.name == "g0:1"
    assert isinstance(dtmf, twilio_media.Dtmf)
    assert dtmf.dtmf.digit == "#"
    assert isinstance(decode(FRAMES.stop()), twilio_media.Stop)
    assert isinstance(decode(CONNECTED), twilio_media.Connected)


def test_what_kav_sends_is_what_twilio_reads() -> None:
    encoder = twilio_media.Encoder('MZ"1')
    payload = b'"' + base64.b64encode(b"\x80" * 20) + b'"'
    for message in (encoder.media(payload), encoder.mark('g0:"1'), encoder.clear):
        parse(message.decode(), 'MZ"1')


@given(st.binary())
def test_arbitrary_bytes_are_read_or_refused(message: bytes) -> None:
    refused_or_read(message)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure
@given(
    st.sampled_from(["media", "start", "mark", "dtmf", "stop", "connected", "surprise"]),
    st.dictionaries(
        st.sampled_from(["media", "start", "mark", "dtmf", "streamSid", "sequenceNumber"]),
        st.recursive(
            st.none() | st.text() | st.integers(), lambda inner: st.dictionaries(st.text(), inner, max_size=2)
        ),
    ),
)
def test_messages_of_any_shape_are_read_or_refused(event: str, fields: dict[str, object]) -> None:
    refused_or_read(json.dumps({"event": event, **fields}).encode())


@pytest.mark.parametrize(
    "message", [b'{"event":"mark","x":' + b"[" * 100_000, b'{"event":"mark","mark":{"name":"\xff"}}']
)
def test_what_is_nested_too_deep_or_is_no_text_is_refused(message: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode(message)


@pytest.mark.parametrize(("digits", "number"), [("17", 17), ("", 0), ("x", 0), ("-1", 0), ("9" * 5000, 0)])
def test_a_sequence_number_is_a_number_or_none(digits: str, number: int) -> None:
    media = decode(b'{"event":"media","sequenceNumber":"' + digits.encode() + b'","media":{"payload":"AAAA"}}')
    assert isinstance(media, twilio_media.Media)
    assert media.number == number


def refused_or_read(message: bytes) -> None:
    """Nothing but MalformedMessage comes out."""
    try:
        decode(message)
    except MalformedMessage:
        return


@given(st.binary(min_size=1, max_size=400))
def test_base64_passes_as_it_came_and_its_length_is_known(audio: bytes) -> None:
    text = b'"' + base64.b64encode(audio) + b'"'
    assert base64_text(Raw(text), MAX_PAYLOAD_BYTES) == text
    assert audio_bytes(text) == len(audio)


def test_an_escaped_slash_is_a_slash() -> None:
    assert base64_text(Raw(rb'"\/\/8="'), 100) == b'"//8="'


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(alphabet="AB/+=\\ \n", max_size=12) | st.text(max_size=12))
def test_what_passes_for_base64_is_base64(text: str) -> None:
    passed = base64_text(Raw(json.dumps(text).encode()), MAX_PAYLOAD_BYTES)
    if passed is not None:
        assert len(base64.b64decode(passed[1:-1], validate=True)) == audio_bytes(passed)


@pytest.mark.parametrize(
    "raw", [b"", b"null", b"17", b'{"a":1}', b"[]", b'"A"', b'"="', b'"A=AA"', b'"AAAA', b'"AA\\u003d="']
)
def test_what_is_no_base64_is_refused(raw: bytes) -> None:
    assert base64_text(Raw(raw), MAX_PAYLOAD_BYTES) is None


def test_more_than_is_allowed_is_refused() -> None:
    assert base64_text(Raw(b'"' + b"A" * 400 + b'"'), 100) is None
