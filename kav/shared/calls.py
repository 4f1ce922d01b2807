"""The calls of one process, shared with the others: told, heard of, claimed, and looked after when their process dies.

One greenlet tells Redis what has changed in the entries of this process (`Teller`), one hears what others have changed
(`Listener`), and one shows that the process lives (`Lives`). Webhooks ask as well, and wait for the answer; a stream
never does. A call has an *owner*: the process that carries its stream, carried it last, or answered its voice
webhook. The owner does the call's chores; every other process has the entry as a *guest*, for as long as the request
lasts that is about it.
"""

import json
import logging
import secrets
import time
from contextlib import suppress
from typing import Final

import gevent
from flask import g, has_request_context
from gevent import Greenlet
from gevent.pool import Pool

import stream_registry
from kav.call.plain import UnreadableError
from kav.shared import scripts
from kav.shared.fields import NULL, Codec, Known
from kav.shared.link import AwayError, Link, RefusedError, UnansweredError
from kav.shared.listener import Listener
from kav.shared.lives import Lives
from kav.shared.meeting import SHARED_SID, Meetings
from kav.shared.patience import LOST_S, SEEK_EVERY_S, SEEK_S, WORD_EVERY_S, WORD_S
from kav.shared.teller import Teller
from realtime_prompt_builder import Phrases
from stream_registry import Entry

READ_AT_ONCE: Final = 4
"""Calls that are taken over: webhooks have need of most of the connections."""

log = logging.getLogger(__name__)


