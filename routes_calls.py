"""What the operator asks over HTTP: place a call, keep a number from being called.

    POST   /calls                 {"to": "050-123 4567", "flow": "sales", "variables": {"name": "דנה"}}
    POST   /do-not-call           {"number": "050-123 4567"}
    GET    /do-not-call/<number>
    DELETE /do-not-call/<number>

All of it needs `Authorization: Bearer KAV_API_TOKEN`. Every error is `{"error": {"code", "message", "remedy"}}`, also
that of a path or a method that there is not.
"""

import json
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from flask import Blueprint, Flask, Response, jsonify, request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

import realtime_prompt_builder as prompt
import stream_registry
from call_admission import spent_out
from call_placed import Placed, new_call
from kav.bearer import is_bearer
from kav.call.admission import Counts
from kav.call.flow import Flow
from kav.call.variables import MAX_VALUE, fill, harmless
from kav.dialling import NotDialableError, e164, is_open
from kav.flow_files import Flows
from kav.records import Records
from kav.records.database import summary
from kav.records.errors import RecordsError
from kav.settings import Settings
from kav.tickets import Order, Rate, Tickets
from kav.wire.twilio_rest import (
    NoCredentialsError,
    RefusedRequestError,
    TwilioRest,
    TwilioRestError,
    UnknownOutcomeError,
    masked,
)
from media_desk import MediaDesk

MAX_SHOWN: Final = 64
"""Characters of what was asked that are said again."""

RECORD_WAIT_S: Final = 2.0
"""How long a number's record is waited for before it is answered that it is still on its way."""

BASES: Final = ("/calls", "/do-not-call")
"""Beneath these, errors are JSON, whoever finds them."""

FORMS: Final = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})
"""What a page of anybody's may send; the first is also what curl makes of a body that is not named."""

SEE: Final = "see GET /openapi.yaml, or docs/calls.md"

T = TypeVar("T", bound=BaseModel)

log = logging.getLogger(__name__)


class Refused(Exception):
    """The answer to a request that is not carried out; `retry_after_s` when the same one may be later."""

    def __init__(self, status: int, code: str, message: str, remedy: str, retry_after_s: float = 0) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.remedy = status, code, message, remedy
        self.retry_after_s = retry_after_s


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class CallBody(_Body):
    """The body of POST /calls."""

    to: str
    flow: str = Field(max_length=64)
    from_: str | None = Field(default=None, alias="from", max_length=64)
    variables: dict[str, str] = {}
    anytime: bool = False
    """Also outside the flow's hours."""


class NumberBody(_Body):
    """The body of POST /do-not-call."""

    number: str


@dataclass(frozen=True, slots=True)
class Parts:
    """What the operator's requests act on."""

    settings: Settings
    flows: Flows
    media: MediaDesk
    records: Records
    rest: TwilioRest
    tickets: Tickets
    counts: Counts | None = None
    """What several processes count together."""
    placed: Placed | None = None
    """Who looks after calls of which nothing is heard."""


