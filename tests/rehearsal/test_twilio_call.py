"""Guards the stand-in's calls: signed webhooks, TwiML executed as Twilio does, statuses, and every way a call ends."""

import asyncio
import base64
import contextlib
import time
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped] # no types in the wheel

from rehearsal.audio import SILENCE, tone
from rehearsal.twilio import Callbacks, CallScript, Human, Line, Twilio
from rehearsal.twilio.program import APPLICATION_ERROR

TOKEN = "a token of the account"
STREAM = (
    '<Response><Connect action="/twilio/after-stream"><Stream url="{ws}/twilio/media">'
    '<Parameter name="token" value="t1"/><Parameter name="direction" value="inbound"/></Stream></Connect></Response>'
)
HANG_UP = "<Response><Hangup/></Response>"
CLOSE_TIMEOUT_S = 0.3
Answer = str | Callable[[dict[str, str]], Awaitable[web.Response | str]]
Handler = Callable[["Bot"], Awaitable[None]]


class Bot:
    """The app's end of one media socket."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport | None) -> None:
        self.socket = socket
        self.transport = transport
        self.reading: asyncio.Task[None] | None = None
        self.messages: list[dict[str, object]] = []
        self.raw: list[str | bytes] = []
        self.arrived = asyncio.Event()
        self.start: dict[str, object] = {}

    async def send(self, **message: object) -> None:
        await self.socket.send_str(msgspec.json.encode({"streamSid": self.start.get("streamSid"), **message}).decode())

    async def media(self, audio: bytes) -> None:
        await self.send(event="media", media={"payload": base64.b64encode(audio).decode()})

    async def mark(self, name: str) -> None:
        await self.send(event="mark", mark={"name": name})

    async def clear(self) -> None:
        await self.send(event="clear")

    async def next(self, event: str, count: int = 1) -> dict[str, object]:
        """The so-manieth message of that event, awaited."""
        async with asyncio.timeout(5):
            while len(found := self.of(event)) < count:
                self.arrived.clear()
                await self.arrived.wait()
        return found[count - 1]

    def of(self, event: str) -> list[dict[str, object]]:
        return [message for message in self.messages if message["event"] == event]

    @property
    def audio(self) -> bytes:
        """Everything that the caller's frames brought."""
        media = [msgspec.convert(message["media"], dict[str, str]) for message in self.of("media")]
        return b"".join(base64.b64decode(each["payload"]) for each in media)

    async def read(self) -> None:
        async for message in self.socket:
            self.raw.append(message.data)
            with contextlib.suppress(msgspec.MsgspecError):  # hostile messages are sent on purpose
                self.messages.append(msgspec.json.decode(message.data, type=dict[str, object]))
            self.start = self.of("start")[0] if self.of("start") else {}
            self.arrived.set()


class App:
    """A small app in the place of the phone agent: canned TwiML by path, a handler for the media socket."""

    def __init__(self) -> None:
        self.url = ""
        self.validator = RequestValidator(TOKEN)
        self.answers: dict[str, list[Answer]] = {"voice": [STREAM], "after-stream": [HANG_UP], "status": [""]}
        self.requests: list[tuple[str, dict[str, str], str]] = []  # path, form, idempotency token
        self.forged: list[str] = []
        self.bots: list[Bot] = []
        self.handler: Handler | None = None

    def forms(self, path: str) -> list[dict[str, str]]:
        return [form for asked, form, _token in self.requests if asked == path]

    async def bot(self, count: int = 1) -> Bot:
        """The so-manieth media socket's bot, once it has its `start`."""
        async with asyncio.timeout(5):
            while len(self.bots) < count:
                await asyncio.sleep(0.005)
        await self.bots[count - 1].next("start")
        return self.bots[count - 1]

    async def webhook(self, request: web.Request) -> web.Response:
        path, posted = request.match_info["name"], await request.post()
        form = {name: str(value) for name, value in posted.items()}
        if not self.validator.validate(self.url + request.path, form, request.headers.get("X-Twilio-Signature", "")):
            self.forged.append(request.path)
        self.requests.append((path, form, request.headers["I-Twilio-Idempotency-Token"]))
        answers = self.answers.get(path, [HANG_UP])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        given = answer if isinstance(answer, str) else await answer(form)
        if isinstance(given, web.Response):
            return given
        return web.Response(text=given.replace("{ws}", "ws" + self.url[4:]), content_type="text/xml")

    async def media(self, request: web.Request) -> web.StreamResponse:
        url = "ws" + self.url[4:] + request.path
        if not self.validator.validate(url, {}, request.headers.get("X-Twilio-Signature", "")):
            return web.Response(status=403, text="forged")
        socket = web.WebSocketResponse(timeout=CLOSE_TIMEOUT_S)
        await socket.prepare(request)
        self.bots.append(bot := Bot(socket, request.transport))
        bot.reading = asyncio.create_task(bot.read())
        if self.handler is not None:
            await self.handler(bot)
        await asyncio.wait({bot.reading})
        return socket