class SharedCalls:
    """How this process shares its calls; what `stream_registry.Sharing` promises, by way of Redis."""

    many = True

    def __init__(self, link: Link, phrases: Phrases, ttl_s: float) -> None:
        self.me = secrets.token_hex(8)
        self.link = link
        self._codec = Codec(self.me, phrases, lambda: link.shift)
        self._mine = json.dumps(self.me)
        self._meetings = Meetings(link, self._codec, round(ttl_s))
        self._teller = Teller(link, self._meetings)
        self._lives = Lives(link, self.me, self._teller.all_changed, self._inherit)
        self._listener = Listener(link, self.heard, self._teller.all_changed)
        self._works: list[Greenlet[[], None]] = []
        self._heir: Greenlet[[], None] | None = None
        """Who reads the calls of processes that have died."""

    # What the webhooks ask

    def find(self, call_sid: str) -> Entry | None:
        """Return the call's entry as all processes know it now; the local one while Redis is away."""
        entry = stream_registry.get(call_sid)
        if not SHARED_SID.fullmatch(call_sid):
            return entry
        self._use(call_sid)
        if entry is not None and entry["stream"] is not None:
            return entry  # who carries the call is told of all that others do to it
        try:
            self._meetings.meet(call_sid, whole=True)
        except UnansweredError:
            pass
        except UnreadableError as error:
            log.error("another process's call cannot be read: %s", error, extra={"call_sid": call_sid})
        return stream_registry.get(call_sid)

    def seek(self, call_sid: str, *, with_token: bool = False) -> Entry | None:
        """Return the call's entry; while Redis is away, wait for it a moment: the call is on, so somebody has it."""

        def lacks(entry: Entry | None) -> bool:
            return not stream_registry.is_forgotten(call_sid) if entry is None else with_token and not entry["token"]

        until = time.monotonic() + SEEK_S
        entry, was_away = self.find(call_sid), self.link.away
        while was_away and lacks(entry) and time.monotonic() < until:
            gevent.sleep(SEEK_EVERY_S)
            entry = self.find(call_sid)  # of a Redis that came back empty, until the call was told anew
        return entry

    def register(self, entry: Entry) -> None:
        """Tell of a new entry; if the call is known elsewhere already, the entry becomes as it is there."""
        if not SHARED_SID.fullmatch(entry["call_sid"]):
            return
        self._use(entry["call_sid"])
        try:
            self._meetings.meet(entry["call_sid"], whole=True, new=True)
        except (UnansweredError, UnreadableError):
            log.warning("a new call is known to this process alone", extra={"call_sid": entry["call_sid"]})

    def claim(self, entry: Entry) -> bool:
        """Use the entry's token up, once among all processes; while Redis is away, that of an own call."""
        call_sid, token = entry["call_sid"], json.dumps(entry["token"])
        if not SHARED_SID.fullmatch(call_sid):
            return True
        known = self._meetings.known(call_sid)
        with known.lock:
            try:
                claimed = self.link.script(
                    scripts.CLAIM, [scripts.call_key(call_sid)], [self._mine, call_sid, token, self.me]
                )
            except UnansweredError:
                return self._meetings.owns(call_sid)
            if claimed < 0:
                return self._meetings.owns(call_sid)  # it could not be told of: no other process knows it
            if claimed:
                known.fields |= {"token": NULL, "owner": self._mine, "stream": self._mine}
            return bool(claimed)

    def await_word(self, entry: Entry) -> None:
        """Wait, for a moment, for what the process that carries the call's stream has to say of its end."""
        until = time.monotonic() + WORD_S
        known = self._meetings.known(entry["call_sid"])
        while self._is_elsewhere(known) and not entry["ended"] and not self.link.away and time.monotonic() < until:
            gevent.sleep(WORD_EVERY_S)
            self.find(entry["call_sid"])
        if self._is_elsewhere(known) and not entry["ended"] and not self.link.away:
            known.fields["stream"] = self._mine  # its process is gone: the next word of this one is that nobody has it

    def looks_after(self, entry: Entry) -> bool:
        """Whether the call's chores are this process's: it owns the call, and has its end agreed with the others."""
        if not SHARED_SID.fullmatch(entry["call_sid"]):
            return True
        if not self._meetings.owns(entry["call_sid"]) or self._may_be_asked_about(entry):
            return False
        known = self._meetings.known(entry["call_sid"])
        agreed = known.fields.get("end", NULL) != NULL
        return agreed or known.refused or self.link.away or not entry["ended"]

    def _may_be_asked_about(self, entry: Entry) -> bool:
        """Whether Twilio may have asked another process about a lost stream, which could not say so yet."""
        lost_at, back_at = entry["stream_lost_at"], self.link.back_at
        if entry["ended"] or lost_at is None or time.monotonic() - lost_at > LOST_S:
            return False
        return self.link.away or (back_at is not None and back_at >= lost_at)

    def _is_elsewhere(self, known: Known) -> bool:
        return known.fields.get("stream", NULL) not in (NULL, self._mine)

    def changed(self, entry: Entry) -> None:
        """Have an entry's changes told soon; never waits."""
        self._teller.changed(entry["call_sid"])

    def removed(self, entry: Entry) -> None:
        """Have it told that the call is over for good; never waits."""
        self._teller.over(entry["call_sid"])

    # The request that is being answered

    def _use(self, call_sid: str) -> None:
        """Keep the entry while the request is answered, and tell what the request has changed before its answer."""
        if not has_request_context():
            return
        used = g.setdefault("shared_calls", set())
        if call_sid not in used:
            used.add(call_sid)
            self._meetings.known(call_sid).users += 1

    def tell_used(self) -> None:
        """Tell what this request has changed: whoever is asked next must know it."""
        for call_sid in g.get("shared_calls", ()):
            entry = stream_registry.get(call_sid)
            if entry is not None and entry["stream"] is None:
                self._meetings.meet_quietly(call_sid)

    def release_used(self) -> None:
        """The request is answered: its guests may go."""
        for call_sid in g.pop("shared_calls", ()):
            self._meetings.known(call_sid).users -= 1
            self._meetings.let_go(call_sid)

    # What lasts as long as the process

    def _inherit(self) -> None:
        if self._heir is None or self._heir.dead:
            self._heir = gevent.spawn(self._take_over)

    def _take_over(self) -> None:
        """Read the calls of processes that have died: what is left to do for them is done here."""
        Pool(READ_AT_ONCE).map(self._read, list(self._lives.taken))

    def _read(self, call_sid: str) -> None:
        log.warning("its process has died; its call is looked after here", extra={"call_sid": call_sid})
        try:
            self._meetings.meet(call_sid, whole=True)
        except AwayError:
            return  # its turn comes again
        except UnreadableError as error:
            log.error("it cannot be read: %s", error, extra={"call_sid": call_sid})
            self._teller.over(call_sid)
        except RefusedError:
            log.error("Redis does not tell of it", extra={"call_sid": call_sid})
        except Exception:  # one that fails must not keep the others from being looked after
            log.exception("it cannot be taken over", extra={"call_sid": call_sid})
        del self._lives.taken[call_sid]

    def start(self) -> None:
        """Look for Redis; begin to tell and to listen. A Redis that is away keeps nobody from serving."""
        with suppress(UnansweredError):  # who shows that this process lives tries again
            self.link.probe()
            if not self.link.away:
                self._lives.beat()
        self._works = [gevent.spawn(work) for work in (self._lives.run, self._teller.run)]
        gevent.spawn(self._listener.run)

    def stop(self, timeout_s: float) -> None:
        """Tell all there is to tell, and let the others look after what is left; within so many seconds."""
        for each in (self._lives, self._listener, self._teller):
            each.stop()
        try:
            with gevent.Timeout(timeout_s):
                gevent.joinall(self._works)
                self._teller.tell_all()
                self._lives.end()
        except UnansweredError:
            log.warning("Redis is away: what is left to do for calls is done when their time is over")
        except gevent.Timeout:
            log.warning(
                "Redis is slow: %d calls are not told of, and others look after them later", self._teller.untold
            )
        gevent.killall(self._works, block=False)
        self.link.close()

    # What the listener hears

    def heard(self, text: str) -> None:
        """Somebody has changed a call: if it is over, its loop is told at once, whatever Redis does next."""
        who, _, told = text.partition(" ")
        call_sid, _, end = told.partition(" ")
        entry = stream_registry.get(call_sid)
        if who == self.me or entry is None:
            return
        if end not in ("", NULL) and not entry["ended"]:
            self._codec.take(entry, "end", end)
        self.changed(entry)
