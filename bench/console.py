"""What an open console costs the calls that it watches: CPU per frame with a viewer, beside the same without one.

One viewer looks at the list of live calls, which is told by events alone; another at one call's page besides, fetched
anew as often as the page itself says for a call that never rests. Windows with and without take turns, so that whatever
else the machine does falls on both.
"""

import http.client
import re
import socket
import statistics
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager

from bench.kav_process import CONSOLE_PASSWORD, KavFailed
from bench.report import Report, Table
from bench.world import World, world

CALLS = 50
MOST_ADDED = 5.0
"""Per cent of what a frame costs, that one viewer may add."""
PAIRS, QUICK_PAIRS = 7, 3
WINDOW_S, QUICK_WINDOW_S = 6.0, 3.0


def run(*, quick: bool) -> Report:
    report = Report("console")
    table = Table(report, f"console, {CALLS} talking calls: CPU per frame in µs")
    pairs, seconds = (QUICK_PAIRS, QUICK_WINDOW_S) if quick else (PAIRS, WINDOW_S)
    with world() as a_world:
        a_world.place(CALLS)
        a_world.until_talking()
        a_world.loop.run(2.0)
        cookie = _log_in(a_world.kav.port)
        added = [_pair(a_world, cookie, seconds, table) for _ in range(pairs)]
        call_path = f"/console/calls/{a_world.talking[0].call_sid}"
        followed = [_pair(a_world, cookie, seconds, table, call_path) for _ in range(pairs)]
    report.promise("one viewer adds, of a frame's cost", statistics.median(added), MOST_ADDED, "%")
    report.promise("a viewer of one call's page adds", statistics.median(followed), MOST_ADDED, "%")
    return report


def _pair(a_world: World, cookie: str, seconds: float, table: Table, call_path: str = "") -> float:
    """Measure one window without a viewer and one with; return what the viewer added, in per cent.

    `call_path`: the page of a call, for a viewer who looks at that one.
    """
    without = _us_per_frame(a_world, seconds)
    with _viewer(a_world.kav.port, cookie, call_path) as told:
        a_world.loop.run(1.0)
        watched = _us_per_frame(a_world, seconds)
    added = (watched / without - 1) * 100
    table.row(
        looks_at="a call" if call_path else "the list",
        without=round(without, 2),
        with_viewer=round(watched, 2),
        added_percent=round(added, 1),
        told_kb=told() // 1000,
    )
    return added


def _us_per_frame(a_world: World, seconds: float) -> float:
    cpu, frames = a_world.kav.cpu_s(), a_world.model.frames_heard
    a_world.loop.run(seconds)
    return (a_world.kav.cpu_s() - cpu) / (a_world.model.frames_heard - frames) * 1e6


def _log_in(port: int) -> str:
    """Return an operator's cookie."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/console/login")
    answer = connection.getresponse()
    token = re.search(r'name="csrf" content="([^"]+)"', answer.read().decode())
    if token is None:
        raise KavFailed("the console shows no login")
    form = urllib.parse.urlencode({"csrf": token[1], "password": CONSOLE_PASSWORD})
    headers = {"Cookie": _cookie(answer), "Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/console/login", form, headers)
    answer = connection.getresponse()
    answer.read()
    return _cookie(answer)


def _cookie(answer: http.client.HTTPResponse) -> str:
    return (answer.getheader("Set-Cookie") or "").partition(";")[0]


@contextmanager
def _viewer(port: int, cookie: str, call_path: str) -> Iterator["_Count"]:
    """A page that watches, read by a thread of the bench's."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/console/events", headers={"Cookie": cookie, "Accept": "text/event-stream"})
    sock, answer = connection.sock, connection.getresponse()
    if answer.status != 200:
        raise KavFailed(f"the console's events are answered {answer.status}")
    page = _Page(port, cookie, call_path)
    count = _Count(answer, page)
    reader, follower = (threading.Thread(target=one, daemon=True) for one in (count.read, page.follow))
    reader.start()
    if call_path:
        follower.start()
    yield count
    page.leave()
    if call_path:
        follower.join(5)
    sock.shutdown(socket.SHUT_RDWR)  # a close would wait for the reader, and the calls for the close
    reader.join(5)
    connection.close()


class _Page:
    """The page of one call, fetched again and again as `call.js` does."""

    def __init__(self, port: int, cookie: str, path: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self._path, self._cookie = path, cookie
        self._left = threading.Event()
        self._every_s = 0.0
        self.bytes = 0

    def follow(self) -> None:
        while not self._left.wait(self._every_s):
            self._connection.request("GET", self._path, headers={"Cookie": self._cookie, "Accept": "text/html"})
            answer = self._connection.getresponse()
            html = answer.read()
            every_ms = re.search(rb'data-refresh-ms="(\d+)"', html)
            if answer.status != 200 or every_ms is None:
                raise KavFailed(f"{self._path} is answered {answer.status}, or tells not how often it is to be fetched")
            self.bytes, self._every_s = self.bytes + len(html), int(every_ms[1]) / 1000

    def leave(self) -> None:
        self._left.set()


class _Count:
    """Reads, and counts what was read."""

    def __init__(self, answer: http.client.HTTPResponse, page: _Page) -> None:
        self._answer = answer
        self._page = page
        self._bytes = 0

    def __call__(self) -> int:
        return self._bytes + self._page.bytes

    def read(self) -> None:
        try:
            while line := self._answer.readline():
                self._bytes += len(line)
        except (OSError, ValueError, http.client.HTTPException):
            return  # the viewer has left
