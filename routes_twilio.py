"""What Twilio asks over HTTP: what to do with a call, how it goes, what comes after its stream.

Every answer is ready in milliseconds and none is ever a 5xx: whatever goes wrong in here, the caller gets words.
Webhooks may come twice, late or out of order, so each of them may be repeated at will.
"""

import hmac
import logging
import time
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Final, cast

from flask import Blueprint, Flask, Request, Response, request
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]  # ships no types
from twilio.twiml.voice_response import Connect, VoiceResponse  # type: ignore[import-untyped]  # ships no types
from werkzeug.exceptions import HTTPException

import stream_registry
from kav.call.actions import EndReason
from kav.call.events import Direction
from kav.flow_files import Flows
from kav.records import Records
from kav.settings import LOOPBACK, Settings
from media_desk import MediaDesk
from realtime_prompt_builder import DEFAULT_LANGUAGE, Phrases
from stream_registry import TERMINAL_STATUSES, Entry

STATUS_WRITE_S: Final = 2.0
"""How long the status webhook waits for its record: Twilio waits longer, a caller is not waiting at all."""

SPEAKING: Final = frozenset({"twilio.voice", "twilio.voice_fallback", "twilio.after_stream", "twilio.dial_result"})
"""Requests whose answer a caller hears."""

MAX_FORM_BYTES: Final = 64 * 1024

log = logging.getLogger(__name__)


def _twiml(response: VoiceResponse) -> Response:
    return Response(str(response), content_type="text/xml; charset=utf-8")


def hang_up() -> Response:
    """Return TwiML that ends the call."""
    response = VoiceResponse()
    response.hangup()
    return _twiml(response)


