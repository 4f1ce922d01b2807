"""Messages that no honest stream sends are survived, never forwarded, and cost nobody the call."""

import asyncio
import time

from rehearsal.audio import tone
from rehearsal.model import ObedientScript
from rehearsal.twilio.hostile import KINDS, MARKER
from rehearsal.world import World
from tests.line.ending import Talk, fin, talking

TOO_LONG = 1009
STREAM_ENDS = ("oversize",)


async def test_a_hostile_message_is_dropped_and_the_call_talks_on(world: World) -> None:
    kinds = [kind for kind in KINDS if kind not in STREAM_ENDS]
    talks = await asyncio.gather(*(talking(world, ObedientScript(["ממשיכים."])) for _ in kinds))
    for talk, kind in zip(talks, kinds, strict=True):
        await talk.session.wait_for("response.done")
        for _ in range(3):
            talk.call.send_hostile(kind)
    await asyncio.gather(*map(_talks_on, talks, kinds))


async def test_every_hostile_message_at_once_is_survived(world: World) -> None:
    talk = await talking(world, ObedientScript(["ממשיכים."]))
    await talk.session.wait_for("response.done")
    for _ in range(20):
        for kind in KINDS:
            if kind not in STREAM_ENDS:
                talk.call.send_hostile(kind)
    await _talks_on(talk, "all")


async def _talks_on(talk: Talk, kind: str) -> None:
    heard = talk.call.heard_ms
    await talk.call.say(tone(400, 600, 0.5))
    await talk.session.wait_for("response.done", 2, timeout=10)
    await talk.call.until_heard(heard + 200)
    assert MARKER not in talk.session.audio_in, kind
    sent = b"".join(talk.call.sent_frames)
    assert sent.startswith(talk.session.audio_in[: len(sent)]), f"{kind}: the caller's own frames are whole"
    assert (talk.finalisations(), len(talk.call.streams)) == (0, 1), kind
    assert (talk.world.sessions_of(talk.call), talk.call.violations) == ([talk.session], []), kind
    await talk.call.hang_up()


async def test_a_message_beyond_the_limit_closes_its_stream_which_is_then_a_lost_one(world: World) -> None:
    talk = await talking(world)
    since = time.monotonic()
    talk.call.send_hostile("oversize")
    await talk.closed(since)
    assert talk.call.socket.close_code == TOO_LONG
    assert MARKER not in talk.session.audio_in
    await talk.call.until_streaming(streams=2)
    assert (await world.session_of(talk.call, 2)).is_open
    await talk.call.hang_up()
    assert (await talk.record()).reasons[0] == "socket_lost"


async def test_bytes_that_are_no_websocket_close_the_stream_and_nothing_else(world: World) -> None:
    bystander, talk = await asyncio.gather(talking(world), talking(world))
    since = time.monotonic()
    talk.call.socket.send_raw(b"\xff" * 64)
    await fin(talk.session.peer, since)
    await fin(talk.call.socket, since)
    heard = bystander.call.heard_ms
    await bystander.call.until_heard(heard + 100)
    assert bystander.finalisations() == 0
    for call in (bystander.call, talk.call):
        await call.hang_up()