class CallDesk:
    """Answers the operator for one installation."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._rate = Rate(parts.settings.CALLS_PER_MINUTE)

    # Who asks

    def stranger(self) -> None:
        """Refuse whoever does not have the token. Raises Refused."""
        token = self._parts.settings.KAV_API_TOKEN.get_secret_value()
        if not token:
            remedy = "set KAV_API_TOKEN to a long random text, and send it as `Authorization: Bearer ...`"
            raise Refused(503, "no_token_configured", "KAV_API_TOKEN is not set, so nobody may place calls", remedy)
        if not is_bearer(request.headers.get("Authorization", ""), token):
            remedy = "send `Authorization: Bearer` and the value of KAV_API_TOKEN"
            raise Refused(401, "unauthorized", "the token is missing or wrong", remedy)

    # Calls

    def place(self) -> Response:
        """Place a call: everything is looked at first, and Twilio is asked once."""
        body = _read(CallBody)
        flow = self._flow(body)
        to = self._number(body.to)
        self._check_number(to)
        self._check_hours(flow, anytime=body.anytime)
        self._check_listed(to)
        order = Order(self._filled(flow, body.variables), to, _from_number(flow, body.from_), time.monotonic())
        self._check_room(to, flow)
        ticket = self._keep(order)
        call_sid = self._ask_twilio(order, ticket)
        log.info("calling %s with the flow %s", masked(to), flow.id, extra={"call_sid": call_sid})
        return answer(201, {"call_sid": call_sid, "to": to, "from": order.from_, "flow": flow.id, "status": "queued"})

    def _flow(self, body: CallBody) -> Flow:
        flow = self._parts.flows.outbound(body.flow)
        if flow is None:
            outbound = ", ".join(flow.id for flow in self._parts.flows.flows if flow.direction == "outbound")
            remedy = f"use one of: {outbound}" if outbound else "add a flow file with `direction: outbound`"
            raise Refused(400, "no_such_flow", f"there is no outbound flow {body.flow!r}", remedy)
        return flow

    def _number(self, written: str) -> str:
        try:
            return e164(written, self._parts.settings.PHONE_REGION)
        except NotDialableError as error:
            message, _, remedy = str(error).partition("; ")
            raise Refused(400, "invalid_number", message, remedy) from None

    def _check_number(self, to: str) -> None:
        if any(to in flow.numbers for flow in self._parts.flows.flows):
            remedy = "call somebody else's: two bots would talk to each other, both paid for"
            raise Refused(400, "own_number", f"{to} is one of Kav's own numbers", remedy)

    def _check_hours(self, flow: Flow, *, anytime: bool) -> None:
        if not anytime and not is_open(flow.hours, datetime.now(UTC)):
            remedy = "call within the flow's `hours`, or send `anytime: true` if they have agreed to that"
            raise Refused(409, "outside_hours", f"the flow {flow.id} calls nobody at this hour", remedy)

    def _check_listed(self, to: str) -> None:
        if self._is_listed(to):
            remedy = f"do not call them; if they ask to be called again, DELETE /do-not-call/{to}"
            raise Refused(409, "do_not_call", f"{to} asked not to be called", remedy)

    def _is_listed(self, number: str) -> bool:
        try:
            return self._parts.records.is_do_not_call(number)
        except (RecordsError, SQLAlchemyError) as error:
            log.error("the do-not-call list cannot be read: %s", summary(error))  # without the number
            remedy = "check DATABASE_URL and the database, then ask again"
            message = "the do-not-call list cannot be read now, so nobody is called"
            raise Refused(503, "records_away", message, remedy, retry_after_s=10) from error

    def _filled(self, flow: Flow, variables: Mapping[str, str]) -> Flow:
        """Return the flow with its variables filled, which it must be given all of and no others."""
        if set(variables) != set(flow.variables):
            wanted = ", ".join(flow.variables) or "none"
            message = f"the flow {flow.id} has the variables: {wanted}; given: {', '.join(sorted(variables)) or 'none'}"
            raise Refused(400, "wrong_variables", message[:500], "give exactly these, each as a text")
        unusable = [name for name, value in variables.items() if len(value) > MAX_VALUE or not harmless(value)]
        if unusable:
            message = f"not usable in a sentence: {', '.join(unusable)}"
            raise Refused(400, "wrong_variables", message, f"give each of them 1 to {MAX_VALUE} visible characters")
        filled = fill(flow, variables)
        try:
            prompt.build_session(self._parts.settings, filled)
        except prompt.PromptTooLong as error:
            raise Refused(400, "too_long", str(error), "shorten the variables, or the flow's facts") from None
        return filled

    def _check_room(self, to: str, flow: Flow) -> None:
        """Refuse a call too many: of all, of its flow, of this minute, or to somebody who is being called already."""
        now = time.monotonic()
        waiting = list(self._parts.tickets.numbers(now))
        if self._parts.media.draining:
            remedy = "ask again in a minute, when it is up again"
            raise Refused(503, "draining", "Kav is being stopped and takes no new calls", remedy, retry_after_s=60)
        if to in waiting or _is_in_a_call(to):
            raise _already_calling(to)
        if self._parts.media.lateness.late:
            message = "Kav is too slow now for one call more (HUB_LAG_SHED_MS)"
            raise Refused(503, "late", message, "ask again later; if it is so for long, give it more of a core", 10)
        if 0 < flow.max_calls <= self._calls_of(flow, now):
            message = f"as many calls of the flow {flow.id} as its `limits` allow are going on"
            raise Refused(429, "flow_full", message, "ask again later", 10)
        if stream_registry.live_count() + len(waiting) >= self._parts.settings.MAX_CALLS:
            raise Refused(429, "full", "as many calls as MAX_CALLS allows are going on", "ask again later", 10)
        if spent_out(self._parts.settings, self._parts.media):
            remedy = "ask again tomorrow, or raise DAILY_SPEND_CAP_USD"
            raise Refused(429, "spent", "the models have cost today what DAILY_SPEND_CAP_USD allows", remedy, 3600)
        self._check_rate(self._rate.wait_s(now))

    def _calls_of(self, flow: Flow, now: float) -> int:
        """Return how many calls of a flow go on or ring; those of other processes are counted when one is answered."""
        going_on = sum(not e["ended"] and e["business"] == flow.id for e in stream_registry.registry.values())
        return going_on + sum(order.flow.id == flow.id for order in self._parts.tickets.waiting(now))

    def _check_rate(self, wait_s: float) -> None:
        if wait_s:
            message = f"{self._parts.settings.CALLS_PER_MINUTE} calls were placed within a minute (CALLS_PER_MINUTE)"
            raise Refused(429, "rate_limited", message, f"ask again in {wait_s:.0f} s", wait_s)

    def _keep(self, order: Order) -> str:
        """Count the order, and return the ticket under which its call will be known. Raises Refused.

        Of two orders for one person, which may have come at once to two processes, one is kept.
        """
        ticket = secrets.token_urlsafe(24)
        self._rate.take(order.at)
        if not self._parts.tickets.keep(ticket, order):
            raise _already_calling(order.to)
        if self._parts.counts is not None:
            try:
                self._check_rate(self._parts.counts.place(ticket, self._parts.settings.CALLS_PER_MINUTE) or 0.0)
            except Refused:
                self._parts.tickets.drop(ticket)
                raise
        return ticket

    def _ask_twilio(self, order: Order, ticket: str) -> str:
        """Return the new call's sid. A call that certainly was not placed gives its ticket back. Raises Refused."""
        try:
            call_sid = self._parts.rest.place_call(new_call(self._parts.settings, order, ticket))
        except UnknownOutcomeError as error:
            raise _refusal(502, "unknown", error) from error
        except TwilioRestError as error:
            self._parts.tickets.drop(ticket)
            log.warning("no call was placed: %s", error)
            raise _no_call(error) from error
        if self._parts.placed is not None:
            self._parts.placed.expect(call_sid, ticket)
        self._parts.records.save_call(
            call_sid, direction="outbound", business=order.flow.id, from_number=order.from_, to_number=order.to
        )
        return call_sid

    # The do-not-call list

    def list_number(self) -> Response:
        """Put a number on the list."""
        number = self._number(_read(NumberBody).number)
        saved = self._parts.records.save_do_not_call(number).wait(RECORD_WAIT_S)
        return answer(201 if saved else 202, {"number": number, "do_not_call": True, "saved": saved})

    def look_up(self, number: str) -> Response:
        """Say whether a number is on the list."""
        number = self._number(number)
        return answer(200, {"number": number, "do_not_call": self._is_listed(number)})

    def unlist(self, number: str) -> Response:
        """Take a number off the list."""
        number = self._number(number)
        saved = self._parts.records.forget_do_not_call(number).wait(RECORD_WAIT_S)
        return answer(200 if saved else 202, {"number": number, "do_not_call": False, "saved": saved})

    # Errors

    def refused(self, error: Refused) -> Response:
        """Say why not, and what to do."""
        response = answer(error.status, _error(error.code, error.message, error.remedy))
        if error.retry_after_s:
            response.headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
        if error.status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response

    def failed(self, error: Exception) -> Response:
        """Answer what nobody foresaw, as JSON as well."""
        if isinstance(error, HTTPException):
            return self._unserved(error)
        log.error("%s failed", request.path, exc_info=error)
        return answer(500, _error("internal", "Kav failed at this; its log says why", "report it, with the log"))

    def _unserved(self, error: HTTPException) -> Response:
        if isinstance(error, NotFound):
            return answer(404, _error("no_such_path", f"there is nothing at {request.path[:MAX_SHOWN]!r}", SEE))
        if not isinstance(error, MethodNotAllowed):
            return answer(error.code or 400, _error("bad_request", str(error.description), SEE))
        allowed = ", ".join(sorted(error.valid_methods or ()))
        message = f"{request.method[:MAX_SHOWN]!r} is not what this path takes"
        response = answer(405, _error("wrong_method", message, f"use one of: {allowed}"))
        response.headers["Allow"] = allowed
        return response


