"""Each of Twilio's requests about a call may reach another process: the call does not notice."""

import asyncio
import time
from functools import partial
from typing import Any

import aiohttp

from rehearsal.model import CallTool, ModelSession
from rehearsal.twilio import Callbacks, Callee, CallScript, Human
from rehearsal.twilio.signing import signed_headers
from rehearsal.world import AUTH_TOKEN
from tests.line.asking import about
from tests.line.ending import fin
from tests.line.listening import SPEECH, Talk, noise
from tests.line.test_conversation import LOCKSMITH, Judging, orders
from tests.redis.town import AFTER, ATTEMPTS, MEDIA, STATUS, VOICE, WAIT_S, Town, until

ANSWERS = CallTool("answer_step", {"step": "problem", "value": "דלת", "language": "he"})
ENGLISH = CallTool("answer_step", {"step": "problem", "value": "a locked door", "language": "en"})
LEAVES = CallTool("end_call", {"language": "he"})
ASKS_FOR_A_PERSON = CallTool("transfer_to_human", {"language": "en"})
ROUND_S = 1.0
"""How often a process asks about its calls, whether it was told of anything or not."""

FIRST, SECOND = "ספרו לי בקצרה, מה קרה?", "באיזו עיר אתם?"


class EnglishSpeaking(Judging):
    """The transcriber hears what the judge hears."""

    def heard(self, session: ModelSession) -> str:  # noqa: ARG002 - whatever was said before
        """English words, enough of them to be evidence."""
        return "I am locked out of my house"


async def heard(talk: Talk, voice: int) -> None:
    """The so-manieth sentence of the bot was heard to its end."""
    await talk.call.until(lambda: talk.heard_ms_of(noise(voice, 300)) == 300, WAIT_S)


async def answered_once(town: Town, answer: CallTool = ANSWERS) -> Talk:
    """A call whose caller has answered the first question, and has heard the second."""
    talk = await town.greeted(answer)
    await talk.call.say(SPEECH)
    await talk.call.until(lambda: talk.heard_ms_of(noise(2, 300)) == 300, WAIT_S)
    return talk


async def test_voice_media_status_and_what_comes_after_each_reach_another_process(town: Town) -> None:
    town.go(voice=0, media=1, status=0, after_stream=0)
    talk = await town.greeted(LEAVES)
    await talk.call.say(SPEECH)
    await talk.call.until_reported(WAIT_S)
    assert talk.heard_ms_of(noise(2, 300)) == 300, "the goodbye was heard to its end"
    assert talk.call.verbs == ["Connect", "Hangup"]
    row = await town.row(talk.call, lambda row: row.get("line_ghost_ms") is not None)
    assert (row["end_reason"], row["status"]) == ("goodbye", "completed")
    assert row["line_ghost_ms"] < 5000
    assert town.hang_ups(talk.call) == 0, "the process that answered Twilio is not the one that would hang up"
    await until(lambda: town.log_lines(talk.call, "stream over") == [1])
    assert len(town.world.sessions_of(talk.call)) == 1, "no model waits where no stream comes"


async def test_a_terminal_status_at_one_process_closes_the_sockets_of_another(town: Town) -> None:
    town.go(voice=0, media=1, status=0)
    script = CallScript(callbacks=Callbacks(early=True))
    talk = await town.greeted(line=script)
    since = time.monotonic()
    await talk.call.post_status("completed")
    for peer in (talk.call.socket, talk.session.peer):
        await fin(peer, since)
    row = await town.row(talk.call, lambda row: row.get("end_reason") is not None)
    assert row["end_reason"] == "call_status_completed"


async def test_an_end_is_told_at_once_and_not_with_the_next_round(town: Town) -> None:
    town.go(voice=0, media=1, status=0)
    slowest = [await _slowest_of_a_round(town)]
    while slowest[-1] > ROUND_S / 2 and len(slowest) < ATTEMPTS:
        slowest.append(await _slowest_of_a_round(town))
    assert slowest[-1] <= ROUND_S / 2, slowest


async def _slowest_of_a_round(town: Town) -> float:
    """How long the model's sockets of four calls that end one after the other take to be closed, at most."""
    talks = await asyncio.gather(*(town.greeted(line=CallScript(callbacks=Callbacks(early=True))) for _ in range(4)))
    took = []
    for talk in talks:
        since = time.monotonic()
        await talk.call.post_status("completed")
        await fin(talk.session.peer, since, WAIT_S)
        took.append((talk.session.peer.eof_at or 0.0) - since)
        await asyncio.sleep(max(0.0, since + ROUND_S / 4 - time.monotonic()))  # spread over a round: one would be late
    return max(took)


