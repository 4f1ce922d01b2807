"""Who may speak as Twilio: webhooks and the media socket, by their signature; without a token, this machine alone."""

import logging
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final

from flask import Request, Response, request
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]  # ships no types

from kav.settings import LOOPBACK, Settings

SHOWN_SID_CHARS: Final = 64
"""Of what a stranger calls a CallSid: Twilio's have 34."""

log = logging.getLogger(__name__)


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
    log.warning("refused %s: %s", request.path, why, extra={"call_sid": call_sid()})
    return Response("forbidden\n", 403, content_type="text/plain")


def _is_local(asked: Request) -> bool:
    """Whether the request is this machine's own: no foreign address, Host (DNS rebinding), or proxy in front."""
    forwarded = any(name.lower().startswith(("x-forwarded-", "forwarded")) for name, _ in asked.headers.items())
    host = asked.host.rpartition(":")[0] or asked.host
    address = ip_address((asked.remote_addr or "0.0.0.0").removeprefix("::ffff:"))  # noqa: S104  # nosec - no address
    return not forwarded and host.strip("[]") in LOOPBACK and address.is_loopback


def call_sid() -> str:
    """Return the sid of the call that the request is about, as it says, for a log line."""
    return request.form.get("CallSid", "")[:SHOWN_SID_CHARS] if request.method == "POST" else ""
