"""Who may speak as Twilio: webhooks and the media socket, by their signature; without a token, this machine alone.

Twilio signs with the account's auth token (HMAC-SHA1), or, where an account has opted in, with a SharedKey, which the
header `X-Twilio-Webhooks-Signature-Settings: key=<id>,algorithm=HMAC_SHA256` names. Both are taken, so that an account
may change from one to the other while it is called.
"""

import hmac
import logging
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from flask import Request, Response, request
from twilio.request_validator import (  # type: ignore[import-untyped]  # ships no types
    HMAC_SHA1,
    HMAC_SHA256,
    SIGNATURE_HEADER,
    SIGNATURE_SETTINGS_HEADER,
    RequestValidator,
    add_port,
    remove_port,
    urlparse,
)

from kav.settings import LOOPBACK, Settings

SHOWN_SID_CHARS: Final = 64
"""Of what a stranger calls a CallSid: Twilio's have 34."""

SHOWN_URL_CHARS: Final = 200

log = logging.getLogger(__name__)


class Gate:
    """Lets in whom Twilio signed; without a token to check with, only this machine."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._by_token = RequestValidator(settings.TWILIO_AUTH_TOKEN.get_secret_value())
        self._by_shared_key = RequestValidator(settings.TWILIO_SHARED_KEY.get_secret_value())

    def stranger(self) -> Response | None:
        """Refuse whoever is not this machine while there is no token to check signatures with."""
        if self._settings.checks_signatures or _is_local(request):
            return None
        return _forbidden("TWILIO_AUTH_TOKEN is not set, so only this machine is served")

    def webhook(self) -> Response | None:
        """Refuse a webhook that is not Twilio's, before it has any effect; None lets it in."""
        query = request.query_string.decode(errors="replace")
        path = f"{request.path}?{query}" if query else request.path
        signed = request.form if request.method == "POST" else {}
        return self._check(self._settings.base_url + path, signed)

    def media(self, upgrade: Request) -> Response | None:
        """Refuse an upgrade that is not Twilio's: signed over the URL exactly as it stands in the TwiML."""
        if upgrade.query_string:
            return _forbidden("a media socket has no query string")
        return self._check(self._settings.media_url, {})

    def _check(self, url: str, form: Mapping[str, str]) -> Response | None:
        if not self._settings.checks_signatures:
            return self.stranger()
        key, algorithm = _signed_with(request.headers.get(SIGNATURE_SETTINGS_HEADER, ""))
        if key and (key != self._settings.TWILIO_SHARED_KEY_ID or algorithm != HMAC_SHA256):
            return _forbidden(
                f"signed with the SharedKey {key[:SHOWN_SID_CHARS]} by {algorithm[:SHOWN_SID_CHARS]}: set "
                "TWILIO_SHARED_KEY_ID and TWILIO_SHARED_KEY to it (HMAC_SHA256), or let Twilio sign with the auth token"
            )
        validator = self._by_shared_key if key else self._by_token
        given = request.headers.get(SIGNATURE_HEADER, "")
        if _is_signature(validator, url, form, given, HMAC_SHA256 if key else HMAC_SHA1):
            return None
        shown = url.partition("?")[0][:SHOWN_URL_CHARS]  # a ticket stands in the query
        return _forbidden(f"signature does not match {shown}: PUBLIC_BASE_URL must be what Twilio was given")


def _signed_with(header: str) -> tuple[str, str]:
    """Return the id of the SharedKey that signs, and the algorithm; without a key it is the auth token."""
    named = {name.strip(): value.strip() for name, _, value in (part.partition("=") for part in header.split(","))}
    return named.get("key", ""), named.get("algorithm", "")


def _is_signature(validator: RequestValidator, url: str, form: Mapping[str, str], given: str, algorithm: str) -> bool:
    """Whether `given` signs the request, compared in constant time; Twilio is not of one mind about ports in URLs."""
    parsed = urlparse(url)
    wanted = [validator.compute_signature(written(parsed), form, algorithm) for written in (remove_port, add_port)]
    return any(hmac.compare_digest(one.encode(), given.encode()) for one in wanted)


def _forbidden(why: str) -> Response:
    log.warning("refused %s: %s", request.path, why, extra={"call_sid": call_sid()})
    return Response("forbidden\n", 403, content_type="text/plain")


def _is_local(asked: Request) -> bool:
    """Whether the request is this machine's own: no foreign address, Host (DNS rebinding), page, or proxy in front."""
    forwarded = any(name.lower().startswith(("x-forwarded-", "forwarded")) for name, _ in asked.headers.items())
    host = asked.host.rpartition(":")[0] or asked.host
    address = ip_address((asked.remote_addr or "0.0.0.0").removeprefix("::ffff:"))  # noqa: S104  # nosec - no address
    local = host.strip("[]") in LOOPBACK and address.is_loopback
    return local and not forwarded and not _is_from_another_page(asked)


def _is_from_another_page(asked: Request) -> bool:
    """Whether a browser says that it asks for a page of somebody else's: any page may post to this machine."""
    origin, site = asked.headers.get("Origin", ""), asked.headers.get("Sec-Fetch-Site", "none")
    if origin:
        try:
            return urlsplit(origin).netloc != asked.host
        except ValueError:
            return True
    return site not in ("none", "same-origin")


def call_sid() -> str:
    """Return the sid of the call that the request is about, as it says, for a log line."""
    if request.method != "POST":
        return ""
    request.get_data()  # is kept, or a body that was looked at as a form could not be read as what it is any more
    return request.form.get("CallSid", "")[:SHOWN_SID_CHARS]
