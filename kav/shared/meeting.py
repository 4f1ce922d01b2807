"""What is told Redis of the calls of one process, and heard of them: of one, for whoever asks, or of many together.

A *word* is what there is to tell of a call; the answer is what stands there. One conversation about a call at a time:
whoever has the call's lock.
"""

import json
import logging
import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, cast

import gevent

import stream_registry
from kav.shared import scripts
from kav.shared.fields import Codec, Fields, Known
from kav.shared.link import Link, RefusedError, UnansweredError
from stream_registry import Entry

SHARED_SID: Final = re.compile(r"[0-9A-Za-z]{1,64}")
"""What a CallSid looks like; anything else is nobody's call, and no key of Redis's."""

AT_A_STRETCH: Final = 8
"""Calls that are written or read in one go, about a millisecond: streams do not wait for all that go together."""

log = logging.getLogger(__name__)


class Word(NamedTuple):
    """What is told of a call."""

    call_sid: str
    entry: Entry | None
    """None: nothing is known of it here, it is asked about."""
    sent: Fields
    """All its fields, as they are here."""
    told: Fields
    """Those of them that are news."""
    whole: bool
    """All is to be returned, not only what changes."""
    new: bool
    """It is told of unless somebody has done so."""


class Meetings:
    """The calls of one process, as Redis is known to have them."""

    def __init__(self, link: Link, codec: Codec, ttl_s: int) -> None:
        self._link, self._codec, self._me, self._ttl_s = link, codec, codec.me, ttl_s
        self._mine = json.dumps(codec.me)
        self._calls: dict[str, Known] = {}

    def known(self, call_sid: str) -> Known:
        """Return what Redis is known to have of a call."""
        return self._calls.setdefault(call_sid, Known())

    def owns(self, call_sid: str) -> bool:
        """Whether the call is this process's, as far as it knows."""
        known = self._calls.get(call_sid)
        return known is not None and known.fields.get("owner", self._mine) == self._mine

    def let_go(self, call_sid: str) -> None:
        """Have the call here no longer if it is a guest that nobody uses."""
        known = self._calls.get(call_sid)
        if known is not None and not known.users and known.fields and not self.owns(call_sid):
            self._drop(call_sid)
        elif known is not None and not known.users and stream_registry.get(call_sid) is None:
            self._calls.pop(call_sid, None)

    def meet(self, call_sid: str, *, whole: bool = False, new: bool = False) -> None:
        """Tell Redis what is new here of a call, and hear what is new there.

        Raises UnansweredError, UnreadableError.
        """
        if not SHARED_SID.fullmatch(call_sid):
            return
        known = self.known(call_sid)
        with known.lock:
            word = self._word(call_sid, whole=whole, new=new)
            if word is None:
                return
            ((word, answer),) = self._converse([word])
            if isinstance(answer, RefusedError):
                raise answer
            self._hear(word, answer)

    def meet_quietly(self, call_sid: str) -> None:
        """The same; what fails is told in the next round."""
        try:
            self.meet(call_sid)
        except UnansweredError:
            pass
        except Exception:  # one call that cannot be told of must not keep the others from it
            log.exception("sharing a call failed", extra={"call_sid": call_sid})

    def meet_all(self, call_sids: Iterable[str]) -> list[str]:
        """Tell and hear of several calls together; return those of which somebody else is just telling.

        Raises AwayError.
        """
        held: list[Known] = []
        words: list[Word] = []
        busy: list[str] = []
        try:
            for call_sid in call_sids:
                if call_sid not in stream_registry.registry or not SHARED_SID.fullmatch(call_sid):
                    continue
                known = self.known(call_sid)
                if not known.lock.acquire(blocking=False):
                    busy.append(call_sid)
                    continue
                held.append(known)
                words += self._words(call_sid)
                if not len(held) % AT_A_STRETCH:
                    gevent.sleep(0)
            for n, (word, answer) in enumerate(self._converse(words), 1):
                if not isinstance(answer, RefusedError):  # the link has said so; it is told in the next round
                    self._hear_quietly(word, answer)
                if not n % AT_A_STRETCH:
                    gevent.sleep(0)
        finally:
            for known in held:
                known.lock.release()
        return busy

    def forget_all(self, call_sids: Iterable[str]) -> None:
        """Have it known that these calls are over for good. Raises AwayError."""
        over = list(call_sids)
        self._link.scripts(scripts.FORGET, [(scripts.keys_of(each), (each, self._ttl_s)) for each in over])
        for call_sid in over:  # what is refused goes by itself some day
            self.let_go(call_sid)

    def moved(self) -> list[str]:
        """Return the calls whose script has moved: no event says so, for a decision knows no other process."""
        moved = []
        for call_sid, known in self._calls.items():
            entry = stream_registry.get(call_sid)
            talk = entry["conversation"] if entry is not None and entry["stream"] is not None else None
            if talk is None:
                continue
            standing = (talk.open_question, tuple(talk.lock.answers.values()), talk.language.current)
            if standing != known.standing:
                known.standing = standing
                moved.append(call_sid)
        return moved

    def unsettled(self) -> list[str]:
        """Return the calls that Redis does not have as they are here, and those that may still change there."""
        return [call_sid for call_sid, entry in stream_registry.registry.items() if not self._is_settled(entry)]

    def _words(self, call_sid: str) -> list[Word]:
        """Return what there is to tell of a call; one that cannot be told of must not keep the others from it."""
        try:
            word = self._word(call_sid)
        except Exception:
            log.exception("sharing a call failed", extra={"call_sid": call_sid})
            return []
        return [] if word is None else [word]

    def _hear_quietly(self, word: Word, found: Fields) -> None:
        try:
            self._hear(word, found)
        except UnansweredError:
            pass
        except Exception:  # one call that cannot be heard of must not keep the others from it
            log.exception("sharing a call failed", extra={"call_sid": word.call_sid})

    def _word(self, call_sid: str, *, whole: bool = False, new: bool = False) -> Word | None:
        """Return what is to be told of a call; its lock is held. None of a guest that has left meanwhile."""
        entry, known = stream_registry.get(call_sid), self.known(call_sid)
        if entry is None:
            return Word(call_sid, None, {}, {}, whole=True, new=False) if whole and not new else None
        known.pages |= self._codec.pages(entry, known.fields)
        sent = self._codec.write(entry, known.fields)
        return Word(call_sid, entry, sent, _news(sent, known), whole=whole, new=new)

    def _converse(self, words: Sequence[Word]) -> list[tuple[Word, Fields | RefusedError]]:
        """Tell, and return what is found there; what Redis has lost its memory of is told anew. Raises AwayError."""
        answers = self._merge(words)
        lost = [n for n, word in enumerate(words) if not answers[n] and self._is_ours(word)]
        words = [self._anew(word) if n in lost else word for n, word in enumerate(words)]
        for n, answer in zip(lost, self._merge([words[n] for n in lost]), strict=True):
            answers[n] = answer
        return list(zip(words, answers, strict=True))

    def _is_ours(self, word: Word) -> bool:
        return word.entry is not None and self.owns(word.call_sid)

    def _anew(self, word: Word) -> Word:
        """Return the same call's word to a Redis that knows nothing of it: all that we know is news to it."""
        entry, known = word.entry, self.known(word.call_sid)
        if entry is None:
            return word
        known.fields, known.pages = {}, self._codec.pages(entry, {})
        sent = self._codec.write(entry, {})
        return Word(word.call_sid, entry, sent, sent, whole=word.whole, new=True)

    def _merge(self, words: Sequence[Word]) -> list[Fields | RefusedError]:
        asked = [(scripts.keys_of(word.call_sid), self._values(word)) for word in words]
        answers: list[Fields | RefusedError] = []
        for word, answer in zip(words, self._link.scripts(scripts.MERGE, asked), strict=True):
            known = self.known(word.call_sid)
            known.refused = isinstance(answer, RefusedError)
            if isinstance(answer, RefusedError):
                answers.append(answer)
                continue
            answers.append(dict(zip(answer[::2], answer[1::2], strict=True)))
            if answer:
                known.pages = {}
        return answers

    def _values(self, word: Word) -> list[str | int]:
        how = "new" if word.new else "known"
        pairs = (*word.told.items(), *self.known(word.call_sid).pages.items())
        values = (self._me, word.call_sid, how, self._ttl_s, int(word.whole), len(word.told))
        return [*values, *(part for pair in pairs for part in pair)]

    def _hear(self, word: Word, found: Fields) -> None:
        call_sid, entry, sent = word.call_sid, word.entry, word.sent
        known = self.known(call_sid)
        if not found or "forgotten" in found:
            if found or entry is not None:  # else: it may have been registered here meanwhile
                self._drop(call_sid, for_good=bool(found))
            return
        heard, pages = found.get("conversation"), dict[str, str]()
        hears = heard not in (None, known.fields.get("conversation"), sent.get("conversation"))
        hears = hears and (entry is None or entry["stream"] is None)
        if hears:
            pages = self._link.ask(lambda: self._pages(call_sid))  # before anything is taken: it may fail
        if entry is None:
            entry = stream_registry.registry.setdefault(call_sid, self._codec.read(call_sid, found))
        now = self._codec.write(entry, known.fields)
        for name, text in found.items():
            if text not in (sent.get(name), now.get(name)) and (name not in sent or sent[name] == now.get(name)):
                self._codec.take_or_complain(entry, known, name, text)
        if hears and heard is not None and entry["stream"] is None:
            self._codec.read_conversation(entry, heard, pages)
        known.fields |= {name: text for name, text in sent.items() if name not in found} | found
        self._settle(entry, known)
        self._heed_owner(call_sid, entry)

    def _settle(self, entry: Entry, known: Known) -> None:
        """Note of a call that is over for everybody that Redis has all of it, until something changes here."""
        over = entry["terminal_at"] is not None and entry["stream"] is None
        told = over and not _news(self._codec.write(entry, known.fields), known)
        known.settled = self._codec.state(entry) if told else None

    def _pages(self, call_sid: str) -> Fields:
        return cast("Fields", self._link.client.hgetall(scripts.pages_key(call_sid)))

    def _heed_owner(self, call_sid: str, entry: Entry) -> None:
        """Somebody else may have the call by now: a stream that is still here has lost it."""
        if self.owns(call_sid):
            return
        if entry["stream"] is not None:
            log.warning("the call goes on in another process", extra={"call_sid": call_sid})
            entry["stream"].stop()
        self.let_go(call_sid)

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

    def _is_settled(self, entry: Entry) -> bool:
        known = self._calls.get(entry["call_sid"])
        return known is not None and known.settled is not None and known.settled == self._codec.state(entry)


def _news(sent: Fields, known: Known) -> Fields:
    return {name: text for name, text in sent.items() if known.fields.get(name) != text}
