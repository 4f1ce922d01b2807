"""Guards the frames cut and built by hand: they say what the protocol of `websockets` says, however TCP cuts them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

from kav.wire.frames import FrameReader, text_frame

MESSAGES = st.one_of(st.binary(max_size=300), st.sampled_from([bytes(125), bytes(126), bytes(65535), bytes(65536)]))
CUTS = st.lists(st.integers(min_value=1, max_value=400), max_size=40)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    found = []
    for length in cuts:
        found.append(data[:length])
        data = data[length:]
    return [*found, data]


def read(reader: FrameReader, data: bytes, cuts: list[int]) -> list[tuple[bool, bytes]]:
    return [found for piece in pieces(data, cuts) for found in reader.feed(piece)]


@pytest.mark.parametrize("masked", [True, False])
@given(messages=st.lists(MESSAGES, max_size=4))
def test_what_is_written_by_hand_is_read_by_the_protocol(masked: bool, messages: list[bytes]) -> None:
    peer = Protocol(Side.SERVER if masked else Side.CLIENT, state=OPEN)
    for message in messages:
        peer.receive_data(text_frame(message, masked=masked))
    said = [(event.opcode, bytes(event.data)) for event in peer.events_received() if isinstance(event, Frame)]
    assert said == [(Opcode.TEXT, message) for message in messages]


@pytest.mark.parametrize("masked", [True, False])
@given(messages=st.lists(MESSAGES, max_size=4), cuts=CUTS)
def test_whole_text_messages_come_out_however_tcp_cuts_them(
    masked: bool, messages: list[bytes], cuts: list[int]
) -> None:
    data = b"".join(text_frame(message, masked=masked) for message in messages)
    found = read(FrameReader(masked=masked, max_message_bytes=None), data, cuts)
    assert found == [(True, message) for message in messages]


@given(cuts=CUTS)
def test_whatever_is_not_a_whole_text_message_is_left_as_it_came_and_in_its_place(cuts: list[int]) -> None:
    peer = Protocol(Side.CLIENT, state=OPEN)
    peer.send_ping(b"?")
    peer.send_text(b"one ", fin=False)
    peer.send_continuation(b"two", fin=True)
    peer.send_binary(b"\0")
    peer.send_close(1000)
    unusual = [bytes(frame) for frame in peer.data_to_send() if frame]
    data = text_frame(b"first", masked=True) + b"".join(unusual) + text_frame(b"last", masked=True)
    found = read(FrameReader(masked=True, max_message_bytes=None), data, cuts)
    assert found == [(True, b"first"), *((False, frame) for frame in unusual), (True, b"last")]


def test_a_text_message_within_a_fragmented_one_is_left_to_the_protocol() -> None:
    opening = Frame(Opcode.TEXT, b"half", fin=False).serialize(mask=False)
    intruder = text_frame(b"whole", masked=False)
    found = read(FrameReader(masked=False, max_message_bytes=None), opening + intruder, [])
    assert found == [(False, opening), (False, intruder)]


def test_a_message_that_is_too_long_is_not_waited_for() -> None:
    head = text_frame(bytes(1000), masked=True)[:10]
    assert read(FrameReader(masked=True, max_message_bytes=999), head, []) == [(False, head)]


@pytest.mark.parametrize("masked", [True, False])
def test_a_peer_that_masks_when_it_must_not_is_left_to_the_protocol(masked: bool) -> None:
    wrong = text_frame(b"hello", masked=not masked)
    assert read(FrameReader(masked=masked, max_message_bytes=None), wrong, []) == [(False, wrong)]


def test_no_two_messages_bear_the_same_mask() -> None:
    masks = {text_frame(b"x", masked=True)[2:6] for _ in range(3000)}
    assert len(masks) > 2990  # four random bytes: a repetition among 3000 is rare, ten are not chance


def test_a_close_frame_after_a_message_is_understood() -> None:
    reader = FrameReader(masked=False, max_message_bytes=None)
    server = Protocol(Side.SERVER, state=OPEN)
    server.send_close(1001)
    client = Protocol(Side.CLIENT, state=OPEN)
    for is_text, piece in reader.feed(text_frame(b"bye", masked=False) + b"".join(server.data_to_send())):
        if not is_text:
            client.receive_data(piece)
    assert client.close_rcvd == Close(1001, "")