def _read(kind: type[T]) -> T:
    """Return the request's body. Raises Refused."""
    try:
        found = json.loads(request.get_data())
    except (ValueError, RecursionError):
        raise Refused(400, "no_json", "the body is no JSON", "send a JSON object, see docs/calls.md") from None
    if request.mimetype in FORMS:
        remedy = "send it with the header `Content-Type: application/json`"
        raise Refused(400, "no_json", f"the body is JSON, and was sent as a form ({request.mimetype})", remedy)
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        raise _mistake(error, kind) from None


def _mistake(error: ValidationError, kind: type[BaseModel]) -> Refused:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part)[:64] for part in first["loc"]) or "body"
    known = ", ".join(field.alias or name for name, field in kind.model_fields.items())
    return Refused(400, "invalid_body", f"{where}: {first['msg']}", f"the fields are: {known}")


def _from_number(flow: Flow, wanted: str | None) -> str:
    if wanted is None:
        return flow.numbers[0]
    if wanted not in flow.numbers:
        remedy = f"use one of: {', '.join(flow.numbers)}, or leave `from` out"
        raise Refused(400, "not_the_flows_number", f"the flow {flow.id} does not call from {wanted!r}", remedy)
    return wanted


def _already_calling(number: str) -> Refused:
    remedy = "wait for that call's end"
    return Refused(409, "already_calling", f"{number} is being called already", remedy, retry_after_s=60)


