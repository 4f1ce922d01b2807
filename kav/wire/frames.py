"""Whole WebSocket text messages by hand (RFC 6455, section 5.2): all that flows while people talk.

A call is a hundred of them a second, and a frame through the Sans-I/O protocol of `websockets` costs more than
everything else that Kav does with it. Whatever is not a whole text message (fragments, control frames, binary, what is
too long or wrong) is left as it came, for that protocol to judge.
"""

import os
import struct
from collections.abc import Iterator
from typing import Final

from websockets.frames import apply_mask  # type: ignore[attr-defined]  # the C function where there is one

FIN: Final = 0x80
MASKED: Final = 0x80
WHOLE_TEXT: Final = FIN | 1
FIRST_CONTROL_OPCODE: Final = 8

_ENTROPY_BYTES: Final = 4096


def _masks() -> Iterator[bytes]:
    """Yield masks that nobody can foresee (section 5.3), without a system call for each."""
    while True:
        entropy = os.urandom(_ENTROPY_BYTES)
        for at in range(0, _ENTROPY_BYTES, 4):
            yield entropy[at : at + 4]


_next_mask: Final = _masks().__next__


def text_frame(message: bytes, *, masked: bool) -> bytes:
    """Return a whole text message as one frame; a client's is masked."""
    length, flag = len(message), MASKED if masked else 0
    if length < 126:
        head = bytes((WHOLE_TEXT, flag | length))
    elif length < 65536:
        head = struct.pack("!BBH", WHOLE_TEXT, flag | 126, length)
    else:
        head = struct.pack("!BBQ", WHOLE_TEXT, flag | 127, length)
    if not masked:
        return head + message
    mask = _next_mask()
    return head + mask + apply_mask(message, mask)


class FrameReader:
    """Cuts what a peer sends into whole frames.

    `masked`: whether the peer must mask, as clients must. `max_message_bytes`: a longer frame is not waited for.
    """

    def __init__(self, *, masked: bool, max_message_bytes: int | None) -> None:
        self._mask_flag = MASKED if masked else 0
        self._mask_bytes = 4 if masked else 0
        self._max_bytes = max_message_bytes
        self._partial = bytearray()
        self._wanted = 0
        """Bytes that `_partial` must have before it is worth looking at: a huge frame is not copied for each piece."""
        self._fragmented = False

    def feed(self, data: bytes) -> Iterator[tuple[bool, bytes]]:
        """Yield (True, message) for each whole text message and (False, frame as it came) for each other frame."""
        buffer = self._joined(data)
        at, end = 0, len(buffer)
        while end - at >= 2:
            length, start = buffer[at + 1] & 0x7F, at + 2
            if length >= 126:
                start += 2 if length == 126 else 8
                length = int.from_bytes(buffer[at + 2 : start], "big")
            start += self._mask_bytes
            if start > end:
                break
            if buffer[at + 1] & MASKED != self._mask_flag or (self._max_bytes is not None and length > self._max_bytes):
                yield False, buffer[at:]  # nothing good can follow
                at = end
                break
            if start + length > end:
                self._wanted = start + length - at
                break
            yield self._cut(buffer, at, start, start + length)
            at = start + length
        if at < end:
            self._partial += memoryview(buffer)[at:]

    def _joined(self, data: bytes) -> bytes:
        """Return what there is to look at: `data`, after what came before it; nothing while a frame is incomplete."""
        if not self._partial:
            return data
        self._partial += data
        if len(self._partial) < self._wanted:
            return b""
        buffer = bytes(self._partial)
        self._partial.clear()
        self._wanted = 0
        return buffer

    def _cut(self, buffer: bytes, at: int, start: int, stop: int) -> tuple[bool, bytes]:
        first = buffer[at]
        if first == WHOLE_TEXT and not self._fragmented:
            message = buffer[start:stop]
            return True, apply_mask(message, buffer[start - 4 : start]) if self._mask_bytes else message
        if first & 0x0F < FIRST_CONTROL_OPCODE:
            self._fragmented = not first & FIN
        return False, buffer[at:stop]
