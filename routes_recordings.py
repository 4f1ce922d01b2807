"""Recordings over HTTP: Twilio tells that one is there, and an operator listens to it.

The sound stays with Twilio; Kav knows of it, and passes it on to whoever may hear it.
"""

import logging
from collections.abc import Callable, Iterator
from typing import Final

from flask import Blueprint, Flask, Response, request
from sqlalchemy.exc import SQLAlchemyError

from kav.bearer import is_bearer
from kav.records import Records
from kav.records.database import summary
from kav.records.errors import RecordsError
from kav.settings import Settings
from kav.wire.twilio_recordings import RECORDING_SID, NoSound, read_sound
from kav.wire.websocket_server import EXTEND
from twilio_gate import Gate

STATUS_PATH: Final = "/twilio/recording"

log = logging.getLogger(__name__)


class RecordingDesk:
    """Notes recordings and plays them, for one installation."""

    def __init__(self, settings: Settings, records: Records) -> None:
        self._settings = settings
        self._records = records

    def recorded(self) -> Response:
        """Twilio has finished a recording, or there is none; told twice, it is noted once."""
        form = request.form
        call_sid, recording_sid = form.get("CallSid", ""), form.get("RecordingSid", "")
        if call_sid and RECORDING_SID.fullmatch(recording_sid):
            self._records.save_recording(
                call_sid,
                recording_sid,
                status=form.get("RecordingStatus"),
                channels=_number(form.get("RecordingChannels")),
                duration_s=_number(form.get("RecordingDuration")),
            )
        return Response(status=204)

    def play(self, recording_sid: str) -> Response:
        """The sound, or the part of it that is asked for; whoever calls this has seen who asks.

        Only of a recording that is on record here: an account at Twilio may have others, which are not Kav's to play.
        """
        try:
            if not self._records.has_recording(recording_sid):
                raise NoSound(404, "there is no such recording")
            sound = read_sound(self._settings, recording_sid, request.headers.get("Range", ""))
        except NoSound as error:
            return _silent(str(error), error.status)
        except (RecordsError, SQLAlchemyError) as error:
            log.error("the records cannot be read: %s", summary(error))
            return _silent("the records cannot be read now; check DATABASE_URL and the database, then ask again", 503)
        pieces = _unhurried(sound.pieces, request.environ.get(EXTEND, int))
        response = Response(pieces, sound.status, headers=sound.headers)
        response.headers["Cache-Control"] = "private, no-store"
        return response

    def operator_plays(self, recording_sid: str) -> Response:
        """The same for whoever has KAV_API_TOKEN."""
        token = self._settings.KAV_API_TOKEN.get_secret_value()
        if not token:
            return _silent("KAV_API_TOKEN is not set, so nobody may listen; set it to a long random text", 503)
        if not is_bearer(request.headers.get("Authorization", ""), token):
            refused = _silent("send Authorization: Bearer KAV_API_TOKEN", 401)
            refused.headers["WWW-Authenticate"] = "Bearer"
            return refused
        return self.play(recording_sid)


def _silent(why: str, status: int) -> Response:
    return Response(f"{why}\n", status, content_type="text/plain; charset=utf-8")


def _unhurried(pieces: Iterator[bytes], extend: Callable[[], object]) -> Iterator[bytes]:
    """Pass a sound on, however long that takes in all; a piece has as much time as any answer."""
    for piece in pieces:
        extend()
        yield piece
        extend()


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) < 8 else None


def init_app(app: Flask, desk: RecordingDesk, gate: Gate) -> None:
    """Register the routes."""
    told = Blueprint("recording", __name__)
    told.add_url_rule(STATUS_PATH, "recorded", desk.recorded, methods=["POST"])
    told.before_request(gate.webhook)
    app.register_blueprint(told)
    app.add_url_rule("/recordings/<recording_sid>", "play_recording", desk.operator_plays)
