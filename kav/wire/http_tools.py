"""The tools of a business's own, asked over HTTPS: one request each, bounded in time, size and whom it may reach.

A flow file names the address, so the network is guarded against it: the host is looked up once, every address that is
not public is refused, and the connection goes to exactly the address that was looked at, with the certificate checked
for the host's name. No redirect is followed, no proxy asked, and one deadline covers all from the wait for a place to
the last byte.

`call` never raises: whatever happens, the model gets a text. Arguments, answers and secrets are not logged.
"""

import errno
import http.client
import ipaddress
import json
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import gevent
from gevent import monkey, ssl
from gevent import socket as gevent_socket
from gevent.lock import BoundedSemaphore
from gevent.threadpool import ThreadPool
from pydantic import SecretStr

from kav.call.flow import HttpTool
from kav.flow_files import fill_in
from kav.wire.tool_arguments import WrongArguments, read_arguments

HTTPS_PORT: Final = 443
AT_ONCE: Final = 50
"""Tools that the whole process asks at the same time; what comes beyond waits within its own deadline."""

LOOK_UPS_AT_ONCE: Final = 8
"""In threads of their own: a name server that hangs must not hold up the look-ups of the model's connections."""

READ_BYTES: Final = 32 * 1024
ANSWER_CHARACTERS: Final = 4000
"""What the model is given: it has to listen to all of it before it speaks."""

CUT_OFF: Final = " … (the rest was cut off)"
SHORTEST_SECRET: Final = 4
"""Characters: shorter ones would blot out words."""

REDACTED: Final = "[secret]"
NOT_AVAILABLE: Final = "The service is not available; say that you cannot tell."
NO_ANSWER: Final[Mapping[str, str]] = {
    "GET": "The service did not answer; say that you cannot tell.",
    "POST": "The service did not answer; say that you cannot tell whether it was done.",
}

_TEXTS: Final = ("application/json", "text/plain")

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Target = tuple[int, tuple[Any, ...]]
"""Family and address, as `getaddrinfo` gives them."""

_native_getaddrinfo = monkey.get_original("socket", "getaddrinfo")


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """What the model is told, and, for the log, how it went: an HTTP status or a few words."""

    output: str
    status: str

    @property
    def ok(self) -> bool:
        """Whether the tool did what it was asked."""
        return self.status == "ok" or (self.status.isdigit() and self.status.startswith("2"))


class _Failed(Exception):
    """A request came to nothing."""

    def __init__(self, output: str, status: str) -> None:
        super().__init__(status)
        self.answer = ToolAnswer(output, status)


