"""A business's own tool is asked safely: only a public host, in bounded time and size, and no secret comes back."""

import ipaddress
import json
import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack
from io import BufferedIOBase
from pathlib import Path
from threading import Event

import gevent
import pytest
from gevent.lock import BoundedSemaphore
from pydantic import SecretStr

from kav.call.flow import HttpTool
from kav.wire.http_tools import ANSWER_CHARACTERS, CUT_OFF, NO_ANSWER, NOT_AVAILABLE, HttpTools, is_public
from tests.wire.tool_server import Answer, Asked, ToolServer, make_certificate, status, tool_server, trust

SECRET = 'k3y"of-the-clinic'
PARAMETERS = {
    "type": "object",
    "properties": {"day": {"type": "string"}, "kinds": {"type": "array", "items": {"type": "string"}}},
    "required": ["day"],
    "additionalProperties": False,
}
TUESDAY = json.dumps({"day": "2026-11-24"})


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"))


class Shop:
    """A tool's server and somebody who asks it; loopback is let through, as no public host stands here."""

    def __init__(self, stack: ExitStack, certificate: Path) -> None:
        self._stack, self._certificate = stack, certificate

    def open(self, answer: Answer) -> ToolServer:
        return self._stack.enter_context(tool_server(self._certificate, answer))

    def tools(self, **options: object) -> HttpTools:
        known = {"tls": trust(self._certificate), "may_reach": lambda address: address.is_loopback}
        return HttpTools({"CLINIC_API_TOKEN": SecretStr(SECRET)}, **{**known, **options})  # type: ignore[arg-type]  # an option at a time

    def ask(self, answer: Answer, arguments: str = TUESDAY, **tool: object) -> tuple[str, str]:
        """Ask once; return what the model is told, and what the log would say."""
        told = self.tools().call(a_tool(self.open(answer).url, **tool), arguments)
        return told.output, told.status


@pytest.fixture
def shop(certificate: Path) -> Iterator[Shop]:
    with ExitStack() as stack:
        yield Shop(stack, certificate)


def a_tool(url: str, **changes: object) -> HttpTool:
    known = {
        "method": "GET",
        "timeout_s": 2.0,
        "parameters": PARAMETERS,
        "headers": {"Authorization": "Bearer ${CLINIC_API_TOKEN}"},
    }
    return HttpTool("free_slots", "What is free.", url, **{**known, **changes})  # type: ignore[arg-type]  # a field at a time


# What goes out and comes in


def test_a_get_carries_its_arguments_in_the_query_and_the_secret_in_its_header(shop: Shop) -> None:
    server = shop.open(status(200, '{"free": ["10:00", "עשר וחצי"]}'.encode()))
    arguments = json.dumps({"day": "24/11 & co", "kinds": ["a", "b"]})
    told = shop.tools().call(a_tool(server.url + "?v=1"), arguments)
    assert (told.output, told.status) == ('{"free":["10:00","עשר וחצי"]}', "200")
    (asked,) = server.asked
    assert (asked.method, asked.body) == ("GET", b"")
    assert asked.target == "/api/free-slots?v=1&day=24%2F11+%26+co&kinds=a&kinds=b"
    assert asked.headers["Authorization"] == f"Bearer {SECRET}"
    assert asked.headers["Host"] == f"localhost:{server.port}"


def test_a_post_carries_its_arguments_as_json(shop: Shop) -> None:
    server = shop.open(status(201, b"booked", "text/plain; charset=utf-8"))
    told = shop.tools().call(a_tool(server.url, method="POST"), TUESDAY)
    assert told.output == "booked"
    (asked,) = server.asked
    assert (asked.method, asked.target, json.loads(asked.body)) == ("POST", "/api/free-slots", {"day": "2026-11-24"})
    assert asked.headers["Content-Type"] == "application/json"


