"""Messages that no honest stream sends; each must be survived, and none of their audio may reach the model. Pure."""

from rehearsal.audio import tone
from rehearsal.twilio.frames import Frames

MARKER = tone(2600, 20, 0.9)
"""The audio that hostile media carries; no honest caller sends this frame, so a test can look for it."""
OVERSIZE_BYTES = 1_000_000
KINDS = (
    "foreign_stream",
    "outbound_track",
    "oversize",
    "replayed",
    "second_start",
    "unknown_event",
    "not_json",
    "not_an_object",
    "no_payload",
    "bad_base64",
    "binary",
)


def hostile(kind: str, sids: tuple[str, str, str]) -> str | bytes:
    """A message of that kind for the stream with these SIDs (account, call, stream); bytes are for a binary frame."""
    account_sid, call_sid, stream_sid = sids
    honest = _as_if_late(Frames(*sids)).media(MARKER, 0).decode()
    messages: dict[str, str | bytes] = {
        "foreign_stream": Frames(account_sid, call_sid, "MZ" + "f" * 32).media(MARKER, 0).decode(),
        "outbound_track": honest.replace('"track":"inbound"', '"track":"outbound"'),
        "oversize": honest.replace('"payload":"', '"payload":"' + "A" * OVERSIZE_BYTES),
        "replayed": Frames(*sids).media(MARKER, 0).decode(),
        "second_start": Frames(*sids).start({"token": "stolen", "direction": "outbound"}).decode(),
        "unknown_event": f'{{"event":"surprise","sequenceNumber":"9","streamSid":"{stream_sid}"}}',
        "not_json": '{"event":"media","media":{"pay',
        "not_an_object": '["media"]',
        "no_payload": f'{{"event":"media","sequenceNumber":"9","media":{{}},"streamSid":"{stream_sid}"}}',
        "bad_base64": f'{{"event":"media","sequenceNumber":"9","media":{{"track":"inbound","chunk":"9","timestamp":"9",'
        f'"payload":"%%%"}},"streamSid":"{stream_sid}"}}',
        "binary": b"\x00\xff" * 80,
    }
    return messages[kind]


def _as_if_late(frames: Frames) -> Frames:
    """Numbers above any that an honest stream has used by now, so that nothing but the named fault is wrong."""
    frames.sequence_number = frames.chunk = 10_000_000
    return frames
