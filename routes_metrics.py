"""What a monitor asks over HTTP: `/metrics`, in Prometheus's text format, for whoever has a token."""

from dataclasses import dataclass

from flask import Flask, Response, request

import stream_registry
from kav import log, metrics
from kav.after_call import AfterCall
from kav.bearer import is_bearer
from kav.records import Records
from kav.settings import Settings
from kav.shared import Shared
from kav.wire.model_leg import ModelLeg
from media_desk import MediaDesk


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the figures of this moment are read."""

    media: MediaDesk
    records: Records
    after_call: AfterCall
    shared: Shared | None = None

    def read(self) -> dict[str, tuple[str, float | dict[str, float]]]:
        """The gauges, by name, with what each of them is."""
        return {
            "live_calls": ("Calls that are going on, or over and still remembered.", _calls_by_state()),
            "live_streams": ("Media streams that are open.", len(self.media.live)),
            "model_connections": ("Connections to the model, prewarmed ones among them.", ModelLeg.open_count),
            "outbox_bytes": ("What waits to be read by Twilio and the model.", self._waiting_bytes()),
            "records_waiting": ("Records that wait to be written.", self.records.health()["waiting"]),
            "after_call_waiting": ("Calls that are over and not done with.", self.after_call.waiting),
            "log_lines_dropped": ("Log lines that nobody read in time.", log.dropped()),
            "draining": ("1 while this process takes no new calls.", float(self.media.draining)),
        } | self._of_many()

    def _of_many(self) -> dict[str, tuple[str, float | dict[str, float]]]:
        """What only one process among several has to say."""
        if self.shared is None:
            return {}
        return {"redis_away": ("1 while Redis cannot be reached, and each process is alone.", float(self.shared.away))}

    def _waiting_bytes(self) -> int:
        return sum(stream.waiting_bytes for stream in self.media.live)


def _calls_by_state() -> dict[str, float]:
    states = dict.fromkeys(("ringing", "streaming", "between_streams", "ended"), 0.0)
    for entry in stream_registry.registry.values():
        states[_state(entry)] += 1
    return states


def _state(entry: stream_registry.Entry) -> str:
    if entry["ended"]:
        return "ended"
    if entry["stream"] is not None:
        return "streaming"
    return "ringing" if entry["streamed_at"] is None else "between_streams"


def init_app(app: Flask, settings: Settings, sources: Sources) -> None:
    """Register the route."""
    tokens = [settings.KAV_METRICS_TOKEN.get_secret_value(), settings.KAV_API_TOKEN.get_secret_value()]
    figures = metrics.Figures(sources.read)

    def read() -> Response:
        if not any(tokens):
            return _refused(503, "set KAV_METRICS_TOKEN (or KAV_API_TOKEN) to read /metrics with it as a bearer token")
        given = request.headers.get("Authorization", "")
        if not any([is_bearer(given, token) for token in tokens]):  # noqa: C419 - all of them, whichever is right
            return _refused(401, "wrong token, or none: send Authorization: Bearer KAV_METRICS_TOKEN")
        return Response(metrics.exposition(figures), content_type=metrics.CONTENT_TYPE)

    app.add_url_rule("/metrics", "metrics", read)


def _refused(status: int, why: str) -> Response:
    response = Response(f"{why}\n", status, content_type="text/plain; charset=utf-8")
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response