def test_an_answer_without_a_body_says_that_it_was_done(shop: Shop) -> None:
    def no_content(_: Asked, out: BufferedIOBase) -> None:
        out.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    assert shop.ask(no_content) == ("done", "204")


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ("{}", "day is missing"),
        ('{"day": 5}', "day must be string"),
        ('{"day": "x", "hour": 1}', "hour is unknown"),
        ('{"da', "no JSON"),
        ("[]", "no JSON object"),
        ('"' + "x" * 9000 + '"', "too long"),
    ],
)
def test_wrong_arguments_are_explained_to_the_model_and_nothing_is_sent(shop: Shop, arguments: str, wrong: str) -> None:
    server = shop.open(status(200))
    told = shop.tools().call(a_tool(server.url), arguments)
    assert wrong in told.output
    assert told.status == "not asked"
    assert server.asked == []


# What is no answer


@pytest.mark.parametrize("code", [301, 302, 307, 400, 404, 500, 503])
def test_only_a_success_is_one_and_no_redirect_is_followed(shop: Shop, code: int) -> None:
    elsewhere = shop.open(status(200, b'{"free": []}'))
    output, said = shop.ask(status(code, b"<secret page>", "application/json", f"Location: {elsewhere.url}"))
    assert (output, said) == (f"The service answered with error {code}; say that it did not work.", str(code))
    assert elsewhere.asked == []


def test_a_server_that_is_silent_is_left_when_its_time_is_over(shop: Shop) -> None:
    def silent(_: Asked, out: BufferedIOBase) -> None:  # noqa: ARG001 - says nothing
        server.over.wait(20)

    server = shop.open(silent)
    began = time.monotonic()
    told = shop.tools().call(a_tool(server.url, timeout_s=0.3), TUESDAY)
    assert (told.output, told.status) == (NO_ANSWER["GET"], "timeout")
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("drips_body", [True, False])
def test_a_server_that_drips_is_left_when_its_time_is_over(shop: Shop, drips_body: bool) -> None:
    """Every read brings something: only a deadline over all of them ends it."""

    def drip(_: Asked, out: BufferedIOBase) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
        out.write(head + b"Content-Length: 30000\r\n\r\n" if drips_body else head + b"X-Slow: ")
        while not server.over.wait(0.02):
            out.write(b"x")

    server = shop.open(drip)
    began = time.monotonic()
    told = shop.tools().call(a_tool(server.url, method="POST", timeout_s=0.4), TUESDAY)
    assert (told.output, told.status) == (NO_ANSWER["POST"], "timeout")
    assert time.monotonic() - began < 3


def test_of_a_huge_answer_the_model_gets_the_beginning_and_the_rest_is_not_read(shop: Shop) -> None:
    def endless(_: Asked, out: BufferedIOBase) -> None:
        out.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[")
        while not server.over.is_set():
            out.write(b'"10:00", ' * 1000)

    server = shop.open(endless)
    told = shop.tools().call(a_tool(server.url, timeout_s=5.0), TUESDAY)
    assert told.status == "200"
    assert told.output.startswith('["10:00"')
    assert told.output.endswith(CUT_OFF)
    assert len(told.output) == ANSWER_CHARACTERS + len(CUT_OFF)


def test_an_answer_that_breaks_off_is_none(shop: Shop) -> None:
    def broken(_: Asked, out: BufferedIOBase) -> None:
        out.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nfree at 10, but")

    assert shop.ask(broken) == (NO_ANSWER["GET"], "ConnectionError")


@pytest.mark.parametrize("garbage", [b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500, b""])
def test_what_is_no_http_is_no_answer(shop: Shop, garbage: bytes) -> None:
    def send(_: Asked, out: BufferedIOBase) -> None:
        out.write(garbage)

    assert shop.ask(send)[0] == NO_ANSWER["GET"]


def test_a_page_for_people_is_not_read_to_the_caller(shop: Shop) -> None:
    assert shop.ask(status(200, b"<html>sign in</html>", "text/html")) == (NOT_AVAILABLE, "answered text/html")
    assert shop.ask(status(200, b"\x1f\x8b", "application/json", "Content-Encoding: gzip"))[0] == NOT_AVAILABLE


# Whom it reaches


def test_a_certificate_that_nobody_vouches_for_is_refused_before_anything_is_sent(shop: Shop) -> None:
    server = shop.open(status(200))
    told = shop.tools(tls=None).call(a_tool(server.url), TUESDAY)
    assert (told.output, told.status) == (NOT_AVAILABLE, "certificate refused")
    assert server.asked == []


def test_a_certificate_of_another_name_is_refused(shop: Shop) -> None:
    server = shop.open(status(200))
    told = shop.tools().call(a_tool(server.url.replace("localhost", "127.0.0.1")), TUESDAY)
    assert told.status == "certificate refused"
    assert server.asked == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "10.0.0.1", "169.254.169.254", "2130706433", "0"])