def is_public(address: IpAddress) -> bool:
    """Whether an address is one of the public network, and does not wrap one that is not."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address.sixtofour is not None or address.teredo is not None or address.is_site_local:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


class HttpTools:
    """Asks the tools of all flows.

    Args:
        secrets: what the tools' headers name, by name.
        hosts: the only hosts that may be asked; none: any that is public.
        stand_in: `http://127.0.0.1:<port>` that is asked instead of every host, in a rehearsal.
        at_once: how many may be asked at the same time.
        tls: another trust than the system's.
        may_reach: which addresses may be connected to.
    """

    def __init__(
        self,
        secrets: Mapping[str, SecretStr],
        *,
        hosts: Iterable[str] = (),
        stand_in: str = "",
        at_once: int = AT_ONCE,
        tls: ssl.SSLContext | None = None,
        may_reach: Callable[[IpAddress], bool] = is_public,
    ) -> None:
        self._secrets = {name: secret.get_secret_value() for name, secret in secrets.items()}
        written = {form for one in self._secrets.values() for form in (one, json.dumps(one, ensure_ascii=False)[1:-1])}
        self._to_redact = sorted((one for one in written if len(one) >= SHORTEST_SECRET), key=len, reverse=True)
        self._hosts = frozenset(host.lower() for host in hosts)
        self._stand_in = urlsplit(stand_in) if stand_in else None
        self._places = BoundedSemaphore(at_once)
        self._look_ups = ThreadPool(LOOK_UPS_AT_ONCE)
        self._tls = tls or _system_trust()  # once: building one stalls everybody for 15 ms
        self._may_reach = may_reach

    def call(self, tool: HttpTool, arguments: str, places: BoundedSemaphore | None = None) -> ToolAnswer:
        """Ask a tool with the model's arguments (JSON text); takes `tool.timeout_s` at the most.

        `places` are the caller's own, waited for before those of the process.
        """
        try:
            given = read_arguments(tool.parameters, arguments)
        except WrongArguments as error:
            return ToolAnswer(
                f"Not asked: {error}. Correct the call, or ask the caller for what is missing.", "not asked"
            )
        deadline = gevent.Timeout(tool.timeout_s)
        try:
            with deadline, places or nullcontext(), self._places:
                return self._ask(tool, given)
        except gevent.Timeout as over:
            if over is not deadline:
                raise
            return ToolAnswer(NO_ANSWER[tool.method], "timeout")
        except _Failed as failed:
            return failed.answer
        except (
            OSError,
            http.client.HTTPException,
            ValueError,
        ) as error:  # its words may quote a header, secret and all
            return ToolAnswer(NO_ANSWER[tool.method], type(error).__name__)

    def _ask(self, tool: HttpTool, given: Mapping[str, Any]) -> ToolAnswer:
        parts = urlsplit(tool.url)
        host, port = (parts.hostname or "").encode("idna").decode(), parts.port or HTTPS_PORT
        if self._hosts and host not in self._hosts:
            raise _Failed(NOT_AVAILABLE, "host not in KAV_TOOL_HOSTS")
        target, body = _request_of(tool, given)
        headers = {"User-Agent": "Kav", "Accept": "application/json, text/plain", "Connection": "close"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        headers |= self._own_headers(tool)
        with ExitStack() as open_things:
            connection = http.client.HTTPConnection(host, port)
            connection.default_port, connection.auto_open = HTTPS_PORT, 0  # it uses the socket it is given, no other
            open_things.callback(connection.close)
            connection.sock = self._connect(host, port, open_things)
            connection.request(tool.method, target, body, headers)
            with connection.getresponse() as answer:
                return ToolAnswer(self._told(answer), str(answer.status))

    def _own_headers(self, tool: HttpTool) -> dict[str, str]:
        try:
            return {name.title(): fill_in(text, self._secrets) for name, text in tool.headers.items()}
        except KeyError:
            raise _Failed(NOT_AVAILABLE, "secret missing") from None

    # Whom to reach

    def _connect(self, host: str, port: int, open_things: ExitStack) -> socket.socket:
        if self._stand_in is not None:
            there = (self._stand_in.hostname or "", self._stand_in.port or 80)
            return open_things.enter_context(gevent_socket.create_connection(there))
        sock = open_things.enter_context(_connect_first(self._addresses(host, port)))
        try:
            wrapped = self._tls.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
            secure = open_things.enter_context(wrapped)  # before the handshake: one that is cut off is closed, too
            secure.do_handshake()
        except ssl.SSLCertVerificationError:
            raise _Failed(NOT_AVAILABLE, "certificate refused") from None
        return secure

    def _addresses(self, host: str, port: int) -> list[Target]:
        """Look the host up, once; return what may be connected to."""
        found = self._look_ups.apply(_look_up, (host, port))
        if isinstance(found, OSError):
            raise found
        allowed = [each for each in found if self._may_reach(ipaddress.ip_address(each[1][0].partition("%")[0]))]
        if not allowed:
            raise _Failed(NOT_AVAILABLE, "refused: not a public address")
        return allowed

    # What came back

    def _told(self, answer: http.client.HTTPResponse) -> str:
        """Return what the model is told of an answer, secrets blotted out."""
        if not 200 <= answer.status < 300:  # redirects too: where they lead to, nobody has looked
            raise _Failed(
                f"The service answered with error {answer.status}; say that it did not work.", str(answer.status)
            )
        kind = answer.headers.get_content_type()
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise _Failed(NOT_AVAILABLE, "answered compressed")
        if answer.status != http.HTTPStatus.NO_CONTENT and not (kind in _TEXTS or kind.endswith("+json")):
            raise _Failed(NOT_AVAILABLE, f"answered {kind[:64]}")
        body = answer.read(READ_BYTES + 1)
        if len(body) <= READ_BYTES and answer.length:
            raise ConnectionError("the answer was cut short")
        text = self._redact(_text(body[:READ_BYTES], is_json=kind != "text/plain"))
        text = text.encode(errors="replace").decode()  # JSON may escape what no text can hold
        cut = len(body) > READ_BYTES or len(text) > ANSWER_CHARACTERS
        return text[:ANSWER_CHARACTERS] + CUT_OFF if cut else text or "done"

    def _redact(self, text: str) -> str:
        for secret in self._to_redact:
            text = text.replace(secret, REDACTED)
        return text


def _system_trust() -> ssl.SSLContext:
    """Return a context that checks certificates and names, cooperative also where nothing is patched."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    return context


def _look_up(host: str, port: int) -> list[Target] | OSError:
    """Return a host's addresses, or why there are none: what a thread raises, gevent prints."""
    try:
        return [
            (family, address) for family, _, _, _, address in _native_getaddrinfo(host, port, type=socket.SOCK_STREAM)
        ]
    except OSError as error:
        return error


def _connect_first(targets: list[Target]) -> socket.socket:
    """Connect to the first address that answers: a host may have one in a network that is not there."""
    failed: OSError = OSError(errno.EHOSTUNREACH, "no address")
    for family, address in targets:
        try:
            with ExitStack() as undo:
                sock = undo.enter_context(gevent_socket.socket(family, socket.SOCK_STREAM))
                sock.connect(address)
                undo.pop_all()
                return sock
        except OSError as error:
            failed = error
    raise failed


def _request_of(tool: HttpTool, given: Mapping[str, Any]) -> tuple[str, bytes | None]:
    """Return path and query, and the body: GET carries its arguments in the query, POST as JSON."""
    parts = urlsplit(tool.url)
    path = parts.path or "/"
    if tool.method == "POST":
        target, body = f"{path}?{parts.query}" if parts.query else path, json.dumps(given, ensure_ascii=False).encode()
        return target, body
    pairs = [(name, _plain(item)) for name, value in given.items() for item in _items(value)]
    query = "&".join(part for part in (parts.query, urlencode(pairs)) if part)
    return f"{path}?{query}" if query else path, None


def _items(value: object) -> list[object]:
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _text(body: bytes, *, is_json: bool) -> str:
    """Return an answer as text; JSON without escapes and spaces, so that nothing hides in it and it is short."""
    text = body.decode(errors="replace").strip()
    if not is_json:
        return text
    try:
        return json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError):  # cut off, or no JSON at all: the model reads what there is
        return text
