"""Deploys drop nobody: live calls finish or are told, new ones get a human or words, a killed process's records end."""

import asyncio
import signal
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest
from aiohttp import web

from realtime_prompt_builder import load_phrases
from rehearsal.kav import KavProcess
from rehearsal.model import CallTool, Faults, Reply, ReplyRequest, Say
from rehearsal.model.mulaw import hum
from rehearsal.twilio import Callbacks, CallScript, Human, Line
from rehearsal.twilio.signing import signed_headers
from rehearsal.world import AUTH_TOKEN, World
from tests.after_call.receivers import http_receiver
from tests.line.asking import about, ask
from tests.line.ending import Talk, read, record, talking, until_healthy
from tests.line.listening import SPEECH, noise
from tests.line.listening import Talk as Listening
from tests.line.test_conversation import LOCKSMITH, Judging
from tests.line.test_transfer import ASKS_FOR_A_PERSON

PHRASES = load_phrases()
LAST_WORDS, APOLOGY, BUSY = (PHRASES.text(phrase, "he") for phrase in ("shutdown", "apology", "busy"))
HUMAN = "+97231110009"
SAYS_GOODBYE = CallTool("end_call", {"language": "he"})


def world(drain_s: float, **settings: str) -> World:
    """One whose bot speaks a second and a half at most."""
    return World({"DRAIN_SECONDS": str(drain_s), **settings}, speak=lambda text, language: hum(text[:25], language))


class LongWinded(Judging):
    """Takes two seconds for what it says after the greeting."""

    def reply(self, request: ReplyRequest) -> Reply:
        """What is asked for."""
        reply = super().reply(request)
        if request.tool_choice == "required" or self.voices == 1:
            return reply
        return Reply([Say(request.phrase or "...", audio=noise(self.voices, 2000))], first_after_s=0.02)


class LateAnswers:
    """In front of Twilio's REST API: what is asked is done at once, and the answer comes late."""

    def __init__(self, after_s: float) -> None:
        self.url = self.passes_on_to = ""
        self.answered = asyncio.Event()
        self._after_s = after_s

    async def answer(self, request: web.Request) -> web.Response:
        kept = {name: request.headers[name] for name in ("Authorization", "Content-Type") if name in request.headers}
        url = self.passes_on_to + request.path_qs
        async with (
            aiohttp.ClientSession() as http,
            http.request(request.method, url, data=await request.read(), headers=kept) as answered,
        ):
            body = await answered.read()
        await asyncio.sleep(self._after_s)  # there is nothing to await: this is how long Twilio takes
        self.answered.set()
        return web.Response(body=body, status=answered.status, content_type="application/json")


