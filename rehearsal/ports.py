"""Ports of loopback, for servers that must know theirs before they are started."""

import errno
import secrets
import socket
from typing import Final

FIRST: Final = 20_000
LAST: Final = 32_000
"""Below those that the kernel gives to connections: none of them takes a port before its server is up."""


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    while True:
        port = FIRST + secrets.randbelow(LAST - FIRST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return port
