"""Tokens against forged forms: a form must come from a page of the console's own, and bring what that page was given.

An operator's token is in their session. Whoever is not logged in has one in a cookie of its own, good for the login
only: the session's cookie does not come along with a link from elsewhere, and a new session would replace it.
"""

import hashlib
import hmac
import secrets
from typing import Final
from urllib.parse import urlsplit

from flask import Request, Response, abort, g, request, session

LOGIN: Final = "console.login"
COOKIE: Final = "kav-form"


class Forms:
    """Gives tokens out, and asks for them."""

    def __init__(self, *, secure: bool) -> None:
        self._secure = secure
        self._cookie = f"__Host-{COOKIE}" if secure else COOKIE

    def token(self) -> str:
        """Return the token for this reader's forms."""
        known: str = session.get("csrf") or request.cookies.get(self._cookie, "") or g.get("form_token", "")
        if not known:
            known = g.form_token = new_token()
        return known

    def keep(self, response: Response) -> None:
        """Let the browser keep a token that was made for this answer."""
        if "form_token" in g:
            response.set_cookie(self._cookie, g.form_token, secure=self._secure, httponly=True, samesite="Lax")

    def refuse_forgeries(self) -> None:
        """Abort with 403 unless a page of the console's own has sent this."""
        given = request.form.get("csrf") or request.headers.get("X-CSRF-Token", "")
        expected = [session.get("csrf", "")]
        if request.endpoint == LOGIN:
            expected.append(request.cookies.get(self._cookie, ""))
        if not any(token and same(given, token) for token in expected) or not same_origin(request):
            abort(403)


def new_token() -> str:
    """Return a token that nobody guesses."""
    return secrets.token_urlsafe(24)


def same_origin(asked: Request, *, required: bool = False) -> bool:
    """Whether the browser says that a page of this host asks; browsers say so for every form and socket."""
    origin = asked.headers.get("Origin", "")
    if not origin:
        return not required and asked.headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"
    try:
        return urlsplit(origin).netloc == asked.host
    except ValueError:  # `http://[`
        return False


def same(given: str, expected: str) -> bool:
    """Compare in constant time, whatever the lengths."""
    digests = (hashlib.sha256(text.encode("utf-8", "replace")).digest() for text in (given, expected))
    return hmac.compare_digest(*digests)