@asynccontextmanager
async def answering(auth_token: str | None = TOKEN) -> AsyncIterator[tuple[App, Twilio]]:
    """An app, and a Twilio whose numbers it answers; afterwards, nothing may have been forged."""
    app = App()
    house = web.Application()
    house.router.add_post("/twilio/{name}", app.webhook)
    house.router.add_get("/twilio/media", app.media)
    runner = web.AppRunner(house, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    app.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with Twilio(app.url, auth_token) as twilio:
            yield app, twilio
    finally:
        await runner.cleanup()
    assert app.forged == [] or auth_token is None


async def text(answer: str) -> str:
    return answer


# Webhooks


async def test_a_call_asks_the_voice_url_with_twilios_fields_and_a_valid_signature() -> None:
    async with answering() as (app, twilio):
        call = await twilio.call("+972501111111", "+97231234567", CallScript(form={"CallerName": "דנה & co"}))
        await call.until_streaming()

        form = app.forms("voice")[0]
        assert form["CallSid"] == call.sid
        assert (form["From"], form["To"]) == ("+972501111111", "+97231234567")
        assert (form["CallStatus"], form["Direction"], form["CallerName"]) == ("ringing", "inbound", "דנה & co")
        assert app.forged == []


async def test_without_a_token_nothing_is_signed() -> None:
    async with answering(auth_token=None) as (app, twilio):
        app.answers["voice"] = [HANG_UP]
        call = await twilio.call()
        await call.until_reported()

        assert app.forged == ["/twilio/voice", "/twilio/status"]


async def test_an_app_that_calls_itself_by_a_public_name_is_signed_for_that_name() -> None:
    async with answering() as (app, _twilio):
        inside, app.url = app.url, "https://kav.example.com"
        async with Twilio(inside, TOKEN, public_url=app.url) as twilio:
            call = await twilio.call()
            await app.bot()
            await call.hang_up()
            await call.until_reported()

        assert app.forged == []
        assert call.violations == []


async def test_a_webhook_that_fails_is_asked_once_more_with_the_same_idempotency_token() -> None:
    async def broken(_form: dict[str, str]) -> web.Response:
        return web.Response(status=503)

    async with answering() as (app, twilio):
        app.answers["voice"] = [broken, HANG_UP]
        call = await twilio.call()
        await call.until_reported()

        tokens = [token for path, _form, token in app.requests if path == "voice"]
        assert len(tokens) == 2
        assert tokens[0] == tokens[1]
        assert call.status == "completed"


async def test_an_app_that_keeps_failing_costs_the_caller_an_application_error() -> None:
    async def broken(_form: dict[str, str]) -> web.Response:
        return web.Response(status=500)

    async with answering() as (app, twilio):
        app.answers["voice"] = [broken]
        call = await twilio.call()
        await call.until_reported()

        assert (len(app.forms("voice")), call.status, call.said) == (2, "failed", [APPLICATION_ERROR])
        assert [error.code for error in call.errors] == [11200]


async def test_a_number_with_a_fallback_asks_it_when_the_voice_url_fails() -> None:
    async def broken(_form: dict[str, str]) -> web.Response:
        return web.Response(status=500)

    async with answering() as (app, twilio):
        app.answers |= {"voice": [broken], "fallback": ["<Response><Say>sorry</Say></Response>"]}
        twilio.numbers[0].voice_fallback_url = app.url + "/twilio/fallback"
        call = await twilio.call(script=CallScript(say_s_a_character=0))
        await call.until_reported()

        assert call.said == ["sorry"]
        assert app.forms("fallback")[0]["ErrorCode"] == "11200"


# Verbs


@pytest.mark.parametrize(("reason", "status"), [("", "no-answer"), (' reason="busy"', "busy")])
async def test_reject_ends_the_call_unanswered(reason: str, status: str) -> None:
    async with answering() as (app, twilio):
        app.answers["voice"] = [f"<Response><Reject{reason}/></Response>"]
        call = await twilio.call()
        await call.until_reported()

        assert (call.status, call.answered_at, call.verbs) == (status, None, ["Reject"])
        assert app.forms("status")[0]["CallDuration"] == "0"


async def test_say_takes_its_time_and_hangup_ends_the_call() -> None:
    async with answering() as (app, twilio):
        app.answers["voice"] = ["<Response><Say language='he-IL'>שלום</Say><Hangup/><Say>never</Say></Response>"]
        call = await twilio.call(script=CallScript(say_s_a_character=0.05))
        ended = await call.until_ended()

        assert call.said == ["שלום"]
        assert call.answered_at is not None
        assert 0.2 <= ended - call.answered_at < 5


async def test_redirect_goes_on_with_the_document_it_names() -> None:
    async with answering() as (app, twilio):
        app.answers |= {
            "voice": ["<Response><Redirect>/twilio/more</Redirect><Say>never</Say></Response>"],
            "more": ["<Response><Play>/x.mp3</Play><Pause length='0'/><Say>more</Say></Response>"],
        }
        call = await twilio.call(script=CallScript(say_s_a_character=0, play_s=0))
        await call.until_ended()

        assert call.verbs == ["Redirect", "Play", "Pause", "Say"]
        assert call.said == ["more"]


@pytest.mark.parametrize(
    ("human", "status"),
    [
        (Human("answered", rings_s=0, talks_s=0.1), "completed"),
        (Human("busy", rings_s=0), "busy"),
        (Human("no-answer", rings_s=0), "no-answer"),
        (Human("answered", rings_s=3), "no-answer"),
    ],
)
async def test_dial_tells_its_action_what_became_of_the_human_leg(human: Human, status: str) -> None:
    async with answering() as (app, twilio):
        app.answers["voice"] = [
            '<Response><Dial action="/twilio/dialled" timeout="1"><Number>+972500000000</Number></Dial></Response>'
        ]
        call = await twilio.call(script=CallScript(human=human))
        await call.until_reported()

        assert call.dialled == ["+972500000000"]
        assert app.forms("dialled")[0]["DialCallStatus"] == status
        assert app.forms("dialled")[0]["CallStatus"] == "in-progress"


async def test_a_human_leg_is_bounded_by_the_time_limit_and_ends_with_the_caller() -> None:
    async with answering() as (app, twilio):
        app.answers["voice"] = ['<Response><Dial timeLimit="1">+972500000000</Dial></Response>']
        limited = await twilio.call(script=CallScript(human=Human(rings_s=0)))
        cut = await twilio.call(script=CallScript(human=Human(rings_s=0)))
        await cut.until(lambda: bool(cut.dialled))
        await cut.hang_up()
        await limited.until_ended()

        assert limited.answered_at is not None
        assert limited.ended_at is not None
        assert 1.0 <= limited.ended_at - limited.answered_at < 4
        assert cut.ended_at is not None
        assert cut.ended_at < limited.ended_at


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ("this is no XML", 12100),
        ("<html/>", 12100),
        ("<Response><Dance/></Response>", 12200),
        ("<Response><Say loudness='3'>x</Say></Response>", 12200),
        ("<Response><Connect><Stream url='wss://127.0.0.1:9/a?token=1'/></Connect></Response>", 31920),
        ("<Response><Connect><Stream url='ws://kav.example.com/a'/></Connect></Response>", 31922),
        ("<Response><Connect><Stream url='wss://127.0.0.1:9/' track='both_tracks'/></Connect></Response>", 31941),
    ],
)
async def test_twiml_that_twilio_would_warn_about_is_a_violation(document: str, code: int) -> None:
    async with answering() as (app, twilio):
        app.answers["voice"] = [document]
        call = await twilio.call(script=CallScript(say_s_a_character=0))
        await call.until_reported()

        assert code in [violation.code for violation in call.violations]