async def test_what_comes_after_a_stream_waits_for_the_word_of_who_carried_it(town: Town) -> None:
    town.go(voice=0, media=1, status=0)
    answers = [await _answer_when_it_ends_elsewhere(town)]
    while "<Connect" in answers[-1] and len(answers) < ATTEMPTS:
        answers.append(await _answer_when_it_ends_elsewhere(town))
    assert "<Connect" not in answers[-1], "who asked never waits for the word"


async def _answer_when_it_ends_elsewhere(town: Town) -> str:
    """What is said after a stream to whoever asks for it just before another process ends the call."""
    talk = await town.greeted()
    asked = asyncio.create_task(ask_at(town, 0, AFTER, about(talk.call.sid, "in-progress")))
    await asyncio.sleep(0.2)  # without the wait it would have its answer by now
    await town.kavs[1].ask("POST", f"/calls/{talk.call.sid}/end")
    answer = await asked
    await talk.call.until_reported(WAIT_S)
    return answer


async def test_a_lost_stream_goes_on_at_the_same_step_in_another_process(town: Town) -> None:
    town.go(voice=0, media=0, after_stream=1, status=1)
    talk = await answered_once(town)
    first = await town.row(talk.call, lambda row: row.get("process") is not None)
    town.go(media=1, after_stream=1, status=0)
    talk.call.drop("no_stop")
    await talk.call.until_streaming(WAIT_S, streams=2)
    second = await town.world.session_of(talk.call, 2)
    await second.wait_for("response.create")
    (order,) = orders(Talk(talk.call, second))
    assert SECOND in order
    assert FIRST not in order
    await talk.call.hang_up()
    await town.row(talk.call, lambda row: row.get("end_reason") is not None and row["status"] == "completed")
    last = await town.row(talk.call, lambda row: row["process"] != first["process"])
    assert last["process"], "whoever dies now, the record is closed with the process that carried the call last"
    numbers = [turn["number"] for turn in town.rows("turns", talk.call)]
    assert len(numbers) == len(set(numbers))
    assert [answer["value"] for answer in town.rows("answers", talk.call)] == ["דלת"]
    await until(lambda: sorted(town.log_lines(talk.call, "stream over")) == [0, 1])


async def test_the_language_and_the_hand_over_travel_too(town: Town) -> None:
    town.go(voice=1, media=0, after_stream=1, dial_result=1)
    call = await town.world.call(
        EnglishSpeaking([ENGLISH, ASKS_FOR_A_PERSON]), CallScript(human=Human("busy")), to=LOCKSMITH
    )
    talk = Talk(call, await town.world.session_of(call))
    await call.until(lambda: talk.heard_ms_of(noise(1, 300)) == 300, WAIT_S)
    for voice in (2, 3):
        await talk.call.say(SPEECH)
        await heard(talk, voice)
    town.go(media=1, dial_result=1)
    back = await town.world.session_of(talk.call, 2, WAIT_S)
    await back.wait_for("response.create")
    (order,) = orders(Talk(talk.call, back))
    assert "Which city are you in?" in order
    assert talk.call.verbs[:3] == ["Connect", "Dial", "Connect"]
    await talk.call.hang_up()


async def test_all_requests_take_turns_and_every_call_is_recorded_once(town: Town) -> None:
    town.go()
    before = len(town.crossroads.taken)
    talks = await asyncio.gather(*(town.greeted(LEAVES) for _ in range(6)))
    await asyncio.gather(*(talk.call.say(SPEECH) for talk in talks))
    for talk in talks:
        await talk.call.until_reported(WAIT_S)
        row = await town.row(talk.call, lambda row: row.get("line_ghost_ms") is not None)
        assert (row["end_reason"], row["status"]) == ("goodbye", "completed")
        await talk.call.until(lambda call=talk.call: bool(town.rows("streams", call)))  # type: ignore[misc]  # bound now
        assert len(town.rows("streams", talk.call)) == 1
        assert town.hang_ups(talk.call) == 0
    seen = {(path, place) for path, place in town.crossroads.taken[before:]}
    assert {(path, place) for path in (VOICE, MEDIA, STATUS, AFTER) for place in (0, 1)} <= seen