def test_what_is_not_public_is_not_connected_to(shop: Shop, certificate: Path, host: str) -> None:
    server = shop.open(status(200))
    tools = HttpTools({"CLINIC_API_TOKEN": SecretStr(SECRET)}, tls=trust(certificate))
    told = tools.call(a_tool(f"https://{host}:{server.port}/api"), TUESDAY)
    assert (told.output, told.status) == (NOT_AVAILABLE, "refused: not a public address")
    assert server.asked == []


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "ff02::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001::1", "fec0::1", "::7f00:1"),
    ],
)
def test_no_private_address_is_public_however_it_is_wrapped(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:8.8.8.8"])
def test_a_public_address_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_a_name_that_does_not_exist_is_no_answer(shop: Shop) -> None:
    told = shop.tools().call(a_tool("https://nowhere.invalid/api"), TUESDAY)
    assert told.output == NO_ANSWER["GET"]


def test_look_ups_have_threads_of_their_own(shop: Shop) -> None:
    """Those of the hub are for the model's connections; here they are all taken."""
    over = Event()
    pool = gevent.get_hub().threadpool
    taken = [pool.spawn(over.wait, 10) for _ in range(pool.maxsize)]
    try:
        assert shop.ask(status(200, b"yes", "text/plain")) == ("yes", "200")
    finally:
        over.set()
        gevent.wait(taken, timeout=5)


def test_where_hosts_are_named_no_other_is_asked(shop: Shop) -> None:
    server = shop.open(status(200, b"yes", "text/plain"))
    assert shop.tools(hosts=["LOCALHOST"]).call(a_tool(server.url), TUESDAY).output == "yes"
    told = shop.tools(hosts=["api.example.com"]).call(a_tool(server.url), TUESDAY)
    assert (told.output, told.status) == (NOT_AVAILABLE, "host not in KAV_TOOL_HOSTS")
    assert len(server.asked) == 1


def test_no_proxy_is_asked(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert shop.ask(status(200, b"yes", "text/plain")) == ("yes", "200")


# Secrets


@pytest.mark.parametrize(
    ("kind", "echo"),
    [
        ("text/plain", SECRET),
        ("application/json", json.dumps({"you": f"Bearer {SECRET}"})),
        ("text/plain", SECRET * 300),
    ],
)
def test_a_secret_that_a_server_echoes_reaches_nobody(shop: Shop, kind: str, echo: str) -> None:
    output, _ = shop.ask(status(200, echo.encode(), kind))
    assert "[secret]" in output
    assert "of-the-clinic" not in output


def test_of_a_secret_that_begins_like_another_nothing_is_left(shop: Shop, certificate: Path) -> None:
    secrets = {"A": SecretStr("hush-hush"), "B": SecretStr("hush-hush-of-the-owner"), "C": SecretStr("no")}
    tools = HttpTools(secrets, tls=trust(certificate), may_reach=lambda _: True)
    server = shop.open(status(200, b"no: hush-hush-of-the-owner hush-hush", "text/plain"))
    assert tools.call(a_tool(server.url, headers={}), TUESDAY).output == "no: [secret] [secret]"


def test_a_secret_hidden_in_escapes_reaches_nobody(shop: Shop) -> None:
    hidden = "".join(f"\\u{ord(letter):04x}" for letter in SECRET)
    output, _ = shop.ask(status(200, f'{{"you": "{hidden}"}}'.encode()))
    assert output == '{"you":"[secret]"}'


def test_a_secret_that_is_no_header_is_not_told_to_anybody(
    certificate: Path, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    tools = HttpTools({"T": SecretStr("two\nlines")}, tls=trust(certificate), may_reach=lambda _: True)
    server = shop.open(status(200))
    with caplog.at_level(logging.DEBUG):
        told = tools.call(a_tool(server.url, headers={"X": "${T}"}), TUESDAY)
    assert told.status == "ValueError"
    assert "lines" not in told.output + caplog.text
    assert server.asked == []


# Many at once


def test_no_more_are_asked_at_once_than_may_be_and_who_waits_too_long_is_not_asked(shop: Shop) -> None:
    def held(_: Asked, out: BufferedIOBase) -> None:
        server.over.wait(20)
        out.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    server = shop.open(held)
    tools = shop.tools(at_once=2)
    first = [gevent.spawn(tools.call, a_tool(server.url, timeout_s=10.0), TUESDAY) for _ in range(2)]
    with gevent.Timeout(5):
        while len(server.asked) < 2:
            gevent.sleep(0.01)
    assert tools.call(a_tool(server.url, timeout_s=0.2), TUESDAY).status == "timeout"
    assert len(server.asked) == 2
    server.over.set()
    assert [one.get(timeout=5).output for one in first] == ["done", "done"]
    server.answer = status(200, b"next", "text/plain")
    assert tools.call(a_tool(server.url), TUESDAY).output == "next", "the places are free again"


def test_a_call_of_its_own_few_places_leaves_the_others_free(shop: Shop) -> None:
    def held(_: Asked, out: BufferedIOBase) -> None:
        server.over.wait(20)
        out.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    server, mine, theirs = shop.open(held), BoundedSemaphore(1), BoundedSemaphore(1)
    tools = shop.tools(at_once=2)
    first = gevent.spawn(tools.call, a_tool(server.url, timeout_s=10.0), TUESDAY, mine)
    with gevent.Timeout(5):
        while not server.asked:
            gevent.sleep(0.01)
    assert tools.call(a_tool(server.url, timeout_s=0.2), TUESDAY, mine).status == "timeout"
    assert len(server.asked) == 1
    second = gevent.spawn(tools.call, a_tool(server.url, timeout_s=10.0), TUESDAY, theirs)
    with gevent.Timeout(5):
        while len(server.asked) < 2:
            gevent.sleep(0.01)
    server.over.set()
    assert [one.get(timeout=5).output for one in (first, second)] == ["done", "done"]


def test_somebody_elses_deadline_is_not_taken_for_the_tools_own(shop: Shop) -> None:
    def silent(_: Asked, out: BufferedIOBase) -> None:  # noqa: ARG001 - says nothing
        server.over.wait(20)

    server = shop.open(silent)
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.2):
        shop.tools().call(a_tool(server.url, timeout_s=10.0), TUESDAY)


def test_one_that_is_killed_gives_its_place_back(shop: Shop) -> None:
    def held(_: Asked, out: BufferedIOBase) -> None:  # noqa: ARG001 - says nothing
        server.over.wait(20)

    server = shop.open(held)
    tools = shop.tools(at_once=1)
    working = gevent.spawn(tools.call, a_tool(server.url, timeout_s=10.0), TUESDAY)
    with gevent.Timeout(5):
        while not server.asked:
            gevent.sleep(0.01)
    working.kill(timeout=5)
    server.answer = status(200, b"next", "text/plain")
    assert tools.call(a_tool(server.url), TUESDAY).output == "next"


def test_a_stand_in_is_asked_in_the_hosts_name(shop: Shop) -> None:
    """In a rehearsal: no TLS, no look-up, else the same request."""
    with tool_server(None, status(200, b"ten", "text/plain")) as server:
        tools = shop.tools(stand_in=f"http://127.0.0.1:{server.port}", may_reach=is_public)
        assert tools.call(a_tool("https://clinic.example.com/api/free-slots"), TUESDAY).output == "ten"
    (asked,) = server.asked
    assert asked.headers["Host"] == "clinic.example.com"
    assert asked.headers["Authorization"] == f"Bearer {SECRET}"
    assert asked.target == "/api/free-slots?day=2026-11-24"


def test_a_tool_whose_secret_is_missing_is_not_available(shop: Shop) -> None:
    told = shop.tools().call(a_tool("https://localhost/api", headers={"X": "${NOWHERE}"}), TUESDAY)
    assert (told.output, told.status) == (NOT_AVAILABLE, "secret missing")
