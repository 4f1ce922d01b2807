"""Twilio's REST API as far as a phone agent uses it: calls and numbers of one account, over HTTP on loopback.

Shapes and codes are those of the 2010-04-01 API: Basic auth (20003), unknown resources (20404), calls that are not in
progress (21220), too many requests (20429).
"""

import asyncio
import base64
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate

from aiohttp import web

from rehearsal.twilio.call import Call
from rehearsal.twilio.leg import TERMINAL, Order
from rehearsal.twilio.program import Document, HangUp

_MAX_TWIML_CHARS = 4000
_MAX_MESSAGE_CHARS = 1600


@dataclass(frozen=True)
class RestRequest:
    """A request that reached this server."""

    at: float
    method: str
    path: str
    form: Mapping[str, list[str]]
    status: int


@dataclass
class Fault:
    """What becomes of requests whose path contains `path`: held for `slow_s`, then answered `status` (0: as usual).

    `count` requests are hit. `slow_s` beyond the client's patience is a timeout.
    """

    status: int = 0
    code: int = 20500
    slow_s: float = 0.0
    count: int = 1
    path: str = ""


@dataclass(frozen=True)
class Message:
    """An SMS that the app has sent."""

    from_: str
    to: str
    body: str


@dataclass
class Number:
    """A phone number of the account, and what it does when it is called."""

    phone_number: str
    voice_url: str = ""
    voice_method: str = "POST"
    voice_fallback_url: str = ""
    voice_fallback_method: str = "POST"
    status_callback: str = ""
    status_callback_method: str = "POST"
    sid: str = field(default_factory=lambda: "PN" + uuid.uuid4().hex)


