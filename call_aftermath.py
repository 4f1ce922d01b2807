"""Looks after every entry of the registry when no media flows: expiry, REST hang-up, missing statuses, the record.

What is due is decided in `kav.call.aftermath`; here it is done, once each, and nothing here is on the media path.
"""

import logging
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import gevent
from gevent.event import Event

import stream_registry
from call_placed import Placed
from call_unheard import Unheard
from kav import metrics
from kav.after_call import AfterCall, report_of
from kav.call.actions import RESUMABLE
from kav.call.aftermath import Chore, Facts, Patience, Retry, due, retry
from kav.call.chronicle import Chronicle
from kav.call.ruling import TOOLS
from kav.cost import load_prices
from kav.records import Records
from kav.settings import Settings
from kav.wire.twilio_rest import TwilioRest, TwilioRestError, UnreachableError
from stream_registry import TERMINAL_STATUSES, Entry

LOOK_EVERY_S: Final = 0.5

log = logging.getLogger(__name__)


class Aftermath:
    """One greenlet that walks the registry twice a second."""

    def __init__(
        self,
        settings: Settings,
        records: Records,
        rest: TwilioRest,
        after_call: AfterCall,
        placed: Placed | None = None,
    ) -> None:
        self.placed = placed
        self._unheard = Unheard(records, rest)
        self._records = records
        self._rest = rest
        self._after_call = after_call
        self._logs_words = settings.LOG_WORDS
        self._prices = load_prices()
        self._model, self._transcriber = settings.OPENAI_REALTIME_MODEL, settings.OPENAI_TRANSCRIBE_MODEL
        self._patience = Patience(
            prewarm_unclaimed_s=settings.PREWARM_UNCLAIMED_S,
            hangup_fallback_s=settings.HANGUP_FALLBACK_S,
            terminal_status_s=settings.TERMINAL_STATUS_S,
            entry_ttl_s=settings.ENTRY_TTL_S,
        )
        self._stopping = Event()
        self._retries: dict[str, dict[Chore, Retry]] = {}
        """By CallSid: what is to be tried again, for Twilio could not be asked."""
        self._asking: Counter[str] = Counter()
        """By CallSid: how much Twilio is being asked just now; until it has answered, the call is not forgotten."""

    def run(self) -> None:
        """Look after all entries until `stop`; one last time then, so that no record is missing."""
        while not self._stopping.wait(LOOK_EVERY_S):
            self.look()
        self._patience = replace(self._patience, leaving=True)
        self.look()

    def drain(self) -> None:
        """The process is about to stop: what Twilio asks may reach the next one from now on."""
        self._patience = replace(self._patience, draining=True)

    def stop(self) -> None:
        """Stop looking."""
        self._stopping.set()

    def look(self) -> None:
        """Do what is due for every entry; one that fails does not stop the others."""
        now = time.monotonic()
        for entry in list(stream_registry.registry.values()):
            if entry["ended"] and entry["ended_at"] is None:
                entry["ended_at"] = now  # somebody set the flag and nothing else
            if not stream_registry.sharing().looks_after(entry):
                continue
            try:
                retries = self._retries.get(entry["call_sid"], {})
                for chore in due(_facts(entry, retries), self._patience, now):
                    if chore is not Chore.FORGET or not self._asking[entry["call_sid"]]:
                        self._do(chore, entry)
            except Exception:  # this greenlet's root, an entry at a time
                log.exception("aftermath failed", extra={"call_sid": entry["call_sid"]})
        if self.placed is not None:
            self.placed.look(now)
        if not self._patience.leaving:
            self._unheard.look(now)

    def _do(self, chore: Chore, entry: Entry) -> None:
        entry["chores_done"].add(chore)
        if chore is Chore.CLOSE_PREWARM:
            _close_prewarm(entry)
        elif chore is Chore.END_WITHOUT_STREAM:
            stream_registry.end(entry["call_sid"], "no_stream")
        elif chore is Chore.END_LOST:
            stream_registry.end(entry["call_sid"], "socket_lost")
        elif chore is Chore.RECORD_END:
            self._record_end(entry)
        elif chore is Chore.RECORD_STATUS:
            self._record_status(entry)
        elif chore is Chore.RECORD_GHOST:
            self._record_ghost(entry)
        elif chore is Chore.REPORT:
            self._report(entry)
        elif chore is Chore.FORGET:
            stream_registry.remove(entry)
            self._retries.pop(entry["call_sid"], None)
        elif self._rest.has_credentials:
            self._asking[entry["call_sid"]] += 1
            gevent.spawn(self._ask_twilio, chore, entry)

    def _ask_twilio(self, chore: Chore, entry: Entry) -> None:
        """Hang up, or fetch the status that never came; a REST call takes its time, so beside the round."""
        call_sid = entry["call_sid"]
        try:
            if chore is Chore.HANG_UP:
                done = self._rest.hang_up(call_sid)
                log.info("hung up over REST: %s", done.value, extra={"call_sid": call_sid})
            else:
                self._fetch_status(entry)
        except UnreachableError as error:
            log.error("%s: %s", chore.value, error, extra={"call_sid": call_sid})
            self._try_again(chore, entry)
        except TwilioRestError as error:
            log.error("%s: %s", chore.value, error, extra={"call_sid": call_sid})
        finally:
            self._asking[call_sid] -= 1
            if not self._asking[call_sid]:
                del self._asking[call_sid]

    def _try_again(self, chore: Chore, entry: Entry) -> None:
        """Put a chore off: Twilio could not be reached, or the line is still up; after some minutes it is given up."""
        failed = self._retries.setdefault(entry["call_sid"], {})
        again = retry(failed.get(chore), time.monotonic())
        if again is None:
            log.error("given up: %s", chore.value, extra={"call_sid": entry["call_sid"]})
            return
        failed[chore] = again
        entry["chores_done"].discard(chore)

    def _fetch_status(self, entry: Entry) -> None:
        fetched = self._rest.fetch_status(entry["call_sid"])
        log.warning("no terminal status came; fetched: %s", fetched, extra={"call_sid": entry["call_sid"]})
        if fetched is not None and fetched[0] in TERMINAL_STATUSES:
            entry["terminal_at"] = entry["terminal_at"] or time.monotonic()
            self._records.save_call_status(entry["call_sid"], fetched[0], fetched[1], entry["direction"])
        elif fetched is not None:
            self._rest.hang_up(entry["call_sid"])  # whatever Twilio was told: the line is still up, and paid for
            self._try_again(Chore.FETCH_STATUS, entry)  # until what it has cost is known

    def _record_end(self, entry: Entry) -> None:
        self._records.save_call(
            entry["call_sid"],
            ended_at=_wall_time(entry["ended_at"] or time.monotonic()),
            end_reason=entry["end_reason"],
        )

    def _record_status(self, entry: Entry) -> None:
        """A browser's call ends with its socket; nobody reports its status, so Kav does."""
        ended_at, streamed_at = entry["ended_at"] or time.monotonic(), entry["streamed_at"]
        entry["terminal_at"] = ended_at
        status, lasted_s = ("completed", ended_at - streamed_at) if streamed_at is not None else ("canceled", 0.0)
        self._records.save_call_status(entry["call_sid"], status, round(lasted_s), entry["direction"])

    def _record_ghost(self, entry: Entry) -> None:
        """The line's ghost: how long the telephone call outlived an end that Kav decided; no other end has one."""
        ended_at, terminal_at = entry["ended_at"], entry["terminal_at"]
        if ended_at is None or terminal_at is None or not _ended_by_kav(entry):
            return
        ghost_s = max(0.0, terminal_at - ended_at)
        metrics.LINE_GHOST.observe(ghost_s)
        self._records.save_call(entry["call_sid"], line_ghost_ms=ghost_s * 1000)

    def _report(self, entry: Entry) -> None:
        """Count the call, and have told of it whoever wants to know."""
        report, talk = report_of(entry), entry["conversation"]
        flow = metrics.TESTS if report.is_test else report.flow
        metrics.note_call(direction=report.direction, flow=flow, end_reason=report.end_reason)
        if talk is not None:
            metrics.COST.labels(flow).inc(self._cost_usd(talk.chronicle))
        if talk is not None and not report.is_test:
            own_tools = (*TOOLS, "current_time", *(tool.name for tool in talk.flow.tools))
            metrics.note_talk(talk.chronicle, own_tools)
        if self._logs_words:
            for said in report.talk:
                log.info("%s: %s", said.who, said.text, extra={"call_sid": report.call_sid})
        self._after_call.take(report)

    def _cost_usd(self, chronicle: Chronicle) -> float:
        """What the models of a call cost, as far as their prices are known."""
        used = ((model or self._model, tokens) for model, tokens in chronicle.usages.items())
        spoken = sum(self._prices.micro_usd(model, tokens) or 0 for model, tokens in used)
        transcribed = self._prices.audio_micro_usd(self._transcriber, chronicle.transcribed_s) or 0
        return (spoken + transcribed) / 1_000_000


