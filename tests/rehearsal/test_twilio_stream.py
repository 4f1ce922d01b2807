"""Guards the stand-in's media socket: frames on schedule, playback, marks, strictness, and a bad network."""

import asyncio
import base64
import itertools
import time

import msgspec
import pytest

from rehearsal.audio import FRAME_S, tone
from rehearsal.twilio import CallScript, Line
from rehearsal.twilio.frames import SILENT_FRAME, Frames, NotUnderstood, parse
from rehearsal.twilio.hostile import KINDS, MARKER, hostile
from rehearsal.twilio.ticker import SLOTS, Ticker
from rehearsal.websocket import Refused
from tests.rehearsal.test_twilio_call import Bot, answering


async def test_the_messages_are_twilios_to_the_letter() -> None:
    async with answering() as (app, twilio):
        call = await twilio.call()
        bot = await app.bot()
        await bot.next("media", 2)
        call.dtmf("5")
        await bot.next("dtmf")
        await call.hang_up()
        await call.until_socket_closed()
        sid = call.stream.sid

        assert bot.messages[0] == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
        assert bot.messages[1] == {
            "event": "start",
            "sequenceNumber": "1",
            "start": {
                "accountSid": twilio.account_sid,
                "streamSid": sid,
                "callSid": call.sid,
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                "customParameters": {"token": "t1", "direction": "inbound"},
            },
            "streamSid": sid,
        }
        payload = base64.b64encode(SILENT_FRAME).decode()
        media = {"track": "inbound", "chunk": "2", "timestamp": "20", "payload": payload}
        assert bot.messages[3] == {"event": "media", "sequenceNumber": "3", "media": media, "streamSid": sid}
        assert bot.of("dtmf")[0]["dtmf"] == {"track": "inbound_track", "digit": "5"}
        assert bot.messages[-1]["stop"] == {"accountSid": twilio.account_sid, "callSid": call.sid}
        assert [m["sequenceNumber"] for m in bot.messages[1:]] == [str(n) for n in range(1, len(bot.messages))]