def _is_in_a_call(number: str) -> bool:
    return any(
        not entry["ended"] and stream_registry.other_party(entry) == number
        for entry in stream_registry.registry.values()
    )


def _no_call(error: TwilioRestError) -> Refused:
    if isinstance(error, NoCredentialsError):
        return _refusal(503, "no_twilio_account", error)
    if isinstance(error, RefusedRequestError):
        return _refusal(400, "refused_by_twilio", error)
    return _refusal(502, "twilio_failed", error)


def _refusal(status: int, code: str, error: TwilioRestError) -> Refused:
    message, _, remedy = str(error).rpartition("; ")
    return Refused(status, code, message, remedy)


def _error(code: str, message: str, remedy: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "remedy": remedy}}


def answer(status: int, body: Mapping[str, object]) -> Response:
    """Return a JSON answer."""
    response = jsonify(body)
    response.status_code = status
    return response


def is_operators(path: str) -> bool:
    """Whether a path belongs to the operator's API, there or not."""
    return any(path == base or path.startswith(f"{base}/") for base in BASES)


def init_app(app: Flask, desk: CallDesk) -> None:
    """Register the operator's routes."""
    calls = Blueprint("calls", __name__)
    routes: tuple[tuple[str, str, Callable[..., Response]], ...] = (
        ("POST", "/calls", desk.place),
        ("POST", "/do-not-call", desk.list_number),
        ("GET", "/do-not-call/<number>", desk.look_up),
        ("DELETE", "/do-not-call/<number>", desk.unlist),
    )
    for method, rule, view in routes:
        calls.add_url_rule(rule, view.__name__, view, methods=[method], provide_automatic_options=False)
    calls.before_request(desk.stranger)
    calls.register_error_handler(Refused, desk.refused)
    calls.register_error_handler(Exception, desk.failed)
    app.register_blueprint(calls)

    def unrouted(error: HTTPException) -> Response | HTTPException:
        """The router refuses these before any blueprint is asked."""
        return desk.failed(error) if is_operators(request.path) else error

    app.register_error_handler(HTTPException, unrouted)  # not by its code: those go before the other blueprints' own