async def test_a_media_socket_that_is_refused_is_an_error_and_the_action_is_asked() -> None:
    async with answering() as (app, twilio):
        call = await twilio.call(script=CallScript(line=Line(signature="forged")))
        await call.until_reported()

        assert [error.code for error in call.errors] == [31920]
        assert len(app.forms("after-stream")) == 1
        assert call.streams == []


# Ends


async def test_when_the_app_closes_the_socket_the_action_decides_and_the_call_is_still_in_progress() -> None:
    async def hang_up(bot: Bot) -> None:
        await bot.next("start")
        await bot.socket.close()

    async with answering() as (app, twilio):
        app.handler = hang_up
        app.answers["after-stream"] = ["<Response><Say>bye</Say><Hangup/></Response>"]
        call = await twilio.call(script=CallScript(say_s_a_character=0))
        await call.until_reported()

        assert app.forms("after-stream")[0]["CallStatus"] == "in-progress"
        assert (call.verbs, call.said, call.status) == (["Connect", "Say", "Hangup"], ["bye"], "completed")
        assert call.socket.close_frame_at is not None
        assert app.bots[0].of("stop") == []


async def test_without_an_action_the_next_verb_runs() -> None:
    async def hang_up(bot: Bot) -> None:
        await bot.next("start")
        await bot.socket.close()

    async with answering() as (app, twilio):
        app.handler = hang_up
        app.answers["voice"] = [
            STREAM.replace(' action="/twilio/after-stream"', "").replace("</Response>", "<Hangup/></Response>")
        ]
        call = await twilio.call()
        await call.until_reported()

        assert call.verbs == ["Connect", "Hangup"]


