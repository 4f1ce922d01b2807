"""WebSocket frames by hand (RFC 6455, section 5): built once and patched, read in bulk."""

import struct

from websockets.speedups import apply_mask

TEXT, CLOSE, PING = 1, 8, 9

ZERO_MASK = bytes(4)
"""A legal mask that leaves the payload readable, so that stamps can be patched in place; unmasking costs the same."""


def frame(payload: bytes, *, masked: bool, opcode: int = TEXT) -> bytes:
    """Return one whole frame."""
    length, flag = len(payload), 0x80 if masked else 0
    if length < 126:
        head = bytes((0x80 | opcode, flag | length))
    elif length < 65536:
        head = struct.pack("!BBH", 0x80 | opcode, flag | 126, length)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, flag | 127, length)
    return head + (ZERO_MASK if masked else b"") + payload


def close_frame(code: int, *, masked: bool) -> bytes:
    return frame(struct.pack("!H", code), masked=masked, opcode=CLOSE)


class FrameReader:
    """Cuts a stream of bytes into (opcode, payload); trusts its peer, for the peer is what is measured."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        buffer = self._rest + data if self._rest else data
        found: list[tuple[int, bytes]] = []
        at, end = 0, len(buffer)
        while end - at >= 2:
            length, start = buffer[at + 1] & 0x7F, at + 2
            if length >= 126:
                start += 2 if length == 126 else 8
                length = int.from_bytes(buffer[at + 2 : start], "big")
            masked = buffer[at + 1] & 0x80
            start += 4 if masked else 0
            if start > end or start + length > end:
                break
            payload = buffer[start : start + length]
            found.append((buffer[at] & 0x0F, apply_mask(payload, buffer[start - 4 : start]) if masked else payload))
            at = start + length
        self._rest = buffer[at:]
        return found
