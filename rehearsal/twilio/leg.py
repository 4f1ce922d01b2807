"""A call as the network runs it: ringing, its TwiML, its media streams, its status callbacks, its end."""

import asyncio
import logging
import math
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

from websockets.exceptions import InvalidURI

from rehearsal.twilio.observed import Asked, Changes, Notice
from rehearsal.twilio.playback import Segment
from rehearsal.twilio.program import Document, HangUp, Program
from rehearsal.twilio.script import CallScript, Line
from rehearsal.twilio.signing import SIGNATURE_HEADER
from rehearsal.twilio.stream import MediaStream, Told
from rehearsal.twilio.ticker import Ticker
from rehearsal.twilio.webhooks import Unanswered, Webhooks
from rehearsal.websocket import Refused, connect

TERMINAL = frozenset({"completed", "busy", "no-answer", "failed", "canceled"})
INBOUND_EVENTS = frozenset({"completed"})  # a number's callback tells of the end alone

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exchange:
    """What all calls of one account share. `voice` speaks `<Say>` (text, language -> mu-law)."""

    account_sid: str
    webhooks: Webhooks
    ticker: Ticker
    voice: Callable[[str, str], bytes] | None = None


@dataclass(frozen=True)
class Order:
    """Who calls whom, which TwiML that begins, and who is told.

    `detection` is the outbound request's machine detection: "" (none), "sync", or "async" with its callback's URL.
    """

    from_: str
    to: str
    document: Document
    direction: str = "inbound"
    status_url: str = ""
    status_events: frozenset[str] = INBOUND_EVENTS
    detection: str = ""
    detection_url: str = ""


