"""More than one process: what each must know of the others' calls, by way of Redis; see docs/scaling.md.

    shared = open_shared(settings, phrases)     # None without REDIS_URL: one process, and nothing in here is loaded

The dict in `stream_registry` stays what a call's loop reads. Nothing in here is on the media path.
"""

import time
from typing import TYPE_CHECKING, Optional

from flask import Flask, Response

import stream_registry
from kav.settings import Settings
from realtime_prompt_builder import Phrases

if TYPE_CHECKING:  # its client takes 80 ms and 10 MB, which one process alone has no use for
    from kav.shared.calls import SharedCalls
    from kav.shared.counts import SharedCounts
    from kav.shared.orders import SharedTickets


def open_shared(settings: Settings, phrases: Phrases) -> Optional["Shared"]:
    """Return what is shared with other processes, not connected yet; None where there are none."""
    url = settings.REDIS_URL.get_secret_value()
    if not url:
        return None
    from kav.shared.calls import SharedCalls
    from kav.shared.counts import SharedCounts
    from kav.shared.link import Link
    from kav.shared.orders import SharedTickets

    link = Link(url, verifies_tls=settings.REDIS_VERIFY_TLS)
    ttl_s = settings.ENTRY_TTL_S + settings.MAX_CALL_S
    return Shared(SharedCalls(link, phrases, ttl_s), SharedTickets(link), SharedCounts(link))


class Shared:
    """The calls and the orders of all processes, and what they count together."""

    def __init__(self, calls: "SharedCalls", tickets: "SharedTickets", counts: "SharedCounts") -> None:
        self.calls, self.tickets, self.counts = calls, tickets, counts

    def init_app(self, app: Flask) -> None:
        """Have every request tell what it has changed before it is answered, and let its guests go after."""

        def tell(response: Response) -> Response:
            self.calls.tell_used()
            return response

        app.after_request(tell)
        app.teardown_request(lambda _: self.calls.release_used())

    def start(self) -> None:
        """Share the registry from now on."""
        stream_registry.share(self.calls)
        self.calls.start()

    @property
    def away(self) -> bool:
        """Whether Redis cannot be reached: every process is alone with its calls."""
        return self.calls.link.away

    def health(self) -> dict[str, object]:
        """Return whether calls are shared, for whoever asks how Kav is."""
        since = self.calls.link.away_since
        if since is None:
            return {"redis": "connected", "process": self.calls.me}
        return {"redis": "away", "for_s": round(time.monotonic() - since, 1), "process": self.calls.me}

    def stop(self, timeout_s: float) -> None:
        """Leave what is still to be done to the other processes, within so many seconds."""
        self.calls.stop(timeout_s)
