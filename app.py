"""Kav's front door: builds the application, serves it, and lets it go.

    python app.py            serve
    flask --app app doctor   ask the installation how it is

Importing this module patches nothing; under `__main__` patching is the first thing that happens.
"""

if __name__ == "__main__":
    from gevent import monkey

    monkey.patch_all()

import gc
import logging
import os
import signal
import socket
import sys
import threading
from dataclasses import dataclass, replace
from functools import partial

import click
import gevent
from flask import Flask, Request, Response, jsonify, request
from gevent import monkey as patching
from gevent.event import Event
from gevent.pywsgi import WSGIServer
from pydantic import ValidationError

import call_aftermath
import media_desk
import realtime_prompt_builder as prompt
import routes_calls
import routes_metrics
import routes_recordings
import routes_records
import routes_twilio
import stream_registry
import twilio_gate
from call_admission import Admission
from call_placed import RING_S, Placed
from drain import LEAVE_S, drain
from kav import commands, console, log, refusal
from kav.after_call import AfterCall
from kav.bearer import is_bearer
from kav.flow_files import FlowFileError, Flows, folder_of, load_flows, secrets_of, usable
from kav.records import Records, durability_warning
from kav.records.errors import DatabaseMisconfiguredError
from kav.settings import Settings, read_secrets
from kav.shared import Shared, open_shared
from kav.tickets import Tickets
from kav.wire.connector import Connector, Endpoint
from kav.wire.http_tools import HttpTools
from kav.wire.model_leg import ModelLeg
from kav.wire.twilio_recordings import forget_recording
from kav.wire.twilio_rest import TwilioRest
from kav.wire.websocket_server import AdmittingSock, WebSocketHandler

SHUTDOWN_GRACE_S = 2.0
"""How long each of the last things may take, after the drain: Heroku kills 30 s after SIGTERM."""

RECORDS_S = 1.0
"""What is kept for the records, whatever the others take; and as much again for the log to be read."""

LOG_S = 1.0
"""How long what is logged may take to be read when Kav could not even begin."""

logger = logging.getLogger("kav")


@dataclass(frozen=True, slots=True)
class Kav:
    """The parts of one running Kav, tied together once; `app.extensions["kav"]`."""

    settings: Settings
    records: Records
    rest: TwilioRest
    media: media_desk.MediaDesk
    aftermath: call_aftermath.Aftermath
    after_call: AfterCall
    flows: Flows
    twilio: routes_twilio.Desk
    admission: Admission
    shared: Shared | None
    """What it shares with other processes; None: there are none."""


class CannotListen(Exception):
    """Kav's address cannot be had; the message says why, and what to set."""


def create_app(settings: Settings | None = None) -> Flask:
    """Build the application; connects to nothing and starts nothing.

    Raises:
        pydantic.ValidationError: a setting cannot be right; the message names it.
        kav.records.errors.DatabaseMisconfiguredError: there can be no records at DATABASE_URL.
        realtime_prompt_builder.MissingPhrase: a language's file is incomplete.
        kav.flow_files.FlowFileError: a flow file cannot be used; the message names file, line and remedy.
        SystemExit: the first two, on the command line: what is wrong has been said.
    """
    with refusal.under_flask():
        return _build(settings or Settings())


def _build(settings: Settings) -> Flask:
    phrases = prompt.load_phrases()
    flows, tools = _with_tools(_flows(settings), settings)
    rest = TwilioRest(settings)
    records = Records(
        settings.DATABASE_URL,
        retention_days=settings.RETENTION_DAYS,
        store_words=settings.KAV_STORE_WORDS,
        log_words=settings.LOG_WORDS,
        forget_recording=lambda recording_sid: forget_recording(rest, recording_sid),
    )
    media = media_desk.MediaDesk(settings, _connector(settings), phrases, flows, records, tools)

    app = Flask(__name__, static_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=routes_twilio.MAX_FORM_BYTES, KAV_SETTINGS=settings)
    after_call = AfterCall(settings, records, rest)
    shared = open_shared(settings, phrases)
    tickets = shared.tickets if shared is not None else Tickets()
    counts = shared.counts if shared is not None else None
    placed = Placed(records, rest, tickets, RING_S + settings.TERMINAL_STATUS_S)
    aftermath = call_aftermath.Aftermath(settings, records, rest, after_call, placed)
    gate, admission = twilio_gate.Gate(settings), Admission(settings, media, counts)
    twilio = routes_twilio.Desk(settings, media, records, phrases, flows, tickets, admission)
    parts_of = (settings, records, rest, media, aftermath, after_call, flows, twilio, admission, shared)
    app.extensions["kav"] = Kav(*parts_of)
    if shared is not None:
        shared.init_app(app)
    routes_twilio.init_app(app, twilio, gate)
    parts = routes_calls.Parts(settings, flows, media, records, rest, tickets, counts, placed)
    call_desk = routes_calls.CallDesk(parts)
    routes_calls.init_app(app, call_desk)
    routes_records.init_app(app, routes_records.RecordDesk(parts), call_desk)
    routes_recordings.init_app(app, routes_recordings.RecordingDesk(settings, records), gate)

    app.before_request(gate.stranger)
    app.before_request(lambda: log.about(twilio_gate.call_sid()))  # or nothing: a connection carries many requests
    console.init_app(app, console.Console(settings, media, records, phrases, flows, console.Door(settings), admission))

    def admit(upgrade: Request) -> Response | None:
        return gate.media(upgrade) or (Response("full\n", 503) if media.crowded else None)

    AdmittingSock(app, admit).route("/twilio/media")(media.media)
    app.add_url_rule("/healthz", "healthz", lambda: _health(app.extensions["kav"]))
    routes_metrics.init_app(app, settings, routes_metrics.Sources(media, records, after_call, shared))
    commands.init_app(app)
    return app


