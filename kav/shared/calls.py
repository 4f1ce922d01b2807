"""The calls of one process, shared with the others: told, heard of, claimed, and looked after when their process dies.

One greenlet tells Redis what has changed in the entries of this process (`run`), one hears what others have changed
(`Listener`). Webhooks ask as well, and wait for the answer; a stream never does. A call has an *owner*: the process
that carries its stream, carried it last, or answered its voice webhook. The owner does the call's chores; every other
process has the entry as a *guest*, for as long as the request lasts that is about it.
"""

import json
import logging
import re
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, cast

import gevent
from flask import g, has_request_context
from gevent.event import Event

import stream_registry
from kav.call.plain import UnreadableError
from kav.shared import scripts
from kav.shared.fields import NULL, Codec, Fields, Known
from kav.shared.link import AwayError, Link, RefusedError, UnansweredError
from kav.shared.listener import Listener
from kav.shared.lives import ALIVE_EVERY_S, Lives
from kav.shared.patience import LOOK_S, LOST_S, ROUND_S, SEEK_EVERY_S, SEEK_S, WORD_EVERY_S, WORD_S
from realtime_prompt_builder import Phrases
from stream_registry import Entry

SHARED_SID: Final = re.compile(r"[0-9A-Za-z]{1,64}")
"""What a CallSid looks like; anything else is nobody's call, and no key of Redis's."""


log = logging.getLogger(__name__)


