"""A business's own tool over real sockets: offered where words are free, asked, answered from, and back to the step."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable

import pytest

from kav.call.chronicle import LEFT
from rehearsal.kav import ROOT
from rehearsal.model import CallTool, Faults, ModelSession, Reply, ReplyRequest, Say, Script
from rehearsal.tools import TOKEN
from rehearsal.world import World
from tests.line.ending import WAIT_S, record
from tests.line.listening import SPEECH, Talk, noise

CLINIC = "+97231110002"
RESUME = "רוצה שנמשיך מאיפה שהיינו?"
DAY = {"day": "2026-11-24"}
TOOL_S = 15


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Short turns, and a tool that is given as long as there is: so late an answer is told from none."""
    clinic = (ROOT / "flows" / "clinic.yaml").read_text(encoding="utf-8")
    patient = clinic.replace("timeout_s: 4\n", f"timeout_s: {TOOL_S}\n")
    assert patient != clinic
    flows = tmp_path_factory.mktemp("flows")
    (flows / "clinic.yaml").write_text(patient, encoding="utf-8")
    settings = {"VAD_SILENCE_MS": "200", "DRAIN_SECONDS": "0", "KAV_FLOWS": str(flows)}
    async with World(settings) as world:
        yield world
        assert world.model.violations == [], "Kav broke the model's rules"


class Asking(Script):
    """Takes every turn for a question in between, asks the tool it is offered with `arguments`, and then answers."""

    def __init__(self, arguments: dict[str, str] | None = None) -> None:
        self.arguments = arguments or DAY
        self.offered: list[list[str]] = []
        """Names of the tools that each reply in free words could call."""
        self.voices = 0

    def heard(self, session: ModelSession) -> str:  # noqa: ARG002 - the transcriber heard nothing that it could write
        """An empty transcript."""
        return ""

    def reply(self, request: ReplyRequest) -> Reply:
        """A judgement, a fixed phrase, a call of a tool that has not been called, or the answer."""
        if request.tool_choice == "required":
            return Reply([CallTool("side_question", {"question": "?", "language": "he"})], first_after_s=0.02)
        if request.phrase is not None:
            return self._say(request.phrase)
        self.offered.append([tool["name"] for tool in request.settings["tools"]])
        if request.tool_choice == "auto" and len(self.offered) == 1:
            return Reply([CallTool("free_slots", self.arguments)], first_after_s=0.02)
        return self._say(f"הנה. {RESUME}")

    def _say(self, words: str) -> Reply:
        self.voices += 1
        return Reply([Say(words, audio=noise(self.voices, 300))], first_after_s=0.02)


async def asked(world: World, script: Asking, faults: Iterable[Faults] = ()) -> Talk:
    """A call to the clinic whose greeting was heard, and whose caller has asked something."""
    call = await world.call(script, faults=faults, to=CLINIC)
    talk = Talk(call, await world.session_of(call))
    await call.until(lambda: talk.heard_ms_of(noise(1, 300)) == 300)
    await call.say(SPEECH)
    return talk


async def answered(talk: Talk) -> str:
    """The one output that the model was given, once its answer was heard."""
    await talk.call.until(lambda: talk.heard_ms_of(noise(2, 300)) == 300)
    outputs = [item.output for item in talk.session.conversation if item.type == "function_call_output"]
    assert outputs[0] == "noted", "the judgement's"
    (output,) = outputs[1:]
    return output


def creates(talk: Talk) -> list[dict[str, object]]:
    return [event["response"] for event in talk.asked("response.create")]


async def went_well(world: World, talk: Talk) -> bool | None:
    """What the call's record says of the one tool that was run, once the call is over."""
    await record(world, talk.call.sid, lambda found: found.whole)
    by_name: dict[str, bool | None] = {}
    async with asyncio.timeout(WAIT_S):
        while len(by_name) < 2:  # each is written by itself
            status, told = await world.kav.ask("GET", f"/calls/{talk.call.sid}")
            assert status == 200, told
            by_name = {run["name"]: run["ok"] for run in told["tool_calls"]}
    assert by_name["side_question"] is None, "nothing was run for the judge's"
    ok: bool | None = by_name["free_slots"]
    return ok


