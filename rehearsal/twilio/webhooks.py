"""What Twilio asks the app over HTTP: signed forms, one retry with the same idempotency token, everything on record."""

import time
import uuid
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

import aiohttp
from yarl import URL

from rehearsal.twilio.observed import Asked
from rehearsal.twilio.signing import IDEMPOTENCY_HEADER, SharedKey, signed_headers

TOTAL_S = 15.0
"""Twilio gives a webhook 15 seconds in all."""
_ATTEMPTS = 2  # Twilio's default: one retry


class Unanswered(Exception):
    """A webhook got no usable answer; `code` is the debugger's: 11200 for a status, 11205 for no connection."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class Webhooks:
    """Twilio's HTTP client. `public_url` is what the app calls itself; its host is reached at `base_url` instead.

    Set `shared_key` and what is asked from then on, the media socket too, is signed with it, as after an opt-in.
    """

    def __init__(self, base_url: str, public_url: str | None, auth_token: str | None) -> None:
        self.asked: list[Asked] = []
        self.auth_token = auth_token
        self.shared_key: SharedKey | None = None
        self._base, self._public = urlsplit(base_url), urlsplit(public_url or base_url)
        # Every request on its own connection, as it is from a fleet of Twilio's machines.
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True), timeout=aiohttp.ClientTimeout(total=TOTAL_S)
        )

    async def close(self) -> None:
        """Close the client."""
        await self._http.close()

    def signed(self, url: str, form: Mapping[str, str] | None = None) -> dict[str, str]:
        """The headers that sign a request: with `shared_key` while there is one, else with the auth token."""
        return signed_headers(self.auth_token, url, form, shared_key=self.shared_key)

    def reachable(self, url: str) -> str:
        """The URL under which this machine reaches what the app calls `url`; its scheme follows the base URL's."""
        parts = urlsplit(url)
        if parts.netloc != self._public.netloc:
            return url
        secure = "s" if self._base.scheme == "https" else ""
        scheme = ("ws" if parts.scheme.startswith("ws") else "http") + secure
        return urlunsplit((scheme, self._base.netloc, parts.path, parts.query, ""))

    async def ask(self, url: str, form: Mapping[str, str], method: str = "POST") -> Asked:
        """Request `url`; a 5xx or a failed connection is retried once. Raises `Unanswered`."""
        token = str(uuid.uuid4())
        url = url.split("#", 1)[0]  # the fragment is Twilio's connection overrides, and never sent
        for _attempt in range(_ATTEMPTS):
            asked = await self._ask_once(url, form, method, token)
            self.asked.append(asked)
            if 0 < asked.status < 500:
                break
        if asked.status == 0:
            raise Unanswered(11205, f"No answer from {url}: {asked.body}")
        if asked.status >= 400:
            raise Unanswered(11200, f"{url} answered {asked.status}: {asked.body[:300]}")
        return asked

    async def _ask_once(self, url: str, form: Mapping[str, str], method: str, token: str) -> Asked:
        began = time.monotonic()
        try:
            status, body, content_type = await self._exchange(url, form, method, token)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            status, body, content_type = 0, f"{type(error).__name__}: {error}", ""
        return Asked(began, time.monotonic(), url, dict(form), status, body, content_type)

    async def _exchange(self, url: str, form: Mapping[str, str], method: str, token: str) -> tuple[int, str, str]:
        # Of a GET the fields stand in the URL, and the signature is over that.
        headers = {IDEMPOTENCY_HEADER: token, "User-Agent": "TwilioProxy/1.1", "Host": urlsplit(url).netloc}
        if method == "GET":
            full = URL(url).extend_query(form)
            headers |= self.signed(str(full))
            request = self._http.get(self.reachable(str(full)), headers=headers, allow_redirects=True)
        else:
            headers |= self.signed(url, form)
            request = self._http.post(self.reachable(url), data=dict(form), headers=headers, allow_redirects=True)
        async with request as response:
            return response.status, await response.text(), response.content_type