async def test_frames_leave_every_20_ms_and_do_not_drift() -> None:
    async with answering() as (app, twilio):
        call = await twilio.call()
        await app.bot()
        await call.until(lambda: len(call.sent_frames) > 150)
        stream = call.stream

        assert all(b - a == pytest.approx(FRAME_S) for a, b in itertools.pairwise(stream.due_at))
        late = [sent - due for sent, due in zip(stream.sent_at, stream.due_at, strict=True)]
        assert min(late) >= 0
        assert sorted(late)[len(late) // 4] < 0.02, "most are on time, also where the machine stands still for a second"


async def test_a_stall_of_the_loop_is_caught_up() -> None:
    async with answering() as (app, twilio):
        call = await twilio.call()
        await app.bot()
        time.sleep(0.3)  # the stall itself
        stalled = time.monotonic()
        await call.until(lambda: call.stream.due_at[-1] >= stalled)

        assert all(b - a == pytest.approx(FRAME_S) for a, b in itertools.pairwise(call.stream.due_at))


async def test_streams_are_spread_over_the_20_ms() -> None:
    ticker, ticks = Ticker(), {n: list[float]() for n in range(SLOTS)}
    members = [ticks[n].append for n in range(SLOTS)]
    for member in members:
        ticker.add(member)
    while not all(ticks.values()):
        await asyncio.sleep(0.001)
    for member in members:
        ticker.remove(member)

    firsts = sorted(times[0] for times in ticks.values())
    assert [b - a for a, b in itertools.pairwise(firsts)] == pytest.approx([FRAME_S / SLOTS] * (SLOTS - 1))


async def test_what_the_caller_says_arrives_bit_for_bit_between_silence() -> None:
    async with answering() as (app, twilio):
        call = await twilio.call()
        bot = await app.bot()
        line = tone(440, 215)  # ten frames and three quarters
        spoken = await call.say(line)
        await bot.next("media", len(call.sent_frames) + 2)

        assert spoken.complete
        due = [at for at, frame in zip(call.stream.due_at, call.sent_frames, strict=True) if frame is not SILENT_FRAME]
        assert len(due) == 11
        assert due[-1] - due[0] == pytest.approx(10 * FRAME_S)
        assert bot.audio.strip(b"\xff") == line.strip(b"\xff")
        assert b"".join(call.sent_frames)[: len(bot.audio)] == bot.audio[: len(b"".join(call.sent_frames))]


async def test_a_line_that_the_end_of_the_call_cuts_says_so() -> None:
    async with answering() as (app, twilio):
        call = await twilio.call()
        await app.bot()
        saying = asyncio.create_task(call.say(tone(440, 5000)))
        await call.until(lambda: any(frame is not SILENT_FRAME for frame in call.sent_frames))
        await call.hang_up()

        assert not (await saying).complete


# Playback


async def test_media_is_heard_in_real_time_and_its_mark_comes_back_when_it_has_been() -> None:
    async def greet(bot: Bot) -> None:
        await bot.next("start")
        for _ in range(3):
            await bot.media(tone(440, 100))
        await bot.mark("end")

    async with answering() as (app, twilio):
        app.handler = greet
        call = await twilio.call()
        bot = await app.bot()
        await bot.next("mark")

        began = call.heard[0].start_s
        echoed_at, name = call.marks_echoed[0]
        assert (call.heard_ms, call.media_bytes, name) == (300, 2400, "end")
        assert 0.29 <= echoed_at - began < 4
        assert call.marks_sent[0][0] < echoed_at, "it was sent with what it marks"


async def test_until_heard_returns_at_the_millisecond() -> None:
    async def greet(bot: Bot) -> None:
        await bot.next("start")
        await bot.media(tone(440, 1000))

    async with answering() as (app, twilio):
        app.handler = greet
        call = await twilio.call()
        at = await call.until_heard(123)

        assert 0.122 <= at - call.heard[0].start_s < 3


async def test_clear_silences_at_once_and_echoes_every_mark() -> None:
    async def greet(bot: Bot) -> None:
        await bot.next("start")
        for n in range(3):
            await bot.media(tone(440, 1000))
            await bot.mark(f"m{n}")
        await bot.next("dtmf")
        await bot.clear()
        await bot.mark("after")

    async with answering() as (app, twilio):
        app.handler = greet
        call = await twilio.call()
        bot = await app.bot()
        await call.until_heard(200)
        call.dtmf("1")
        await bot.next("mark", 4)

        assert [name for _at, name in call.marks_echoed] == ["m0", "m1", "m2", "after"]
        assert call.heard[0].end_s == pytest.approx(call.clears[0], abs=0.001)
        assert sum(len(segment.audio) for segment in call.discarded) == 24000 - len(call.heard[0].audio)
        assert await call.until_quiet(for_s=0.1) < call.clears[0] + 3


# Strictness

STREAM_SID = "MZ" + "1" * 32


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"\x00\x01", 31950),
        ("not json", 31951),
        ("[]", 31951),
        ('{"event":"hello","streamSid":"S"}', 31951),
        ('{"event":"clear"}', 31951),
        ('{"event":"clear","streamSid":"MZother"}', 31951),
        ('{"event":"mark","streamSid":"S"}', 31951),
        ('{"event":"mark","streamSid":"S","mark":{}}', 31951),
        ('{"event":"media","streamSid":"S","media":{"payload":"%%"}}', 31951),
        ('{"event":"media","streamSid":"S","media":{"payload":""}}', 31951),
        ('{"event":"media","streamSid":"S","media":{"payload":"/w==","track":"outbound"}}', 31951),
        ('{"event":"clear","streamSid":"S","extra":1}', 31951),
    ],
)
def test_what_twilio_would_refuse_is_not_understood(message: str | bytes, code: int) -> None:
    with pytest.raises(NotUnderstood) as refusal:
        parse(message.replace('"S"', f'"{STREAM_SID}"') if isinstance(message, str) else message, STREAM_SID)

    assert refusal.value.code == code


async def test_every_fault_of_the_app_is_on_the_calls_record() -> None:
    async def fault(bot: Bot) -> None:
        await bot.next("start")
        await bot.socket.send_bytes(b"audio")
        await bot.send(event="surprise")
        await bot.media(tone(440, 20))

    async with answering() as (app, twilio):
        app.handler = fault
        call = await twilio.call()
        await call.until(lambda: call.media_bytes > 0)

        assert [violation.code for violation in call.violations] == [31950, 31951]


async def test_media_before_start_is_a_violation() -> None:
    async def hurry(bot: Bot) -> None:
        await bot.media(tone(440, 20))

    async with answering() as (app, twilio):
        app.handler = hurry
        call = await twilio.call(script=CallScript(line=Line(start_after_s=0.2)))
        await app.bot()

        assert [violation.code for violation in call.violations] == [31951]
        assert "before `start`" in call.violations[0].text


