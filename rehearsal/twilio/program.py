"""Executes a call's TwiML, verb by verb, as Twilio does; a running verb is cut when the call ends or is redirected."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urljoin

from rehearsal.audio import duration_ms
from rehearsal.twilio import twiml
from rehearsal.twilio.observed import Changes
from rehearsal.twilio.playback import Segment
from rehearsal.twilio.script import CallScript, Human
from rehearsal.twilio.stream import MediaStream
from rehearsal.twilio.twiml import Verb
from rehearsal.twilio.webhooks import Unanswered, Webhooks

_LONGEST_CHAIN = 100  # documents in one call; beyond it two URLs send the call back and forth
APPLICATION_ERROR = "We are sorry, an application error has occurred. Goodbye."
"""What a caller hears when the app gives no TwiML."""
_TWIML_TYPES = ("text/xml", "application/xml", "text/html")


@dataclass(frozen=True)
class Document:
    """Where the next TwiML comes from: a URL to ask with these extra fields, or the text itself."""

    url: str = ""
    text: str = ""
    form: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"
    fallback_url: str = ""


@dataclass(frozen=True)
class HangUp:
    """The call ends here with this status."""

    status: str = "completed"


Next = Document | HangUp | None
"""What a verb leads to: another document, the end, or the verb after it."""


class Carrier(Protocol):
    """What a program needs of the call that it runs for."""

    script: CallScript
    changes: Changes
    webhooks: Webhooks
    voice: Callable[[str, str], bytes] | None
    said: list[str]
    announced: list[Segment]
    verbs: list[str]
    dialled: list[str]
    human_leaves: asyncio.Event
    recordings: list[str]
    ended_at: float | None

    def answer(self) -> None:
        """The call is in progress from now on."""

    def violation(self, code: int, text: str) -> None:
        """The app did what Twilio forbids."""

    def error(self, code: int, text: str) -> None:
        """Something that Twilio needed did not work."""

    def form(self, extra: Mapping[str, str]) -> dict[str, str]:
        """The fields of a webhook request about this call."""

    def aside(self, work: Coroutine[Any, Any, object]) -> None:
        """Do something beside the verbs, that nobody waits for."""

    async def open_stream(self, url: str, parameters: Mapping[str, str]) -> MediaStream | None:
        """Connect the media socket; None when that failed, which is on record then."""


class Program:
    """One call's TwiML, from a document to the end. `after_stream` is the action a running `<Connect>` leads to."""

    def __init__(self, carrier: Carrier) -> None:
        self.after_stream: Document | None = None
        self._call = carrier
        self._verbs: dict[str, Callable[[Verb, str], Coroutine[Any, Any, Next]]] = {
            "Say": self._say,
            "Play": self._play,
            "Pause": self._pause,
            "Redirect": self._redirect,
            "Connect": self._connect,
            "Dial": self._dial,
            "Start": self._start,
        }

    async def run(self, document: Document) -> HangUp:
        """Execute documents until one ends without another."""
        for _link in range(_LONGEST_CHAIN):
            following = await self._execute(document)
            if isinstance(following, HangUp):
                return following
            document = following
        self._call.error(12400, f"The call went through {_LONGEST_CHAIN} documents; they send it in a circle")
        return HangUp()

    async def _execute(self, document: Document) -> Document | HangUp:
        verbs = await self._fetch(document)
        if verbs is None:
            self._call.said.append(APPLICATION_ERROR)
            return HangUp("failed")
        if verbs and verbs[0].name == "Reject":  # the only verb that does not answer, and only in the first place
            self._call.verbs.append("Reject")
            return HangUp("busy" if verbs[0].attributes.get("reason") == "busy" else "no-answer")
        for verb in verbs:
            self._call.answer()
            self._call.verbs.append(verb.name)
            self._call.changes.notify()
            if verb.name == "Hangup":
                break
            run = self._verbs.get(verb.name)
            if run is not None and (following := await run(verb, document.url)) is not None:
                return following
        return HangUp()

    async def _fetch(self, document: Document) -> list[Verb] | None:
        """The document's verbs; None when there are none to be had, and the caller hears an application error."""
        text = document.text or await self._ask(document)
        if text is None:
            return None
        try:
            verbs = twiml.parse(text)
        except twiml.TwimlError as error:
            self._call.violation(error.code, error.text)
            return None
        for warning in twiml.warnings(verbs):
            self._call.violation(warning.code, warning.text)
        return verbs

    async def _ask(self, document: Document) -> str | None:
        try:
            asked = await self._call.webhooks.ask(document.url, self._call.form(document.form), document.method)
        except Unanswered as error:
            self._call.error(error.code, error.text)
            if not document.fallback_url:
                return None
            trouble = {"ErrorCode": str(error.code), "ErrorUrl": document.url}
            return await self._ask(Document(document.fallback_url, form={**document.form, **trouble}))
        if asked.content_type not in _TWIML_TYPES:
            self._call.violation(
                12300, f"{document.url} answered with content type {asked.content_type!r}, not text/xml"
            )
        return asked.body

    def _action(self, verb: Verb, base: str, form: Mapping[str, str]) -> Document | None:
        """The document that a verb's `action` names, or the next verb without one."""
        action = verb.attributes.get("action")
        return _document(urljoin(base, action), verb, form) if action else None

    # Verbs

    async def _say(self, verb: Verb, _base: str) -> Next:
        self._call.said.append(verb.text)
        self._call.changes.notify()
        seconds = len(verb.text) * self._call.script.say_s_a_character
        if self._call.voice is not None:
            audio = self._call.voice(verb.text, verb.attributes.get("language", "en-US").split("-")[0])
            self._call.announced.append(Segment(time.monotonic(), audio))
            seconds = duration_ms(audio) / 1000
        await asyncio.sleep(seconds)
        return None

    async def _play(self, _verb: Verb, _base: str) -> Next:
        await asyncio.sleep(self._call.script.play_s)
        return None

    async def _pause(self, verb: Verb, _base: str) -> Next:
        await asyncio.sleep(float(verb.attributes.get("length", "1")))
        return None

    async def _redirect(self, verb: Verb, base: str) -> Next:
        return _document(urljoin(base, verb.text), verb, {})

    async def _start(self, verb: Verb, base: str) -> Next:
        noun = verb.noun("Recording")
        if noun is not None:
            recording = "RE" + uuid.uuid4().hex
            self._call.recordings.append(recording)
            self._call.aside(self._tell_recording(noun, base, recording, time.monotonic()))
        return None  # a fork or a recording runs beside the verbs, and nobody here listens to it

    async def _tell_recording(self, noun: Verb, base: str, recording: str, began_at: float) -> None:
        """The recording goes on to the call's end; then its callback, if that event was asked for."""
        await self._call.changes.until(lambda: self._call.ended_at is not None, 4 * 3600, lambda: "the call goes on")
        url, wanted = noun.attributes.get("recordingStatusCallback", ""), "recordingStatusCallbackEvent"
        if not url or "completed" not in noun.attributes.get(wanted, "completed").split():
            return
        form = {
            "RecordingSid": recording,
            "RecordingStatus": "completed",
            "RecordingDuration": str(round(time.monotonic() - began_at)),
            "RecordingChannels": "2" if noun.attributes.get("channels") == "dual" else "1",
            "RecordingUrl": f"https://api.twilio.com/Recordings/{recording}",
            "RecordingSource": "StartCallRecordingTwiML",
        }
        await self._call.webhooks.ask(urljoin(base, url), self._call.form(form))

    async def _connect(self, verb: Verb, base: str) -> Next:
        noun = verb.noun("Stream")
        if noun is None:
            return None
        action = self._action(verb, base, {})
        stream = await self._call.open_stream(noun.attributes.get("url", ""), noun.parameters)
        if stream is None:
            self._report(noun, base, "", "stream-error")
            return action
        self._report(noun, base, stream.sid, "stream-started")
        self.after_stream = action
        try:
            await stream.over.wait()
        finally:
            stream.hang_up()
            self._report(noun, base, stream.sid, "stream-stopped")
        self.after_stream = None
        if not self._call.script.asks_after_stream:
            await asyncio.Event().wait()  # until the call is cut: nobody sets it
        return action

    def _report(self, noun: Verb, base: str, stream_sid: str, event: str) -> None:
        """The stream's own status callback: diagnostic."""
        url = noun.attributes.get("statusCallback")
        if url:
            names = {"StreamSid": stream_sid, "StreamName": noun.attributes.get("name", stream_sid)}
            form = self._call.form({**names, "StreamEvent": event})
            self._call.aside(self._call.webhooks.ask(urljoin(base, url), form))

    async def _dial(self, verb: Verb, base: str) -> Next:
        number = verb.noun("Number")
        self._call.dialled.append(number.text if number else verb.text)
        self._call.changes.notify()
        leg = {"DialCallSid": "CA" + uuid.uuid4().hex}
        outcome, talked_s = await self._reach_human(verb, self._call.script.human)
        leg["DialCallStatus"] = outcome
        if outcome == "completed":
            leg |= {"DialCallDuration": str(round(talked_s)), "DialBridged": "true"}
        return self._action(verb, base, leg)

    async def _reach_human(self, verb: Verb, human: Human) -> tuple[str, float]:
        """DialCallStatus, and the seconds that were talked."""
        timeout_s = float(verb.attributes.get("timeout", "30"))
        await asyncio.sleep(min(human.rings_s, timeout_s))
        if human.rings_s > timeout_s or human.outcome != "answered":
            return ("no-answer" if human.outcome == "answered" else human.outcome), 0.0
        limit_s = float(verb.attributes.get("timeLimit", "14400"))
        talks_s = limit_s if human.talks_s is None else min(limit_s, human.talks_s)
        began = time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(talks_s):
                await self._call.human_leaves.wait()
        return "completed", time.monotonic() - began


def _document(url: str, verb: Verb, form: Mapping[str, str]) -> Document:
    return Document(url, form=form, method=verb.attributes.get("method", "POST"))