def _facts(entry: Entry, retries: Mapping[Chore, Retry]) -> Facts:
    transfer = entry["flow"].transfer
    return Facts(
        created_at=entry["created_at"],
        prewarmed=entry["model"] is not None,
        streaming=entry["stream"] is not None,
        streamed=entry["streamed_at"] is not None,
        stream_lost_at=entry["stream_lost_at"],
        ended_at=entry["ended_at"] if entry["ended"] else None,
        ended_by_kav=_ended_by_kav(entry),
        handed_over=stream_registry.handed_over(entry),
        words_left=entry["after_stream"] != "hang_up" and not stream_registry.handed_over(entry),
        on_the_telephone=entry["line"] == "twilio",
        after_stream_at=entry["after_stream_at"],
        terminal_at=entry["terminal_at"],
        done=frozenset(entry["chores_done"]),
        human_s=transfer.ring_s + transfer.time_limit_s if transfer is not None else 0.0,
        human_left_at=entry["human_left_at"],
        retries=retries,
    )


def _ended_by_kav(entry: Entry) -> bool:
    """Whether the telephone call may still be up: neither Twilio nor the caller has ended it."""
    reason = entry["end_reason"]
    if reason is None or reason in RESUMABLE:
        return reason is not None
    over = reason == "caller_hung_up" or reason.startswith("call_status_")
    return not over and not stream_registry.handed_over(entry)


def _close_prewarm(entry: Entry) -> None:
    leg, entry["model"] = entry["model"], None
    if leg is not None:
        leg.close()


def _wall_time(monotonic: float) -> datetime:
    """Return the time of day of a monotonic moment."""
    return datetime.now(UTC) - timedelta(seconds=time.monotonic() - monotonic)