# Misbehaviour


@pytest.mark.parametrize("kind", KINDS)
async def test_a_hostile_message_reaches_the_app_and_the_stream_goes_on(kind: str) -> None:
    async with answering() as (app, twilio):
        call = await twilio.call()
        bot = await app.bot()
        call.send_hostile(kind)
        await call.until(lambda: hostile(kind, (twilio.account_sid, call.sid, call.stream.sid)) in bot.raw)
        await call.until(lambda: len(call.sent_frames) > 10)

        assert MARKER not in call.sent_frames
        assert not call.stream.over.is_set()


async def test_replaced_parameters_and_start_fields_are_what_the_app_sees() -> None:
    async with answering() as (app, twilio):
        line = Line(parameters={"token": "stolen"}, start={"callSid": "CA" + "9" * 32})
        await twilio.call(script=CallScript(line=line))
        bot = await app.bot()

        start = msgspec.convert(bot.start["start"], dict[str, object])
        assert (start["customParameters"], start["callSid"]) == ({"token": "stolen"}, "CA" + "9" * 32)


async def test_a_second_stream_for_the_call_knocks_with_the_same_token() -> None:
    async with answering() as (app, twilio):
        call = await twilio.call()
        first = await app.bot()
        intruder = await call.second_stream()
        second = await app.bot(2)

        assert second.start["start"] != first.start["start"]
        assert call.streams != [intruder]
        assert call.stream is not intruder


async def test_a_forged_second_stream_is_refused() -> None:
    async with answering() as (app, twilio):
        call = await twilio.call()
        await app.bot()
        call.script = CallScript(line=Line(signature="forged"))

        with pytest.raises(Refused, match="403"):
            await call.second_stream()


async def test_frozen_media_keeps_the_socket_and_resumes_without_the_lost_frames() -> None:
    async with answering() as (app, twilio):
        call = await twilio.call()
        bot = await app.bot()
        call.drop("freeze_media")
        before = len(call.sent_frames)
        await asyncio.sleep(0.2)
        assert len(call.sent_frames) == before
        call.resume()
        await bot.next("media", before + 3)

        gaps = [b - a for a, b in itertools.pairwise(call.stream.due_at)]
        assert sum(gap > 0.1 for gap in gaps) == 1
        timestamps = [
            int(msgspec.convert(message["media"], dict[str, str])["timestamp"]) for message in bot.of("media")
        ]
        assert max(b - a for a, b in itertools.pairwise(timestamps)) > 100


async def test_a_slow_reader_hears_nothing_until_it_reads_again() -> None:
    async def talk(bot: Bot) -> None:
        await bot.next("dtmf")
        await bot.media(tone(440, 100))

    async with answering() as (app, twilio):
        app.handler = talk
        call = await twilio.call(script=CallScript(line=Line(receive_buffer_bytes=4096)))
        await app.bot()
        call.drop("slow_reader")
        call.dtmf("1")
        await asyncio.sleep(0.1)
        assert call.received == []
        call.resume()
        await call.until_heard(100)


async def test_network_delay_holds_both_directions() -> None:
    async def echo(bot: Bot) -> None:
        await bot.next("dtmf")
        await bot.mark("back")

    async with answering() as (app, twilio):
        app.handler = echo
        call = await twilio.call(script=CallScript(line=Line(delay_s=0.1)))
        await app.bot()
        pressed = time.monotonic()
        call.dtmf("1")
        await call.until(lambda: bool(call.marks_sent))

        assert 0.2 <= call.marks_sent[0][0] - pressed < 3


async def test_an_unknown_way_to_drop_is_named() -> None:
    async with answering() as (app, twilio):
        call = await twilio.call()
        await app.bot()

        with pytest.raises(ValueError, match="no_stop, fin, reset, vanish"):
            call.drop("politely")


def test_frames_are_numbered_together_with_the_other_messages() -> None:
    frames = Frames("AC1", "CA1", STREAM_SID)
    messages = [frames.start({}), frames.media(SILENT_FRAME, 0), frames.mark("a"), frames.media(SILENT_FRAME, 20)]

    assert [msgspec.json.decode(message)["sequenceNumber"] for message in messages] == ["1", "2", "3", "4"]
    assert msgspec.json.decode(messages[3])["media"]["chunk"] == "2"