async def test_a_question_is_answered_by_the_business_itself_and_the_step_stays(world: World) -> None:
    world.tools.offer("/api/free-slots?day=2026-11-24", {"free": ["10:00"]})
    script = Asking()
    talk = await asked(world, script)
    assert await answered(talk) == '{"free":["10:00"]}'
    asked_for = world.tools.asked[-1]
    assert (asked_for.method, asked_for.host) == ("GET", "clinic.example.com")
    _greeting, judge, call, answer = creates(talk)
    assert judge["tool_choice"] == "required"
    assert (call["tool_choice"], script.offered[0]) == ("auto", ["free_slots"])
    assert answer["tool_choice"] == "auto"
    sent = [event["item"] for event in talk.asked("conversation.item.create")]
    told = [item["content"][0]["text"] for item in sent if item["type"] == "message"]
    assert RESUME in told[-1]
    assert told[-1] == told[-2], "the same is asked for again, now that the tool is back"
    await talk.call.say(SPEECH)
    await talk.call.until(lambda: len(creates(talk)) >= 5)
    judged = next(event for event in reversed(talk.asked("conversation.item.create")) if "Judge" in json.dumps(event))
    assert "visitor" in judged["item"]["content"][0]["text"]
    await talk.call.hang_up()
    assert await went_well(world, talk) is True


async def test_the_log_says_how_it_went_and_nothing_that_was_asked_or_secret(world: World) -> None:
    world.tools.offer("/api/free-slots?day=2026-11-24", "free at ten, as always")
    talk = await asked(world, Asking())
    assert await answered(talk) == "free at ten, as always"
    lines = [line for line in world.kav.log_of(talk.call.sid) if "free_slots" in line]
    assert len(lines) == 1
    assert "tool free_slots: 200 in " in lines[0]
    log = world.kav.log(1_000_000)
    assert TOKEN not in log
    assert "2026-11-24 " not in lines[0].partition("tool")[2]
    assert "always" not in log
    await talk.call.hang_up()


@pytest.mark.parametrize(
    ("arguments", "offer", "told"),
    [
        (DAY, lambda world: world.tools.offer("/api/free-slots?day=2026-11-24", "broken", status=500), "error 500"),
        ({"day": "x", "treatment": "surgery"}, lambda world: None, "treatment must be one of check_up"),  # noqa: ARG005
    ],
)
async def test_a_tool_that_fails_is_answered_all_the_same(
    world: World, arguments: dict[str, str], offer: Callable[[World], None], told: str
) -> None:
    offer(world)
    talk = await asked(world, Asking(arguments))
    assert told in await answered(talk)
    await talk.call.hang_up()
    assert await went_well(world, talk) is False


async def test_a_caller_who_hangs_up_while_a_tool_works_leaves_nothing_behind(world: World) -> None:
    before = (await world.kav.health())["greenlets"]
    world.tools.offer("/api/free-slots?day=2026-12-01", "late", after_s=20)
    talk = await asked(world, Asking({"day": "2026-12-01"}))
    await talk.call.until(lambda: world.tools.times("/api/free-slots?day=2026-12-01") == 1)
    await talk.call.hang_up()

    async with asyncio.timeout(8):  # the tool's own time is fifteen seconds, its answer's twenty
        while (await world.kav.health())["greenlets"] > before:
            await asyncio.sleep(0.05)
    assert world.tools.times("/api/free-slots?day=2026-12-01") == 1


