"""The greenlet that hears what other processes change, on a connection of its own."""

import logging
from collections.abc import Callable
from typing import Final

import gevent
import redis
from gevent.event import Event

from kav.shared import scripts
from kav.shared.link import Link

LISTEN_S: Final = 2.0
LISTEN_AGAIN_S: Final = 0.5

log = logging.getLogger(__name__)


class Listener:
    """Passes every message to `heard`; calls `missed` whenever it begins to listen, for there was a silence before."""

    def __init__(self, link: Link, heard: Callable[[str], None], missed: Callable[[], None]) -> None:
        self._link, self._heard, self._missed = link, heard, missed
        self._stopping = Event()

    def run(self) -> None:
        """Listen until `stop`, and again after every loss of the connection."""
        while not self._stopping.is_set():
            if self._link.away:
                gevent.sleep(LISTEN_AGAIN_S)
                continue
            try:
                self._listen()
            except (redis.RedisError, OSError):
                gevent.sleep(LISTEN_AGAIN_S)
            except Exception:  # this greenlet's root: what is missed here is found by the rounds of those that tell
                log.exception("listening failed")
                gevent.sleep(LISTEN_AGAIN_S)

    def stop(self) -> None:
        """Listen no more."""
        self._stopping.set()

    def _listen(self) -> None:
        with self._link.client.pubsub(ignore_subscribe_messages=True) as channel:  # type: ignore[no-untyped-call]
            channel.subscribe(scripts.CHANNEL)
            self._missed()
            while not self._stopping.is_set() and not self._link.away:
                message = channel.get_message(timeout=LISTEN_S)
                if message is not None:
                    self._heard(message["data"])