class Leg:
    """One call; `place()` sets it going. All times are monotonic seconds."""

    def __init__(self, order: Order, exchange: Exchange, script: CallScript) -> None:
        self.sid = "CA" + uuid.uuid4().hex
        self.order, self.exchange, self.script = order, exchange, script
        self.webhooks, self.voice = exchange.webhooks, exchange.voice
        self.changes = Changes()
        self.status = "queued" if order.direction != "inbound" else "ringing"
        self.placed_at = time.monotonic()
        self.answered_at: float | None = None
        self.ended_at: float | None = None
        self.streams: list[MediaStream] = []
        self.intruders: list[MediaStream] = []
        self.violations: list[Notice] = []
        self.errors: list[Notice] = []
        self.said: list[str] = []
        self.announced: list[Segment] = []
        self.verbs: list[str] = []
        self.dialled: list[str] = []
        self.statuses: list[Asked] = []
        self.human_leaves = asyncio.Event()
        self.recordings: list[str] = []
        self._interrupt: asyncio.Future[Document | HangUp] = asyncio.get_running_loop().create_future()
        self._asides: set[asyncio.Task[None]] = set()
        self._held: list[dict[str, str]] = []
        self._sequence = 0
        self._last_stream: tuple[str, Mapping[str, str]] = ("", {})
        self._terminal_told = False
        self.task: asyncio.Task[None] | None = None

    def place(self) -> None:
        """Begin."""
        self.task = asyncio.get_running_loop().create_task(self._run())

    def interrupt(self, by: Document | HangUp) -> None:
        """Cut the running verb: the call goes on with another document, or ends."""
        if self.ended_at is None and not self._interrupt.done():
            self._interrupt.set_result(by)

    async def shut_down(self) -> None:
        """Free everything; the rehearsal is over."""
        tasks = [task for task in (self.task, *self._asides) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for stream in (*self.streams, *self.intruders):
            stream.abort()

    @property
    def duration_s(self) -> int:
        """Whole seconds since the answer, begun ones counted: CallDuration."""
        return math.ceil((self.ended_at or time.monotonic()) - self.answered_at) if self.answered_at else 0

    # What a program asks of its call

    def answer(self) -> None:
        """The call is in progress from now on."""
        if self.answered_at is None:
            self.answered_at = time.monotonic()
            self._now("in-progress")

    def violation(self, code: int, text: str) -> None:
        """The app did what Twilio forbids."""
        self.violations.append(Notice(time.monotonic(), code, text))
        log.warning("%s: %s %s", self.sid, code, text)

    def error(self, code: int, text: str) -> None:
        """Something that Twilio needed did not work."""
        self.errors.append(Notice(time.monotonic(), code, text))

    def form(self, extra: Mapping[str, str]) -> dict[str, str]:
        """The fields of a webhook request about this call."""
        return {
            "AccountSid": self.exchange.account_sid,
            "ApiVersion": "2010-04-01",
            "CallSid": self.sid,
            "CallStatus": self.status,
            "Called": self.order.to,
            "Caller": self.order.from_,
            "Direction": self.order.direction,
            "From": self.order.from_,
            "To": self.order.to,
            **self.script.form,
            **extra,
        }

    def aside(self, work: Coroutine[Any, Any, object]) -> None:
        """Do something beside the verbs, that nobody waits for."""
        task = asyncio.get_running_loop().create_task(self._guarded(work))
        self._asides.add(task)
        task.add_done_callback(self._asides.discard)

    async def open_stream(self, url: str, parameters: Mapping[str, str]) -> MediaStream | None:
        """Connect the media socket and start the stream; None when that failed, which is on record then."""
        line = self.script.line
        self._last_stream = (url, parameters)
        await asyncio.sleep(line.connect_after_s)
        try:
            stream = await self.connect_stream(url, line)
        except Refused as refusal:
            self.error(31920, str(refusal))
        except InvalidURI as fault:
            self.violation(31923, str(fault))
        except OSError as failure:  # TimeoutError is one
            self.error(31901, f"No connection to {url}: {failure!r}")
        else:
            return await self._start_stream(stream, line, parameters)
        return None

    async def connect_stream(self, url: str, line: Line) -> MediaStream:
        """A connected media socket, without `start`. Raises `Refused`, OSError or InvalidURI."""
        headers = {"User-Agent": "Twilio.TmeWs/1.0"}
        if line.signature is None:
            headers |= self.webhooks.signed(url)
        elif line.signature:
            headers[SIGNATURE_HEADER] = line.signature
        peer = await connect(
            self.webhooks.reachable(url),
            headers,
            delay_s=line.delay_s,
            receive_buffer_bytes=line.receive_buffer_bytes,
        )
        peer.answers_close = line.answers_close
        sids = (self.exchange.account_sid, self.sid, "MZ" + uuid.uuid4().hex)
        return MediaStream(peer, sids, self.exchange.ticker, Told(self.changes, self.violation))

    async def _start_stream(self, stream: MediaStream, line: Line, parameters: Mapping[str, str]) -> MediaStream:
        self.streams.append(stream)
        try:
            await asyncio.sleep(line.start_after_s)
        except asyncio.CancelledError:
            stream.hang_up()
            raise
        if not stream.over.is_set():
            stream.start(parameters if line.parameters is None else line.parameters, line.start)
        return stream

    # The call's course

    async def _run(self) -> None:
        end = HangUp("failed")
        try:
            document = self.order.document if self.order.direction == "inbound" else await self._ring()
            end = await self._drive(document) if isinstance(document, Document) else document
        except Exception:  # the root of this task: the call ends, and the rehearsal learns why
            log.exception("%s: the stand-in itself failed", self.sid)
            self.error(0, "The stand-in itself failed; see its log")
        self._finish(end)
        await self._tell_end()
        await asyncio.gather(*self._asides)
        self.changes.notify()

    async def _ring(self) -> Document | HangUp:
        """An outbound call until somebody answers."""
        callee = self.script.callee
        self._now("initiated", "initiated")
        self._now("ringing", "ringing")
        await asyncio.wait({self._interrupt}, timeout=callee.rings_s)
        if self._interrupt.done():
            taken = self._interrupt.result()
            return taken if isinstance(taken, HangUp) else HangUp("canceled")
        if callee.outcome != "answered":
            return HangUp(callee.outcome)
        self.answered_at = time.monotonic()
        self._now("in-progress", "answered")
        return await self._detect_machine(self.order.document)

    async def _detect_machine(self, document: Document) -> Document:
        """Synchronous detection delays the TwiML and adds AnsweredBy to its request; asynchronous tells by callback."""
        found = {"AnsweredBy": self.script.callee.answered_by}
        if self.order.detection == "async":
            self.aside(self._tell_machine(found))
        if self.order.detection != "sync":
            return document
        await asyncio.sleep(self.script.callee.detected_after_s)
        return Document(document.url, document.text, {**document.form, **found}, document.method, document.fallback_url)

    async def _tell_machine(self, found: Mapping[str, str]) -> None:
        await asyncio.sleep(self.script.callee.detected_after_s)
        ms = str(round(self.script.callee.detected_after_s * 1000))
        form = {"CallSid": self.sid, "AccountSid": self.exchange.account_sid, "MachineDetectionDuration": ms, **found}
        await self.webhooks.ask(self.order.detection_url, form)

    async def _drive(self, document: Document) -> HangUp:
        """Run programs until one ends by itself or the call is hung up."""
        while True:
            program = Program(self)
            running = asyncio.get_running_loop().create_task(program.run(document))
            either: set[asyncio.Future[Any]] = {running, self._interrupt}
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            finally:
                taken = None if running.done() else await self._cut(running)
            if taken is None:
                return running.result()
            if isinstance(taken, HangUp):
                if self.script.action_after_hang_up and program.after_stream:
                    self.aside(self.webhooks.ask(program.after_stream.url, self.form({"CallStatus": taken.status})))
                return taken
            self._interrupt = asyncio.get_running_loop().create_future()
            document = taken

    async def _cut(self, running: "asyncio.Task[HangUp]") -> Document | HangUp:
        """Stop a program; what stops it was the interrupt, or the end of the rehearsal."""
        taken = self._interrupt.result() if self._interrupt.done() else HangUp("failed")
        if isinstance(taken, HangUp) and self.script.callbacks.early and self._interrupt.done():
            self._finish(taken)
            await self._tell_end()
        running.cancel()
        await asyncio.wait({running})
        return taken

    def _finish(self, end: HangUp) -> None:
        """The call has ended: one that was answered is `completed` whatever failed, one that was not never is."""
        if self.ended_at is not None:
            return
        self.ended_at = time.monotonic()
        if self.answered_at is not None:
            self.status = "completed" if end.status == "failed" else end.status
        else:
            self.status = "no-answer" if end.status == "completed" else end.status
        self.changes.notify()

    # Status callbacks

    async def post_status(self, status: str, form: Mapping[str, str] | None = None) -> Asked:
        """Send one status callback, whatever is true of the call. Raises `Unanswered`, or ValueError without a URL."""
        if not self.order.status_url:
            raise ValueError(f"{self.sid} has no status callback URL: give its number or its request one")
        fields = self._status_form(status) | dict(form or {})
        self.statuses.append(asked := await self.webhooks.ask(self.order.status_url, fields))
        return asked

    def _now(self, status: str, event: str = "") -> None:
        self.status = status
        if event in self.order.status_events and self.order.status_url:
            self._callback(self._status_form(status))
        self.changes.notify()

    def _status_form(self, status: str) -> dict[str, str]:
        fields = {
            "CallStatus": status,
            "Timestamp": formatdate(usegmt=False),
            "CallbackSource": "call-progress-events",
            "SequenceNumber": str(self._sequence),
        }
        self._sequence += 1
        if status in TERMINAL:
            seconds = self.duration_s
            fields |= {"CallDuration": str(seconds), "Duration": str(math.ceil(seconds / 60))}
        return self.form({**fields, **self.script.callbacks.form})

    def _callback(self, form: dict[str, str]) -> None:
        plan = self.script.callbacks
        if plan.reversed:
            self._held.insert(0, form)
        elif not plan.missing:
            self.aside(self._deliver(form))

    async def _deliver(self, form: Mapping[str, str]) -> None:
        plan = self.script.callbacks
        await asyncio.sleep(plan.delay_s)
        for _copy in range(plan.copies):
            self.statuses.append(await self.webhooks.ask(self.order.status_url, form))

    async def _tell_end(self) -> None:
        """The terminal callback, once; with `reversed` all those held back come after it, newest first."""
        if self._terminal_told or not self.order.status_url or "completed" not in self.order.status_events:
            return
        self._terminal_told = True
        form = self._status_form(self.status)
        if not self.script.callbacks.missing:
            for each in (form, *self._held):
                await self._guarded(self._deliver(each))

    async def _guarded(self, work: Coroutine[Any, Any, object]) -> None:
        try:
            await work
        except Unanswered as failure:
            self.error(failure.code, failure.text)
