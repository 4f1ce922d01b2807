"""What must be right before a real call can be served, checked one by one; every fault comes with its remedy.

Each check takes the settings and returns findings. A check whose settings are missing returns none: the settings'
own finding has said so already. Nothing secret stands in a finding.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import requests
import websocket
from sqlalchemy.exc import SQLAlchemyError
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]  # ships no types

from kav.flow_files import FlowFileError, folder_of, load_flows
from kav.records import durability_warning, migration
from kav.records.database import build_engine, parse_url, summary
from kav.records.errors import DatabaseMisconfiguredError
from kav.settings import Settings
from kav.wire.twilio_rest import Number, TwilioRest, TwilioRestError

VOICE_PATH, STATUS_PATH, FALLBACK_PATH = "/twilio/voice", "/twilio/status", "/twilio/voice-fallback"
HARMLESS_PATH = "/twilio/stream-status"  # diagnostic only: a request to it changes nothing
TIMEOUT_S = 10.0
CLOCK_TOLERANCE_S = 60.0  # tokens and records bear times; Twilio's own clock is right


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's: what was looked at, and what to do when it is not right."""

    what: str
    remedy: str = ""

    @property
    def ok(self) -> bool:
        """Whether there is nothing to do."""
        return not self.remedy

    def __str__(self) -> str:
        return f"ok  {self.what}" if self.ok else f"!!  {self.what}: {self.remedy}"


def examine(settings: Settings, rest: TwilioRest) -> Iterator[Finding]:
    """Every finding, as soon as it is known."""
    yield from check_settings(settings)
    yield from check_public_url(settings)
    yield from check_signature(settings)
    yield from check_account(rest)
    yield from check_flows(settings)
    yield from check_numbers(settings, rest)
    yield from check_model(settings)
    yield from check_database(settings)


def check_settings(settings: Settings) -> Iterator[Finding]:
    """What cannot be guessed must be set."""
    needed = {
        "PUBLIC_BASE_URL": (settings.PUBLIC_BASE_URL, "set it to the https address that Twilio calls, without a path"),
        "TWILIO_ACCOUNT_SID": (settings.TWILIO_ACCOUNT_SID, "copy it from the Twilio console, it begins with AC"),
        "TWILIO_AUTH_TOKEN": (settings.checks_signatures, "copy it from the Twilio console"),
        "OPENAI_API_KEY": (settings.OPENAI_API_KEY.get_secret_value(), "create one at platform.openai.com/api-keys"),
    }
    for name, (value, remedy) in needed.items():
        yield Finding(f"{name} is set") if value else Finding(f"{name} is not set", remedy)


def check_flows(settings: Settings) -> Iterator[Finding]:
    """Kav does not start with a flow file that cannot be used."""
    try:
        flows = load_flows(folder_of(settings.KAV_FLOWS), settings.KAV_DEFAULT_NUMBERS).flows
    except FlowFileError as error:
        yield Finding(f"{len(error.faults)} faults in the flow files", "run: flask --app app check-flows")
    else:
        yield Finding(f"{len(flows)} flow files are right")


def check_public_url(settings: Settings) -> Iterator[Finding]:
    """Twilio must reach Kav, and its media socket only takes TLS."""
    base = settings.PUBLIC_BASE_URL
    if not base:
        return
    remedy = base_url_fault(base)
    yield Finding(f"{base} can carry a media socket", remedy)
    try:
        status = requests.get(f"{base}/healthz", timeout=TIMEOUT_S).status_code
    except requests.RequestException as error:
        yield Finding(
            f"{base}/healthz does not answer ({type(error).__name__})", "start Kav or its tunnel, check DNS and TLS"
        )
        return
    wrong = "" if status == requests.codes.ok else "the address must lead to a running Kav; check tunnel and routing"
    yield Finding(f"{base}/healthz answers {status}", wrong)


