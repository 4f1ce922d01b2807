"""A client of the model stand-in for its own tests; holds every server event to the vendor's types."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, get_args

from openai.types.realtime import RealtimeServerEvent
from openai.types.realtime.realtime_session_create_response import RealtimeSessionCreateResponse
from pydantic import BaseModel

from rehearsal.model import Faults, ModelServer, ModelSession, Script, SessionInfo, Tuning
from rehearsal.websocket import Peer, connect

Event = dict[str, Any]
KEY = {"Authorization": "Bearer sk-test"}
FAST = Tuning(speed=1000, transcript_after_s=0.01)
_TYPES: dict[str, type[BaseModel]] = {
    get_args(model.model_fields["type"].annotation)[0]: model for model in get_args(get_args(RealtimeServerEvent)[0])
}
_WITH_SESSION = ("session.created", "session.updated")

SETTINGS: Event = {
    "type": "realtime",
    "output_modalities": ["audio"],
    "instructions": "Be brief.",
    "audio": {
        "input": {
            "format": {"type": "audio/pcmu"},
            "transcription": {"model": "gpt-transcribe"},
            "turn_detection": {
                "type": "server_vad",
                "threshold": 0.6,
                "prefix_padding_ms": 300,
                "silence_duration_ms": 400,
                "create_response": False,
                "interrupt_response": True,
            },
        },
        "output": {"format": {"type": "audio/pcmu"}, "voice": "marin"},
    },
    "tools": [{"type": "function", "name": "end_call", "parameters": {"type": "object", "properties": {}}}],
}


def detection(**changes: object) -> Event:
    """SETTINGS with other turn detection."""
    settings: Event = json.loads(json.dumps(SETTINGS))
    settings["audio"]["input"]["turn_detection"].update(changes)
    return settings


class Client:
    """One connection: sends dictionaries, reads events in order, keeps them all in `events`."""

    def __init__(self, peer: Peer, session: ModelSession) -> None:
        self.peer = peer
        self.session = session
        self.events: list[Event] = []

    def send(self, event_type: str, **fields: object) -> None:
        self.peer.send_text(json.dumps({"type": event_type, **fields}))

    def append(self, audio: bytes, frame_bytes: int = 160) -> None:
        for at in range(0, len(audio), frame_bytes):
            payload = base64.b64encode(audio[at : at + frame_bytes]).decode()
            self.peer.send_text('{"type":"input_audio_buffer.append","audio":"' + payload + '"}')

    async def next(self) -> Event:
        message = await asyncio.wait_for(self.peer.receive(), 5)
        assert isinstance(message, str)
        event: Event = json.loads(message)
        hold_to_types(event)
        self.events.append(event)
        return event

    async def until(self, event_type: str) -> Event:
        """Read up to the next event of this type."""
        while True:
            event = await self.next()
            if event["type"] == event_type:
                return event

    async def configure(self, settings: Event = SETTINGS) -> Event:
        self.send("session.update", session=settings)
        return await self.until("session.updated")

    async def reply(self, **response: object) -> Event:
        """Ask for a response and read it to its end."""
        self.send("response.create", response=response)
        done = await self.until("response.done")
        result: Event = done["response"]
        return result

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    def of(self, event_type: str) -> list[Event]:
        return [event for event in self.events if event["type"] == event_type]

    def audio(self) -> bytes:
        return b"".join(base64.b64decode(event["delta"]) for event in self.of("response.output_audio.delta"))


def hold_to_types(event: Event) -> None:
    """Assert that the vendor's type for this event takes it, with no key it does not know."""
    checked = _TYPES[event["type"]].model_validate(event)
    assert event["event_id"]
    if event["type"] in _WITH_SESSION:
        session = RealtimeSessionCreateResponse.model_validate(event["session"])
        assert not session.model_extra
    else:
        assert_no_extra(checked)


def assert_no_extra(value: object) -> None:
    if isinstance(value, BaseModel):
        assert not value.model_extra, (value.__class__, value.model_extra)
        for name in value.model_fields_set:
            assert_no_extra(getattr(value, name))
    elif isinstance(value, list):
        for element in value:
            assert_no_extra(element)


@asynccontextmanager
async def talking(
    script: Script | None = None,
    *,
    settings: Event | None = SETTINGS,
    faults: Faults | None = None,
    tuning: Tuning = FAST,
    model: str = "gpt-realtime-2.1",
    server: ModelServer | None = None,
) -> AsyncIterator[Client]:
    """A client whose session is configured (unless `settings` is None)."""
    server = server or ModelServer(faults=faults, tuning=tuning)
    if script is not None:
        server.script_for = lambda _info: script
    async with server:
        peer = await connect(f"{server.url}?model={model}", headers=KEY)
        client = Client(peer, await server.wait_for_session(len(server.sessions) or 1))
        try:
            if settings is not None:
                await client.until("session.created")
                await client.configure(settings)
            yield client
        finally:
            peer.abort()


def info_of(infos: list[SessionInfo]) -> SessionInfo:
    """The only one."""
    (info,) = infos
    return info
