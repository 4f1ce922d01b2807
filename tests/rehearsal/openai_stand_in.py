"""OpenAI on loopback, as far as a live rehearsal needs it: text-to-speech over HTTP, and a model that truly listens.

Nobody tells this model which line was spoken: it knows a line by its sound, as it came out of the text-to-speech, went
over the telephone and through Kav.
"""

import hashlib
import hmac
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from rehearsal.live.voice import phone_audio
from rehearsal.model import CallTool, ModelServer, ModelSession, Reply, ReplyRequest, SessionInfo
from rehearsal.model.mulaw import to_pcm24k
from rehearsal.model.script import Speak
from rehearsal.prompter import Prompter
from rehearsal.scenario import Scenario
from rehearsal.speech import speak

KEY = "sk-of-the-live-rehearsal"
KNOWN_BY_BYTES = 2400
"""0.3 s of a line tell it from every other."""


class Listener(Prompter):
    """One call's model: knows its scenario's lines by ear, and then judges and answers as the scenario has it."""

    def __init__(self, scenario: Scenario, speak_: Speak) -> None:
        super().__init__(scenario.language, speak_)
        self._steps = [step for step in scenario.steps if step.says is not None]
        self._sounds = [sound_of(step.says or "", step.language or scenario.language) for step in self._steps]

    def heard(self, session: ModelSession) -> str:
        """The words of the line that was heard since the last one, if it was one of the scenario's."""
        if self._steps and session.ears.audio.find(self._sounds[0][:KNOWN_BY_BYTES]) >= 0:
            self.caller_says(self._steps.pop(0))
            self._sounds.pop(0)
        return super().heard(session)


class Disobedient(Listener):
    """Understands nobody: every turn is unclear to it, whatever the caller says."""

    def reply(self, request: ReplyRequest) -> Reply:
        """What a listener says, but for judgements."""
        if request.phrase is None and request.tool_choice == "required":
            return Reply([CallTool("unclear", {"language": "he"})])
        return super().reply(request)


def sound_of(text: str, language: str) -> bytes:
    """A line as it reaches the model."""
    return phone_audio(to_pcm24k(speak(text, language)))


@dataclass
class OpenAi:
    """Where it is, and what was asked of it."""

    api_url: str
    model: ModelServer
    spoken: Counter[str] = field(default_factory=Counter)
    """Texts that were asked to be spoken."""

    @property
    def environment(self) -> dict[str, str]:
        """What makes a rehearsal take it for the real one."""
        return {
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": self.api_url,
            "OPENAI_REALTIME_URL": self.model.url,
        }


@asynccontextmanager
async def openai_on_loopback(
    scenarios: Mapping[str, Scenario], model: type[Listener] = Listener
) -> AsyncIterator[OpenAi]:
    """Serve both; `scenarios` by the caller's number, which is all that a session tells of its call."""
    listeners = {identity(number): model(scenario, speak) for number, scenario in scenarios.items()}
    lines = [line for scenario in scenarios.values() for line in scenario.lines()]
    languages = {text: language for text, language, _pointed in lines}
    spoken: Counter[str] = Counter()

    async def speech(request: web.Request) -> web.Response:
        asked = await request.json()
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return web.json_response({"error": {"message": "Incorrect API key provided"}}, status=401)
        if asked.get("response_format") != "pcm" or not asked.get("voice") or not asked.get("model"):
            return web.json_response({"error": {"message": f"not understood: {asked}"}}, status=400)
        spoken[asked["input"]] += 1
        line = languages.get(asked["input"], "he")
        return web.Response(body=to_pcm24k(speak(asked["input"], line)), content_type="audio/pcm")

    def script_for(info: SessionInfo) -> Listener:
        return listeners[info.safety_identifier or ""]

    app = web.Application()
    app.router.add_post("/v1/audio/speech", speech)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        async with ModelServer(script_for, speak=speak, api_key=KEY) as server:
            yield OpenAi(f"http://127.0.0.1:{port}/v1", server, spoken)
    finally:
        await runner.cleanup()


def identity(number: str) -> str:
    """What Kav tells the model of a caller."""
    return hmac.new(KEY.encode(), number.encode(), hashlib.sha256).hexdigest()
