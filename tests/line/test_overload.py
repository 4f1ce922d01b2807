"""Too much of everything: new calls hear that the lines are busy, no model is opened, and live ones talk on."""

import asyncio
import shutil
import signal
from pathlib import Path

from realtime_prompt_builder import load_phrases
from rehearsal.kav import ROOT
from rehearsal.twilio import Call, Callee, CallScript
from rehearsal.world import World
from tests.line.ending import record, talking, until_healthy

BUSY, APOLOGY = (load_phrases().text(phrase, "he") for phrase in ("busy", "apology"))
SMALL, OTHER = "+97231110021", "+97231110022"

FLOW = """\
id: {id}
business: קטן
numbers: [{number}]
languages: [he]
greeting: שלום.
closing: להתראות.
{limits}
"""


async def told_busy(world: World, call: Call) -> None:
    await call.until_reported()
    assert (call.said, call.verbs, world.sessions_of(call)) == ([BUSY], ["Say", "Hangup"], [])


async def test_beyond_a_business_s_own_limit_its_callers_hear_busy_and_another_s_do_not(tmp_path: Path) -> None:
    shutil.copy(ROOT / "flows" / "default.yaml", tmp_path)
    limits = {"small": (SMALL, "limits: {calls: 1}"), "other": (OTHER, "")}
    for name, (number, limit) in limits.items():
        (tmp_path / f"{name}.yaml").write_text(FLOW.format(id=name, number=number, limits=limit), encoding="utf-8")
    async with World({"KAV_FLOWS": str(tmp_path), "DRAIN_SECONDS": "0"}) as world:
        first = await world.call(to=SMALL)
        await first.until_heard(40)
        await told_busy(world, await world.call(to=SMALL))
        other = await world.call(to=OTHER)
        await other.until_heard(40)
        await first.hang_up()
        await first.until_reported()
        again = await world.call(to=SMALL)
        await again.until_heard(40)
        for call in (other, again):
            await call.hang_up()


async def test_a_process_that_is_late_for_long_takes_no_new_calls_until_it_is_in_time_again() -> None:
    async with World({"DRAIN_SECONDS": "0", "HUB_LAG_SHED_MS": "250"}) as world:
        talk = await talking(world)
        world.kav.signal(signal.SIGSTOP)
        await asyncio.sleep(3)  # there is nothing to await: this is how long it stands still
        world.kav.signal(signal.SIGCONT)
        await until_healthy(world, lambda figures: figures["late"])
        order = {"to": "+972501234567", "flow": "sales", "variables": {"name": "דנה"}, "anytime": True}
        status, said = await world.kav.ask("POST", "/calls", order)
        assert (status, said["error"]["code"]) == (503, "late")
        await told_busy(world, await world.call())
        heard = talk.call.heard_ms
        await talk.call.until_heard(heard + 100)
        await until_healthy(world, lambda figures: not figures["late"])
        welcome = await talking(world)
        for each in (talk, welcome):
            await each.call.hang_up()


async def test_a_process_that_is_late_again_and_again_is_late_however_short_each_time() -> None:
    async with World({"DRAIN_SECONDS": "0", "HUB_LAG_SHED_MS": "250"}) as world:
        talk = await talking(world)
        async with asyncio.timeout(20):
            while not (await world.kav.health())["late"]:
                world.kav.signal(signal.SIGSTOP)
                await asyncio.sleep(0.45)  # a busy neighbour on its core: less than a second at a time
                world.kav.signal(signal.SIGCONT)
                await asyncio.sleep(0.12)
        await told_busy(world, await world.call())
        await until_healthy(world, lambda figures: not figures["late"])
        welcome = await talking(world)
        for each in (talk, welcome):
            await each.call.hang_up()


async def test_whoever_answers_a_placed_call_when_kav_is_late_hears_words_and_meets_no_model() -> None:
    async with World({"DRAIN_SECONDS": "0", "HUB_LAG_SHED_MS": "250"}) as world:
        line = CallScript(callee=Callee(rings_s=3.5))
        call = await world.place_call(line=line, flow="sales", variables={"name": "דנה"})
        world.kav.signal(signal.SIGSTOP)
        await asyncio.sleep(3)
        world.kav.signal(signal.SIGCONT)
        await call.until_reported()
        assert (call.said, call.verbs, world.upgrades_of(call)) == ([APOLOGY], ["Say", "Hangup"], 0)
        found = await record(world, call.sid, lambda found: bool(found.call.get("end_reason")))
        assert found.call["end_reason"] == "refused"
