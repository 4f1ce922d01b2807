"""What Kav answers Twilio, in TwiML: a stream, a human, words, or the end. It decides nothing."""

from flask import Response
from twilio.twiml.voice_response import Connect, VoiceResponse  # type: ignore[import-untyped]  # ships no types

import stream_registry
from kav.after_call import reaches_owner
from kav.call.admission import is_withheld
from kav.call.recording import was_told
from kav.records.cleaning import is_e164
from kav.settings import Settings
from kav.wire.twilio_recordings import start_recording
from realtime_prompt_builder import Phrases
from stream_registry import Entry


def hang_up() -> Response:
    """Return TwiML that ends the call."""
    response = VoiceResponse()
    response.hangup()
    return _twiml(response)


def language_of(entry: Entry) -> str:
    """Return the language that a call is in."""
    talk = entry["conversation"]
    return talk.language.current if talk is not None else entry["flow"].language


class Answers:
    """The answers of one installation."""

    def __init__(self, settings: Settings, phrases: Phrases) -> None:
        self._settings = settings
        self._phrases = phrases

    def stream(self, entry: Entry) -> Response:
        """Return the stream; what follows it ends the call, so that a closed socket never leaves the line open."""
        response = VoiceResponse()
        if entry["flow"].recording and entry["after_stream_at"] is None:  # it runs on through every later stream
            entry["recorded"] = True
            start_recording(response, f"{self._settings.base_url}/twilio/recording")
        connect = Connect(action=f"{self._settings.base_url}/twilio/after-stream", method="POST")
        stream = connect.stream(
            url=self._settings.media_url,
            status_callback=f"{self._settings.base_url}/twilio/stream-status",
            status_callback_method="POST",
        )
        stream.parameter(name="token", value=entry["token"] or "")
        stream.parameter(name="direction", value=entry["direction"])
        response.append(connect)
        response.hangup()
        return _twiml(response)

    def end_of_line(self, entry: Entry, *, leaving: bool = False) -> Response:
        """Return what follows a call that has ended for Kav; `leaving`: the process is gone in a moment."""
        if stream_registry.handed_over(entry):
            return _twiml(self._dial(entry))
        if entry["after_stream"] == "hang_up":
            return hang_up()
        if entry["after_stream"] == "message":
            language = entry["flow"].language
            text = entry["flow"].machine_message[language]
        else:
            language = language_of(entry)
            promises = not leaving and self._is_called_back(entry)
            phrase = "apology_called_back" if promises else entry["after_stream"]
            text = self._phrases.text(phrase, language)
        response = VoiceResponse()
        self._announce_recording(response, entry)
        return self._last_words(text, language, response)

    def _is_called_back(self, entry: Entry) -> bool:
        """Whether it may be said that somebody will call back: the owner is told for sure, and the number is known.

        For a call that the process ended because it stops, there may be no time to tell anybody.
        """
        talk = entry["conversation"]
        if entry["after_stream"] != "apology" or entry["end_reason"] == "shutdown":
            return False
        if talk is not None and talk.do_not_call:
            return False
        known = entry["line"] == "twilio" and not is_withheld(stream_registry.other_party(entry))
        return known and reaches_owner(self._settings, entry["flow"].owner, stream_registry.own_number(entry))

    def apology(self, language: str) -> Response:
        """Return words for whoever cannot be served, and the end."""
        return self._last_words(self._phrases.text("apology", language), language)

    def reject(self) -> Response:
        """Return TwiML that does not answer the call."""
        response = VoiceResponse()
        response.reject(reason="rejected")
        return _twiml(response)

    def _dial(self, entry: Entry) -> VoiceResponse:
        """Return TwiML that rings a human; how long they may talk is bounded, for nobody else watches that leg."""
        transfer = entry["flow"].transfer
        response, own_number = VoiceResponse(), stream_registry.own_number(entry)
        if transfer is None:
            response.hangup()
            return response
        self._announce_recording(response, entry)
        if entry["after_stream"] == "announced_transfer":
            language = language_of(entry)
            announcement = transfer.announcement.get(language) or self._phrases.text("transfer", language)
            self._say(response, announcement, language)
        dial = response.dial(
            action=f"{self._settings.base_url}/twilio/dial-result",
            method="POST",
            timeout=transfer.ring_s,
            time_limit=transfer.time_limit_s,
            caller_id=own_number if is_e164(own_number) else None,  # who dialled a SIP address has no number to show
            answer_on_bridge=True,
        )
        dial.number(transfer.to)
        return response

    def _announce_recording(self, response: VoiceResponse, entry: Entry) -> None:
        """Say that the call is recorded, where it is and the bot could not say so: before anybody else speaks."""
        told = entry["flow"].recording
        if not told or not entry["recorded"] or _knows_of_recording(entry):
            return
        language = language_of(entry)
        language = language if language in told else entry["flow"].language
        self._say(response, told[language], language)

    def _last_words(self, text: str, language: str, response: VoiceResponse | None = None) -> Response:
        response = VoiceResponse() if response is None else response
        self._say(response, text, language)
        response.hangup()
        return _twiml(response)

    def _say(self, response: VoiceResponse, text: str, language: str) -> None:
        voice = self._phrases.voice(language)
        response.say(text, language=voice.language, voice=voice.voice)


def _knows_of_recording(entry: Entry) -> bool:
    talk = entry["conversation"]
    return talk is not None and was_told(entry["flow"].recording, talk.chronicle.turns)


def _twiml(response: VoiceResponse) -> Response:
    return Response(str(response), content_type="text/xml; charset=utf-8")