class Desk:
    """Answers Twilio's webhooks for one installation."""

    def __init__(self, settings: Settings, media: MediaDesk, records: Records, phrases: Phrases, flows: Flows) -> None:
        self._settings = settings
        self._media = media
        self._records = records
        self._phrases = phrases
        self._flows = flows

    def voice(self) -> Response:
        """A call: answer it with a stream, or refuse it. A repeated CallSid gets the same answer."""
        form = request.form
        call_sid = form.get("CallSid", "")
        entry = stream_registry.get(call_sid) or self._register(form)
        if entry is None:
            return self._reject("rejected")
        if entry["ended"]:
            return hang_up()
        if entry["stream"] is None and self._full():
            stream_registry.end(call_sid, "no_stream")
            return self._reject("busy")
        self._media.prewarm(entry)
        return _twiml(self._stream(VoiceResponse(), entry))

    def voice_fallback(self) -> Response:
        """Twilio could not reach the voice URL, or did not like its answer: words, then the end."""
        return self._apologise(DEFAULT_LANGUAGE)

    def status(self) -> Response:
        """A call's status: the flag first, so that the sockets close now; then the record."""
        form = request.form
        call_sid, status = form.get("CallSid", ""), form.get("CallStatus", "")
        entry = stream_registry.get(call_sid)
        if status in TERMINAL_STATUSES and entry is not None:
            entry["terminal_at"] = entry["terminal_at"] or time.monotonic()
            stream_registry.end(call_sid, cast("EndReason", f"call_status_{status}"))
        if entry is not None and _direction(form) != entry["direction"]:
            log.warning("status says another direction; it is not obeyed", extra={"call_sid": call_sid})
        direction = entry["direction"] if entry is not None else _direction(form)
        if call_sid:
            saved = self._records.save_call_status(call_sid, status, form.get("CallDuration"), direction)
            saved.wait(STATUS_WRITE_S)
        return Response(status=204)

    def stream_status(self) -> Response:
        """Twilio's word on a stream, for whoever looks for a fault: it is logged."""
        form = request.form
        if form.get("StreamEvent") == "stream-error":
            log.warning("stream error: %s", form.get("StreamError", ""), extra={"call_sid": form.get("CallSid", "")})
        return Response(status=204)

    def after_stream(self) -> Response:
        """What comes after the stream: its replacement if it was lost, an apology, or the end."""
        entry = stream_registry.get(request.form.get("CallSid", ""))
        if entry is None:
            return hang_up()
        repeated = request.headers.get("I-Twilio-Idempotency-Token", "")
        if not repeated or repeated != entry["after_stream_key"]:
            entry["after_stream_key"] = repeated
            self._decide_after_stream(entry, request.form.get("CallStatus", ""))
        entry["after_stream_at"] = time.monotonic()  # after what it decided: the answer says how the call goes on
        if not entry["ended"]:
            self._media.prewarm(entry)
            return _twiml(self._stream(VoiceResponse(), entry))
        if stream_registry.handed_over(entry):
            return self._dial(entry)
        return self._apologise(self._language(entry)) if entry["after_stream"] == "apology" else hang_up()

    def dial_result(self) -> Response:
        """What became of a hand-over: the end, or, if nobody took the call, back to the bot at the same step."""
        entry = stream_registry.get(request.form.get("CallSid", ""))
        taken = request.form.get("DialCallStatus") in ("completed", "answered")
        if entry is None or taken or not stream_registry.handed_over(entry):
            return hang_up()
        if entry["after_stream"] == "announced_transfer":  # nobody is there, and the model is not either
            return self._apologise(self._language(entry))
        stream_registry.reopen(entry, "nobody_answers")
        entry["after_stream_at"] = time.monotonic()
        self._media.prewarm(entry)
        return _twiml(self._stream(VoiceResponse(), entry))

    def _dial(self, entry: Entry) -> Response:
        """Return TwiML that rings a human; how long they may talk is bounded, for nobody else watches that leg."""
        transfer = self._flows.by_id(entry["business"]).transfer
        if transfer is None:
            return hang_up()
        response = VoiceResponse()
        if entry["after_stream"] == "announced_transfer":
            language = self._language(entry)
            announcement = transfer.announcement.get(language) or self._phrases.text("transfer", language)
            self._say(response, announcement, language)
        dial = response.dial(
            action=f"{self._settings.base_url}/twilio/dial-result",
            method="POST",
            timeout=transfer.ring_s,
            time_limit=transfer.time_limit_s,
            caller_id=entry["to_number"],
            answer_on_bridge=True,
        )
        dial.number(transfer.to)
        return _twiml(response)

    def _decide_after_stream(self, entry: Entry, status: str) -> None:
        """A call whose stream was lost, or never opened, gets one fresh stream; after that, words and the end."""
        if entry["ended"]:
            return
        if status in TERMINAL_STATUSES:
            stream_registry.end(entry["call_sid"], cast("EndReason", f"call_status_{status}"))
            return
        if entry["stream"] is not None:
            entry["stream"].end("socket_lost")  # Twilio knew it before Kav: its frames have merely stopped
        if entry["fresh_streams"]:
            stream_registry.end(entry["call_sid"], "socket_lost", after_stream="apology")
            return
        entry["fresh_streams"] += 1
        entry["opening"] = "resumed"
        entry["token"] = stream_registry.new_token()
        log.warning("stream lost; the call gets a fresh one", extra={"call_sid": entry["call_sid"]})

    def _register(self, form: Mapping[str, str]) -> Entry | None:
        """Return a new entry for a call to a number that somebody answers, else None."""
        call_sid, to_number = form.get("CallSid", ""), form.get("To", "")
        flow = self._flows.inbound(to_number)
        if not call_sid or flow is None:
            log.warning(
                "no business answers %s: name it in a flow file, or in KAV_DEFAULT_NUMBERS",
                to_number,
                extra={"call_sid": call_sid},
            )
            return None
        entry = stream_registry.register(
            call_sid,
            direction=_direction(form),
            business=flow.id,
            from_number=form.get("From", ""),
            to_number=to_number,
        )
        self._records.save_call(
            call_sid,
            direction=entry["direction"],
            business=entry["business"],
            from_number=entry["from_number"],
            to_number=to_number,
        )
        return entry

    def _full(self) -> bool:
        """Whether one more call is too many; those whose socket is still to come count too."""
        return self._media.full or stream_registry.live_count() > self._settings.MAX_CALLS

    def _stream(self, response: VoiceResponse, entry: Entry) -> VoiceResponse:
        """Append the stream; what follows it ends the call, so that a closed socket never leaves the line open."""
        connect = Connect(action=f"{self._settings.base_url}/twilio/after-stream", method="POST")
        stream = connect.stream(
            url=self._settings.media_url,
            status_callback=f"{self._settings.base_url}/twilio/stream-status",
            status_callback_method="POST",
        )
        stream.parameter(name="token", value=entry["token"] or "")
        stream.parameter(name="direction", value=entry["direction"])
        response.append(connect)
        response.hangup()
        return response

    def _language(self, entry: Entry) -> str:
        """Return the language that the call is in."""
        talk = entry["conversation"]
        return talk.language.current if talk is not None else self._flows.by_id(entry["business"]).language

    def _apologise(self, language: str) -> Response:
        response = VoiceResponse()
        self._say(response, self._phrases.text("apology", language), language)
        response.hangup()
        return _twiml(response)

    def _say(self, response: VoiceResponse, text: str, language: str) -> None:
        voice = self._phrases.voice(language)
        response.say(text, language=voice.language, voice=voice.voice)

    def _reject(self, reason: str) -> Response:
        response = VoiceResponse()
        response.reject(reason=reason)
        return _twiml(response)

    def failed(self, error: Exception) -> Response | HTTPException:
        """Answer a request that failed in here: a caller hears an apology, a callback is taken as done."""
        if isinstance(error, HTTPException):
            return error
        log.error("webhook %s failed", request.path, exc_info=error, extra={"call_sid": _call_sid()})
        speaks = request.endpoint in SPEAKING
        return self._apologise(DEFAULT_LANGUAGE) if speaks else Response(status=204)