def _flows(settings: Settings) -> Flows:
    """Read the flow files; a command of the command line works without them, for one of them tells what is wrong."""
    try:
        default_numbers = ("*",) if settings.KAV_REHEARSAL else settings.KAV_DEFAULT_NUMBERS
        return load_flows(folder_of(settings.KAV_FLOWS), default_numbers)
    except FlowFileError:
        if click.get_current_context(silent=True) is None:
            raise
        return Flows(())


def _with_tools(flows: Flows, settings: Settings) -> tuple[Flows, HttpTools]:
    """Return the flows with the tools that can be asked, and who asks them; one without its secret is left out."""
    secrets = read_secrets(name for flow in flows.flows for name in secrets_of(flow))
    for flow in flows.flows:
        missing = [name for name in secrets_of(flow) if name not in secrets]
        if missing and click.get_current_context(silent=True) is None:
            logger.warning(
                "%s: tools are left out, for %s is not set: put it into the environment", flow.id, ", ".join(missing)
            )
    offered = replace(flows, flows=tuple(usable(flow, secrets) for flow in flows.flows))
    return offered, HttpTools(secrets, hosts=settings.KAV_TOOL_HOSTS, stand_in=settings.KAV_TOOLS_URL)


def _connector(settings: Settings) -> Connector:
    key, url = settings.OPENAI_API_KEY.get_secret_value() or "rehearsal", settings.OPENAI_REALTIME_URL
    spare_key = settings.OPENAI_FALLBACK_API_KEY.get_secret_value() or key
    endpoints = [Endpoint(url, settings.OPENAI_REALTIME_MODEL, key)]
    if settings.OPENAI_FALLBACK_MODEL or settings.OPENAI_FALLBACK_URL:
        model = settings.OPENAI_FALLBACK_MODEL or settings.OPENAI_REALTIME_MODEL
        endpoints.append(Endpoint(settings.OPENAI_FALLBACK_URL or url, model, spare_key))
    return Connector(endpoints, settings.MODEL_CONNECT_TIMEOUT_S, settings.MODEL_REST_S)


def _health(kav: Kav) -> Response:
    """Say whether Kav is well; to whoever has the token, in figures."""
    warning = durability_warning(kav.settings.DATABASE_URL, kav.settings.DYNO)
    body: dict[str, object] = {"ok": True, "draining": kav.media.draining}
    if warning:
        body["warning"] = warning
    if kav.shared is not None and kav.shared.away:
        body["degraded"] = "Redis cannot be reached: every process is alone with its calls."
    if is_bearer(request.headers.get("Authorization", ""), kav.settings.KAV_API_TOKEN.get_secret_value()):
        body |= _figures(kav)
    return jsonify(body)


