"""What the operator asks over HTTP about calls: which there were, how one went, and to end one.

    GET  /calls?business=clinic&limit=50&after=...
    GET  /calls/<call_sid>
    POST /calls/<call_sid>/end

Token and errors are those of `routes_calls`; kav/openapi.yaml describes both.
"""

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NoReturn, get_args

from flask import Blueprint, Flask, Response, request
from sqlalchemy.exc import SQLAlchemyError

import stream_registry
from kav.call.actions import EndReason
from kav.call.events import Direction
from kav.records import CallFilter, next_cursor
from kav.records.database import summary
from kav.records.errors import InvalidCursorError, RecordsError
from kav.wire.twilio_rest import TwilioRestError
from routes_calls import CallDesk, Parts, Refused, answer
from stream_registry import Entry, Line

DESCRIPTION: Final = Path(__file__).with_name("kav") / "openapi.yaml"
DEFAULT_PAGE: Final = 50
LARGEST_PAGE: Final = 200
MAX_SID_CHARS: Final = 64

WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "direction": get_args(Direction),
    "end_reason": get_args(EndReason),
    "line": get_args(Line),
}
FILTERS: Final = ("business", "direction", "number", "end_reason", "line", "since", "until", "limit", "after")

log = logging.getLogger(__name__)


class RecordDesk:
    """Answers the operator about calls, for one installation."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def calls(self) -> Response:
        """List calls, the newest first, a page at a time."""
        unknown = sorted(set(request.args) - set(FILTERS))
        if unknown:
            message = f"there is no filter {unknown[0][:64]!r}"
            raise Refused(400, "invalid_filter", message, f"the filters are: {', '.join(FILTERS)}")
        limit, after = _limit(), request.args.get("after", "")
        try:
            found = self._parts.records.list_calls(limit, after, **_wanted())
        except InvalidCursorError:
            remedy = "begin without `after`, and go on with the `next` of each answer"
            raise Refused(400, "invalid_cursor", "`after` is no cursor of Kav's", remedy) from None
        except (RecordsError, SQLAlchemyError) as error:
            _records_away(error)
        return answer(200, {"calls": [_json(call) for call in found], "next": next_cursor(found, limit) or None})

    def call(self, call_sid: str) -> Response:
        """Tell one call with all it brought."""
        try:
            found = self._parts.records.get_call(call_sid[:MAX_SID_CHARS])
        except (RecordsError, SQLAlchemyError) as error:
            _records_away(error)
        if found is None:
            raise _no_such_call(call_sid)
        entry = stream_registry.find(call_sid)
        return answer(200, _json(found) | {"live": entry is not None and not entry["ended"]})

    def end(self, call_sid: str) -> Response:
        """End a call that goes on, or that is still ringing; one that is over already stays as it ended."""
        entry = stream_registry.find(call_sid)
        if entry is None:
            return self._stop_ringing(call_sid)
        ended_now = stream_registry.end(call_sid, "operator")
        return answer(200, _end_of(entry, ended_now=ended_now))

    def _stop_ringing(self, call_sid: str) -> Response:
        """Hang up a call that nobody has answered yet: only Twilio can."""
        if not self._parts.tickets.knows(call_sid):
            raise _no_such_call(call_sid)
        try:
            self._parts.rest.hang_up(call_sid)
        except TwilioRestError as error:
            log.warning("a ringing call was not stopped: %s", error, extra={"call_sid": call_sid})
            remedy = "ask again; it ends by itself when nobody answers"
            raise Refused(502, "twilio_failed", "Twilio did not stop the call", remedy) from error
        return answer(200, {"call_sid": call_sid, "ended": True, "end_reason": None, "by_this_request": True})


def _end_of(entry: Entry, *, ended_now: bool) -> dict[str, object]:
    return {
        "call_sid": entry["call_sid"],
        "ended": True,
        "end_reason": entry["end_reason"],
        "by_this_request": ended_now,
    }


def _wanted() -> CallFilter:
    """Read the filters of the request. Raises Refused."""
    for name, allowed in WORDS.items():
        if (given := request.args.get(name)) and given not in allowed:
            raise _wrong(name, f"use one of: {', '.join(allowed)}")
    return CallFilter(
        business=request.args.get("business"),
        direction=request.args.get("direction"),
        number=request.args.get("number"),
        end_reason=request.args.get("end_reason"),
        line=request.args.get("line"),
        since=_moment("since"),
        until=_moment("until"),
    )


def _moment(name: str) -> datetime | None:
    given = request.args.get(name)
    if not given:
        return None
    try:
        found = datetime.fromisoformat(given)
        found.astimezone(UTC)
    except (ValueError, OverflowError):  # OverflowError: before the year 1 in UTC
        found = None
    if found is None or found.tzinfo is None:
        raise _wrong(name, "write a moment with its zone, e.g. 2026-11-23T08:00:00Z (a + in a URL is %2B)")
    return found


def _limit() -> int:
    given = request.args.get("limit") or str(DEFAULT_PAGE)
    if not given.isascii() or not given.isdecimal() or len(given) > 4 or not 1 <= int(given) <= LARGEST_PAGE:
        raise _wrong("limit", f"write a number from 1 to {LARGEST_PAGE}")
    return int(given)


def _wrong(name: str, remedy: str) -> Refused:
    return Refused(400, "invalid_filter", f"`{name}` cannot be understood", remedy)


def _no_such_call(call_sid: str) -> Refused:
    return Refused(
        404, "no_such_call", f"there is no call {call_sid[:MAX_SID_CHARS]!r}", "see GET /calls for those there are"
    )


def _records_away(error: Exception) -> NoReturn:
    log.error("the records cannot be read: %s", summary(error))
    remedy = "check DATABASE_URL and the database, then ask again"
    raise Refused(503, "records_away", "the records cannot be read now", remedy, retry_after_s=10) from error


def _json(value: Any) -> Any:  # noqa: ANN401 - whatever a record holds
    """Return a record as JSON has it: moments in ISO 8601, UTC."""
    if isinstance(value, Mapping):
        return {name: _json(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_json(part) for part in value]
    return value.isoformat(timespec="milliseconds") if isinstance(value, datetime) else value


def init_app(app: Flask, desk: RecordDesk, calls: CallDesk) -> None:
    """Register the routes; `calls` knows who may ask, and how an error is told."""
    about = Blueprint("records", __name__)
    routes: tuple[tuple[str, str, Callable[..., Response]], ...] = (
        ("GET", "/calls", desk.calls),
        ("GET", "/calls/<call_sid>", desk.call),
        ("POST", "/calls/<call_sid>/end", desk.end),
    )
    for method, rule, view in routes:
        about.add_url_rule(rule, view.__name__, view, methods=[method], provide_automatic_options=False)
    about.before_request(calls.stranger)
    about.register_error_handler(Refused, calls.refused)
    about.register_error_handler(Exception, calls.failed)
    app.register_blueprint(about)
    description = DESCRIPTION.read_text(encoding="utf-8")
    app.add_url_rule(
        "/openapi.yaml", "openapi", lambda: Response(description, content_type="application/yaml; charset=utf-8")
    )
