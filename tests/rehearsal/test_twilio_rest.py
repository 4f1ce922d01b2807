"""Guards the stand-in's REST API, through Twilio's own client: outbound calls, hang-up, redirect, numbers, faults."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

import pytest
from twilio.base.exceptions import TwilioRestException  # type: ignore[import-untyped] # no types in the wheel
from twilio.http.http_client import TwilioHttpClient  # type: ignore[import-untyped] # no types in the wheel
from twilio.rest import Client  # type: ignore[import-untyped] # no types in the wheel

from rehearsal.twilio import Callbacks, Callee, CallScript, Twilio
from tests.rehearsal.test_twilio_call import HANG_UP, TOKEN, answering

T = TypeVar("T")
PERSON, NUMBER = "+972509999999", "+97231234567"
ALL_EVENTS = ["initiated", "ringing", "answered", "completed"]


def client(twilio: Twilio, token: str = TOKEN, timeout_s: float = 5) -> Client:
    made = Client(twilio.account_sid, token, http_client=TwilioHttpClient(timeout=timeout_s))
    made.api.base_url = twilio.rest_url
    return made


async def ask(request: Callable[[], T]) -> T:
    """The client blocks its thread, and both ends of the request are in this loop."""
    return await asyncio.to_thread(request)


async def refused(request: Callable[[], object]) -> TwilioRestException:
    with pytest.raises(TwilioRestException) as refusal:
        await ask(request)
    return refusal.value


async def test_an_outbound_call_rings_is_answered_streams_and_is_reported_step_by_step() -> None:
    async with answering() as (app, twilio):
        rest = client(twilio)
        created = await ask(
            lambda: rest.calls.create(
                to=PERSON,
                from_=NUMBER,
                url=app.url + "/twilio/voice",
                status_callback=app.url + "/twilio/status",
                status_callback_event=ALL_EVENTS,
            )
        )
        call = await twilio.until_called()
        await app.bot()
        await call.hang_up()
        await call.until_reported()

        assert (created.sid, created.status, created.direction) == (call.sid, "queued", "outbound-api")
        voice = app.forms("voice")[0]
        assert (voice["Direction"], voice["CallStatus"], voice["To"]) == ("outbound-api", "in-progress", PERSON)
        told = sorted(app.forms("status"), key=lambda form: int(form["SequenceNumber"]))
        assert [form["CallStatus"] for form in told] == ["initiated", "ringing", "in-progress", "completed"]


async def test_a_call_may_bring_its_twiml_along() -> None:
    async with answering() as (app, twilio):
        rest = client(twilio)
        await ask(lambda: rest.calls.create(to=PERSON, from_=NUMBER, twiml="<Response><Pause length='0'/></Response>"))
        call = await twilio.until_called()
        await call.until_reported()

        assert (call.verbs, call.status, app.requests) == (["Pause"], "completed", [])


@pytest.mark.parametrize("outcome", ["busy", "no-answer", "failed"])
async def test_a_callee_who_does_not_answer_costs_no_twiml(outcome: str) -> None:
    async with answering() as (app, twilio):
        twilio.script_for = lambda _to: CallScript(callee=Callee(outcome))
        rest = client(twilio)
        voice, status = app.url + "/twilio/voice", app.url + "/twilio/status"
        await ask(lambda: rest.calls.create(to=PERSON, from_=NUMBER, url=voice, status_callback=status))
        call = await twilio.until_called()
        await call.until_reported()

        assert app.forms("voice") == []
        assert [(form["CallStatus"], form["CallDuration"]) for form in app.forms("status")] == [(outcome, "0")]


async def test_callbacks_arrive_in_reverse_when_arranged() -> None:
    async with answering() as (app, twilio):
        twilio.script_for = lambda _to: CallScript(callbacks=Callbacks(reversed=True))
        rest = client(twilio)
        await ask(
            lambda: rest.calls.create(
                to=PERSON,
                from_=NUMBER,
                twiml=HANG_UP,
                status_callback=app.url + "/twilio/status",
                status_callback_event=ALL_EVENTS,
            )
        )
        call = await twilio.until_called()
        await call.until_reported()

        arrived = [form["CallStatus"] for form in app.forms("status")]
        assert arrived == ["completed", "in-progress", "ringing", "initiated"]


async def test_asynchronous_machine_detection_tells_by_callback_while_the_call_goes_on() -> None:
    async with answering() as (app, twilio):
        twilio.script_for = lambda _to: CallScript(callee=Callee(answered_by="machine_start", detected_after_s=0.1))
        rest = client(twilio)
        await ask(
            lambda: rest.calls.create(
                to=PERSON,
                from_=NUMBER,
                url=app.url + "/twilio/voice",
                machine_detection="Enable",
                async_amd="true",
                async_amd_status_callback=app.url + "/twilio/machine",
            )
        )
        call = await twilio.until_called()
        await app.bot()
        await call.until(lambda: bool(app.forms("machine")))

        assert app.forms("machine")[0]["AnsweredBy"] == "machine_start"
        assert "AnsweredBy" not in app.forms("voice")[0]


async def test_synchronous_machine_detection_comes_with_the_voice_request() -> None:
    async with answering() as (app, twilio):
        rest, voice = client(twilio), app.url + "/twilio/voice"
        await ask(lambda: rest.calls.create(to=PERSON, from_=NUMBER, url=voice, machine_detection="Enable"))
        await app.bot()

        assert app.forms("voice")[0]["AnsweredBy"] == "human"


async def test_completed_hangs_up_a_live_call_with_stop_and_no_action() -> None:
    async with answering() as (app, twilio):
        call = await twilio.call()
        bot = await app.bot()
        rest = client(twilio)
        updated = await ask(lambda: rest.calls(call.sid).update(status="completed"))
        await call.until_socket_closed()
        await call.until_reported()

        assert updated.status == "completed"
        assert len(bot.of("stop")) == 1
        assert app.forms("after-stream") == []
        assert (await ask(lambda: rest.calls(call.sid).fetch())).duration in {"1", "2", "3", "4", "5"}


async def test_a_ringing_call_may_be_canceled() -> None:
    async with answering() as (_app, twilio):
        twilio.script_for = lambda _to: CallScript(callee=Callee(rings_s=30))
        rest = client(twilio)
        created = await ask(lambda: rest.calls.create(to=PERSON, from_=NUMBER, twiml=HANG_UP))
        canceled = await ask(lambda: rest.calls(created.sid).update(status="canceled"))

        assert (canceled.status, twilio.calls[0].answered_at) == ("canceled", None)


async def test_new_twiml_leaves_the_stream_and_asks_no_action() -> None:
    async with answering() as (app, twilio):
        call = await twilio.call(script=CallScript(say_s_a_character=0))
        bot = await app.bot()
        rest = client(twilio)
        await ask(lambda: rest.calls(call.sid).update(twiml="<Response><Say>elsewhere</Say></Response>"))
        await call.until_reported()

        assert (call.verbs, call.said) == (["Connect", "Say"], ["elsewhere"])
        assert len(bot.of("stop")) == 1
        assert app.forms("after-stream") == []


async def test_a_call_that_is_over_answers_21220_and_an_unknown_one_20404() -> None:
    async with answering() as (app, twilio):
        app.answers["voice"] = [HANG_UP]
        call = await twilio.call()
        await call.until_ended()
        rest = client(twilio)
        over = await refused(lambda: rest.calls(call.sid).update(status="completed"))
        unknown = await refused(lambda: rest.calls("CA" + "0" * 32).update(status="completed"))

        assert (over.status, over.code) == (400, 21220)
        assert (unknown.status, unknown.code) == (404, 20404)


async def test_strangers_are_refused() -> None:
    async with answering() as (_app, twilio):
        stranger = client(twilio, token="wrong")
        refusal = await refused(lambda: stranger.calls("CA" + "0" * 32).fetch())

        assert (refusal.status, refusal.code) == (401, 20003)


async def test_a_number_is_found_changed_and_then_answered_by_what_it_was_given() -> None:
    async with answering() as (app, twilio):
        app.answers["elsewhere"] = [HANG_UP]
        rest = client(twilio)
        found = await ask(lambda: rest.incoming_phone_numbers.list(phone_number=NUMBER))
        assert await ask(lambda: rest.incoming_phone_numbers.list(phone_number="+1")) == []
        url = app.url + "/twilio/elsewhere"
        changed = await ask(
            lambda: found[0].update(
                voice_url=url, status_callback=url, status_callback_method="POST", voice_fallback_url=url
            )
        )
        call = await twilio.call()
        await call.until_reported()

        assert (changed.voice_url, changed.voice_fallback_url, changed.status_callback) == (url, url, url)
        assert [path for path, _form, _token in app.requests] == ["elsewhere", "elsewhere"]


async def test_the_account_can_be_fetched() -> None:
    async with answering() as (_app, twilio):
        rest = client(twilio)
        account = await ask(lambda: rest.api.accounts(twilio.account_sid).fetch())

        assert account.status == "active"


async def test_faults_hit_as_many_requests_as_arranged() -> None:
    async with answering() as (_app, twilio):
        rest = client(twilio)
        twilio.rest.fail(429, count=1, path="/Calls")
        twilio.rest.fail(503, count=1, path="/Calls")
        limited = await refused(lambda: rest.calls("CA" + "0" * 32).fetch())
        broken = await refused(lambda: rest.calls("CA" + "0" * 32).fetch())
        usual = await refused(lambda: rest.calls("CA" + "0" * 32).fetch())

        assert [(e.status, e.code) for e in (limited, broken, usual)] == [(429, 20429), (503, 20500), (404, 20404)]
        assert [request.status for request in twilio.rest.requests] == [429, 503, 404]


async def test_a_slow_answer_outlasts_an_impatient_client() -> None:
    async with answering() as (_app, twilio):
        rest = client(twilio, timeout_s=0.2)
        twilio.rest.fail(slow_s=30)
        began = time.monotonic()
        with pytest.raises(Exception, match="timed out"):
            await ask(lambda: rest.api.accounts(twilio.account_sid).fetch())

        assert time.monotonic() - began < 2


async def test_requests_are_on_record() -> None:
    async with answering() as (_app, twilio):
        rest = client(twilio)
        await ask(lambda: rest.calls.create(to=PERSON, from_=NUMBER, twiml=HANG_UP, status_callback_event=ALL_EVENTS))

        request = twilio.rest.requests[0]
        assert (request.method, request.status) == ("POST", 201)
        assert request.path.endswith("/Calls.json")
        assert request.form["StatusCallbackEvent"] == ALL_EVENTS
