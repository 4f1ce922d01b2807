"""The connection to Redis: short waits, few sockets, and a switch that spares everybody a server that is away.

After the first failure nobody asks Redis any more until `probe` has found it again, so that a webhook waits once at
most and then never. All moments that leave this process are of Redis's own clock: no two machines agree on theirs.
"""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar, cast

import gevent
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

TIMEOUT_S: Final = 0.5
"""Of a connect, and of an answer, each; Redis takes a fraction of a millisecond."""

WHOLE_S: Final = 1.0
"""Of everything that one request takes, looking up the server's name among it: a webhook waits no longer."""

MAX_CONNECTIONS: Final = 16
"""Of one process: small Redis plans allow 20 to 40 in all. Who finds none free waits, within `WHOLE_S`."""

T = TypeVar("T")

log = logging.getLogger(__name__)


class AwayError(Exception):
    """Redis cannot be reached, or was not a moment ago; `stream_registry` alone says how calls are."""


class Link:
    """One process's way to Redis; connects with the first request."""

    def __init__(self, url: str, *, verifies_tls: bool = True) -> None:
        pool = redis.BlockingConnectionPool.from_url(
            url,
            decode_responses=True,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            max_connections=MAX_CONNECTIONS,
            timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),  # what failed may have been done: the caller knows whether to repeat it
            **({} if verifies_tls or not url.startswith("rediss") else {"ssl_cert_reqs": "none"}),
        )
        self.client: redis.Redis = redis.Redis(connection_pool=pool)
        self.away_since: float | None = None
        """Monotonic seconds; None while all is well."""
        self._shift: float | None = None
        self._scripts: dict[str, Callable[..., Any]] = {}

    @property
    def away(self) -> bool:
        """Whether Redis is taken to be away."""
        return self.away_since is not None

    @property
    def shift(self) -> float:
        """Seconds that make a monotonic moment of this process one of everybody's; the same for the process's life."""
        if self._shift is None:
            self._shift = time.time() - time.monotonic()  # Redis was never there: this machine's clock must do
        return self._shift

    def script(self, text: str, keys: Iterable[str], values: Iterable[object]) -> Any:  # noqa: ANN401 - Redis's
        """Run a script, which is one step for everybody. Raises AwayError."""
        run = self._scripts.get(text) or self._scripts.setdefault(text, self.client.register_script(text))
        return self.ask(lambda: run(keys=list(keys), args=list(values)))

    def ask(self, request: Callable[[], T]) -> T:
        """Return what Redis answers.

        Raises:
            AwayError: it does not, or was away already; it may have done what it was asked all the same.
        """
        if self.away:
            raise AwayError("Redis is away")
        return self._bounded(request)

    def probe(self) -> bool:
        """Ask whether Redis is there; returns whether it has just come back."""
        was_away = self.away
        try:
            now = cast("tuple[int, int]", self._bounded(self.client.time))
        except AwayError:
            return False
        if self._shift is None:
            self._shift = now[0] + now[1] / 1e6 - time.monotonic()
        self.away_since = None
        if was_away:
            log.warning("Redis is back: calls are shared with the other processes again")
        return was_away

    def close(self) -> None:
        """Close every connection."""
        self.client.close()
        self.client.connection_pool.disconnect()

    def _bounded(self, request: Callable[[], T]) -> T:
        try:
            with gevent.Timeout(WHOLE_S, AwayError("Redis did not answer in time")):
                return request()
        except (redis.RedisError, OSError, AwayError) as error:
            self._lost(error)
            raise AwayError(str(error)) from error

    def _lost(self, error: Exception) -> None:
        if self.away_since is None:
            self.away_since = time.monotonic()
            log.error(
                "Redis cannot be reached (%s): calls go on, each in the process that carries it; new ones are served "
                "where their media socket comes to the process that answered. Check REDIS_URL and the server",
                type(error).__name__,
            )
