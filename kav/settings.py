"""Every setting of Kav, once: its name in the environment, its unit, its default and the reason for it.

Read once at boot by `app.create_app` and handed down; no other module looks at the environment.

    settings = Settings()                      # from the environment and ./.env
    settings = Settings(PORT=0, MAX_CALLS=3)   # in a test

Field names are the names of the environment variables, so that what an operator types is what the code says.
"""

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Annotated, Final, Literal, Self
from urllib.parse import SplitResult, unquote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dotenv import dotenv_values
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from kav.call.admission import WITHHELD
from kav.dialling import is_region

HEROKU_DRAIN_S: Final = 20.0
"""Heroku kills 30 s after SIGTERM, and what follows a drain takes up to 9 of them."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MIN_PASSWORD_CHARS = 10
BLOCKABLE = re.compile(r"\+[0-9]{1,15}\*?|(sip|client):\S+")
ANSWERABLE = re.compile(r"\+(?!9720)[1-9][0-9]{6,14}|\*")  # nothing else is ever dialled: +972 and then no zero
PUBLIC_HOST = re.compile(r"https://([^\s/?#@:\[\]]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?")
LOOPBACK_HOST = re.compile(r"http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class Settings(BaseSettings):
    """One installation's settings; see each field's description, or `.env.example`."""

    model_config = SettingsConfigDict(
        env_file=".env",
        extra="ignore",
        frozen=True,
        case_sensitive=True,
        hide_input_in_errors=True,  # what is wrong with a secret may be said, the secret may not
    )

    # Where Kav listens and what the world calls it
    HOST: str = Field(default="", description="Address to bind. Default: 0.0.0.0 with a Twilio token, else 127.0.0.1.")
    PORT: int = Field(default=8080, ge=0, le=65535, description="Port to bind. Heroku sets it.")
    PUBLIC_BASE_URL: str = Field(
        default="",
        description="What Twilio calls Kav, e.g. https://kav.example.com (no path). Signatures are checked against it.",
    )

    # Twilio
    TWILIO_ACCOUNT_SID: str = Field(default="", description="AC...; REST calls, and a check of each stream's start.")
    TWILIO_AUTH_TOKEN: SecretStr = Field(default=SecretStr(""), description="Signs every webhook and the media socket.")
    TWILIO_SHARED_KEY_ID: str = Field(
        default="", description="Id of the SharedKey that signs webhooks, if the account has opted in to one."
    )
    TWILIO_SHARED_KEY: SecretStr = Field(default=SecretStr(""), description="Its secret; the auth token stays valid.")
    TWILIO_API_BASE_URL: str = Field(default="https://api.twilio.com", description="Another host for a stand-in.")

    # OpenAI
    OPENAI_API_KEY: SecretStr = Field(default=SecretStr(""), description="Key for the Realtime API.")
    OPENAI_REALTIME_URL: str = Field(
        default="wss://api.openai.com/v1/realtime", description="Realtime endpoint, without the model."
    )
    OPENAI_REALTIME_MODEL: str = Field(default="gpt-realtime-2.1", description="Speech-to-speech model.")
    OPENAI_FALLBACK_MODEL: str = Field(
        default="", description="Model to speak with while the other cannot be reached; none: an apology, or a human."
    )
    OPENAI_FALLBACK_URL: str = Field(default="", description="Its Realtime endpoint. Default: OPENAI_REALTIME_URL.")
    OPENAI_FALLBACK_API_KEY: SecretStr = Field(default=SecretStr(""), description="Its key. Default: OPENAI_API_KEY.")
    OPENAI_VOICE: str = Field(default="marin", description="The bot's voice; fixed for a whole call.")
    OPENAI_TRANSCRIBE_MODEL: str = Field(default="gpt-transcribe", description="Transcribes the caller; language open.")
    OPENAI_BASE_URL: str = Field(default="https://api.openai.com/v1", description="Where summaries are asked for.")
    OPENAI_SUMMARY_MODEL: str = Field(default="gpt-5.4-mini", description="Text model that sums calls up.")

    # After the call
    SMTP_URL: SecretStr = Field(
        default=SecretStr(""), description="smtps://user:password@host:465, or smtp:// for STARTTLS; sends e-mail."
    )
    MAIL_FROM: str = Field(default="", description="Address that e-mail comes from; default: the user of SMTP_URL.")
    KAV_WEBHOOK_URL: str = Field(default="", description="https address that is told of every call that is over.")
    KAV_WEBHOOK_SECRET: SecretStr = Field(default=SecretStr(""), description="Signs what is sent there.")

    # More than one process
    REDIS_URL: SecretStr = Field(
        default=SecretStr(""), description="redis:// or rediss://; lets several processes serve one address."
    )
    REDIS_VERIFY_TLS: bool = Field(
        default=True, description="Check the certificate of rediss://; false for Heroku's, which is its own."
    )

    # Records
    DATABASE_URL: str = Field(
        default="sqlite:///kav.db", description="SQLAlchemy URL; postgres:// becomes postgresql+psycopg://."
    )
    RETENTION_DAYS: float = Field(
        default=90, ge=0, le=36_500, description="Days before a call and all it brought are deleted; 0: never."
    )
    KAV_STORE_WORDS: bool = Field(
        default=True, description="Keep what was said, keyed and answered; if false, only when and how long."
    )

    # Who may ask, and who is answered
    KAV_API_TOKEN: SecretStr = Field(
        default=SecretStr(""), description="Bearer token that places calls (POST /calls) and shows /healthz's figures."
    )
    KAV_CONSOLE_PASSWORD: SecretStr = Field(
        default=SecretStr(""), description="Opens /console, at least 10 characters; none: there is no console."
    )
    KAV_SECRET_KEY: SecretStr = Field(
        default=SecretStr(""), description="Signs the console's cookies; none: its logins end with each restart."
    )
    KAV_CONSOLE_VIEWERS: int = Field(default=20, ge=1, description="Pages that may watch live calls at a time.")
    KAV_TIMEZONE: str = Field(default="Asia/Jerusalem", description="Of the times that the console shows.")
    KAV_DEFAULT_NUMBERS: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Dialled numbers that the default flow answers, comma separated; * for all."
    )
    KAV_FLOWS: str = Field(default="", description="Folder of the flow files; default: flows, beside app.py.")
    KAV_TOOL_HOSTS: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="The only hosts that tools of flow files may ask, comma separated; none: any public one.",
    )
    KAV_TOOLS_URL: str = Field(
        default="", description="A stand-in on this machine, http://127.0.0.1:PORT, asked instead of every tool's host."
    )
    PHONE_REGION: str = Field(
        default="IL", description="Country (ISO 3166) of numbers to call that are written without one."
    )
    KAV_REHEARSAL: bool = Field(default=False, description="A rehearsal on a laptop: loopback, no Twilio, no OpenAI.")

    # Limits
    MAX_CALLS: int = Field(default=100, ge=1, description="Concurrent streams; beyond it the upgrade answers 503.")
    CALLS_PER_MINUTE: int = Field(default=10, ge=1, description="Calls that POST /calls places in any minute.")
    CALLS_PER_CALLER_PER_HOUR: int = Field(
        default=20, ge=0, description="Calls of one caller that are taken in any hour; 0: any number."
    )
    BLOCKED_NUMBERS: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Callers who are not taken, comma separated: +972501234567, a beginning +2637*, or anonymous.",
    )
    DAILY_SPEND_CAP_USD: float = Field(
        default=0, ge=0, description="What the models may cost a day before new calls are refused; 0: no cap."
    )
    HUB_LAG_SHED_MS: float = Field(
        default=250, ge=0, description="A process later than this for 2 s takes no new calls; 0: it always does."
    )
    MAX_CALL_S: float = Field(
        default=900, gt=0, le=3300, description="Longest call in seconds; the model's own limit is 60 minutes."
    )
    MEDIA_SILENCE_S: float = Field(
        default=5, gt=0, description="Seconds without a frame from Twilio, which sends 50 a second, before it is dead."
    )
    WRITE_STALL_S: float = Field(default=5, gt=0, description="Seconds that one write to a peer may stand still.")
    MODEL_CONNECT_TIMEOUT_S: float = Field(default=5, gt=0, description="Seconds to connect and configure the model.")
    MODEL_REST_S: float = Field(
        default=10,
        ge=0,
        description="Seconds that an endpoint which fails again and again is left alone at the most; 0: never.",
    )
    MODEL_REPLY_TIMEOUT_S: float = Field(
        default=8, gt=0, description="Seconds without progress on a reply before the caller hears an apology."
    )
    MODEL_RECONNECTS: int = Field(
        default=2, ge=0, le=5, description="How often a stream whose model is lost gets another connection to it."
    )
    PREWARM_UNCLAIMED_S: float = Field(default=30, gt=0, description="Seconds a prewarmed model waits for its stream.")
    ENTRY_TTL_S: float = Field(default=120, gt=0, description="Seconds an ended or unclaimed entry stays known.")
    HANGUP_FALLBACK_S: float = Field(
        default=3, gt=0, description="Seconds after Kav's end before REST hangs up, if Twilio did not ask what next."
    )
    TERMINAL_STATUS_S: float = Field(
        default=60, gt=0, description="Seconds after Kav's end before a missing terminal status is fetched over REST."
    )
    SILENCE_ASK_S: float = Field(
        default=4, gt=0, description="Seconds of silence on the caller's turn before Kav asks once."
    )
    SILENCE_CLOSE_S: float = Field(default=7, gt=0, description="Seconds of that silence before the call is closed.")
    DRAIN_SECONDS: float = Field(
        default=20, ge=0, description="Seconds live calls may finish in after SIGTERM; Heroku leaves time for 20."
    )

    # Voice activity detection, the only knob against noise (tuned on Hebrew phone lines)
    VAD_THRESHOLD: float = Field(default=0.6, ge=0, le=1, description="0..1; higher asks for louder speech.")
    VAD_SILENCE_MS: int = Field(default=600, ge=100, le=5000, description="Quiet that ends a caller's turn, in ms.")
    VAD_PREFIX_MS: int = Field(default=300, ge=0, le=2000, description="Audio kept from before speech, in ms.")

    KAV_METRICS_TOKEN: SecretStr = Field(
        default=SecretStr(""), description="Bearer token that reads /metrics and nothing else; KAV_API_TOKEN does too."
    )
    LOG_FORMAT: Literal["auto", "json", "text"] = Field(
        default="auto", description="json or text; auto: json on Heroku, text elsewhere."
    )
    LOG_WORDS: bool = Field(default=False, description="Log what was said, when a call is over.")
    LOG_LEVEL: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR.")
    DYNO: str = Field(default="", description="Set by Heroku; tells Kav that its disk does not survive a restart.")

    @field_validator("KAV_DEFAULT_NUMBERS", "KAV_TOOL_HOSTS", "BLOCKED_NUMBERS", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("BLOCKED_NUMBERS")
    @classmethod
    def _blockable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """One that is written in another form would block nobody."""
        for entry in value:
            if entry != WITHHELD and not BLOCKABLE.fullmatch(entry):
                raise ValueError(f"{entry!r} blocks nobody: write +972501234567, +2637* or {WITHHELD}")
        return value

    @field_validator("KAV_DEFAULT_NUMBERS")
    @classmethod
    def _answerable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """One that is written in another form would be answered by nobody."""
        for entry in value:
            if not ANSWERABLE.fullmatch(entry):
                raise ValueError(f"{entry!r} is never dialled: write +97231234567, or * for all")
        return value

    @field_validator("PHONE_REGION")
    @classmethod
    def _known_region(cls, value: str) -> str:
        if not is_region(value):
            raise ValueError(f"there is no country {value!r}: use its two capital letters, e.g. IL")
        return value

    @field_validator("KAV_CONSOLE_PASSWORD")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        if 0 < len(value.get_secret_value()) < MIN_PASSWORD_CHARS:
            raise ValueError(f"it opens every call's record: give it at least {MIN_PASSWORD_CHARS} characters")
        return value

    @field_validator("KAV_TIMEZONE")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"{value!r} is no time zone: write one like Asia/Jerusalem") from error
        return value

    @field_validator(
        "PUBLIC_BASE_URL", "TWILIO_API_BASE_URL", "OPENAI_REALTIME_URL", "OPENAI_FALLBACK_URL", "OPENAI_BASE_URL"
    )
    @classmethod
    def _strip_slash(cls, value: str) -> str:
        return value.rstrip("/")

    @field_validator("PUBLIC_BASE_URL")
    @classmethod
    def _is_host_alone(cls, value: str) -> str:
        """Signatures are checked against it and Kav's paths are appended: with any other, every call is refused."""
        if value and not (PUBLIC_HOST.fullmatch(value) or LOOPBACK_HOST.fullmatch(value)):
            raise ValueError("write scheme and host alone, like https://kav.example.com; http:// is for 127.0.0.1 only")
        return value

    @field_validator("LOG_LEVEL")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.upper() not in LOG_LEVELS:
            raise ValueError(f"{value!r} is no level: write {', '.join(LOG_LEVELS[:-1])} or {LOG_LEVELS[-1]}")
        return value

    @field_validator("KAV_TOOLS_URL")
    @classmethod
    def _stays_on_this_machine(cls, value: str) -> str:
        """The stand-in is asked without TLS, with the tools' secrets: nobody else may hear them."""
        parts = urlsplit(value)
        if value and not (parts.scheme == "http" and parts.hostname in LOOPBACK and parts.port):
            raise ValueError("it is for a rehearsal: write http://127.0.0.1:PORT, or leave it unset")
        return value

    @field_validator("KAV_WEBHOOK_URL")
    @classmethod
    def _is_private(cls, value: str) -> str:
        """Callers' words go there: encrypted, or not off this machine."""
        parts = urlsplit(value)
        if value and not (parts.hostname and (parts.scheme == "https" or _is_loopback(value))):
            raise ValueError("calls' words go there: write an https:// address")
        return value

    @field_validator("SMTP_URL")
    @classmethod
    def _is_mail_server(cls, value: SecretStr) -> SecretStr:
        parts = _split_url(value.get_secret_value())
        if value.get_secret_value() and not (parts.scheme in ("smtp", "smtps") and parts.hostname):
            raise ValueError("write smtps://user:password@smtp.example.com:465")
        return value

    @field_validator("REDIS_URL")
    @classmethod
    def _is_redis(cls, value: SecretStr) -> SecretStr:
        parts = _split_url(value.get_secret_value())
        if value.get_secret_value() and not (parts.scheme in ("redis", "rediss") and parts.hostname):
            raise ValueError("write redis://:password@host:6379, or rediss:// for TLS")
        return value

    @field_validator("DATABASE_URL")
    @classmethod
    def _sqlalchemy_url(cls, value: str) -> str:
        for old in ("postgres://", "postgresql://"):
            if value.startswith(old):
                return "postgresql+psycopg://" + value.removeprefix(old)
        return value

    @model_validator(mode="after")
    def _one_process_is_alone(self) -> Self:
        """Without Redis, a second dyno would get webhooks of calls that it has never heard of."""
        process, _, number = self.DYNO.partition(".")
        if process == "web" and number.isdecimal() and int(number) > 1 and not self.REDIS_URL.get_secret_value():
            raise ValueError(
                f"DYNO is {self.DYNO}: more than one process needs REDIS_URL; set it, or `heroku ps:scale web=1`"
            )
        return self

    @model_validator(mode="after")
    def _webhook_is_signed(self) -> Self:
        if self.KAV_WEBHOOK_URL and not self.KAV_WEBHOOK_SECRET.get_secret_value():
            raise ValueError("KAV_WEBHOOK_URL needs KAV_WEBHOOK_SECRET: its receiver must know whom it hears")
        return self

    @model_validator(mode="after")
    def _shared_key_is_whole(self) -> Self:
        if bool(self.TWILIO_SHARED_KEY_ID) != bool(self.TWILIO_SHARED_KEY.get_secret_value()):
            raise ValueError("TWILIO_SHARED_KEY_ID and TWILIO_SHARED_KEY go together: set both, or neither")
        return self

    @model_validator(mode="after")
    def _rehearsal_stays_home(self) -> Self:
        """Rehearsal checks no signatures, so it may be reached by nobody but this machine."""
        if not self.KAV_REHEARSAL:
            return self
        reasons = {
            "TWILIO_AUTH_TOKEN is set": bool(self.TWILIO_AUTH_TOKEN.get_secret_value()),
            "DYNO is set": bool(self.DYNO),
            f"HOST is {self.HOST}": self.HOST not in ("", *LOOPBACK),
            f"PUBLIC_BASE_URL is {self.PUBLIC_BASE_URL}": not self.public_is_loopback,
        }
        for reason, refused in reasons.items():
            if refused:
                raise ValueError(f"KAV_REHEARSAL is for one laptop, but {reason}: unset one of the two.")
        return self

    @property
    def drain_s(self) -> float:
        """Seconds that live calls may really finish in: on Heroku no longer than leaves time for what follows."""
        return min(self.DRAIN_SECONDS, HEROKU_DRAIN_S) if self.DYNO else self.DRAIN_SECONDS

    @property
    def logs_json(self) -> bool:
        """Whether log lines are JSON objects."""
        return self.LOG_FORMAT == "json" or (self.LOG_FORMAT == "auto" and bool(self.DYNO))

    @property
    def secrets(self) -> tuple[str, ...]:
        """All secret values, for the log to leave out."""
        values = (getattr(self, name) for name in type(self).model_fields)
        held = [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
        urls = (self.DATABASE_URL, self.SMTP_URL.get_secret_value(), self.REDIS_URL.get_secret_value())
        return tuple(filter(None, (*held, *(password for url in urls for password in _passwords(url)))))

    @property
    def bind_host(self) -> str:
        """The address to listen on: open to the world only when signatures can be checked."""
        everywhere = "0.0.0.0"  # noqa: S104  # nosec
        return self.HOST or (everywhere if self.checks_signatures else "127.0.0.1")

    @property
    def checks_signatures(self) -> bool:
        """Whether there is a token to check Twilio's signatures with."""
        return bool(self.TWILIO_AUTH_TOKEN.get_secret_value())

    @property
    def public_is_loopback(self) -> bool:
        """Whether the public address is this machine (or not set)."""
        return not self.PUBLIC_BASE_URL or urlsplit(self.PUBLIC_BASE_URL).hostname in LOOPBACK

    @property
    def base_url(self) -> str:
        """What Twilio calls Kav; on a laptop without a public address, the address that is bound."""
        return self.PUBLIC_BASE_URL or f"http://127.0.0.1:{self.PORT}"

    @property
    def media_url(self) -> str:
        """The media socket's URL, exactly as written into TwiML and as Twilio signs it."""
        return "ws" + self.base_url.removeprefix("http") + "/twilio/media"

    def missing(self) -> str:
        """One sentence that says what is missing before real calls can be served, or the empty string."""
        if self.KAV_REHEARSAL:
            return ""
        if not self.OPENAI_API_KEY.get_secret_value():
            return (
                "OPENAI_API_KEY is not set: put it into the environment or into .env (see .env.example), "
                "or run `make run` to rehearse without any account."
            )
        if not self.checks_signatures and self.HOST not in ("", *LOOPBACK):
            return (
                f"TWILIO_AUTH_TOKEN is not set, so Kav cannot tell Twilio from a stranger on {self.HOST}: "
                "set it, or leave HOST unset."
            )
        if self.checks_signatures and not self.PUBLIC_BASE_URL:
            return (
                "PUBLIC_BASE_URL is not set: Twilio's signatures cannot be checked without the address it calls; "
                "set it to e.g. https://your-app.example.com."
            )
        return ""


def _split_url(url: str) -> SplitResult:
    """Raises ValueError, without a word of the URL: what stands where a port should may be half a password."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError(
            "its host or port is none; in a password, write / ? # @ and : as %2F %3F %23 %40 %3A"
        ) from None
    return parts


def _passwords(url: str) -> tuple[str, ...]:
    """Return the password of a URL, as it stands there and as it is meant; also one that should have been encoded."""
    found = re.search(r"://[^:@/]*:([^@]*)@", url)
    passwords = {found[1]} if found else set()
    with suppress(ValueError):
        passwords.add(urlsplit(url).password or "")
    return tuple({*passwords, *map(unquote, passwords)})


def _is_loopback(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname in LOOPBACK


def read_secrets(names: Iterable[str]) -> dict[str, SecretStr]:
    """Return those of `names` that the environment or ./.env holds: flow files name the secrets of their own tools."""
    held = {**dotenv_values(".env"), **os.environ}
    return {name: SecretStr(value.strip()) for name in names if (value := held.get(name)) and value.strip()}