@asynccontextmanager
async def late_answers(after_s: float) -> AsyncIterator[LateAnswers]:
    late, app = LateAnswers(after_s), web.Application()
    app.router.add_route("*", "/{rest:.*}", late.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    late.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield late
    finally:
        await runner.cleanup()


def said_by_the_bot(talk: Talk) -> list[str]:
    """The bot's turns, as they are on record."""
    connection = sqlite3.connect(f"file:{talk.world.kav.database}?mode=ro", uri=True)
    rows = connection.execute("SELECT heard FROM turns WHERE call_sid = ? AND who = 'bot'", (talk.call.sid,)).fetchall()
    connection.close()
    return [heard for (heard,) in rows]


# The drain is over


@pytest.mark.parametrize("away", [False, True], ids=["Twilio is told", "Twilio asks"])
async def test_the_apology_is_spoken_by_the_bot_and_then_the_stream_is_closed(*, away: bool) -> None:
    async with world(0.5) as stopping:
        if away:
            stopping.twilio.rest.fail(503, count=9, path="/Calls/")
        talks = await asyncio.gather(*(talking(stopping) for _ in range(3)))
        since = time.monotonic()
        for _ in range(3):  # Heroku may say it more than once
            stopping.kav.signal(signal.SIGTERM)
            await asyncio.sleep(0.05)
        for talk in talks:
            await talk.call.until_socket_closed()
            assert talk.call.socket.eof_at is not None
            assert 0.5 + 1.5 <= talk.call.socket.eof_at - since <= 0.5 + 7, "told, and heard to the end"
            assert talk.call.socket.close_frame_at is not None
            assert talk.call.socket.close_code == 1001 or not away
            await talk.call.until_ended()
            assert talk.call.said == [], "Twilio has nothing to add"
            assert talk.call.verbs == (["Connect", "Hangup"] if away else ["Connect"])
        assert await stopping.kav.ended(10) == 0
        for talk in talks:
            found = read(stopping, talk.call.sid)
            assert (found.call["end_reason"], found.reasons, talk.finalisations()) == ("shutdown", ["shutdown"], 1)
            assert said_by_the_bot(talk)[-1] == LAST_WORDS
        assert "Traceback" not in stopping.kav.log(1_000_000)


async def test_who_cannot_be_told_hears_it_from_twilio_and_nobody_is_waited_for_longer_than_heroku_waits() -> None:
    async with world(0.5) as stopping:
        silent, deaf = await asyncio.gather(talking(stopping), talking(stopping))
        silent.session.stall(reading=False)
        deaf.call.drop("never_answers_close")
        deaf.call.freeze_media()
        since = time.monotonic()
        stopping.kav.signal(signal.SIGTERM)
        assert await stopping.kav.ended(18) == 0
        assert time.monotonic() - since < 0.5 + 9 + 5
        await silent.call.until(lambda: silent.call.said == [APOLOGY])
        assert [read(stopping, talk.call.sid).call["end_reason"] for talk in (silent, deaf)] == ["shutdown"] * 2


# During the drain


async def test_a_new_call_gets_the_business_s_human_or_is_told_that_the_lines_are_busy() -> None:
    async with world(10) as stopping:
        talk = await talking(stopping)
        stopping.kav.signal(signal.SIGTERM)
        await _draining(stopping)
        passed = await stopping.call(line=CallScript(human=Human(talks_s=0.2)), to=LOCKSMITH)
        told = await stopping.call()
        for call in (passed, told):
            await call.until_reported()
        assert (passed.verbs, passed.dialled, len(passed.said)) == (["Say", "Dial", "Hangup"], [HUMAN], 1)
        assert (told.verbs, told.said) == (["Say", "Hangup"], [BUSY])
        assert [stopping.sessions_of(call) for call in (passed, told)] == [[], []]
        await talk.call.hang_up()
        assert await stopping.kav.ended(10) == 0
        assert read(stopping, told.sid).call["end_reason"] == "refused"
        assert read(stopping, passed.sid).call["end_reason"] == "transferred"


async def test_a_call_that_was_taken_just_before_still_gets_its_stream() -> None:
    async with world(5) as stopping:
        call = await stopping.call(line=CallScript(line=Line(connect_after_s=1.0)))
        await stopping.session_of(call)
        stopping.kav.signal(signal.SIGTERM)
        await call.until_heard(300)
        await call.hang_up()
        assert await stopping.kav.ended(8) == 0
        assert read(stopping, call.sid).call["end_reason"] in ("caller_hung_up", "call_status_completed")


async def test_a_hand_over_is_told_to_twilio_for_its_question_may_reach_the_next_process() -> None:
    async with World({"DRAIN_SECONDS": "15", "VAD_SILENCE_MS": "200"}) as stopping:
        line = CallScript(human=Human("answered", talks_s=0.5), asks_after_stream=False)
        call = await stopping.call(Judging([ASKS_FOR_A_PERSON]), line, to=LOCKSMITH)
        talk = Listening(call, await stopping.session_of(call))
        await call.until(lambda: talk.heard_ms_of(noise(1, 300)) == 300)
        stopping.kav.signal(signal.SIGTERM)
        await _draining(stopping)
        await call.say(SPEECH)
        await call.until(lambda: call.dialled == [HUMAN])
        await call.until_reported()
        assert talk.heard_ms_of(noise(2, 300)) == 300, "the announcement was heard to its end"
        (redirect,) = [asked for asked in stopping.twilio.rest.requests if call.sid in asked.path]
        assert "<Dial" in redirect.form["Twiml"][0]
        assert await stopping.kav.ended(8) == 0
        assert read(stopping, call.sid).call["end_reason"] == "transferred"


async def test_a_model_that_dies_in_the_drain_passes_its_caller_on_over_rest_announced_by_twilio() -> None:
    async with World({"DRAIN_SECONDS": "15", "MODEL_RECONNECTS": "0"}) as stopping:
        line = CallScript(human=Human("answered", talks_s=0.5), asks_after_stream=False, say_s_a_character=0.002)
        call = await stopping.call(Judging([]), line, to=LOCKSMITH)
        talk = Listening(call, await stopping.session_of(call))
        await call.until(lambda: talk.heard_ms_of(noise(1, 300)) == 300)
        stopping.kav.signal(signal.SIGTERM)
        await _draining(stopping)
        talk.session.reset()
        await call.until(lambda: call.dialled == [HUMAN])
        await call.until_reported()
        assert call.verbs[:3] == ["Connect", "Say", "Dial"]
        assert call.said[0] == "רגע אחד, אני מעבירה אתכם למנעולן התורן."
        (redirect,) = [asked for asked in stopping.twilio.rest.requests if call.sid in asked.path]
        assert "<Say" in redirect.form["Twiml"][0]
        assert await stopping.kav.ended(8) == 0
        assert read(stopping, call.sid).call["end_reason"] == "model_failed"


async def test_a_hand_over_that_twilio_is_slow_to_take_is_not_cut_short_by_the_drain_s_end() -> None:
    async with World({"DRAIN_SECONDS": "0", "VAD_SILENCE_MS": "200"}) as stopping:
        line = CallScript(human=Human("answered", talks_s=None))
        call = await stopping.call(LongWinded([ASKS_FOR_A_PERSON]), line, to=LOCKSMITH)
        talk = Listening(call, await stopping.session_of(call))
        await call.until(lambda: talk.heard_ms_of(noise(1, 300)) == 300)
        stopping.twilio.rest.fail(slow_s=3.5, path=call.sid)  # which the announcement makes longer than LAST_WORDS_S
        await call.say(SPEECH)
        await talk.session.wait_for("response.create", 3)
        stopping.kav.signal(signal.SIGTERM)
        await call.until_socket_closed(15)
        await call.until(lambda: call.dialled == [HUMAN])
        assert await stopping.kav.ended(12) == 0
        assert read(stopping, call.sid).call["end_reason"] == "transferred"
        assert call.said == []


@pytest.mark.parametrize("delay_s", [0.0, 0.4], ids=["stream gone", "stream still there"])
async def test_a_late_answer_about_a_hand_over_leaves_alone_the_call_that_came_back_from_it(delay_s: float) -> None:
    async with late_answers(1.5) as late:
        settings = {"DRAIN_SECONDS": "15", "VAD_SILENCE_MS": "200", "TWILIO_API_BASE_URL": late.url}
        async with World(settings) as stopping:
            late.passes_on_to = stopping.twilio.rest_url
            other = await talking(stopping)  # or the process would be gone before the call is back
            line = CallScript(human=Human("busy"), line=Line(delay_s=delay_s))
            call = await stopping.call(Judging([ASKS_FOR_A_PERSON]), line, to=LOCKSMITH)
            talk = Listening(call, await stopping.session_of(call))
            await call.until(lambda: talk.heard_ms_of(noise(1, 300)) == 300)
            stopping.kav.signal(signal.SIGTERM)
            await _draining(stopping)
            await call.say(SPEECH)
            await call.until_streaming(streams=2)
            await late.answered.wait()
            await call.until(lambda: talk.heard_ms_of(noise(3, 300)) == 300)
            await call.say(SPEECH)
            await call.until(lambda: talk.heard_ms_of(noise(4, 300)) == 300)
            assert call.dialled == [HUMAN], "nobody is rung twice"
            await asyncio.gather(call.hang_up(), other.call.hang_up())
            assert await stopping.kav.ended(8) == 0


async def test_where_rest_fails_the_hand_over_is_asked_for_as_ever() -> None:
    async with World({"DRAIN_SECONDS": "15", "VAD_SILENCE_MS": "200"}) as stopping:
        stopping.twilio.rest.fail(503, count=3)
        line = CallScript(human=Human("answered", talks_s=0.2))
        call = await stopping.call(Judging([ASKS_FOR_A_PERSON]), line, to=LOCKSMITH)
        talk = Listening(call, await stopping.session_of(call))
        await call.until(lambda: talk.heard_ms_of(noise(1, 300)) == 300)
        stopping.kav.signal(signal.SIGTERM)
        await _draining(stopping)
        await call.say(SPEECH)
        await call.until(lambda: call.dialled == [HUMAN])
        await call.until_reported()
        assert await stopping.kav.ended(8) == 0


@pytest.mark.parametrize("away", [False, True], ids=["told", "asks"])
async def test_who_heard_the_goodbye_hears_no_apology_of_the_next_process(*, away: bool) -> None:
    async with World({"DRAIN_SECONDS": "15", "VAD_SILENCE_MS": "200"}) as stopping:
        call = await stopping.call(Judging([SAYS_GOODBYE]), CallScript(asks_after_stream=away), to=LOCKSMITH)
        talk = Listening(call, await stopping.session_of(call))
        await call.until(lambda: talk.heard_ms_of(noise(1, 300)) == 300)
        if away:
            stopping.twilio.rest.fail(503, count=3, path=call.sid)
        stopping.kav.signal(signal.SIGTERM)
        await _draining(stopping)
        await call.say(SPEECH)
        await call.until_socket_closed()
        await call.until_reported()
        assert talk.heard_ms_of(noise(2, 300)) == 300, "the goodbye was heard to its end"
        assert call.said == []
        asked = [request for request in stopping.twilio.rest.requests if call.sid in request.path]
        assert {request.form["Status"][0] for request in asked} == {"completed"}
        assert [request.status for request in asked] == ([503] * len(asked) if away else [200])
        assert await stopping.kav.ended(8) == 0
        found = read(stopping, call.sid).call
        assert (found["end_reason"], found["terminal_status"]) == ("goodbye", "completed")


@pytest.mark.parametrize("away", [False, True], ids=["told", "asks"])
async def test_who_is_left_without_a_model_in_the_drain_hears_the_whole_apology(*, away: bool) -> None:
    settings = {"DRAIN_SECONDS": "15", "MODEL_RECONNECTS": "0", "HANGUP_FALLBACK_S": "0.5"}
    async with World(settings, speak=lambda text, language: hum(text[:25], language)) as stopping:
        other, talk = await talking(stopping), await talking(stopping, line=CallScript(asks_after_stream=away))
        if away:
            stopping.twilio.rest.fail(503, count=3, path=talk.call.sid)
        stopping.kav.signal(signal.SIGTERM)
        await _draining(stopping)
        talk.session.reset()
        await talk.call.until_reported()
        await other.call.hang_up()
        assert (talk.call.said, talk.call.verbs) == ([APOLOGY], ["Connect", "Say", "Hangup"])
        (asked,) = [asked for asked in stopping.twilio.rest.requests if talk.call.sid in asked.path]
        assert "<Say" in asked.form["Twiml"][0]
        assert await stopping.kav.ended(8) == 0
        assert read(stopping, talk.call.sid).call["end_reason"] == "model_failed"


async def test_whose_model_is_not_there_yet_when_the_drain_ends_hears_the_apology_over_rest() -> None:
    silent = Faults(no_session_updated=True)
    async with World({"DRAIN_SECONDS": "0", "MODEL_CONNECT_TIMEOUT_S": "20"}, faults=silent) as stopping:
        line = CallScript(asks_after_stream=False, say_s_a_character=0.002)
        call = await stopping.connected_call(line=line)
        stopping.kav.signal(signal.SIGTERM)
        await call.until_reported()
        assert (call.said, call.verbs) == ([APOLOGY], ["Connect", "Say", "Hangup"])
        assert await stopping.kav.ended(12) == 0
        assert read(stopping, call.sid).call["end_reason"] == "shutdown"


async def test_a_human_whom_another_process_rang_in_vain_leaves_the_caller_with_words() -> None:
    async with world(0) as fresh:
        answer = await ask(fresh, "/twilio/dial-result", about("CA" + "d" * 32, "in-progress", DialCallStatus="busy"))
        assert APOLOGY in answer.body
        assert "<Hangup" in answer.body


async def test_a_call_that_a_human_has_is_told_of_before_the_process_goes() -> None:
    with http_receiver() as hook:
        settings = {"KAV_WEBHOOK_URL": hook.url, "KAV_WEBHOOK_SECRET": "a-secret-of-the-webhook"}
        async with World({"DRAIN_SECONDS": "0", "VAD_SILENCE_MS": "200", **settings}) as stopping:
            line = CallScript(human=Human("answered", talks_s=None))
            call = await stopping.call(Judging([ASKS_FOR_A_PERSON]), line, to=LOCKSMITH)
            talk = Listening(call, await stopping.session_of(call))
            await call.until(lambda: talk.heard_ms_of(noise(1, 300)) == 300)
            await call.say(SPEECH)
            await call.until(lambda: call.dialled == [HUMAN])
            assert hook.bodies == [], "it may still come back"
            stopping.kav.signal(signal.SIGTERM)
            assert await stopping.kav.ended(12) == 0
        (told,) = hook.bodies
        assert (told["call_sid"], told["end_reason"]) == (call.sid, "transferred")


# Killed


@pytest.fixture
async def killed() -> AsyncIterator[tuple[World, Talk]]:
    """A process that was killed with a live call, and never told anybody."""
    async with world(0) as world_:
        talk = await talking(world_, line=CallScript(asks_after_stream=False))
        await until_healthy(world_, lambda figures: not figures["records"]["waiting"])
        world_.kav.signal(signal.SIGKILL)
        await world_.kav.ended(5)
        yield world_, talk


def successor(of: World) -> KavProcess:
    """The next process, on the same database and account."""
    shared = {"DATABASE_URL": f"sqlite:///{of.kav.database}", "TWILIO_API_BASE_URL": of.twilio.rest_url}
    account = {"TWILIO_ACCOUNT_SID": of.twilio.account_sid, "TWILIO_AUTH_TOKEN": of.twilio.auth_token or ""}
    public = {"PUBLIC_BASE_URL": of.kav.url, "OPENAI_API_KEY": "sk", "OPENAI_REALTIME_URL": of.model.url}
    return KavProcess({**shared, **account, **public, "DRAIN_SECONDS": "0"})


def let_leases_run_out(of: World) -> None:
    """As if a minute had gone by since the last sign of life."""
    connection = sqlite3.connect(of.kav.database)
    connection.execute("UPDATE processes SET lease_at = datetime(lease_at, '-61 seconds') || '.000000'")
    connection.commit()
    connection.close()


def asked_of(of: World, talk: Talk) -> list[str]:
    """What Twilio's REST API was asked about a call."""
    return [asked.method for asked in of.twilio.rest.requests if talk.call.sid in asked.path]


async def test_the_records_of_a_killed_process_are_closed_when_its_lease_is_old_and_no_call_is_touched(
    killed: tuple[World, Talk],
) -> None:
    dead, talk = killed
    let_leases_run_out(dead)
    async with successor(dead):
        found = await record(dead, talk.call.sid, lambda found: bool(found.call["end_reason"]))
        assert found.call["end_reason"] == "process_died"
        assert found.call["ended_at"] < found.call["updated_at"]
    assert set(asked_of(dead, talk)) <= {"GET"}
    assert talk.call.ended_at is None, "the boot ends no call"


async def test_a_caller_whose_process_was_killed_hears_an_apology_from_the_next_one(killed: tuple[World, Talk]) -> None:
    dead, talk = killed
    async with successor(dead) as next_process, aiohttp.ClientSession() as http:
        form = about(talk.call.sid, "in-progress")
        signed = signed_headers(AUTH_TOKEN, dead.kav.url + "/twilio/after-stream", form)
        async with http.post(next_process.url + "/twilio/after-stream", data=form, headers=signed) as answer:
            said = await answer.text()
        assert (APOLOGY in said, "<Hangup" in said) == (True, True)
        figures = await next_process.health()
        while figures["records"]["waiting"]:
            figures = await next_process.health()
        assert read(dead, talk.call.sid).call["end_reason"] is None, "its lease says when it ended, and why"


async def test_a_lease_that_is_not_old_is_left_alone(killed: tuple[World, Talk]) -> None:
    dead, talk = killed
    async with successor(dead) as next_process:
        figures = await next_process.health()
        while figures["records"]["waiting"]:
            figures = await next_process.health()
        assert read(dead, talk.call.sid).call["end_reason"] is None
        assert talk.call.ended_at is None


async def test_how_a_killed_process_s_call_ended_is_asked_for_by_one_of_those_that_live(
    killed: tuple[World, Talk],
) -> None:
    dead, talk = killed
    with suppress(aiohttp.ClientError, OSError):
        await talk.call.hang_up()  # and tells nobody, for nobody is there
    let_leases_run_out(dead)
    async with successor(dead) as one, successor(dead) as other:
        found = await record(dead, talk.call.sid, lambda found: bool(found.call["terminal_status"]))
        assert (found.call["end_reason"], found.call["terminal_status"]) == ("process_died", "completed")
        assert found.call["duration_s"] is not None
        for process in (one, other):
            while (await process.health())["records"]["waiting"]:
                await asyncio.sleep(0.02)
        assert asked_of(dead, talk) == ["GET"]


async def test_a_killed_process_s_call_that_goes_on_is_asked_about_until_it_is_over(killed: tuple[World, Talk]) -> None:
    dead, talk = killed
    let_leases_run_out(dead)
    async with successor(dead):
        await talk.call.until(lambda: asked_of(dead, talk) == ["GET"])
        assert read(dead, talk.call.sid).call["terminal_status"] is None
        with suppress(aiohttp.ClientError, OSError):
            await talk.call.hang_up()
        found = await record(dead, talk.call.sid, lambda found: bool(found.call["terminal_status"]), 20)
        assert (found.call["end_reason"], found.call["terminal_status"]) == ("process_died", "completed")
    assert set(asked_of(dead, talk)) == {"GET"}, "nobody has hung up"


async def test_how_a_call_ended_that_nobody_told_before_a_restart_is_asked_for_after_it() -> None:
    async with world(0) as stopped:
        talk = await talking(stopped, line=CallScript(callbacks=Callbacks(missing=True)))
        stopped.kav.signal(signal.SIGTERM)
        assert await stopped.kav.ended(15) == 0
        await talk.call.until_ended()
        before = asked_of(stopped, talk)
        found = read(stopped, talk.call.sid).call
        assert (found["end_reason"], found["terminal_status"]) == ("shutdown", None)
        let_leases_run_out(stopped)
        async with successor(stopped):
            ended = await record(stopped, talk.call.sid, lambda found: bool(found.call["terminal_status"]))
        assert (ended.call["end_reason"], ended.call["terminal_status"]) == ("shutdown", "completed")
        assert ended.call["ended_at"] == found["ended_at"]
        assert asked_of(stopped, talk) == [*before, "GET"]


async def _draining(stopping: World) -> None:
    async with asyncio.timeout(5):
        while not (await stopping.kav.health())["draining"]:
            await asyncio.sleep(0.02)
