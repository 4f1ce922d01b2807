"""Everything that may happen to a call and to what is around it; each trouble names itself in the calls it met."""

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Sequence

from chaos.caller import Talker
from rehearsal.peer import Refused
from rehearsal.twilio.hostile import KINDS
from rehearsal.world import World

STOPPED_S = 1.5
"""How long the process stands still: as long as a laptop's lid, a busy host, a paused container."""
Trouble = Callable[[World, Talker, random.Random], Awaitable[None]]


async def lose_the_line(world: World, talker: Talker, chance: random.Random) -> None:  # noqa: ARG001 - one signature
    """The media socket goes, in any of the ways in which sockets go."""
    talker.slowed = True
    talker.call.drop(chance.choice(("fin", "reset", "no_stop", "vanish")))


async def freeze_the_line(world: World, talker: Talker, chance: random.Random) -> None:  # noqa: ARG001
    """Twilio sends nothing for a while."""
    talker.call.freeze_media()
    await asyncio.sleep(chance.uniform(0.2, 1.5))
    talker.call.resume()


async def read_slowly(world: World, talker: Talker, chance: random.Random) -> None:  # noqa: ARG001
    """Twilio does not read for a while."""
    talker.call.drop("slow_reader")
    await asyncio.sleep(chance.uniform(0.2, 1.5))
    talker.call.resume()


async def lose_the_model(world: World, talker: Talker, chance: random.Random) -> None:
    """The model's socket goes, or the model says nothing any more."""
    sessions = world.sessions_of(talker.call)
    if not sessions or not sessions[-1].is_open:
        return
    session = sessions[-1]
    chance.choice((session.drop, session.reset, session.close, session.stall, session.expire, session.vanish))()


async def talk_nonsense(world: World, talker: Talker, chance: random.Random) -> None:
    """The model sends what cannot be read."""
    sessions = world.sessions_of(talker.call)
    if sessions and sessions[-1].is_open:
        sessions[-1].garbage(chance.choice(("text", "binary")))


async def be_hostile(world: World, talker: Talker, chance: random.Random) -> None:  # noqa: ARG001
    """Somebody sends what no honest stream sends."""
    talker.call.send_hostile(chance.choice([kind for kind in KINDS if kind != "oversize"]))


async def intrude(world: World, talker: Talker, chance: random.Random) -> None:  # noqa: ARG001
    """Somebody opens a second stream for the call, with the token that was used."""
    try:
        await talker.call.second_stream()
    except Refused:
        return


async def lie_about_status(world: World, talker: Talker, chance: random.Random) -> None:  # noqa: ARG001
    """A status that is not terminal comes late, and twice."""
    for _ in range(2):
        await talker.call.post_status(chance.choice(("ringing", "in-progress")))


async def report_the_end(world: World, talker: Talker, chance: random.Random) -> None:  # noqa: ARG001
    """Twilio says that the call is over while both sockets are open."""
    talker.slowed = True
    await talker.call.post_status(chance.choice(("completed", "failed")))
    talker.call.drop("fin", call_goes_on=False)


async def stand_still(world: World, talkers: Sequence[Talker]) -> None:
    """The process gets no time at all; nobody may lose a call by it."""
    for talker in talkers:
        talker.slowed = True
    world.kav.signal(signal.SIGSTOP)
    await asyncio.sleep(STOPPED_S)
    world.kav.signal(signal.SIGCONT)


OF_A_CALL: tuple[Trouble, ...] = (
    lose_the_line,
    freeze_the_line,
    read_slowly,
    lose_the_model,
    lose_the_model,
    talk_nonsense,
    be_hostile,
    be_hostile,
    intrude,
    lie_about_status,
    report_the_end,
)
