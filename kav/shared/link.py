"""The connection to Redis: short waits, few sockets, and a switch that spares everybody a server that is away.

    UnansweredError          what was asked is not known to have been done
    ├── AwayError            Redis cannot be reached, or cannot serve anybody now
    └── RefusedError         it is there, and refuses this request; or this process has no connection free for it

After the first failure nobody asks Redis any more until `probe` has found it again, so that a webhook waits once at
most and then never. A request that is refused fails alone: one bad key keeps nobody from the others. All moments that
leave this process are of Redis's own clock: no two machines agree on theirs.
"""

import logging
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar, cast

import gevent
import redis
from gevent.lock import BoundedSemaphore
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.exceptions import MasterDownError, ReadOnlyError
from redis.retry import Retry

TIMEOUT_S: Final = 0.5
"""Of a connect, and of an answer, each; Redis takes a fraction of a millisecond."""

WHOLE_S: Final = 1.0
"""Of everything that one request takes, looking up the server's name among it."""

MAX_CONNECTIONS: Final = 16
"""Of one process, beside the one that listens: small Redis plans allow 20 to 40 in all."""

FREE_S: Final = 0.75
"""How long who finds none free waits for one: a busy moment, which says nothing about Redis.

Longer than an answer may take: when Redis stands still, whoever has a connection finds out first.
"""

MOST_AT_ONCE: Final = 32
"""Of scripts that go to Redis together: with 200 ms to it and back, 160 a second."""

BYTES_AT_ONCE: Final = 256 * 1024
"""Beyond, they go one after the other: within `WHOLE_S` on a slow line too."""

AGAIN_S: Final = 600.0
"""How soon the same kind of refusal is logged again."""

AWAY: Final = (redis.ConnectionError, redis.TimeoutError, ReadOnlyError, MasterDownError, OSError)
"""No connection, no answer, a server that still loads, or one that another has replaced."""

REMEDIES: Final[Mapping[str, str]] = {
    "OutOfMemoryError": "it is full: give it more memory, or let nobody else use it",
    "NoPermissionError": "let its user run scripts and publish, and reach the keys and channels `kav:*`",
    "WRONGTYPE": "somebody else writes keys that begin with `kav:`: give Kav a Redis, or a database number, of its own",
    "BUSY": "somebody's script holds it up: let nobody else use it",
    "MISCONF": "it cannot write its snapshots, so it takes no changes: turn snapshots off, or mend its disk",
}

PROBE: Final = """
-- KEYS a key that nobody reads. A server that can be read and not written to is not back.
redis.call('SET', KEYS[1], '1', 'EX', 10)
return 1
"""

T = TypeVar("T")

Asked = tuple[Sequence[str], Sequence[Any]]
"""Keys and values of one run of a script."""

log = logging.getLogger(__name__)


class UnansweredError(Exception):
    """What was asked is not known to have been done; `stream_registry` alone says how calls are."""


class AwayError(UnansweredError):
    """Redis cannot be reached, or was not a moment ago."""


class RefusedError(UnansweredError):
    """Redis is there, and this request has failed all the same."""