class Gate:
    """Lets in whom Twilio signed; without a token to check with, only this machine."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._validator = RequestValidator(settings.TWILIO_AUTH_TOKEN.get_secret_value())

    def stranger(self) -> Response | None:
        """Refuse whoever is not this machine while there is no token to check signatures with."""
        if self._settings.checks_signatures or _is_local(request):
            return None
        return _forbidden("TWILIO_AUTH_TOKEN is not set, so only this machine is served")

    def webhook(self) -> Response | None:
        """Refuse a webhook that is not Twilio's, before it has any effect; None lets it in."""
        path = request.full_path if request.query_string else request.path
        signed = request.form if request.method == "POST" else {}
        return self._check(self._settings.base_url + path, signed)

    def media(self, upgrade: Request) -> Response | None:
        """Refuse an upgrade that is not Twilio's: signed over the URL exactly as it stands in the TwiML."""
        if upgrade.query_string:
            return _forbidden("a media socket has no query string")
        return self._check(self._settings.media_url, {})

    def _check(self, url: str, form: Mapping[str, str]) -> Response | None:
        if not self._settings.checks_signatures:
            return (
                None if _is_local(request) else _forbidden("TWILIO_AUTH_TOKEN is not set: only this machine is served")
            )
        signature = request.headers.get("X-Twilio-Signature", "")
        if self._validator.validate(url, form, signature):
            return None
        return _forbidden(f"signature does not match {url}: PUBLIC_BASE_URL must be what Twilio was given")


def _forbidden(why: str) -> Response:
    log.warning("refused %s: %s", request.path, why, extra={"call_sid": _call_sid()})
    return Response("forbidden\n", 403, content_type="text/plain")


def _is_local(asked: Request) -> bool:
    """Whether the request is this machine's own: no foreign address, Host (DNS rebinding), or proxy in front."""
    forwarded = any(name.lower().startswith(("x-forwarded-", "forwarded")) for name, _ in asked.headers.items())
    host = asked.host.rpartition(":")[0] or asked.host
    address = ip_address((asked.remote_addr or "0.0.0.0").removeprefix("::ffff:"))  # noqa: S104  # nosec - no address
    return not forwarded and host.strip("[]") in LOOPBACK and address.is_loopback


def same_secret(given: str, expected: str) -> bool:
    """Compare in constant time, whatever characters a stranger sends."""
    return hmac.compare_digest(given.encode(), expected.encode())


def _direction(form: Mapping[str, str]) -> Direction:
    return "outbound" if form.get("Direction", "inbound").startswith("outbound") else "inbound"


def _call_sid() -> str:
    return request.form.get("CallSid", "")[:64] if request.method == "POST" else ""


def init_app(app: Flask, desk: Desk, gate: Gate) -> None:
    """Register Twilio's routes."""
    twilio = Blueprint("twilio", __name__, url_prefix="/twilio")
    routes: dict[str, Callable[[], Response]] = {
        "voice": desk.voice,
        "voice-fallback": desk.voice_fallback,
        "status": desk.status,
        "stream-status": desk.stream_status,
        "after-stream": desk.after_stream,
        "dial-result": desk.dial_result,
    }
    for name, view in routes.items():
        twilio.add_url_rule(f"/{name}", name.replace("-", "_"), view, methods=["POST"])
    twilio.before_request(gate.webhook)
    twilio.register_error_handler(Exception, desk.failed)
    app.register_blueprint(twilio)
