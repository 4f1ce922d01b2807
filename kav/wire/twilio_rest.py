"""Twilio's REST API, as far as Kav needs it: place a call, end one, ask how one ended, connect a number.

    TwilioRestError                  anything below; the message names the call and the remedy
    ├── NoCredentialsError           TWILIO_ACCOUNT_SID or TWILIO_AUTH_TOKEN is not set
    ├── RefusedCredentialsError      Twilio does not accept them (HTTP 401, 403)
    ├── NotFoundError                Twilio knows no such call or number (HTTP 404)
    ├── RefusedRequestError          Twilio understood and said no (another 4xx)
    ├── UnreachableError             no answer, or 429 or 5xx, as often as Kav tried
    └── UnknownOutcomeError          a call was asked for and no answer came: it may be ringing, or not

Source of codes and fields: Twilio's Voice REST API, resources Call, IncomingPhoneNumber and Account; error 21220.
Under monkey patching every request is cooperative, for the twilio package speaks through requests.
"""

import json
import logging
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any, TypeVar

import requests
from requests.exceptions import ConnectTimeout, RequestException
from twilio.base.exceptions import (  # type: ignore[import-untyped]  # ships no types
    TwilioException,
    TwilioRestException,
    TwilioServiceException,
)
from twilio.http.http_client import TwilioHttpClient  # type: ignore[import-untyped]  # ships no types
from twilio.http.response import Response  # type: ignore[import-untyped]  # ships no types
from twilio.rest import Client  # type: ignore[import-untyped]  # ships no types
from urllib3.exceptions import NewConnectionError

from kav.settings import Settings
from kav.wire.https_pool import HttpsPool

T = TypeVar("T")

TIMEOUT_S = 5.0  # Twilio answers in well under a second; a call that should end is billed meanwhile
TRIES = 3
FIRST_RETRY_S = 0.5
LAST_RETRY_S = 4.0
NOT_IN_PROGRESS = 21220  # "Unable to update record: Call is not in progress": it has ended already

MAX_WORDS = 300
"""Characters of what an answer says that go into an error, and so into logs and answers."""

MAX_DURATION_DIGITS = 7

UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, OverflowError)
"""What the package lets through when an answer is no JSON, or is JSON of another kind than it reads."""

# The package logs each request at INFO, telephone numbers included; they are nobody's business.
_quiet = logging.getLogger("kav.twilio.http")
_quiet.setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request failed: HTTP status (0: no answer that could be read), Twilio's own code if any, and its words."""

    status: int
    code: int | None
    words: str


class TwilioRestError(Exception):
    """Twilio's REST API could not do what was asked; `refusal` says what came back."""

    def __init__(self, message: str, refusal: Refusal | None = None) -> None:
        super().__init__(message)
        self.refusal = refusal


class NoCredentialsError(TwilioRestError):
    """There is no account to ask with."""


class RefusedCredentialsError(TwilioRestError):
    """Twilio does not accept the account SID and token."""


class NotFoundError(TwilioRestError):
    """Twilio does not know the call or number."""


class RefusedRequestError(TwilioRestError):
    """Twilio refused the request for a reason of its own, given in the message."""


class UnreachableError(TwilioRestError):
    """Twilio did not answer in time, or was overloaded, at every try."""


class UnknownOutcomeError(TwilioRestError):
    """Nobody can say whether a call was placed: asking again could ring the same person twice."""


class HangUp(Enum):
    """How a call came to its end: now, or it had ended before."""

    ENDED = "ended"
    ALREADY_OVER = "already over"


@dataclass(frozen=True, slots=True)
class Number:
    """A telephone number of the account and the URLs that Twilio asks when it rings."""

    sid: str
    number: str
    voice_url: str
    voice_method: str
    status_callback: str
    status_callback_method: str
    voice_fallback_url: str
    voice_fallback_method: str