class RestError(Exception):
    """What the API answers instead: HTTP status, Twilio's code, and a message."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.body = {"code": code, "message": message, "more_info": f"https://www.twilio.com/docs/errors/{code}"}
        self.status = status


class RestServer:
    """The account's resources; `calls` and `numbers` are shared with the world that made it."""

    def __init__(
        self,
        account_sid: str,
        auth_token: str | None,
        calls: Mapping[str, Call],
        numbers: list[Number],
        place: Callable[[Order], Call],
    ) -> None:
        self.requests: list[RestRequest] = []
        self.faults: list[Fault] = []
        self.messages: list[Message] = []
        self.url = ""
        self._account_sid, self._auth_token = account_sid, auth_token
        self._calls, self._numbers, self._place = calls, numbers, place
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen on a free port of loopback; `url` tells it."""
        root = f"/2010-04-01/Accounts/{self._account_sid}"
        app = web.Application()
        app.router.add_post(f"{root}/Calls.json", self._answering(self._create_call))
        app.router.add_get(f"{root}/Calls/{{sid}}.json", self._answering(self._fetch_call))
        app.router.add_post(f"{root}/Calls/{{sid}}.json", self._answering(self._update_call))
        app.router.add_post(f"{root}/Messages.json", self._answering(self._create_message))
        app.router.add_get(f"{root}/Recordings/{{sid}}.mp3", self._sound)
        app.router.add_get(f"{root}/IncomingPhoneNumbers.json", self._answering(self._list_numbers))
        app.router.add_post(f"{root}/IncomingPhoneNumbers/{{sid}}.json", self._answering(self._update_number))
        app.router.add_get(f"{root}.json", self._answering(self._fetch_account))
        app.router.add_route("*", "/{rest:.*}", self._answering(self._unknown))
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    def fail(self, status: int = 0, *, code: int = 20500, slow_s: float = 0.0, count: int = 1, path: str = "") -> None:
        """Arrange a fault; see `Fault`."""
        self.faults.append(Fault(status, code, slow_s, count, path))

    def _answering(
        self, resource: Callable[[web.Request, dict[str, list[str]]], Awaitable[dict[str, object]]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            at, form = time.monotonic(), await _form(request)
            status, body = 201 if request.path.endswith(("/Calls.json", "/Messages.json")) else 200, dict[str, object]()
            try:
                self._check_credentials(request)
                await self._suffer(request.path)
                body = await resource(request, form)
            except RestError as refusal:
                status, body = refusal.status, {**refusal.body, "status": refusal.status}
            self.requests.append(RestRequest(at, request.method, request.path, form, status))
            return web.json_response(body, status=status)

        return answer

    def _check_credentials(self, request: web.Request) -> None:
        credentials = base64.b64encode(f"{self._account_sid}:{self._auth_token}".encode()).decode()
        if self._auth_token and request.headers.get("Authorization") != f"Basic {credentials}":
            raise RestError(401, 20003, "Authenticate")

    async def _suffer(self, path: str) -> None:
        fault = next((fault for fault in self.faults if fault.count > 0 and fault.path in path), None)
        if fault is None:
            return
        fault.count -= 1
        await asyncio.sleep(fault.slow_s)
        if fault.status:
            raise RestError(fault.status, 20429 if fault.status == 429 else fault.code, "A fault was arranged")

    # Resources

    async def _unknown(self, request: web.Request, _form: dict[str, list[str]]) -> dict[str, object]:
        raise RestError(404, 20404, f"The requested resource {request.path} was not found")

    async def _fetch_account(self, _request: web.Request, _form: dict[str, list[str]]) -> dict[str, object]:
        return {"sid": self._account_sid, "friendly_name": "Rehearsal", "status": "active", "type": "Full"}

    async def _create_call(self, _request: web.Request, form: dict[str, list[str]]) -> dict[str, object]:
        fields = {name: values[0] for name, values in form.items()}
        if not fields.get("To") or not fields.get("From"):
            raise RestError(400, 21201 if not fields.get("To") else 21212, "No 'To' or no 'From' number is specified")
        if not fields.get("Url") and not fields.get("Twiml"):
            raise RestError(400, 21205, "Url parameter is required")
        if len(fields.get("Twiml", "")) > _MAX_TWIML_CHARS:
            raise RestError(400, 21218, "Twiml is longer than 4000 characters")
        return self._call_body(self._place(_order(fields, form)))

    async def _fetch_call(self, request: web.Request, _form: dict[str, list[str]]) -> dict[str, object]:
        return self._call_body(self._call(request))

    async def _update_call(self, request: web.Request, form: dict[str, list[str]]) -> dict[str, object]:
        call, fields = self._call(request), {name: values[0] for name, values in form.items()}
        if call.status in TERMINAL:
            raise RestError(400, 21220, "Call is not in-progress. Cannot redirect.")
        status = fields.get("Status")
        if status == "canceled" and call.answered_at is not None:
            raise RestError(400, 21220, "Only queued and ringing calls can be canceled")
        if status in ("completed", "canceled"):
            call.interrupt(HangUp(status if call.answered_at is not None else "canceled"))
            await call.until_ended()
        elif fields.get("Twiml") or fields.get("Url"):
            call.interrupt(_document(fields))
        else:
            raise RestError(400, 20001, "Neither Status nor Twiml nor Url is given")
        return self._call_body(call)

    async def _create_message(self, _request: web.Request, form: dict[str, list[str]]) -> dict[str, object]:
        fields = {name: values[0] for name, values in form.items()}
        if not fields.get("Body"):
            raise RestError(400, 21602, "Message body is required.")
        if len(fields["Body"]) > _MAX_MESSAGE_CHARS:
            raise RestError(400, 21617, "The concatenated message body exceeds the 1600 character limit.")
        if not fields.get("To") or not fields.get("From"):
            raise RestError(400, 21604 if not fields.get("To") else 21603, "No 'To' or no 'From' number is specified")
        self.messages.append(Message(fields["From"], fields["To"], fields["Body"]))
        return {"sid": "SM" + uuid.uuid4().hex, "status": "queued", "to": fields["To"], "from": fields["From"]}

    async def _sound(self, request: web.Request) -> web.StreamResponse:
        """A recording's sound, or the part that is asked for: silence, a second long."""
        try:
            self._check_credentials(request)
        except RestError as refusal:
            return web.json_response(refusal.body, status=refusal.status)
        sid = request.match_info["sid"]
        if not any(sid in call.recordings for call in self._calls.values()):
            return web.json_response(RestError(404, 20404, "The requested resource was not found").body, status=404)
        part, sound = request.http_range, bytes(8000)
        asked = part.start is not None or part.stop is not None
        return web.Response(body=sound[part], status=206 if asked else 200, content_type="audio/mpeg")

    async def _list_numbers(self, request: web.Request, _form: dict[str, list[str]]) -> dict[str, object]:
        wanted = request.query.get("PhoneNumber")
        found = [number for number in self._numbers if wanted in (None, number.phone_number)]
        return {"incoming_phone_numbers": [self._number_body(number) for number in found], "next_page_uri": None}

    async def _update_number(self, request: web.Request, form: dict[str, list[str]]) -> dict[str, object]:
        sid = request.match_info["sid"]
        number = next((number for number in self._numbers if number.sid == sid), None)
        if number is None:
            raise RestError(404, 20404, f"The requested resource {request.path} was not found")
        for name in ("VoiceUrl", "VoiceMethod", "VoiceFallbackUrl", "VoiceFallbackMethod", "StatusCallback"):
            if name in form:
                setattr(number, _snake(name), form[name][0])
        number.status_callback_method = form.get("StatusCallbackMethod", [number.status_callback_method])[0]
        return self._number_body(number)

    def _call(self, request: web.Request) -> Call:
        call = self._calls.get(request.match_info["sid"])
        if call is None:
            raise RestError(404, 20404, f"The requested resource {request.path} was not found")
        return call

    def _call_body(self, call: Call) -> dict[str, object]:
        ended = call.ended_at is not None
        return {
            "sid": call.sid,
            "account_sid": self._account_sid,
            "api_version": "2010-04-01",
            "from": call.order.from_,
            "to": call.order.to,
            "direction": call.order.direction,
            "status": call.status,
            "duration": str(call.duration_s) if ended else None,
            "answered_by": call.script.callee.answered_by if call.order.detection else None,
            "start_time": _rfc2822(call.answered_at),
            "end_time": _rfc2822(call.ended_at),
            "price": None,
            "price_unit": "USD",
            "uri": f"/2010-04-01/Accounts/{self._account_sid}/Calls/{call.sid}.json",
        }

    def _number_body(self, number: Number) -> dict[str, object]:
        return {"account_sid": self._account_sid, "friendly_name": number.phone_number, **vars(number)}