def base_url_fault(base: str) -> str:
    """What is wrong with a public address, as a remedy; empty when nothing is."""
    parts = urlsplit(base)
    if parts.scheme != "https" or not parts.hostname:
        return "use an https:// address: Twilio opens media sockets over TLS only"
    if parts.path.strip("/") or parts.query:
        return "leave only scheme and host: Kav's own paths are appended to it"
    return ""


def check_signature(settings: Settings) -> Iterator[Finding]:
    """Kav, where Twilio reaches it, must accept what the token signs and refuse all else."""
    if not (settings.PUBLIC_BASE_URL and settings.checks_signatures):
        return
    url, form = settings.PUBLIC_BASE_URL + HARMLESS_PATH, {"StreamEvent": "stream-stopped", "StreamSid": "MZdoctor"}
    good = str(RequestValidator(settings.TWILIO_AUTH_TOKEN.get_secret_value()).compute_signature(url, form))
    try:
        accepted, refused = (_post(url, form, signature) for signature in (good, "wrong"))
    except requests.RequestException as error:
        yield Finding(f"{url} does not answer ({type(error).__name__})", "start Kav or its tunnel")
        return
    remedy = "the running Kav has another TWILIO_AUTH_TOKEN or PUBLIC_BASE_URL than this one: make them equal"
    yield Finding(f"a signed request is answered {accepted}", "" if accepted < 300 else remedy)
    remedy = "the running Kav checks no signatures: give it TWILIO_AUTH_TOKEN and restart it"
    yield Finding(f"a forged request is answered {refused}", "" if refused == requests.codes.forbidden else remedy)


def check_account(rest: TwilioRest) -> Iterator[Finding]:
    """Twilio must accept the credentials; its answer also tells the time."""
    if not rest.has_credentials:
        return
    try:
        account = rest.account()
    except TwilioRestError as error:
        yield Finding("Twilio's account cannot be read", str(error))
        return
    wrong = "" if account.status == "active" else "see the Twilio console for why"
    yield Finding(f"Twilio's account {account.sid} is {account.status}", wrong)
    if account.date is not None:
        yield clock_finding((datetime.now(UTC) - account.date).total_seconds())


def clock_finding(ahead_s: float) -> Finding:
    """This machine's clock against Twilio's; `ahead_s` is how many seconds it is ahead."""
    off = abs(ahead_s)
    wrong = "" if off <= CLOCK_TOLERANCE_S else "set the clock of this machine (NTP)"
    return Finding(f"the clock is {off:.0f} s {'ahead of' if ahead_s > 0 else 'behind'} Twilio's", wrong)


def check_numbers(settings: Settings, rest: TwilioRest) -> Iterator[Finding]:
    """Each number that rings at Kav must have all three URLs, and each that Kav is to answer must ring at it."""
    base = settings.PUBLIC_BASE_URL
    if not (rest.has_credentials and base):
        return
    try:
        numbers = rest.numbers()
    except TwilioRestError as error:
        yield Finding("the account's numbers cannot be read", str(error))
        return
    ours = [number for number in numbers if number.voice_url.startswith(base)]
    yield from (number_finding(number, base) for number in ours)
    yield from _unanswered(settings, ours)
    unconnected = set(settings.KAV_DEFAULT_NUMBERS) - {number.number for number in ours} - {"*"}
    if not ours and not unconnected:
        yield Finding("no number rings at Kav", "run: flask --app app connect-number +...")
    for missing in sorted(unconnected):
        yield Finding(f"{missing} does not ring at Kav", f"run: flask --app app connect-number {missing}")


def _unanswered(settings: Settings, ours: list[Number]) -> Iterator[Finding]:
    """A number that rings at Kav and that nobody answers is rejected."""
    try:
        flows = load_flows(folder_of(settings.KAV_FLOWS), settings.KAV_DEFAULT_NUMBERS)
    except FlowFileError:
        return
    for number in ours:
        if flows.inbound(number.number) is None:
            yield Finding(f"no flow answers {number.number}", "name it in a flow file, or in KAV_DEFAULT_NUMBERS")


