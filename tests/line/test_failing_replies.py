"""A model that takes the call and fails at what it is asked for: the caller is served, told or handed over anyway.

With the reconnections of the default, for they are what is between a failed response and the end of the call.
"""

from collections.abc import AsyncIterator, Collection

import pytest

from rehearsal.model import After, CallTool, Faults, ModelServer, ModelSession, Reply, ReplyRequest
from rehearsal.world import World
from tests.line.ending import record
from tests.line.listening import SPEECH, Talk
from tests.line.test_conversation import LOCKSMITH, Judging, greeted, orders, turn
from tests.line.test_transfer import ASKS_FOR_A_PERSON

HUMAN = "+97231110009"
SETTINGS = {"VAD_SILENCE_MS": "200", "DRAIN_SECONDS": "0", "MODEL_REST_S": "0"}
QUESTION = "ספרו לי בקצרה, מה קרה?"


class Failing(Judging):
    """Fails at the replies with these numbers, the greeting's being 0."""

    def __init__(self, fails_at: Collection[int], *judgements: CallTool, code: str = "server_error") -> None:
        super().__init__(list(judgements))
        self._fails_at, self._code, self._asked = fails_at, code, -1

    def reply(self, request: ReplyRequest) -> Reply:
        """What is asked for, or an error."""
        self._asked += 1
        if self._asked in self._fails_at:
            return Reply(status="failed", error=(self._code, "The model failed at it."))
        return super().reply(request)


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    async with World(SETTINGS) as world:
        yield world
        assert world.model.violations == [], "Kav broke the model's rules"


async def answered(world: World, script: Judging) -> Talk:
    """A call that has heard its greeting, and has said something."""
    call = await world.call(script, to=LOCKSMITH)
    talk = Talk(call, await world.session_of(call))
    await call.until(lambda: call.heard_ms >= 300)
    await call.say(SPEECH)
    return talk


@pytest.mark.parametrize(
    ("fails_at", "code"), [((0, 1), "server_error"), ((0,), "insufficient_quota"), ((0, 1), "rate_limit_exceeded")]
)
async def test_a_greeting_that_fails_is_said_by_the_next_connection(
    world: World, fails_at: tuple[int, ...], code: str
) -> None:
    call = await world.call(Failing(fails_at, code=code), to=LOCKSMITH)
    await call.until(lambda: call.heard_ms >= 300)
    sessions = world.sessions_of(call)
    assert len(sessions) == 2
    assert len(Talk(call, sessions[1]).asked("response.create")) == 1
    await call.hang_up()


async def test_a_turn_whose_judgement_fails_is_apologised_for_and_its_question_asked_again(world: World) -> None:
    talk = await answered(world, Failing((1, 2)))
    back = Talk(talk.call, await world.session_of(talk.call, 2))
    await back.session.wait_for("response.create")
    assert QUESTION in orders(back)[-1]
    await talk.call.until(lambda: talk.call.heard_ms >= 600)
    await talk.call.hang_up()


async def test_whoever_asked_for_a_person_gets_one_though_the_announcement_fails(world: World) -> None:
    talk = await answered(world, Failing((2, 3), ASKS_FOR_A_PERSON))
    await talk.call.until(lambda: talk.call.dialled == [HUMAN])
    await talk.call.hang_up()


async def test_a_goodbye_that_fails_is_said_by_the_next_connection(world: World) -> None:
    talk = await answered(world, Failing((2, 3), CallTool("end_call", {"language": "he"})))
    await talk.call.until_ended()
    assert talk.call.heard_ms >= 600, "the greeting, and the goodbye"
    found = await record(world, talk.call.sid, lambda found: found.whole)
    assert found.call["end_reason"] == "goodbye"


async def test_a_model_that_fails_at_everything_costs_nobody_the_human(world: World) -> None:
    call = await world.call(Failing(range(99)), to=LOCKSMITH)
    await call.until(lambda: call.dialled == [HUMAN])
    await call.hang_up()
    found = await record(world, call.sid, lambda found: found.whole)
    assert found.call["end_reason"] == "model_failed"


@pytest.mark.parametrize("stalls", [True, False], ids=["stalls", "fails"])
async def test_an_endpoint_that_takes_the_call_and_does_nothing_for_it_is_left_for_the_other(*, stalls: bool) -> None:
    script = Judging([]) if stalls else Failing(range(99))
    faults = [Faults(after=(After("response.create", ModelSession.stall),))] * 3 if stalls else []
    async with ModelServer() as spare:
        settings = {"OPENAI_FALLBACK_URL": spare.url + "/", "MODEL_REPLY_TIMEOUT_S": "6"}
        async with World(SETTINGS | settings) as world:
            call = await world.call(script, faults=faults, to=LOCKSMITH)
            await call.until(lambda: call.heard_ms >= 300)
            assert (len(world.sessions_of(call)), len(spare.sessions)) == (1, 1)
            assert call.dialled == call.said == []
            await call.hang_up()
        assert spare.violations == []


@pytest.mark.parametrize("how", ["stalls", "server_error", "insufficient_quota"])
async def test_an_endpoint_that_has_answered_and_then_does_nothing_is_left_for_the_other_in_mid_call(how: str) -> None:
    stalls = how == "stalls"
    script = Judging([]) if stalls else Failing(range(1, 99), code=how)
    faults = [Faults(after=(After("input_audio_buffer.committed", ModelSession.stall),))] if stalls else []
    async with ModelServer() as spare:
        settings = {"OPENAI_FALLBACK_URL": spare.url + "/", "MODEL_REPLY_TIMEOUT_S": "6"}
        async with World(SETTINGS | settings) as world:
            talk = Talk(call := await world.call(script, faults=faults, to=LOCKSMITH), await world.session_of(call))
            await call.until(lambda: call.heard_ms >= 300)
            await call.until_quiet()
            heard_ms = call.heard_ms
            await call.say(SPEECH)
            await call.until(lambda: call.heard_ms >= heard_ms + 300)
            assert (len(world.sessions_of(call)), len(spare.sessions)) == (1, 1)
            assert QUESTION in orders(Talk(talk.call, spare.sessions[0]))[-1]
            assert call.dialled == call.said == []
            await call.hang_up()
        assert spare.violations == []


async def test_an_endpoint_that_has_answered_is_asked_again_when_its_connection_breaks() -> None:
    async with ModelServer() as spare, World(SETTINGS | {"OPENAI_FALLBACK_URL": spare.url + "/"}) as world:
        talk = await greeted(world, CallTool("answer_step", {"step": "problem", "value": "דלת", "language": "he"}))
        await turn(talk, voice=2)
        talk.session.reset()
        back = await world.session_of(talk.call, 2)
        await back.wait_for("session.updated")
        assert spare.sessions == []
        await talk.call.hang_up()