async def test_a_caller_who_hangs_up_sends_stop_closes_and_is_reported_with_a_duration() -> None:
    async with answering() as (app, twilio):
        call = await twilio.call()
        bot = await app.bot()
        await call.hang_up()
        await call.until_socket_closed()
        await call.until_reported()

        assert bot.messages[-1]["event"] == "stop"
        status = app.forms("status")
        assert [form["CallStatus"] for form in status] == ["completed"]
        assert 1 <= int(status[0]["CallDuration"]) <= 5, "begun seconds"
        assert app.forms("after-stream") == []


async def test_a_caller_may_hang_up_while_it_still_rings() -> None:
    release = asyncio.Event()

    async def slow(_form: dict[str, str]) -> str:
        await release.wait()
        return HANG_UP

    async with answering() as (app, twilio):
        app.answers["voice"] = [slow]
        call = await twilio.call()
        await call.until(lambda: bool(app.forms("voice")))
        await call.hang_up()
        release.set()

        assert (call.status, call.answered_at) == ("no-answer", None)


@pytest.mark.parametrize("kind", ["no_stop", "fin", "reset"])
async def test_a_lost_socket_ends_without_stop_and_the_call_asks_what_next(kind: str) -> None:
    async with answering() as (app, twilio):
        app.answers["after-stream"] = [STREAM, HANG_UP]
        call = await twilio.call()
        first = await app.bot()
        call.drop(kind)
        await app.bot(2)
        await call.until_streaming(streams=2)
        await call.hang_up()

        assert first.of("stop") == []
        assert len(app.forms("after-stream")) == 1
        assert call.streams[0].sid != call.streams[1].sid


async def test_a_lost_socket_may_also_be_the_end_of_the_call() -> None:
    async with answering() as (app, twilio):
        call = await twilio.call()
        bot = await app.bot()
        call.drop("reset", call_goes_on=False)
        await call.until_reported()

        assert bot.of("stop") == []
        assert [form["CallStatus"] for form in app.forms("status")] == ["completed"]