class Link:
    """One process's way to Redis; connects with the first request."""

    def __init__(self, url: str, *, verifies_tls: bool = True) -> None:
        pool = redis.BlockingConnectionPool.from_url(
            url,
            decode_responses=True,
            encoding_errors="replace",  # whoever writes no UTF-8 has written nothing that can be read
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            max_connections=MAX_CONNECTIONS + 1,
            timeout=TIMEOUT_S,
            lib_name=None,  # two ways there and back, to tell what nobody asks
            lib_version=None,
            retry=Retry(NoBackoff(), 0),  # what failed may have been done: the caller knows whether to repeat it
            **({} if verifies_tls or not url.startswith("rediss") else {"ssl_cert_reqs": "none"}),
        )
        self.client: redis.Redis = redis.Redis(connection_pool=pool)
        self._free = BoundedSemaphore(MAX_CONNECTIONS)
        self._logged: dict[str, float] = {}
        """When each kind of refusal was last logged."""
        self.away_since: float | None = None
        """Monotonic seconds; None while all is well."""
        self.back_at: float | None = None
        """When it last came back."""
        self._shift: float | None = None
        self._scripts: dict[str, Script] = {}

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

    def script(self, text: str, keys: Iterable[str], values: Iterable[str | float]) -> Any:  # noqa: ANN401 - Redis's
        """Run a script, which is one step for everybody. Raises UnansweredError."""
        return self.ask(lambda: self._script(text)(keys=list(keys), args=list(values)))

    def scripts(self, text: str, each: Iterable[Asked]) -> list[Any]:
        """Run a script once for each, on as few ways there and back as go.

        Returns the answers in their order; a RefusedError stands for the answer of one that was refused.
        Raises AwayError: some may have been run.
        """
        answers: list[Any] = []
        for some in _portions(each):
            try:
                answers += self.ask(partial(self._together, text, some))
            except RefusedError as error:
                answers += [error] * len(some)
        return answers

    def ask(self, request: Callable[[], T]) -> T:
        """Return what Redis answers.

        Raises:
            AwayError: it does not, or was away already; it may have done what it was asked all the same.
            RefusedError: it is there, and refuses; or too much is being asked at once.
        """
        if self.away:
            raise AwayError("Redis is away")
        return self._bounded(lambda: self._unless_lost(request))

    def probe(self) -> bool:
        """Ask whether Redis is there, and takes changes; returns whether it has just come back."""
        was_away = self.away
        try:
            now = cast("tuple[int, int]", self._bounded(self.client.time))
            if self._shift is None:
                self._shift = now[0] + now[1] / 1e6 - time.monotonic()
            if was_away:
                self._bounded(lambda: self.client.eval(PROBE, 1, "kav:probe"))
        except AwayError:
            return False
        except RefusedError:
            pass  # whoever refuses is there
        self.away_since = None
        if was_away:
            self.back_at = time.monotonic()
            log.warning("Redis is back: calls are shared with the other processes again")
        return was_away

    def close(self) -> None:
        """Close every connection."""
        self.client.close()
        self.client.connection_pool.disconnect()

    def _script(self, text: str) -> Script:
        return self._scripts.get(text) or self._scripts.setdefault(text, self.client.register_script(text))

    def _together(self, text: str, each: Sequence[Asked]) -> list[Any]:
        with self.client.pipeline(transaction=False) as together:
            for n, (keys, values) in enumerate(each):
                run, script = (
                    (together.evalsha, self._script(text).sha) if n else (together.eval, text)
                )  # the first brings it
                run(script, len(keys), *keys, *values)
            answers = together.execute(raise_on_error=False)
        for answer in answers:
            if isinstance(answer, AWAY):
                raise answer
        return [self._refused(*_told(one)) if isinstance(one, redis.RedisError) else one for one in answers]

    def _unless_lost(self, request: Callable[[], T]) -> T:
        if self.away:  # while this one waited for a connection
            raise AwayError("Redis is away")
        return request()

    def _bounded(self, request: Callable[[], T]) -> T:
        if not self._free.acquire(timeout=FREE_S):
            if self.away:  # those who have the connections wait for it too
                raise AwayError("Redis is away")
            raise self._refused("no connection", "this process has asked for more than it has connections for")
        try:
            with gevent.Timeout(WHOLE_S, AwayError("Redis did not answer in time")):
                return request()
        except (*AWAY, AwayError) as error:
            self._lost(error)
            raise AwayError(str(error)) from error
        except redis.RedisError as error:
            raise self._refused(*_told(error)) from error
        finally:
            self._free.release()

    def _refused(self, kind: str, said: str) -> RefusedError:
        """Return the error to raise; each kind is logged once in a while, however often it happens."""
        now = time.monotonic()
        if now - self._logged.get(kind, -AGAIN_S) >= AGAIN_S:
            self._logged[kind] = now
            remedy = REMEDIES.get(kind, "look at the server's own log, and at who else uses it")
            log.error("Redis refuses a request (%s: %s); what it was about is not shared: %s", kind, said, remedy)
        return RefusedError(f"{kind}: {said}")

    def _lost(self, error: Exception) -> None:
        if self.away_since is None:
            self.away_since = time.monotonic()
            self.client.connection_pool.reset()  # whoever connects next asks the name's server anew
            log.error(
                "Redis cannot be reached (%s): calls go on, each in the process that carries it; new ones are served "
                "where their media socket comes to the process that answered. %s",
                type(error).__name__,
                _remedy(error),
            )


def _portions(each: Iterable[Asked]) -> Iterator[list[Asked]]:
    """Divide what is asked into what goes together; what is too long for company goes alone."""
    some: list[Asked] = []
    size = 0
    for asked in each:
        its = sum(len(value) for value in asked[1] if isinstance(value, str))
        if some and (len(some) == MOST_AT_ONCE or size + its > BYTES_AT_ONCE):
            yield some
            some, size = [], 0
        some.append(asked)
        size += its
    if some:
        yield some


def _remedy(error: BaseException) -> str:
    """Return what to do about a server that cannot be reached; the client hides why in what came before."""
    before: BaseException | None = error
    while before is not None:
        if isinstance(before, ssl.SSLCertVerificationError):
            return (
                f"Its certificate is refused ({before.verify_message}). Use the name that the certificate is for, and "
                "an authority that this machine trusts (SSL_CERT_FILE); or, where the certificate is its own, as "
                "Heroku's is, set REDIS_VERIFY_TLS=false: then nobody knows who answers"
            )
        before = before.__cause__ or before.__context__
    return "Check REDIS_URL and the server"


def _told(error: redis.RedisError) -> tuple[str, str]:
    """Return what Redis, or the client, calls the error, and what it says, without what it quotes."""
    said = str(error).rpartition("caused error: ")[2]
    code, _, text = said.partition(" ")
    if type(error) is redis.ResponseError and code.isupper():
        return code, text.partition("'")[0][:120]
    return type(error).__name__, said.partition("'")[0][:120]
