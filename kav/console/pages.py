"""The console's pages: live calls, past calls, one call, a day's figures, flow files."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from select import POLLIN
from typing import Any, Final, get_args

import gevent
from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    g,
    make_response,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from gevent import monkey

import stream_registry
from call_admission import Admission
from kav.call.actions import EndReason
from kav.console import live as live_calls
from kav.console.base import Base, warm_up
from kav.console.call_page import CallPage
from kav.console.charts import hours
from kav.console.day import day_figures
from kav.console.door import Door
from kav.console.live import LiveCalls
from kav.console.phone import Exchange, PhonePages
from kav.console.query import DIRECTIONS, LINES, CallQuery, begin_of, day_of
from kav.console.scripts import Scripts
from kav.console.texts import load_texts
from kav.cost import load_prices
from kav.flow_files import Flows
from kav.flow_files.folder import folder_of
from kav.records import Records, next_cursor
from kav.records.errors import InvalidCursorError
from kav.settings import Settings
from kav.wire.websocket_server import EXTEND, SOCKET
from media_desk import MediaDesk
from realtime_prompt_builder import Phrases
from routes_recordings import RecordingDesk

PAGE: Final = 50
"""Calls on a page of the list."""

LONGEST_WATCH_S: Final = 3600.0
"""A page that watches asks anew after an hour: whoever forgot it on a screen is asked for their login in the end."""

_native_poll: Final = monkey.get_original("select", "poll")
"""With no time to wait it never does; `select` knows no descriptor from 1024 on."""


@dataclass(frozen=True, slots=True)
class Console:
    """The console of one installation, and what it looks at."""

    settings: Settings
    media: MediaDesk
    records: Records
    phrases: Phrases
    flows: Flows
    door: Door
    admission: Admission

    def welcome(self) -> str:
        """Say where the console is, for the log; the password only when it was made up for this rehearsal."""
        where = f"{self.settings.base_url}/console/"
        if not self.door.open:
            return "The console is off: set KAV_CONSOLE_PASSWORD to open it."
        made_up = not self.settings.KAV_CONSOLE_PASSWORD.get_secret_value()
        return f"The console is at {where}" + (f", its password this time is {self.door.password}" if made_up else "")


class Pages:
    """The views."""

    def __init__(self, console: Console, base: Base) -> None:
        settings = console.settings
        self._console = console
        self._base = base
        self._calls = LiveCalls(load_prices(), settings.OPENAI_REALTIME_MODEL, settings.OPENAI_TRANSCRIBE_MODEL)
        self._scripts = Scripts(console.flows, folder_of(settings.KAV_FLOWS))
        self._recordings = RecordingDesk(settings, console.records)
        self._viewers = 0
        self._call_page = CallPage(base, self._calls, console.records, console.flows, settings.KAV_STORE_WORDS)

    def add_to(self, pages: Blueprint) -> None:
        """Add the routes to the console's."""
        pages.add_url_rule("/", "live", self.live)
        pages.add_url_rule("/events", "events", self.events)
        pages.add_url_rule("/calls", "calls", self.calls)
        self._call_page.add_to(pages)
        pages.add_url_rule("/recordings/<recording_sid>", "recording", self.recording)
        pages.add_url_rule("/today", "today", self.today)
        pages.add_url_rule("/flows", "flows", self.flows)
        pages.add_url_rule("/flows/<name>", "flow", self.flow)

    # Live

    def live(self) -> str:
        """Show the calls that are going on."""
        g.section = "live"
        words, now = self._base.words(), time.monotonic()
        calls = self._calls.look(now)
        rows = [live_calls.show(call, words, now) for call in calls]
        return render_template("live.html", calls=rows, live=live_calls.count(calls))

    def events(self) -> Response:
        """Tell a page what changes, as server-sent events, until its operator logs out or Kav is stopped."""
        if self._viewers >= self._console.settings.KAV_CONSOLE_VIEWERS or self._console.media.draining:
            return Response("full\n", 503, {"Retry-After": "10"}, content_type="text/plain")
        extend, sock = request.environ.get(EXTEND, int), request.environ.get(SOCKET)
        login, until = dict(session), time.monotonic() + LONGEST_WATCH_S

        def goes_on() -> bool:
            extend()
            over = self._console.media.draining or time.monotonic() > until or _has_left(sock)
            return not over and self._console.door.is_live(login)

        def told() -> Iterator[str]:
            with self._viewer():
                yield from live_calls.watch(self._calls, words, goes_on, lambda: gevent.sleep(live_calls.LOOK_EVERY_S))

        words = self._base.words()
        return Response(told(), content_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    @contextmanager
    def _viewer(self) -> Iterator[None]:
        self._viewers += 1
        try:
            yield
        finally:
            self._viewers -= 1

    # Past calls

    def calls(self) -> str:
        """List the calls on record, page by page."""
        g.section = "calls"
        query, words = CallQuery.of(request.args), self._base.words()
        wanted = query.wanted(words.zone, self._console.settings.PHONE_REGION)
        after = request.args.get("after", "")
        try:
            found = self._console.records.list_calls(PAGE, after, **wanted)
        except InvalidCursorError:
            abort(404)
        return render_template(
            "calls.html",
            calls=found,
            query=query,
            first=not after,
            next_cursor=next_cursor(found, PAGE),
            flows=self._console.flows.flows,
            businesses={flow.id: flow.business for flow in self._console.flows.flows},
            directions=DIRECTIONS,
            lines=LINES,
            going_on={sid for sid, entry in stream_registry.registry.items() if not entry["ended"]},
            end_reasons=get_args(EndReason),
        )

    def recording(self, recording_sid: str) -> Response:
        """Play a recording, as far as it is asked for; it comes from Twilio piece by piece."""
        return self._recordings.play(recording_sid)

    # Figures

    def today(self) -> str:
        """Show what the calls of a day add up to."""
        g.section = "today"
        words = self._base.words()
        this_day = datetime.now(words.zone).date()
        day = min(day_of(request.args.get("day", "")) or this_day, this_day)
        since, until = begin_of(day, words.zone), begin_of(day + timedelta(days=1), words.zone)
        found = self._console.records.read(lambda connection: day_figures(connection, since, until, words.zone))
        return render_template(
            "today.html",
            day=day,
            today=this_day,
            before=day - timedelta(days=1),
            after=day + timedelta(days=1),
            found=found,
            figures=found.figures,
            chart=hours(found.by_hour, found.going_on_by_hour),
        )

    # Flow files

    def flows(self) -> str:
        """List the flow files, with what is wrong with each."""
        g.section = "flows"
        return render_template("flows.html", scripts=self._scripts.look())

    def flow(self, name: str) -> str:
        """Show one flow file."""
        g.section = "flows"
        script = self._scripts.find(name)
        if script is None:
            abort(404)
        return render_template("flow.html", script=script, flow=script.flow)


def _has_left(sock: Any) -> bool:  # noqa: ANN401 - a gevent socket, or none where there is no network
    """Whether the viewer has closed the connection: one that only listens sends nothing else."""
    if sock is None:
        return False
    look = _native_poll()
    look.register(sock, POLLIN)
    return bool(look.poll(0))


def init_app(app: Flask, console: Console) -> None:
    """Register the console's pages, and the browser phone."""
    console.door.init_app(app, console.records)
    app.extensions["kav.console"] = console
    base = Base(console.door, load_texts(), console.settings.KAV_TIMEZONE)
    blueprint = base.blueprint()
    Pages(console, base).add_to(blueprint)
    exchange = Exchange(
        *(console.settings, console.media, console.records, console.phrases, console.flows, console.door),
        console.admission,
    )
    PhonePages(exchange, base).add_to(blueprint)
    exchange.add_socket(app)
    app.register_blueprint(blueprint)
    if console.door.open:
        to_console = partial(_to_console, console.door)
        app.add_url_rule("/", "root", to_console, provide_automatic_options=False)
    warm_up(app, blueprint)


def _to_console(door: Door) -> Response:
    """Bring whoever opens the bare address, as `make run` prints it, to the console."""
    return door.harden(make_response(redirect(url_for("console.live"), 303)))