def _figures(kav: Kav) -> dict[str, object]:
    return {
        "calls": stream_registry.live_count(),
        "streams": len(kav.media.live),
        "sockets": kav.media.sockets,
        "models": ModelLeg.open_count,
        "entries": len(stream_registry.registry),
        "greenlets": sum(isinstance(o, gevent.Greenlet) and not o.dead for o in gc.get_objects()),
        "threads": len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else threading.active_count(),
        "descriptors": len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None,
        "hub_lag_ms": round(kav.media.hub_lag_s * 1000, 1),
        "late": kav.media.lateness.late,
        "records": kav.records.health(),
        "shared": kav.shared.health() if kav.shared is not None else None,
    }


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT: refuse new calls, let live ones finish, close the rest properly.

    Raises:
        RuntimeError: the standard library is not patched, so that the first call would stop all others.
        CannotListen: the address cannot be had.
    """
    if not patching.is_module_patched("socket"):
        raise RuntimeError("serve() needs gevent's patches first of all: start Kav with `python app.py`.")
    log.init(settings.LOG_LEVEL, as_json=settings.logs_json, secrets=settings.secrets)
    app = create_app(settings)
    kav: Kav = app.extensions["kav"]
    server = WSGIServer(
        (settings.bind_host, settings.PORT),
        app,
        log=None,
        error_log=logger,
        backlog=1024,
        handler_class=WebSocketHandler,
    )
    stopping = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, stopping.set)
    kav.records.start()
    kav.rest.warm_up()
    kav.after_call.warm_up(summaries=any(flow.summary for flow in kav.flows.flows))
    if kav.shared is not None:
        kav.shared.start()
    gevent.spawn(kav.media.watch)
    gevent.spawn(kav.admission.watch_spending, kav.records)
    aftermath = gevent.spawn(kav.aftermath.run)
    _listen(server, settings)
    _announce(settings, server.server_port or settings.PORT)
    logger.info(app.extensions["kav.console"].welcome())
    gc.collect()
    gc.freeze()  # a full collection over what boot has loaded would stall every call for 50 ms
    stopping.wait()
    _leave(kav, server, aftermath)


def _listen(server: WSGIServer, settings: Settings) -> None:
    try:
        server.start()
    except OSError as error:
        # What gevent adds to the text is the address again; a resolver's errors are none of the system's.
        why = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise CannotListen(
            f"Kav cannot listen on {settings.bind_host}:{settings.PORT}: {why}. Set PORT or HOST."
        ) from error


def _announce(settings: Settings, port: int) -> None:
    mode = "rehearsal" if settings.KAV_REHEARSAL else settings.OPENAI_REALTIME_MODEL
    logger.info(
        "Kav listens on %s:%d, is called at %s, speaks with %s", settings.bind_host, port, settings.base_url, mode
    )
    if settings.checks_signatures is False and not settings.KAV_REHEARSAL:
        logger.warning("TWILIO_AUTH_TOKEN is not set: signatures cannot be checked, so only this machine is served.")
    if settings.drain_s < settings.DRAIN_SECONDS:
        logger.warning(
            "DRAIN_SECONDS is %g, and %g is kept to: Heroku kills 30 s after SIGTERM, and more would cut calls off "
            "unheard and lose their records. Set it to %g or less.",
            settings.DRAIN_SECONDS,
            settings.drain_s,
            settings.drain_s,
        )
    warning = durability_warning(settings.DATABASE_URL, settings.DYNO)
    if warning:
        logger.warning(warning)


def _leave(kav: Kav, server: WSGIServer, aftermath: "gevent.Greenlet[..., None]") -> None:
    """Let live calls finish, for a while, then everything else; each step within what time is left."""
    tell = partial(kav.twilio.tell, kav.rest) if kav.rest.has_credentials else None
    kav.aftermath.drain()
    countdown = drain(kav.media, tell, kav.settings.drain_s)
    kav.media.stop()
    server.stop(timeout=countdown.take(SHUTDOWN_GRACE_S, leave_s=3 * RECORDS_S))
    kav.aftermath.stop()
    kav.admission.stop()
    aftermath.join(countdown.take(SHUTDOWN_GRACE_S, leave_s=3 * RECORDS_S))
    if kav.shared is not None:
        kav.shared.stop(countdown.take(SHUTDOWN_GRACE_S, leave_s=2 * RECORDS_S))
    kav.after_call.stop(countdown.take(SHUTDOWN_GRACE_S, leave_s=2 * RECORDS_S))
    kav.records.stop(max(RECORDS_S, countdown.take(SHUTDOWN_GRACE_S, leave_s=RECORDS_S)))
    log.drain(countdown.take(LEAVE_S))


def main() -> int:
    """Read the settings and serve; what is missing is said in a sentence."""
    try:
        settings = Settings()
    except ValidationError as error:
        return _refuse(refusal.lines(error))
    if missing := settings.missing():
        return _refuse(missing)
    try:
        serve(settings)
    except DatabaseMisconfiguredError as error:
        return _refuse(refusal.lines(error))
    except (FlowFileError, CannotListen) as error:
        return _refuse(str(error))
    return 0


def _refuse(lines: str) -> int:
    sys.stderr.write(f"{lines}\n")
    return refusal.STATUS


def leave(status: int) -> None:
    """End the process now that all is written and closed.

    The database's native threads have hubs of their own, and an interpreter that tears itself down around those may
    crash on its last step, which a supervisor would take for a failure.
    """
    log.drain(LOG_S)
    os._exit(status)


if __name__ == "__main__":
    leave(main())
