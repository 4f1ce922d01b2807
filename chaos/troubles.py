"""Everything that may happen to a call; each trouble says whether it took hold, or came when there was nothing left."""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from functools import partial

from chaos.caller import Talker
from chaos.settings import MEDIA_SILENCE_S
from rehearsal.peer import Refused
from rehearsal.twilio.hostile import KINDS
from rehearsal.twilio.webhooks import Unanswered

Trouble = Callable[[Talker, random.Random], Awaitable[bool]]
"""Does it to a call; returns whether there was anything to do it to."""


async def lose_the_line(kind: str, talker: Talker, chance: random.Random) -> bool:  # noqa: ARG001 - one signature
    """The media socket goes, in one of the ways in which sockets go."""
    stream = talker.live_stream()
    if stream is None:
        return False
    if kind == "vanish":
        talker.deafness.begin(stream.peer)
    late_s = MEDIA_SILENCE_S if kind == "vanish" else 0.0  # nobody can know of it before
    talker.ends_now(f"the line is lost: {kind}", late_s=late_s, deaf=kind in ("vanish", "reset"))
    talker.spent.add(stream.peer)
    talker.call.drop(kind)
    return True


async def freeze_the_line(talker: Talker, chance: random.Random) -> bool:
    """Twilio sends nothing for a while."""
    stream = talker.live_stream()
    if stream is None:
        return False
    stream.freeze_media()
    await asyncio.sleep(chance.uniform(0.2, 1.5))
    stream.thaw_media()
    return True


async def read_slowly(talker: Talker, chance: random.Random) -> bool:
    """Twilio does not read for a while."""
    stream = talker.live_stream()
    if stream is None:
        return False
    stream.peer.pause_reading()
    talker.deafness.begin(stream.peer)
    await asyncio.sleep(chance.uniform(0.2, 1.5))
    stream.peer.resume_reading()
    talker.deafness.end(stream.peer)
    return True


async def lose_the_model(kind: str, talker: Talker, chance: random.Random) -> bool:  # noqa: ARG001
    """The model's socket goes, or the model says nothing any more."""
    session = talker.live_session()
    if session is None:
        return False
    if kind == "vanish":
        talker.deafness.begin(session.peer)
    if kind != "stall":
        talker.spent.add(session.peer)
    acts = {
        "fin": session.drop,
        "reset": session.reset,
        "close": session.close,
        "stall": session.stall,
        "expire": session.expire,
        "vanish": session.vanish,
    }
    acts[kind]()
    return True


async def fail_at_replies(talker: Talker, chance: random.Random) -> bool:
    """The model takes the call, and fails at what it is asked for next."""
    session = talker.live_session()
    if session is None:
        return False
    talker.script.failures = chance.randint(1, 3)
    return True


async def talk_nonsense(kind: str, talker: Talker, chance: random.Random) -> bool:  # noqa: ARG001
    """The model sends what cannot be read."""
    session = talker.live_session()
    if session is None:
        return False
    session.garbage(kind)
    return True


async def be_hostile(kind: str, talker: Talker, chance: random.Random) -> bool:  # noqa: ARG001
    """Somebody sends what no honest stream sends; what is replayed is so only where something was played."""
    stream = talker.live_stream()
    if stream is None or not stream.sent_frames:
        return False
    talker.call.send_hostile(kind)
    return True


async def intrude(talker: Talker, chance: random.Random) -> bool:  # noqa: ARG001
    """Somebody opens a second stream for the call, with the token that was used."""
    if talker.live_stream() is None:
        return False
    try:
        await talker.call.second_stream()
    except Refused:
        return True
    return True


async def lie_about_status(status: str, talker: Talker, chance: random.Random) -> bool:  # noqa: ARG001
    """A status that is not terminal comes late, and twice."""
    alive = talker.live_stream() is not None
    for _ in range(2):
        await talker.call.post_status(status)
    return alive


async def report_the_end(status: str, talker: Talker, chance: random.Random) -> bool:  # noqa: ARG001
    """Twilio says that the call is over while both sockets are open."""
    if talker.live_stream() is None:
        return False
    talker.ends_now(f"Twilio reports: {status}")
    await talker.call.post_status(status)  # its answer comes after both sockets were closed
    talker.call.drop("fin", call_goes_on=False)
    return True


OF_A_CALL: dict[str, Trouble] = {
    **{f"the line is lost: {how}": partial(lose_the_line, how) for how in ("fin", "reset", "no_stop", "vanish")},
    "the line is frozen": freeze_the_line,
    "the line is read slowly": read_slowly,
    **{
        f"the model is lost: {how}": partial(lose_the_model, how)
        for how in ("fin", "reset", "close", "stall", "expire", "vanish")
    },
    "the model fails at its replies": fail_at_replies,
    **{f"the model sends {what} garbage": partial(talk_nonsense, what) for what in ("text", "binary")},
    **{f"a hostile message: {kind}": partial(be_hostile, kind) for kind in KINDS if kind != "oversize"},
    "a second stream": intrude,
    **{
        f"a status that is not so: {status}": partial(lie_about_status, status) for status in ("ringing", "in-progress")
    },
    **{f"an end is reported: {status}": partial(report_the_end, status) for status in ("completed", "failed")},
}
"""Every kind of trouble by its name."""


class Deck:
    """Deals the kinds of trouble, all of them before any comes again; one that came in vain is dealt once more soon."""

    def __init__(self, chance: random.Random) -> None:
        self.took_hold, self.in_vain = Counter[str](), Counter[str]()
        self._chance, self._cards = chance, deque[str]()

    async def meet(self, talker: Talker) -> None:
        """Do the next trouble to a call, and note what became of it."""
        name = self._next()
        talker.troubles.append(name)
        try:
            held = await OF_A_CALL[name](talker, self._chance)
        except (LookupError, OSError, Unanswered):  # the call was over before it was done
            held = False
        if held:
            self.took_hold[name] += 1
            return
        self.in_vain[name] += 1
        self._cards.append(name)

    def _next(self) -> str:
        if not self._cards:
            self._cards.extend(self._chance.sample(list(OF_A_CALL), len(OF_A_CALL)))
        return self._cards.popleft()