def number_finding(number: Number, base: str) -> Finding:
    """One number's URLs, read back."""
    is_set = {
        "voice URL": (number.voice_url, number.voice_method) == (base + VOICE_PATH, "POST"),
        "status callback": (number.status_callback, number.status_callback_method) == (base + STATUS_PATH, "POST"),
        "fallback URL": (number.voice_fallback_url, number.voice_fallback_method) == (base + FALLBACK_PATH, "POST"),
    }
    wrong = [name for name, right in is_set.items() if not right]
    if not wrong:
        return Finding(f"{number.number} rings at Kav")
    return Finding(
        f"{number.number}: {', '.join(wrong)} not Kav's", f"run: flask --app app connect-number {number.number}"
    )


def check_model(settings: Settings) -> Iterator[Finding]:
    """The model must open a session for this key; nothing is said and nothing is billed."""
    key, model = settings.OPENAI_API_KEY.get_secret_value(), settings.OPENAI_REALTIME_MODEL
    if not key:
        return
    try:
        event = _first_event(f"{settings.OPENAI_REALTIME_URL}?model={model}", key)
    except websocket.WebSocketBadStatusException as error:
        yield Finding(f"OpenAI refuses the key or {model} (HTTP {error.status_code})", _model_remedy(error.status_code))
    except (OSError, ValueError, websocket.WebSocketException) as error:
        yield Finding(f"OpenAI does not answer ({type(error).__name__})", "check the network and OPENAI_REALTIME_URL")
    else:
        yield model_finding(event, model)


def model_finding(event: dict[str, Any], model: str) -> Finding:
    """What the Realtime API's first event says; a refusal may come as an `error` event."""
    if event.get("type") == "session.created":
        return Finding(f"OpenAI opens a session with {model}")
    said = event.get("error") or {}
    return Finding(
        f"OpenAI opens no session with {model} ({said.get('code') or event.get('type')})",
        str(said.get("message") or "check OPENAI_API_KEY and OPENAI_REALTIME_MODEL"),
    )


def check_database(settings: Settings) -> Iterator[Finding]:
    """The database must be there, migrated, and still be there after a restart."""
    try:
        engine = build_engine(parse_url(settings.DATABASE_URL), "read")
        with engine.connect() as connection:
            present, expected = migration.revision_of(connection), migration.head()
        engine.dispose()
    except (DatabaseMisconfiguredError, SQLAlchemyError) as error:
        yield Finding(f"the database cannot be used ({summary(error)})", "check DATABASE_URL and that the server runs")
        return
    wrong = "" if present == expected else "run: flask --app app migrate (or start Kav, which does it)"
    yield Finding(f"the database is at revision {present}, this code at {expected}", wrong)
    backend = parse_url(settings.DATABASE_URL).get_backend_name()
    yield Finding(f"records are kept in {backend}", durability_warning(settings.DATABASE_URL, settings.DYNO))


def _post(url: str, form: dict[str, str], signature: str) -> int:
    headers = {"X-Twilio-Signature": signature}
    return requests.post(url, form, headers=headers, timeout=TIMEOUT_S, allow_redirects=False).status_code


def _first_event(url: str, key: str) -> dict[str, Any]:
    connection = websocket.create_connection(url, timeout=TIMEOUT_S, header={"Authorization": f"Bearer {key}"})
    try:
        event = json.loads(connection.recv() or "{}")
    finally:
        connection.close(timeout=1)
    return event if isinstance(event, dict) else {}


def _model_remedy(status: int) -> str:
    remedies = {
        requests.codes.unauthorized: "check OPENAI_API_KEY",
        requests.codes.forbidden: "the key's project may not use the Realtime API or this model",
        requests.codes.not_found: "check OPENAI_REALTIME_MODEL and OPENAI_REALTIME_URL",
        requests.codes.too_many_requests: "raise the account's limits or add credit",
    }
    return remedies.get(status, "see status.openai.com and try again later")
