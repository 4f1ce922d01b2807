"""Who may use the console: one password, signed cookies, tokens against forged forms, headers against the rest.

The cookie's signing key is made of KAV_SECRET_KEY and the password: a new password ends every login, and without
KAV_SECRET_KEY so does a restart.
"""

import hmac
import secrets
import time
from datetime import timedelta
from ipaddress import ip_address
from typing import Any, Final

from flask import Flask, Request, Response, abort, redirect, render_template, request, session, url_for
from werkzeug.exceptions import Forbidden
from werkzeug.wrappers import Response as AnyResponse

from kav.console.attempts import Attempts
from kav.console.forms import Forms, new_token, same, same_origin
from kav.console.logouts import Logouts
from kav.records import Records
from kav.settings import Settings

SESSION_S: Final = 12 * 3600.0
"""How long a login lasts: a working day."""

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
OPEN: Final = frozenset({"console.login", "console.static_file", "console.language"})
"""Endpoints that need no login."""
FROM_ELSEWHERE: Final = frozenset({"cross-site", "same-site"})
"""What browsers say of a link on another site's page (Fetch Metadata)."""

CONTENT_SECURITY: Final = "; ".join(
    (
        "default-src 'none'",
        *(f"{kind} 'self'" for kind in ("script-src", "style-src", "img-src", "font-src", "connect-src")),
        "worker-src 'self'",
        "media-src 'self' blob:",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)

HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: browsers would then send `Origin: null` with the console's own forms.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
HSTS: Final = "max-age=31536000"


class Door:
    """Lets operators in, and nobody else."""

    def __init__(self, settings: Settings) -> None:
        self.password = settings.KAV_CONSOLE_PASSWORD.get_secret_value()
        if not self.password and settings.KAV_REHEARSAL:
            self.password = secrets.token_urlsafe(9)
        self.secure = settings.base_url.startswith("https://")
        self.forms = Forms(secure=self.secure)
        self._key = settings.KAV_SECRET_KEY.get_secret_value() or secrets.token_hex(32)
        self._attempts = Attempts()
        self._logouts = Logouts()

    @property
    def open(self) -> bool:
        """Whether there is a console at all."""
        return bool(self.password)

    def init_app(self, app: Flask, records: Records | None = None) -> None:
        """Let the app sign cookies, and logouts be put on record."""
        self._logouts.records = records
        app.secret_key = hmac.digest(self._key.encode(), self.password.encode(), "sha256")
        app.config.update(
            SESSION_COOKIE_NAME="__Host-kav" if self.secure else "kav",
            SESSION_COOKIE_PATH="/",
            SESSION_COOKIE_SECURE=self.secure,
            SESSION_COOKIE_HTTPONLY=True,
            SESSION_COOKIE_SAMESITE="Strict",
            SESSION_REFRESH_EACH_REQUEST=False,
            PERMANENT_SESSION_LIFETIME=timedelta(seconds=SESSION_S),
        )

    def guard(self) -> AnyResponse | str | None:
        """Before every request of the console: None lets it in."""
        if request.endpoint == "console.static_file":
            return None
        if not self.open:
            abort(503)
        if request.method not in SAFE_METHODS:
            self.forms.refuse_forgeries()
        return None if request.endpoint in OPEN or self.logged_in else _to_login()

    def admits_socket(self, upgrade: Request) -> bool:
        """Whether a WebSocket may be opened: by an operator, from a page of this very console."""
        return self.open and self.logged_in and same_origin(upgrade, required=True)

    @property
    def logged_in(self) -> bool:
        """Whether the request is an operator's."""
        return self.is_live(session)

    def is_live(self, kept: Any) -> bool:  # noqa: ANN401 - a Flask session, or a copy of one
        """Whether a session is a login that has neither ended nor expired."""
        since, key = kept.get("since"), kept.get("id")
        fresh = isinstance(since, (int, float)) and 0 <= time.time() - since < SESSION_S
        return fresh and isinstance(key, str) and not self._logouts.has(key)

    def log_in(self, password: str) -> float | None:
        """Try a password. Returns None when it is right, else the seconds to wait before the next one (mostly 0)."""
        now, address = time.monotonic(), client_address(request)
        wait_s = self._attempts.wait_s(now, address)
        if wait_s:
            return wait_s
        if not same(password, self.password):
            self._attempts.failed(now, address)
            return 0.0
        self._attempts.succeeded(address)
        session.clear()
        session.permanent = True
        session.update(since=time.time(), id=secrets.token_urlsafe(12), csrf=new_token())
        return None

    def log_out(self) -> None:
        """End the session, also for whoever has kept its cookie."""
        if self.logged_in:
            self._logouts.add(session["id"], session["since"] + SESSION_S)
        session.clear()

    def harden(self, response: Response) -> Response:
        """After every request of the console: what a browser may do with the answer."""
        self.forms.keep(response)
        response.headers.update(HEADERS)
        response.headers.setdefault("Cache-Control", "no-store")
        if self.secure:
            response.headers["Strict-Transport-Security"] = HSTS
        return response


def _to_login() -> AnyResponse | str:
    """Send a reader to the login; raises Forbidden for what is no page, so that no script takes the login for it.

    With a link from elsewhere no login comes along (`SameSite=Strict`): the console's own page asks once more.
    """
    if request.method not in SAFE_METHODS or request.accept_mimetypes.best == "text/event-stream":
        raise Forbidden
    if request.headers.get("Sec-Fetch-Site") in FROM_ELSEWHERE and request.headers.get("Sec-Fetch-Mode") == "navigate":
        return render_template("arrived.html")
    return redirect(url_for("console.login", next=request.full_path.rstrip("?")), 303)


def client_address(asked: Request) -> str:
    """Return who asks: what the nearest proxy says (it appends), or whoever is connected.

    A proxy's word is taken from a private address alone, where proxies are: from anywhere else it is a stranger's own.
    """
    connected = asked.remote_addr or ""
    forwarded = asked.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
    return forwarded if forwarded and not _is_public(connected) else connected


def _is_public(address: str) -> bool:
    try:
        return ip_address(address).is_global
    except ValueError:
        return False


def inside(path: str) -> str:
    """Return a path of the console's own to go on to, whatever was asked for."""
    own = path.startswith("/console/") and "\\" not in path
    return path if own and path.isprintable() else "/console/"
