"""Guards the stand-in's recordings and messages, through Twilio's own client: told of at the end, read, refused."""

from functools import partial

import pytest

from rehearsal.twilio.twiml import parse, warnings
from tests.rehearsal.test_twilio_call import answering
from tests.rehearsal.test_twilio_rest import NUMBER, PERSON, ask, client, refused

START = (
    '<Response><Start><Recording channels="dual" recordingStatusCallback="{url}/twilio/recording"'
    ' recordingStatusCallbackEvent="{events}"/></Start><Pause length="0"/></Response>'
)


@pytest.mark.parametrize(("events", "told"), [("completed absent", 1), ("in-progress", 0)])
async def test_a_recording_is_told_of_once_when_the_call_is_over_if_that_was_asked_for(events: str, told: int) -> None:
    async with answering() as (app, twilio):
        rest = client(twilio)
        document = START.format(url=app.url, events=events)
        await ask(lambda: rest.calls.create(to=PERSON, from_=NUMBER, twiml=document))
        call = await twilio.until_called()
        await call.until(lambda: call.ended_at is not None and len(app.forms("recording")) == told)
        (recording,) = call.recordings
        for form in app.forms("recording"):
            assert (form["RecordingSid"], form["CallSid"]) == (recording, call.sid)
            assert (form["RecordingStatus"], form["RecordingChannels"]) == ("completed", "2")


def test_channels_that_there_are_not_are_noticed() -> None:
    document = '<Response><Start><Recording channels="three"/></Start></Response>'
    assert [warning.code for warning in warnings(parse(document))] == [12200]


async def test_a_message_is_kept_and_an_empty_or_endless_one_refused() -> None:
    async with answering() as (_, twilio):
        rest = client(twilio)
        sent = await ask(lambda: rest.messages.create(to=PERSON, from_=NUMBER, body="שלום"))
        assert sent.sid.startswith("SM")
        assert [(m.from_, m.to, m.body) for m in twilio.rest.messages] == [(NUMBER, PERSON, "שלום")]
        for body, code in (("", 21602), ("א" * 1601, 21617)):
            assert (await refused(partial(rest.messages.create, to=PERSON, from_=NUMBER, body=body))).code == code
