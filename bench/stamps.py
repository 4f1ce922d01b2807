"""Stamps that travel inside the audio: when it was sent, and what it is.

Base64's alphabet holds the digits, so a stamp is written over the first 32 characters of a payload without making it
anything but base64: 16 digits of microseconds, 8 of a name (call or response), 8 of a number in sequence.
"""

import base64
from typing import NamedTuple

BYTES_PER_MS = 8


class Stamp(NamedTuple):
    """What stands in a payload."""

    sent_at: float
    name: int
    number: int


def write(sent_at: float, name: int, number: int) -> bytes:
    return b"%016d%08d%08d" % (int(sent_at * 1e6), name, number)


def read(message: bytes, at: int) -> Stamp:
    """Read the stamp that begins at index `at`."""
    return Stamp(int(message[at : at + 16]) / 1e6, int(message[at + 16 : at + 24]), int(message[at + 24 : at + 32]))


def audio(milliseconds: int) -> bytes:
    """Return base64 of that much mu-law, with room for a stamp at its beginning."""
    length = milliseconds * BYTES_PER_MS
    return base64.b64encode((bytes(range(256)) * (length // 256 + 1))[:length])