async def test_a_vanished_line_sends_nothing_and_notices_only_the_apps_own_end() -> None:
    async with answering() as (app, twilio):
        call = await twilio.call()
        bot = await app.bot()
        call.drop("vanish")
        sent = len(call.sent_frames)
        await asyncio.sleep(0.1)
        assert len(call.sent_frames) == sent
        assert not call.stream.over.is_set()

        assert bot.transport is not None
        bot.transport.close()
        await call.until_socket_closed()
        await call.until(lambda: bool(app.forms("after-stream")))


async def test_a_line_that_never_answers_a_close_leaves_the_app_waiting() -> None:
    closed: list[float] = []

    async def hang_up(bot: Bot) -> None:
        await bot.next("media")
        assert bot.reading is not None
        bot.reading.cancel()  # from here on the close itself reads, and waits for its answer
        began = time.monotonic()
        await bot.socket.close()
        closed.append(time.monotonic() - began)

    async with answering() as (app, twilio):
        app.handler = hang_up
        call = await twilio.call(script=CallScript(line=Line(answers_close=False)))
        await call.until_reported()
        await call.until(lambda: bool(closed))

        assert call.socket.close_frame_at is not None
        assert closed[0] >= CLOSE_TIMEOUT_S


# Status callbacks


async def test_callbacks_arrive_twice_when_arranged() -> None:
    async with answering() as (app, twilio):
        app.answers["voice"] = [HANG_UP]
        call = await twilio.call(script=CallScript(callbacks=Callbacks(copies=2, form={"CallDuration": "absurd"})))
        await call.until_reported()

        assert [form["CallDuration"] for form in app.forms("status")] == ["absurd", "absurd"]


async def test_callbacks_are_late_or_missing_when_arranged() -> None:
    async with answering() as (app, twilio):
        app.answers["voice"] = [HANG_UP]
        late = await twilio.call(script=CallScript(callbacks=Callbacks(delay_s=0.3)))
        never = await twilio.call(script=CallScript(callbacks=Callbacks(missing=True)))
        await never.until_reported()
        await late.until_reported()

        assert [form["CallSid"] for form in app.forms("status")] == [late.sid]
        assert late.ended_at is not None
        assert late.statuses[0].at - late.ended_at >= 0.3


async def test_an_early_callback_is_answered_before_the_stream_hears_of_the_end() -> None:
    stops_then: list[int] = []

    async with answering() as (app, twilio):

        async def note(_form: dict[str, str]) -> str:
            stops_then.append(len(app.bots[0].of("stop")))
            return ""

        app.answers["status"] = [note]
        call = await twilio.call(script=CallScript(callbacks=Callbacks(early=True)))
        bot = await app.bot()
        await call.hang_up()
        await bot.next("stop")
        await call.until_reported()

        assert stops_then == [0]


async def test_a_status_may_be_posted_at_any_moment() -> None:
    async with answering() as (app, twilio):
        call = await twilio.call(script=CallScript(line=Line(connect_after_s=30)))
        await call.until(lambda: call.verbs == ["Connect"])
        await call.post_status("completed", {"CallDuration": "7"})

        assert app.forms("status")[0]["CallDuration"] == "7"
        assert app.bots == []


# What is kept


async def test_the_wav_has_both_sides_where_they_sounded(tmp_path: Path) -> None:
    async def greet(bot: Bot) -> None:
        await bot.next("start")
        await bot.media(tone(880, 200))

    async with answering() as (app, twilio):
        app.handler = greet
        call = await twilio.call()
        await call.until_streaming()
        await call.say(tone(440, 200))
        await call.until_quiet(for_s=0.05)
        await call.hang_up()
        call.write_wav(tmp_path / "call.wav")

        with wave.open(str(tmp_path / "call.wav")) as wav:
            samples = memoryview(wav.readframes(wav.getnframes())).cast("h").tolist()
        assert call.ended_at is not None
        assert len(samples) / 2 == pytest.approx((call.ended_at - call.placed_at) * 8000, abs=2)
        assert 1500 < sum(abs(sample) > 500 for sample in samples[0::2]) <= 1600
        assert 1500 < sum(abs(sample) > 500 for sample in samples[1::2]) <= 1600
        assert bytes([SILENCE]) * 160 in call.sent_frames
