"""A session's two logs, and waiting for what they will say."""

import asyncio
import time
from collections import Counter

from rehearsal.model.rules import Event


class Journal:
    """What was received and sent, with monotonic times; audio payloads are left out and counted as `audio_bytes`."""

    def __init__(self) -> None:
        self.received: list[tuple[float, Event]] = []
        self.sent: list[tuple[float, Event]] = []
        self.counts: Counter[str] = Counter()
        self._waiting: list[tuple[str, int, asyncio.Future[None]]] = []

    def add_received(self, event: Event, at: float) -> None:
        """Note a client event."""
        self.received.append((at, event))
        self._count(str(event.get("type")))

    def add_sent(self, event: Event) -> None:
        """Note a server event."""
        if event["type"] == "response.output_audio.delta":
            # Three quarters of base64 is audio; padding does not occur at 160-byte multiples and is a byte else.
            encoded = event["delta"]
            event = {**event, "audio_bytes": len(encoded) * 3 // 4 - encoded[-2:].count("=")}
            del event["delta"]
        self.sent.append((time.monotonic(), event))
        self._count(event["type"])

    def of(self, event_type: str) -> list[Event]:
        """All events of this type, oldest first, from whichever side sends such events."""
        return [event for log in (self.received, self.sent) for _at, event in log if event.get("type") == event_type]

    async def wait_for(self, event_type: str, count: int = 1, timeout_s: float = 10) -> Event:
        """The `count`th event of this type, received or sent, when it has come. Raises TimeoutError."""
        if self.counts[event_type] < count:
            arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((event_type, count, arrived))
            try:
                await asyncio.wait_for(arrived, timeout_s)
            except TimeoutError:
                seen = {name: number for name, number in self.counts.items() if not name.endswith(".append")}
                message = f"No {event_type} number {count} within {timeout_s} s; so far: {seen}"
                raise TimeoutError(message) from None
        return self.of(event_type)[count - 1]

    def _count(self, event_type: str) -> None:
        self.counts[event_type] += 1
        for waiting in [w for w in self._waiting if w[0] == event_type and self.counts[event_type] >= w[1]]:
            self._waiting.remove(waiting)
            if not waiting[2].done():
                waiting[2].set_result(None)