class SharedCalls:
    """How this process shares its calls; what `stream_registry.Sharing` promises, by way of Redis."""

    many = True

    def __init__(self, link: Link, phrases: Phrases, ttl_s: float) -> None:
        self.me = secrets.token_hex(8)
        self.link = link
        self._codec = Codec(self.me, phrases, lambda: link.shift)
        self._mine = json.dumps(self.me)
        self._ttl_s = round(ttl_s)
        self._calls: dict[str, Known] = {}
        self._to_tell: dict[str, None] = {}
        """Calls that have changed here, or there."""
        self._to_ask: dict[str, None] = {}
        """Calls whose turn it is; they wait for those."""
        self._over: dict[str, None] = {}
        self._news = Event()
        self._stopping = Event()
        self._lives = Lives(link, self.me)
        self._listener = Listener(link, self.heard, self._ask_about_all)

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
            self._meet(call_sid, whole=True)
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
            self._meet(entry["call_sid"], whole=True, new=True)
        except (UnansweredError, UnreadableError):
            log.warning("a new call is known to this process alone", extra={"call_sid": entry["call_sid"]})

    def claim(self, entry: Entry) -> bool:
        """Use the entry's token up, once among all processes; while Redis is away, that of an own call."""
        call_sid, token = entry["call_sid"], json.dumps(entry["token"])
        if not SHARED_SID.fullmatch(call_sid):
            return True
        known = self._known(call_sid)
        with known.lock:
            try:
                claimed = self.link.script(
                    scripts.CLAIM, [scripts.call_key(call_sid)], [self._mine, call_sid, token, self.me]
                )
            except UnansweredError:
                return self._owns(call_sid)
            if claimed < 0:
                return self._owns(call_sid)  # it could not be told of: no other process knows it
            if claimed:
                known.fields |= {"token": NULL, "owner": self._mine, "stream": self._mine}
            return bool(claimed)

    def await_word(self, entry: Entry) -> None:
        """Wait, for a moment, for what the process that carries the call's stream has to say of its end."""
        until = time.monotonic() + WORD_S
        known = self._known(entry["call_sid"])
        while self._is_elsewhere(known) and not entry["ended"] and not self.link.away and time.monotonic() < until:
            gevent.sleep(WORD_EVERY_S)
            self.find(entry["call_sid"])
        if self._is_elsewhere(known) and not entry["ended"] and not self.link.away:
            known.fields["stream"] = self._mine  # its process is gone: the next word of this one is that nobody has it

    def looks_after(self, entry: Entry) -> bool:
        """Whether the call's chores are this process's: it owns the call, and has its end agreed with the others."""
        if not SHARED_SID.fullmatch(entry["call_sid"]):
            return True
        if not self._owns(entry["call_sid"]) or self._may_be_asked_about(entry):
            return False
        known = self._known(entry["call_sid"])
        agreed = known.fields.get("end", NULL) != NULL
        return agreed or known.refused or self.link.away or not entry["ended"]

    def _may_be_asked_about(self, entry: Entry) -> bool:
        """Whether Twilio may have asked another process about a lost stream, which could not say so yet."""
        lost_at, back_at = entry["stream_lost_at"], self.link.back_at
        if entry["ended"] or lost_at is None or time.monotonic() - lost_at > LOST_S:
            return False
        return self.link.away or (back_at is not None and back_at >= lost_at)

    def changed(self, entry: Entry) -> None:
        """Have an entry's changes told soon; never waits."""
        self._to_tell[entry["call_sid"]] = None
        self._news.set()

    def removed(self, entry: Entry) -> None:
        """Have it told that the call is over for good; never waits."""
        self._over[entry["call_sid"]] = None
        self._news.set()

    # The request that is being answered

    def _use(self, call_sid: str) -> None:
        """Keep the entry while the request is answered, and tell what the request has changed before its answer."""
        if not has_request_context():
            return
        used = g.setdefault("shared_calls", set())
        if call_sid not in used:
            used.add(call_sid)
            self._known(call_sid).users += 1

    def tell_used(self) -> None:
        """Tell what this request has changed: whoever is asked next must know it."""
        for call_sid in g.get("shared_calls", ()):
            entry = stream_registry.get(call_sid)
            if entry is not None and entry["stream"] is None:
                self._meet_quietly(call_sid)

    def release_used(self) -> None:
        """The request is answered: its guests may go."""
        for call_sid in g.pop("shared_calls", ()):
            self._known(call_sid).users -= 1
            self._let_go(call_sid)

    # Telling and hearing

    def _meet(self, call_sid: str, *, whole: bool = False, new: bool = False) -> None:
        """Tell Redis what is new here of a call, and hear what is new there.

        Raises UnansweredError, UnreadableError.
        """
        if not SHARED_SID.fullmatch(call_sid):
            return
        known = self._known(call_sid)
        with known.lock:
            entry = stream_registry.get(call_sid)
            if entry is None and (new or not whole):
                return  # a guest that has left meanwhile
            sent: Fields = {}
            if entry is not None:
                known.pages |= self._codec.pages(entry, known.fields)
                sent = self._codec.write(entry, known.fields)
            told = {name: text for name, text in sent.items() if known.fields.get(name) != text}
            found = self._merge(call_sid, told, whole=whole, new=new)
            if not found and entry is not None and self._owns(call_sid):
                known.fields = {}  # Redis has lost its memory: what we know is news to it
                known.pages = self._codec.pages(entry, {})
                sent = self._codec.write(entry, {})
                found = self._merge(call_sid, sent, whole=whole, new=True)
            if found:
                known.pages = {}
            self._hear(call_sid, entry, sent, found)

    def _merge(self, call_sid: str, told: Mapping[str, str], *, whole: bool, new: bool) -> Fields:
        known = self._known(call_sid)
        values = [self.me, call_sid, "new" if new else "known", self._ttl_s, int(whole), len(told)]
        pairs = [part for pair in (*told.items(), *known.pages.items()) for part in pair]
        try:
            answer = self.link.script(scripts.MERGE, scripts.keys_of(call_sid), [*values, *pairs])
        except RefusedError:
            known.refused = True
            raise
        known.refused = False
        return dict(zip(answer[::2], answer[1::2], strict=True))

    def _hear(self, call_sid: str, entry: Entry | None, sent: Fields, found: Fields) -> None:
        known = self._known(call_sid)
        if not found or "forgotten" in found:
            if found or entry is not None:  # else: it may have been registered here meanwhile
                self._drop(call_sid, for_good=bool(found))
            return
        heard, pages = found.get("conversation"), dict[str, str]()
        hears = heard not in (None, known.fields.get("conversation"), sent.get("conversation"))
        hears = hears and (entry is None or entry["stream"] is None)
        if hears:
            pages = self.link.ask(lambda: self._pages(call_sid))  # before anything is taken: it may fail
        if entry is None:
            entry = stream_registry.registry.setdefault(call_sid, self._codec.read(call_sid, found))
        now = self._codec.write(entry, known.fields)
        for name, text in found.items():
            if text not in (sent.get(name), now.get(name)) and (name not in sent or sent[name] == now.get(name)):
                self._codec.take_or_complain(entry, known, name, text)
        if hears and heard is not None and entry["stream"] is None:
            self._codec.read_conversation(entry, heard, pages)
        known.fields |= {name: text for name, text in sent.items() if name not in found} | found
        self._heed_owner(call_sid, entry)

    def _pages(self, call_sid: str) -> Fields:
        return cast("Fields", self.link.client.hgetall(scripts.pages_key(call_sid)))

    def _heed_owner(self, call_sid: str, entry: Entry) -> None:
        """Somebody else may have the call by now: a stream that is still here has lost it."""
        if self._owns(call_sid):
            return
        if entry["stream"] is not None:
            log.warning("the call goes on in another process", extra={"call_sid": call_sid})
            entry["stream"].stop()
        self._let_go(call_sid)

    def _let_go(self, call_sid: str) -> None:
        known = self._calls.get(call_sid)
        if known is not None and not known.users and known.fields and not self._owns(call_sid):
            self._drop(call_sid)
        elif known is not None and not known.users and stream_registry.get(call_sid) is None:
            self._calls.pop(call_sid, None)

    def _drop(self, call_sid: str, *, for_good: bool = False) -> None:
        """Have the entry here no longer; `for_good`: the call is over."""
        entry = stream_registry.registry.pop(call_sid, None)
        if entry is not None and entry["stream"] is not None:
            entry["stream"].stop()
        if for_good:
            stream_registry.note_over(call_sid)
        known = self._calls.get(call_sid)
        if known is not None and not known.users:
            self._calls.pop(call_sid, None)

    def _known(self, call_sid: str) -> Known:
        return self._calls.setdefault(call_sid, Known())

    def _owns(self, call_sid: str) -> bool:
        known = self._calls.get(call_sid)
        return known is not None and known.fields.get("owner", self._mine) == self._mine

    def _is_elsewhere(self, known: Known) -> bool:
        return known.fields.get("stream", NULL) not in (NULL, self._mine)

    def _meet_quietly(self, call_sid: str) -> None:
        try:
            self._meet(call_sid)
        except UnansweredError:
            pass
        except Exception:  # one call that cannot be told of must not keep the others from it
            log.exception("sharing a call failed", extra={"call_sid": call_sid})

    # The greenlet that tells

    def run(self) -> None:
        """Tell the others, until `stop`, what changes here, that this process lives; take over from those that died."""
        round_due = alive_due = 0.0
        while not self._stopping.is_set():
            self._news.wait(min(LOOK_S, max(0.0, min(round_due, alive_due) - time.monotonic())))
            self._news.clear()
            now = time.monotonic()
            try:
                if now >= alive_due:
                    alive_due = now + ALIVE_EVERY_S
                    self._lives.beat()
                    self._take_over()
                if now >= round_due:
                    round_due = now + ROUND_S
                    self._to_ask |= dict.fromkeys(stream_registry.registry)
                self._look()
                self._tell()
            except AwayError:  # the next beat looks for it
                alive_due = now + ROUND_S
            except RefusedError:
                pass  # the link has said so; what else there is to tell is told in the next turn
            except Exception:  # this greenlet's root: sharing goes on
                log.exception("sharing failed")

    def _look(self) -> None:
        """Have those calls told of whose script has moved: no event says so, for a decision knows no other process."""
        for call_sid, known in self._calls.items():
            entry = stream_registry.get(call_sid)
            talk = entry["conversation"] if entry is not None and entry["stream"] is not None else None
            if talk is None:
                continue
            standing = (talk.open_question, tuple(talk.lock.answers.values()), talk.language.current)
            if standing != known.standing:
                known.standing = standing
                self._to_tell[call_sid] = None

    def _tell(self) -> None:
        if self.link.away:
            return
        while waiting := self._to_tell or self._to_ask:
            call_sid = next(iter(waiting))
            self._to_ask.pop(call_sid, None)
            self._to_tell.pop(call_sid, None)
            if call_sid in stream_registry.registry:
                self._meet_quietly(call_sid)
        while self._over:
            call_sid = next(iter(self._over))
            keys = scripts.keys_of(call_sid)
            with suppress(RefusedError):  # it goes by itself some day
                self.link.script(scripts.FORGET, keys, [call_sid, self._ttl_s])
            del self._over[call_sid]
            self._let_go(call_sid)

    def _take_over(self) -> None:
        """Read the calls of processes that have died: what is left to do for them is done here. Raises AwayError."""
        while self._lives.taken:
            call_sid = next(iter(self._lives.taken))
            log.warning("its process has died; its call is looked after here", extra={"call_sid": call_sid})
            try:
                self._meet(call_sid, whole=True)
            except AwayError:
                raise  # its turn comes again
            except UnreadableError as error:
                log.error("it cannot be read: %s", error, extra={"call_sid": call_sid})
                self._over[call_sid] = None
            except RefusedError:
                log.error("Redis does not tell of it", extra={"call_sid": call_sid})
            except Exception:  # one that fails must not keep the others from being looked after
                log.exception("it cannot be taken over", extra={"call_sid": call_sid})
            del self._lives.taken[call_sid]

    def start(self) -> None:
        """Look for Redis; begin to tell and to listen. A Redis that is away keeps nobody from serving."""
        with suppress(UnansweredError):  # the greenlet that tells tries again
            self.link.probe()
            if not self.link.away:
                self._lives.beat()
        for work in (self.run, self._listener.run):
            gevent.spawn(work)

    def stop(self) -> None:
        """Tell all there is to tell, and let the others look after what is left."""
        self._stopping.set()
        self._listener.stop()
        self._news.set()
        self._to_tell |= dict.fromkeys(stream_registry.registry)
        try:
            self._tell()
            self._lives.end()
        except UnansweredError:
            log.warning("Redis is away: what is left to do for calls is done when their time is over")
        self.link.close()

    # What the listener hears

    def _ask_about_all(self) -> None:
        self._to_tell |= dict.fromkeys(stream_registry.registry)
        self._news.set()

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