async def _form(request: web.Request) -> dict[str, list[str]]:
    posted = await request.post()
    return {name: [str(value) for value in posted.getall(name)] for name in posted}


def _order(fields: Mapping[str, str], form: Mapping[str, list[str]]) -> Order:
    """An outbound call as the create request wants it; `Url` wins over `Twiml`."""
    detects = fields.get("MachineDetection", "none") not in ("", "none")
    return Order(
        from_=fields["From"],
        to=fields["To"],
        document=_document(fields),
        direction="outbound-api",
        status_url=fields.get("StatusCallback", ""),
        status_events=frozenset(
            event for text in form.get("StatusCallbackEvent", ["completed"]) for event in text.split()
        ),
        detection="" if not detects else "async" if fields.get("AsyncAmd") == "true" else "sync",
        detection_url=fields.get("AsyncAmdStatusCallback", ""),
    )


def _document(fields: Mapping[str, str]) -> Document:
    url = fields.get("Url", "")
    text = "" if url else fields.get("Twiml", "")
    return Document(url, text, method=fields.get("Method", "POST"), fallback_url=fields.get("FallbackUrl", ""))


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).removeprefix("_")


def _rfc2822(monotonic_s: float | None) -> str | None:
    """A monotonic time as the API writes dates."""
    return None if monotonic_s is None else formatdate(time.time() - (time.monotonic() - monotonic_s))