@dataclass(frozen=True, slots=True)
class NewCall:
    """A call to place: E.164 numbers, the URLs that Twilio asks about it, and how long it may ring and last, in s.

    `waits_for_beep`: machine detection tells of a machine when its greeting is over, not as soon as it is known.
    """

    to: str
    from_: str
    voice_url: str
    fallback_url: str
    status_url: str
    machine_url: str
    waits_for_beep: bool
    ring_s: int
    time_limit_s: int


@dataclass(frozen=True, slots=True)
class Account:
    """The account behind the credentials; `date` is Twilio's clock when it answered."""

    sid: str
    status: str
    date: datetime | None


class TwilioRest:
    """A small typed client; every method waits at most TRIES * `timeout_s` plus the pauses between.

    `sleep` takes seconds; it is time.sleep, which monkey patching makes cooperative.
    """

    def __init__(
        self, settings: Settings, *, timeout_s: float = TIMEOUT_S, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._sleep = sleep
        self._last_date = ""
        http = TwilioHttpClient(timeout=timeout_s, logger=_quiet, request_hooks={"response": [self._note_date]})
        self._session, self._pool, self._base_url = http.session, HttpsPool(), settings.TWILIO_API_BASE_URL
        self._session.mount("https://", self._pool)
        self._client = _client(settings, http)

    @property
    def has_credentials(self) -> bool:
        """Whether there is an account to ask with."""
        return self._client is not None

    def warm_up(self) -> None:
        """Touch what the package imports on first use (50 to 90 ms): at boot, not while calls are live.

        The same goes for whom TLS trusts (20 ms).
        """
        if self._client is not None:
            client = self._client
            self._pool.trust(self._session.merge_environment_settings(self._base_url, {}, None, None, None)["verify"])
            _ = (client.calls("CA0"), client.incoming_phone_numbers, client.api.accounts, client.messages)

    def place_call(self, call: NewCall) -> str:
        """Place a call; returns its sid. Carried out once only, for the same request again would be a second call.

        The status callback tells of every stage. Machine detection is asynchronous, so nobody waits for it.

        Raises:
            UnknownOutcomeError: Twilio took the request, or may have, and did not say what became of it.
            TwilioRestError: no call was placed.
        """
        placed = self.ask(f"the call to {masked(call.to)}", lambda client: _create(client, call), once=True)
        if not placed.sid:  # it was created, and nobody can say which one it is
            raise unknown(f"the call to {masked(call.to)}", Refusal(0, None, "an answer without the call's sid"))
        return str(placed.sid)

    def hang_up(self, call_sid: str) -> HangUp:
        """End a call; one that has ended, or that Twilio has forgotten, is a success."""
        try:
            self.ask(f"call {call_sid}", lambda client: client.calls(call_sid).update(status="completed"))
        except NotFoundError:
            return HangUp.ALREADY_OVER
        except RefusedRequestError as error:
            if error.refusal and error.refusal.code == NOT_IN_PROGRESS:
                return HangUp.ALREADY_OVER
            raise
        return HangUp.ENDED

    def redirect(self, call_sid: str, twiml: str) -> None:
        """Let a live call go on with `twiml`. Carried out once only: the same again would begin it anew.

        Raises:
            TwilioRestError: the call may, or may not, have gone on with it.
        """
        whom = f"call {call_sid}"
        self.ask(whom, lambda client: client.calls(call_sid).update(twiml=twiml), once=True, patience_s=TIMEOUT_S)

    def fetch_status(self, call_sid: str) -> tuple[str, int | None] | None:
        """A call's status and its duration in seconds (None while it has none); None for an unknown call."""
        try:
            call = self.ask(f"call {call_sid}", lambda client: client.calls(call_sid).fetch())
        except NotFoundError:
            return None
        duration = str(call.duration or "")
        known = duration.isascii() and duration.isdigit() and len(duration) <= MAX_DURATION_DIGITS
        return str(call.status or ""), int(duration) if known else None

    def find_number(self, number: str) -> Number | None:
        """The account's number that is exactly `number` (E.164), or None."""
        found = self.ask(
            f"number {number}", lambda client: client.incoming_phone_numbers.list(phone_number=number, limit=20)
        )
        return next((_number(each) for each in found if each.phone_number == number), None)

    def connect_number(self, sid: str, voice_url: str, status_callback: str, fallback: str) -> Number:
        """Set the URLs that Twilio asks for a number, all by POST; returns the number as Twilio has it then."""
        changed = self.ask(
            f"number {sid}",
            lambda client: client.incoming_phone_numbers(sid).update(
                voice_url=voice_url,
                voice_method="POST",
                status_callback=status_callback,
                status_callback_method="POST",
                voice_fallback_url=fallback,
                voice_fallback_method="POST",
            ),
        )
        return _number(changed)

    def numbers(self, limit: int = 50) -> list[Number]:
        """The account's numbers, at most `limit`."""
        return [
            _number(each)
            for each in self.ask("the numbers", lambda client: client.incoming_phone_numbers.list(limit=limit))
        ]

    def account(self) -> Account:
        """The account itself: proof that the credentials are good, and Twilio's clock."""
        account = self.ask("the account", lambda client: client.api.accounts(client.account_sid).fetch())
        return Account(str(account.sid), str(account.status), _date(self._last_date))

    def ask(self, whom: str, request: Callable[[Client], T], *, once: bool = False, patience_s: float = math.inf) -> T:
        """Ask until there is an answer that trying again would not change, TRIES times at most.

        Args:
            whom: what it is about, for the error.
            request: what to ask of the package's client.
            once: carried out twice, it would be done twice; so only what was surely not done is tried again.
            patience_s: no try begins later than this, in seconds, for somebody waits for what comes of it.
        """
        if self._client is None:
            remedy = "set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN to use Twilio's REST API"
            raise NoCredentialsError(f"{whom}: there is no account to ask with; {remedy}")
        until = time.monotonic() + patience_s
        for tries_left in reversed(range(TRIES)):
            try:
                return request(self._client)
            except (TwilioException, RequestException, *UNREADABLE) as error:
                refusal = refusal_of(error)
                if once and may_have_worked(error, refusal.status):
                    raise unknown(whom, refusal) from error
                if not (tries_left and is_retryable(refusal.status) and time.monotonic() < until):
                    raise explain(whom, refusal) from error
            self._sleep(pause_s(TRIES - tries_left, random.random()))  # noqa: S311 - jitter, not a secret
        raise AssertionError("unreachable: the last try returns or raises")

    def _note_date(self, response: requests.Response, **_: object) -> None:
        self._last_date = response.headers.get("Date", "")


def is_retryable(status: int) -> bool:
    """Whether the same request may succeed a moment later: no answer at all, too many requests, Twilio's own fault.

    Most of Kav's requests are idempotent, so an answer that was lost may be asked for again; for the others see
    `may_have_worked`.
    """
    return status in (0, 429) or status >= 500


def may_have_worked(error: Exception, status: int) -> bool:
    """Whether a request that failed may have been carried out: it was sent, and no readable answer says otherwise.

    429 says so: Twilio does nothing of what it turns away for there being too many requests.
    """
    return status >= 500 or (status == 0 and not _never_sent(error))


def _never_sent(error: Exception) -> bool:
    """Whether there was not even a connection; requests and urllib3 tell it by the exception inside."""
    inner = error.args[0] if error.args else None
    return isinstance(error, ConnectTimeout) or isinstance(getattr(inner, "reason", None), NewConnectionError)


def unknown(whom: str, refusal: Refusal) -> UnknownOutcomeError:
    """The error to raise when nobody can say what became of a call."""
    said = f"answered {refusal.status}" if refusal.status else f"did not answer ({refusal.words})"
    remedy = "look for it in Twilio's call log before you place it again, or the same person may be rung twice"
    return UnknownOutcomeError(f"{whom}: Twilio {said}, so the call may have been placed or not; {remedy}", refusal)


def masked(number: str) -> str:
    """A telephone number for a message or a log: its last four digits."""
    return f"…{number[-4:]}"


def refusal_of(error: Exception) -> Refusal:
    """What an exception says; the package has three kinds for answers, and lets others pass when there is none."""
    if isinstance(error, TwilioRestException):
        return Refusal(error.status, error.code, str(error.msg)[:MAX_WORDS])
    if isinstance(error, TwilioServiceException):
        return Refusal(error.status, error.code, f"{error.title}, {error.detail}"[:MAX_WORDS])
    answer = error.args[1] if isinstance(error, TwilioException) and len(error.args) > 1 else None
    if isinstance(answer, Response):  # a list's page
        return Refusal(answer.status_code, *_code_and_message(answer.text))
    return Refusal(0, None, type(error).__name__)


def pause_s(tries: int, chance: float) -> float:
    """Seconds before the next try, after `tries` failures; `chance` in 0..1 spreads callers apart."""
    return float(min(LAST_RETRY_S, FIRST_RETRY_S * 2 ** (tries - 1)) * (0.5 + chance / 2))


def explain(whom: str, refusal: Refusal) -> TwilioRestError:
    """The error to raise, with the remedy; nothing secret in it."""
    if refusal.status == 0:
        said = f"{whom}: Twilio did not answer ({refusal.words})"
        return UnreachableError(f"{said}; check the network and TWILIO_API_BASE_URL", refusal)
    said = f"{whom}: Twilio answered {refusal.status}, code {refusal.code}: {refusal.words}"
    if refusal.status in (401, 403):
        return RefusedCredentialsError(f"{said}; check TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN", refusal)
    if refusal.status == 404:
        return NotFoundError(f"{said}; check that it belongs to this account", refusal)
    if is_retryable(refusal.status):
        return UnreachableError(f"{said}; see status.twilio.com and try again later", refusal)
    return RefusedRequestError(f"{said}; see https://www.twilio.com/docs/api/errors/{refusal.code}", refusal)


def _code_and_message(text: str) -> tuple[int | None, str]:
    try:
        body = json.loads(text)
        return body.get("code"), str(body.get("message"))[:MAX_WORDS]
    except (ValueError, AttributeError):  # a proxy's page, not Twilio's answer
        return None, "no reason given"


def _client(settings: Settings, http: TwilioHttpClient) -> Client | None:
    token = settings.TWILIO_AUTH_TOKEN.get_secret_value()
    if not (settings.TWILIO_ACCOUNT_SID and token):
        return None
    # An own `environment`, for the package would read region and edge from the process's and rewrite the host.
    account = settings.TWILIO_ACCOUNT_SID
    client = Client(account, token, http_client=http, environment={"TWILIO_ACCOUNT_SID": account})
    client.api.base_url = settings.TWILIO_API_BASE_URL
    return client


def _create(client: Client, call: NewCall) -> Any:  # noqa: ANN401 - the package's resources are untyped
    return client.calls.create(
        to=call.to,
        from_=call.from_,
        url=call.voice_url,
        method="POST",
        fallback_url=call.fallback_url,
        fallback_method="POST",
        status_callback=call.status_url,
        status_callback_method="POST",
        status_callback_event=["initiated", "ringing", "answered", "completed"],
        timeout=call.ring_s,
        time_limit=call.time_limit_s,
        machine_detection="DetectMessageEnd" if call.waits_for_beep else "Enable",
        async_amd="true",
        async_amd_status_callback=call.machine_url,
        async_amd_status_callback_method="POST",
    )


def _number(resource: Any) -> Number:  # noqa: ANN401 - the package's resources are untyped
    return Number(
        sid=str(resource.sid),
        number=str(resource.phone_number),
        voice_url=str(resource.voice_url or ""),
        voice_method=str(resource.voice_method or ""),
        status_callback=str(resource.status_callback or ""),
        status_callback_method=str(resource.status_callback_method or ""),
        voice_fallback_url=str(resource.voice_fallback_url or ""),
        voice_fallback_method=str(resource.voice_fallback_method or ""),
    )


def _date(header: str) -> datetime | None:
    try:
        return parsedate_to_datetime(header)
    except UNREADABLE:
        return None