async def test_a_tool_without_its_secret_is_named_at_boot_and_not_offered() -> None:
    async with World({"VAD_SILENCE_MS": "200", "DRAIN_SECONDS": "0", "CLINIC_API_TOKEN": ""}) as world:
        assert "clinic: tools are left out, for CLINIC_API_TOKEN is not set" in world.kav.log()
        script = Asking()
        talk = await asked(world, script)
        await talk.call.until(lambda: talk.heard_ms_of(noise(2, 300)) == 300)
        assert creates(talk)[2]["tool_choice"] == "none"
        assert world.tools.asked == []
        await talk.call.hang_up()


def told_of_tools(session: ModelSession) -> list[tuple[str, str]]:
    """What a model was told of tools that another has called: the calls, and what they brought."""
    items = [item for item in session.conversation if item.type in ("function_call", "function_call_output")]
    return [(item.type, item.arguments or item.output or "") for item in items]


CALLED, BROUGHT = ("function_call", '{"day": "2026-11-24"}'), ("function_call_output", '{"free":["10:00"]}')


async def test_a_tool_that_works_while_the_model_is_lost_is_asked_once_and_the_next_one_tells_the_answer(
    world: World,
) -> None:
    world.tools.asked.clear()
    world.tools.offer("/api/free-slots?day=2026-11-24", {"free": ["10:00"]}, after_s=4)
    talk = await asked(world, Asking())
    await talk.call.until(lambda: world.tools.times("/api/free-slots?day=2026-11-24") == 1)
    talk.session.reset()
    session = await world.session_of(talk.call, 2)
    await session.wait_for("conversation.item.create")
    await talk.call.until(lambda: BROUGHT in told_of_tools(session))
    assert told_of_tools(session) == [CALLED, BROUGHT]
    await talk.call.until(lambda: len(Talk(talk.call, session).asked("response.create")) == 2)
    last = [event["item"] for event in Talk(talk.call, session).asked("conversation.item.create")][-1]
    assert RESUME in last["content"][0]["text"], "the caller who asked is answered, and then comes the step"
    assert world.tools.times("/api/free-slots?day=2026-11-24") == 1
    await talk.call.hang_up()
    assert await went_well(world, talk) is True


async def test_a_tool_that_is_back_before_the_next_model_is_told_with_all_the_rest(world: World) -> None:
    world.tools.offer("/api/free-slots?day=2026-11-24", {"free": ["10:00"]}, after_s=0.5)
    talk = await asked(world, Asking(), faults=[Faults(), Faults(upgrade_after_s=1.2)])
    times = world.tools.times("/api/free-slots?day=2026-11-24")
    await talk.call.until(lambda: world.tools.times("/api/free-slots?day=2026-11-24") > times)
    talk.session.reset()
    session = await world.session_of(talk.call, 2)
    await talk.call.until(lambda: told_of_tools(session) == [CALLED, BROUGHT])
    await talk.call.hang_up()


async def test_a_tool_that_works_while_the_line_is_lost_is_told_of_as_one_that_nobody_has_heard_the_end_of(
    world: World,
) -> None:
    world.tools.offer("/api/free-slots?day=2026-11-24", {"free": ["10:00"]}, after_s=4)
    times = world.tools.times("/api/free-slots?day=2026-11-24")
    talk = await asked(world, Asking())
    await talk.call.until(lambda: world.tools.times("/api/free-slots?day=2026-11-24") > times)
    talk.call.drop("reset")
    await talk.call.until_streaming(streams=2)
    session = await world.session_of(talk.call, 2)
    await talk.call.until(lambda: told_of_tools(session) == [CALLED, ("function_call_output", LEFT)])
    await talk.call.hang_up()
    assert await went_well(world, talk) is False


async def test_what_tools_have_brought_is_known_to_the_next_model(world: World) -> None:
    world.tools.offer("/api/free-slots?day=2026-11-24", {"free": ["10:00"]})
    talk = await asked(world, Asking())
    await answered(talk)
    talk.session.reset()
    session = await world.session_of(talk.call, 2)
    await talk.call.until(lambda: told_of_tools(session) == [CALLED, BROUGHT])
    await talk.call.hang_up()
