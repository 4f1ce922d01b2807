"""Recordings that Twilio keeps: how one is started in TwiML, and how its sound is read over REST.

Source: Twilio's TwiML `<Start><Recording>` and its Recordings API. A recording asked for in `<Start>` runs beside the
verbs, both sides apart; `record` of a call's creation is ignored with some nouns of `<Connect>`.
"""

import base64
import logging
import re
import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException, HTTPResponse
from typing import Final
from urllib.error import HTTPError

from twilio.twiml.voice_response import Start, VoiceResponse  # type: ignore[import-untyped]  # ships no types

from kav.settings import Settings
from kav.wire.twilio_rest import NotFoundError, TwilioRest, TwilioRestError

RECORDING_SID: Final = re.compile(r"RE[0-9a-f]{32}")
TIMEOUT_S: Final = 15.0
"""Of one read from Twilio."""

PIECE_BYTES: Final = 16 * 1024
"""A player that reads no faster than it plays (32 kbit/s) takes 4 s for one, well within an answer's time."""

PASSED_ON: Final = {
    "Content-Type": re.compile(r"audio/[\w.+-]{1,40}"),
    "Content-Length": re.compile(r"[0-9]{1,12}"),
    "Content-Range": re.compile(r"bytes [0-9]{1,12}-[0-9]{1,12}/([0-9]{1,12}|\*)"),
    "Accept-Ranges": re.compile(r"bytes|none"),
}
"""Headers of Twilio's, and what they may say: sound that passes for a page would be a page of Kav's own."""

REFUSALS: Final = {404: 404, 416: 416}
"""Twilio's noes that are a player's own matter; any other one is a bad gateway."""

log = logging.getLogger(__name__)


class NoSound(Exception):
    """Twilio does not give the recording; `status` is what to answer with."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True)
class Sound:
    """A recording's sound on its way: an HTTP status (200, or 206 of a part), headers, and the bytes in pieces."""

    status: int
    headers: dict[str, str]
    pieces: Iterator[bytes]


def start_recording(response: VoiceResponse, status_url: str) -> None:
    """Append the verb that records the call from here on, on two channels; `status_url` is told when it is over."""
    start = Start()
    start.recording(
        channels="dual",
        recording_status_callback=status_url,
        recording_status_callback_method="POST",
        recording_status_callback_event="completed absent",
    )
    response.append(start)


def read_sound(settings: Settings, recording_sid: str, part: str = "") -> Sound:
    """Open a recording, as MP3 with both channels; `part` is a Range header. Waits, cooperatively.

    Raises NoSound: there are no credentials, it is not there any more, or Twilio does not answer.
    """
    account, token = settings.TWILIO_ACCOUNT_SID, settings.TWILIO_AUTH_TOKEN.get_secret_value()
    if not (account and token):
        raise NoSound(503, "set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN to hear recordings")
    if not RECORDING_SID.fullmatch(recording_sid):
        raise NoSound(404, "there is no such recording")
    base = f"{settings.TWILIO_API_BASE_URL}/2010-04-01/Accounts/{account}"
    asked = urllib.request.Request(f"{base}/Recordings/{recording_sid}.mp3?RequestedChannels=2")  # noqa: S310 - a setting
    credentials = base64.b64encode(f"{account}:{token}".encode()).decode()
    asked.add_unredirected_header("Authorization", f"Basic {credentials}")  # the sound's store is not Twilio's API
    if part:
        asked.add_header("Range", part)
    try:
        answer: HTTPResponse = _opener().open(asked, timeout=TIMEOUT_S)
        first = answer.read(PIECE_BYTES)  # what fails at once is no answer
    except HTTPError as error:
        error.close()
        raise NoSound(REFUSALS.get(error.code, 502), f"Twilio answered {error.code}") from error
    except (OSError, HTTPException, ValueError) as error:  # ValueError: a redirect, or a length, that is none
        raise NoSound(502, f"Twilio did not answer ({type(error).__name__})") from error
    if answer.status not in (200, 206):
        answer.close()
        raise NoSound(502, f"Twilio answered {answer.status}")
    return Sound(answer.status, _headers(answer), _pieces(answer, first))


def _headers(answer: HTTPResponse) -> dict[str, str]:
    said = {name: str(answer.headers.get(name, "")) for name in PASSED_ON}
    known = {name: value for name, value in said.items() if PASSED_ON[name].fullmatch(value)}
    return {"Content-Type": "application/octet-stream", "X-Content-Type-Options": "nosniff", **known}


def delete_recording(rest: TwilioRest, recording_sid: str) -> None:
    """Delete a recording at Twilio; one that is not there any more is a success. Raises TwilioRestError."""
    with suppress(NotFoundError):
        rest.ask(f"recording {recording_sid}", lambda client: client.recordings(recording_sid).delete())


def forget_recording(rest: TwilioRest, recording_sid: str) -> bool:
    """Delete a recording whose call is on record no more; whether it is gone. One that stays is named in the log."""
    try:
        delete_recording(rest, recording_sid)
    except TwilioRestError as error:
        log.error("recording %s is still at Twilio: %s", recording_sid, error)
        return False
    return True


def _pieces(answer: HTTPResponse, first: bytes) -> Iterator[bytes]:
    """Yield the sound; raises OSError when it breaks off, so that nobody takes a part for the whole."""
    with answer:
        piece = first
        while piece:
            yield piece
            try:
                piece = answer.read(PIECE_BYTES)
            except (HTTPException, ValueError) as error:
                raise OSError(f"the sound broke off ({type(error).__name__})") from error


@cache
def _opener() -> urllib.request.OpenerDirector:
    """One set of certificates for the process; no proxy, and nothing but HTTP wherever a redirect leads."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener
