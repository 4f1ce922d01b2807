"""Does what is to be done for calls that are over, each in a greenlet of its own, a few at a time.

Summary first, for it is part of what is told; then SMS, e-mail and webhook side by side, so that one that hangs holds
up no other. What fails is tried again where that is safe, and ends as a line in the log that says what was not done.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Final

import gevent
from gevent.event import Event
from gevent.lock import BoundedSemaphore
from gevent.pool import Group

from kav import log as calls_log
from kav import metrics
from kav.after_call import mail, notice, webhook
from kav.after_call.report import CallReport, Findings, delivery_id, payload
from kav.after_call.summary import Summarizer
from kav.call.events import Usage
from kav.call.flow import Owner
from kav.cost import MICRO, load_prices
from kav.records import Records
from kav.records.cleaning import is_e164
from kav.settings import Settings
from kav.wire.twilio_rest import TwilioRest, UnreachableError
from kav.wire.twilio_sms import send_sms

SUMMARIES_AT_ONCE: Final = 4
"""One costs 5 ms of this process, which live calls share; a hundred calls of two minutes end at one a second."""

SENT_AT_ONCE: Final = 8
"""SMS, e-mails and webhooks; one that pauses before it is tried again leaves its place to others."""

MAX_WAITING: Final = 2_000
"""Calls that may wait; beyond them something is wrong that more memory would not mend."""

SUMMARY_S: Final = 60.0
"""For a summary with all its retries; then the owner is told without it."""

SEND_S: Final = 120.0
"""For one SMS or webhook with all its retries."""

RETRY_AFTER_S: Final = (5.0, 30.0)
"""Pauses before an SMS that did not leave is tried again."""

RETRY_MAIL_AFTER_S: Final = (5.0, 60.0, 300.0, 900.0)
"""The same for an e-mail: a server that does not know Kav yet takes it after some minutes (greylisting)."""

MAIL_S: Final = sum(RETRY_MAIL_AFTER_S) + SEND_S
"""For one e-mail with all its retries."""

log = logging.getLogger(__name__)


def reaches_owner(settings: Settings, owner: Owner | None, own_number: str) -> bool:
    """Whether an owner is told of a call: somebody is named, and there is a way to reach them.

    An SMS comes from `own_number`, the business's own that the call is over; a SIP address can send none.
    """
    if owner is None:
        return False
    has_account = bool(settings.TWILIO_ACCOUNT_SID and settings.TWILIO_AUTH_TOKEN.get_secret_value())
    by_sms = bool(owner.sms and has_account and is_e164(own_number))
    return by_sms or bool(owner.email and settings.SMTP_URL.get_secret_value())


class TookTooLong(Exception):
    """Something was not done in its time; no OSError, which a single try takes for its own and repeats."""


class AfterCall:
    """One process's work after calls. `sleep` takes seconds; what sleeps by itself is woken when Kav stops."""

    def __init__(
        self,
        settings: Settings,
        records: Records,
        rest: TwilioRest,
        *,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self._records, self._rest = records, rest
        self._summarizer, self._prices = Summarizer(settings, self._note_usage), load_prices()
        self._mail = mail.mail_server(settings.SMTP_URL.get_secret_value(), settings.MAIL_FROM)
        self._webhook_url = settings.KAV_WEBHOOK_URL
        self._webhook_secret = settings.KAV_WEBHOOK_SECRET.get_secret_value()
        self._summary_places, self._places = BoundedSemaphore(SUMMARIES_AT_ONCE), BoundedSemaphore(SENT_AT_ONCE)
        self._work = Group()
        self._hurry = Event()
        self._sleep = sleep or self._hurry.wait
        self._undone: dict[str, set[str]] = {}
        """By CallSid: what is still to be done."""

    def warm_up(self, *, summaries: bool) -> None:
        """Import and read at boot what would stall live calls later; `summaries`: some flow wants them."""
        if summaries and self._summarizer.is_on:
            self._summarizer.warm_up()
            if without_price := self._prices.notice(self._summarizer.model):
                log.warning(without_price)
        if self._mail is not None:
            mail.warm_up()
        if self._webhook_url.startswith("https:"):
            webhook.warm_up()

    @property
    def waiting(self) -> int:
        """How many calls are not done with."""
        return len(self._undone)

    def take(self, report: CallReport) -> None:
        """Do what is to be done for a call that is over; returns at once."""
        tasks = self._tasks(report)
        if not tasks:
            return
        if len(self._undone) >= MAX_WAITING:
            _tell_undone(report.call_sid, tasks, "too many calls wait")
            return
        self._undone[report.call_sid] = set(tasks)
        self._work.start(gevent.Greenlet(self._do, report))

    def stop(self, timeout_s: float) -> int:
        """Finish within so many seconds; returns how many calls were left.

        Summaries that are not there yet are left out, and what waits to be tried again is tried once more, now.
        """
        self._hurry.set()
        self._work.join(timeout_s)
        for call_sid, tasks in self._undone.items():
            _tell_undone(call_sid, tasks, "Kav has stopped")
        self._work.kill(block=False)
        return len(self._undone)

    def _tasks(self, report: CallReport) -> list[str]:
        owner = report.owner if report.concerns_owner else None
        wanted = {
            "summary": report.wants_summary and self._summarizer.is_on and report.was_talked,
            "sms": owner is not None and bool(owner.sms),
            "email": owner is not None and bool(owner.email),
            "webhook": bool(self._webhook_url),
        }
        return [task for task, wants in wanted.items() if wants]

    def _do(self, report: CallReport) -> None:
        calls_log.about(report.call_sid)
        tasks = self._undone[report.call_sid]
        findings = self._sum_up(report) if "summary" in tasks else Findings()
        tasks.discard("summary")
        sends: dict[str, Callable[[CallReport, Findings], None]] = {
            "sms": self._send_sms,
            "email": self._send_mail,
            "webhook": self._send_webhook,
        }
        going = [gevent.spawn(self._send, task, sends[task], report, findings) for task in sorted(tasks)]
        try:
            gevent.joinall(going)
        finally:
            gevent.killall(going, block=False)
        del self._undone[report.call_sid]

    def _sum_up(self, report: CallReport) -> Findings:
        """Return the call's summary and store it; nothing when there is none in time, or Kav stops."""
        asking = gevent.spawn(self._ask_summary, report)  # it waits for a place within its time
        waited_for: list[Any] = [asking, self._hurry]
        gevent.wait(waited_for, timeout=SUMMARY_S, count=1)
        if not asking.ready():
            asking.kill(block=False)
            _failed("summary", report.call_sid, "Kav stops" if self._hurry.is_set() else f"none within {SUMMARY_S:g} s")
        findings: Findings = asking.value or Findings()
        if findings.summary:
            extracted = json.dumps(findings.extracted, ensure_ascii=False)
            self._records.save_call(report.call_sid, summary=findings.summary, extracted=extracted)
        return findings

    def _ask_summary(self, report: CallReport) -> Findings:
        calls_log.about(report.call_sid)
        try:
            with self._summary_places:
                findings = self._summarizer.sum_up(report)
        except Exception as error:  # noqa: BLE001 - this greenlet's root; a package's errors, whichever they are
            _failed("summary", report.call_sid, type(error).__name__)
            return Findings()
        metrics.AFTER_CALL.labels("summary", "done").inc()
        return findings

    def _note_usage(self, report: CallReport, used: Usage) -> None:
        """A summary is part of what its call cost."""
        model = self._summarizer.model
        cost = self._prices.micro_usd(model, used)
        metrics.COST.labels(metrics.TESTS if report.is_test else report.flow).inc((cost or 0) / MICRO)
        self._records.save_usage(
            report.call_sid,
            model,
            responses=used.responses,
            input_text=used.input_text,
            cached_text=used.cached_text,
            output_text=used.output_text,
            cost_micro_usd=cost,
        )

    def _send(
        self, task: str, send: Callable[[CallReport, Findings], None], report: CallReport, findings: Findings
    ) -> None:
        """Send one thing; this greenlet's root."""
        calls_log.about(report.call_sid)
        try:
            within_s = MAIL_S if task == "email" else SEND_S
            with self._places, gevent.Timeout(within_s, TookTooLong(f"not done within {within_s:g} s")):
                send(report, findings)
        except Exception as error:  # noqa: BLE001 - what fails here fails alone, and the log says so
            _failed(task, report.call_sid, str(error) or type(error).__name__)
        else:
            metrics.AFTER_CALL.labels(task, "done").inc()
            log.info("after the call: %s sent", task, extra={"call_sid": report.call_sid})
        self._undone[report.call_sid].discard(task)

    def _send_sms(self, report: CallReport, findings: Findings) -> None:
        assert report.owner is not None  # noqa: S101 - else there is no such task
        to, text = report.owner.sms, notice.sms(report, findings)
        self._retried(lambda: send_sms(self._rest, to, report.own_number, text), RETRY_AFTER_S, UnreachableError)

    def _send_mail(self, report: CallReport, findings: Findings) -> None:
        assert report.owner is not None  # noqa: S101 - else there is no such task
        if self._mail is None:
            raise LookupError("SMTP_URL is not set: set it, or take `email` out of the flow's `owner`")
        server, to = self._mail, report.owner.email
        subject, text = notice.title(report), notice.text(report, findings)
        self._retried(lambda: mail.send(server, to, subject, text), RETRY_MAIL_AFTER_S, mail.NotSentYet)

    def _send_webhook(self, report: CallReport, findings: Findings) -> None:
        body = json.dumps(payload(report, findings), ensure_ascii=False).encode()
        pauses_s, key = self._until_stopped(webhook.PAUSES_S), delivery_id(report)
        webhook.deliver(self._webhook_url, self._webhook_secret, body, key, pauses_s=pauses_s, sleep=self._pause)

    def _pause(self, seconds: float) -> None:
        """Wait before something is tried again, and let others have the place meanwhile."""
        self._places.release()
        try:
            self._sleep(seconds)
        finally:
            self._places.acquire()

    def _until_stopped(self, pauses_s: Iterable[float]) -> Iterator[float]:
        """The pauses, one before each attempt, until Kav stops: what is tried then is tried for the last time."""
        for pause_s in pauses_s:
            if self._hurry.is_set():
                return
            yield pause_s

    def _retried(self, send: Callable[[], object], pauses_s: Iterable[float], error: type[Exception]) -> None:
        """Send, and again after an error that says that nothing has left."""
        for pause_s in self._until_stopped(pauses_s):
            with suppress(error):
                send()
                return
            self._pause(pause_s)  # not while the error is handled: its traceback keeps alive what it came through
        send()


def _failed(task: str, call_sid: str, why: str) -> None:
    metrics.AFTER_CALL.labels(task, "failed").inc()
    log.error("after the call: no %s: %s", task, why, extra={"call_sid": call_sid})


def _tell_undone(call_sid: str, tasks: "set[str] | list[str]", why: str) -> None:
    for task in sorted(tasks):
        _failed(task, call_sid, why)