async def test_a_token_that_one_process_has_seen_opens_no_stream_at_another(town: Town) -> None:
    town.go(voice=0, media=1)
    talk = await town.greeted()
    town.go(media=0)
    rival = await talk.call.second_stream()
    async with asyncio.timeout(WAIT_S):
        await rival.peer.gone()
    assert talk.call.socket.eof_at is None, "the first stream lives on"
    await until(lambda: town.log_lines(talk.call, "stream refused") == [0])
    await talk.call.hang_up()


async def test_a_voice_webhook_that_comes_twice_gets_the_same_answer_from_both(town: Town) -> None:
    form = about("CA" + "7" * 32, "ringing", From="+972501112233", To=LOCKSMITH)
    both = await asyncio.gather(*(ask_at(town, place, VOICE, form) for place in (0, 1)))
    again = [await ask_at(town, place, VOICE, form) for place in (0, 1)]
    assert "<Connect" in both[0]
    assert {*both, *again} == {both[0]}, "the same token"
    await ask_at(town, 1, STATUS, form | {"CallStatus": "canceled"})
    assert "<Connect" not in await ask_at(town, 0, VOICE, form), "it is over, wherever that was said"


async def test_a_live_call_that_nobody_knows_hears_an_apology_everywhere(town: Town) -> None:
    for place in (0, 1):
        answer = await ask_at(town, place, AFTER, about("CA" + "e" * 32, "in-progress"))
        assert ("<Say" in answer, "<Hangup" in answer) == (True, True)
        assert (await town.health(place))["entries"] <= len(town.world.twilio.calls)


async def test_a_call_that_one_process_has_placed_is_answered_by_another(town: Town) -> None:
    town.go(outbound_voice=1, media=0, status=1, machine=0)
    number = "+972501999001"
    town.world.expect(number, Judging([LEAVES]))
    town.world.twilio.script_for = lambda _to: CallScript(callee=Callee(rings_s=1.5))
    body = {"to": number, "flow": "sales", "variables": {"name": "דנה"}, "anytime": True}
    flow = await town.kavs[0].ask("POST", "/calls", body)
    assert flow[0] == 201, flow
    busy, _said = await town.kavs[1].ask("POST", "/calls", body)
    assert busy == 409, "the other one knows that their telephone rings"
    session = await town.world.session_with(number, 1, WAIT_S)
    await session.wait_for("response.create")
    call = next(call for call in town.world.twilio.calls if call.sid == flow[1]["call_sid"])
    assert "דנה" in orders(Talk(call, session))[0]
    busy, _said = await town.kavs[1].ask("POST", "/calls", body)
    assert busy == 409, "and that they are in a call"
    await call.hang_up()
    await town.row(call, lambda row: row.get("status") == "completed")


async def test_nobody_is_rung_by_two_processes_at_once(town: Town) -> None:
    town.go()
    town.world.twilio.script_for = lambda _to: CallScript(callee=Callee(rings_s=3))

    async def attempt(n: int, number: int) -> list[tuple[int, dict[str, Any]]]:
        body = {"to": f"+972501999{number}0{n}", "flow": "sales", "variables": {"name": "דנה"}, "anytime": True}
        return await asyncio.gather(*(kav.ask("POST", "/calls", body) for kav in town.kavs))

    for n in range(5):
        both = await town.undisturbed(partial(attempt, n))
        assert sorted(status for status, _ in both) == [201, 409]
        refused = next(answer for status, answer in both if status == 409)
        assert refused["error"]["code"] == "already_calling"
        sid = next(answer["call_sid"] for status, answer in both if status == 201)
        await next(call for call in town.world.twilio.calls if call.sid == sid).hang_up()


async def test_an_operator_ends_a_call_from_any_process(town: Town) -> None:
    town.go(voice=0, media=1)
    talk = await town.greeted()
    since = time.monotonic()
    status, said = await town.kavs[0].ask("POST", f"/calls/{talk.call.sid}/end")
    assert (status, said["end_reason"]) == (200, "operator")
    await fin(talk.session.peer, since)
    await talk.call.until_reported(WAIT_S)
    row = await town.row(talk.call, lambda row: row.get("end_reason") is not None)
    assert row["end_reason"] == "operator"


async def ask_at(town: Town, place: int, path: str, form: dict[str, str]) -> str:
    """What one of the Kavs says to a webhook that is signed for the address of all."""
    headers = signed_headers(AUTH_TOKEN, town.crossroads.url + path, form)
    url = town.kavs[place].url + path
    async with aiohttp.ClientSession() as http, http.post(url, data=form, headers=headers) as answer:
        return await answer.text()
