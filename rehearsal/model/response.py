"""One response, from `response.created` to `response.done`, in the order in which the Realtime API sends its events."""

import asyncio
import base64
import inspect
import logging
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rehearsal.model.conversation import Item, Status
from rehearsal.model.mulaw import BYTES_PER_MS, to_pcm24k
from rehearsal.model.rules import Event
from rehearsal.model.script import CallTool, Part, Reply, ReplyRequest, Say, WriteText
from rehearsal.model.usage import usage

if TYPE_CHECKING:
    from rehearsal.model.session import ModelSession

_ARGUMENT_PIECES = 3  # deltas in which a function call's arguments arrive

log = logging.getLogger(__name__)


class InterruptedResponseError(Exception):
    """The response was cancelled; unwinds the ladder so that every opened rung is closed."""


class Response:
    """One response of a session. `create` is the event's `response`, {} for one that voice activity began."""

    def __init__(self, session: "ModelSession", create: Event) -> None:
        self.id = session.new_id("resp")
        self.create = create
        self.out_of_band = create.get("conversation") == "none"
        self.settings = {**session.config, **{k: v for k, v in create.items() if k != "audio"}}
        self.requested_at = time.monotonic()
        self.items: list[Item] = []
        self.cancel_reason: str | None = None
        self._session = session
        self._late_deltas = 0
        self._pause_over: asyncio.Future[None] | None = None
        self._next_delta_at = 0.0

    def cancel(self, reason: str) -> None:
        """Stop before the next delta. `reason` is turn_detected or client_cancelled."""
        if self.cancel_reason is None:
            self.cancel_reason = reason
            self._late_deltas = self._session.faults.late_deltas
            if self._pause_over is not None and not self._pause_over.done() and not self._late_deltas:
                self._pause_over.set_result(None)

    async def run(self) -> None:
        """Send the whole ladder."""
        await asyncio.sleep(self._session.faults.created_after_s)
        self._created()
        try:
            status, details = await self._answer()
        except InterruptedResponseError:
            status, details = "cancelled", {"type": "cancelled", "reason": self.cancel_reason}
        except Exception:  # the root of this task: a script's mistake must not look like a model that went mute
            log.exception("The script of %s failed; its response fails too", self._session.id)
            status, details = _failed("server_error", "The rehearsal's script failed")
        self._session.response_over(self)
        told = not self._session.faults.tells_no_usage
        self._send("response.done", response=self._as_event(status, details, with_usage=told))

    async def _answer(self) -> tuple[str, Event | None]:
        reply = self._session.script.reply(ReplyRequest(self._session, self.create, self.settings))
        if inspect.isawaitable(reply):
            reply = await reply
        parts = self._possible(reply.parts)
        begin_at = time.monotonic() + reply.first_after_s
        voices = [await self._voice(part) for part in parts]
        await self._pause_until(begin_at)
        for index, (part, audio) in enumerate(zip(parts, voices, strict=True)):
            last = index == len(parts) - 1
            await self._part(part, audio, "incomplete" if last and reply.status == "incomplete" else "completed")
        await self._pause_until(time.monotonic() + self._done_after_s(reply))
        return _outcome(reply)

    def _possible(self, parts: Sequence[Part]) -> Sequence[Part]:
        """With `tool_choice` "none" the API shows the model no tools, so not even a disobedient one can call them."""
        if self.settings.get("tool_choice") != "none":
            return parts
        return [part for part in parts if not isinstance(part, CallTool)]

    def _done_after_s(self, reply: Reply) -> float:
        calls = any(isinstance(part, CallTool) for part in reply.parts)
        return reply.done_after_s + (self._session.faults.done_after_call_s if calls else 0)

    async def _voice(self, part: Part) -> bytes:
        if not isinstance(part, Say) or "audio" not in self.settings["output_modalities"]:
            return b""
        return part.audio if part.audio is not None else await self._session.voice(part.text, part.language)

    async def _part(self, part: Part, audio: bytes, status: Status) -> None:
        if isinstance(part, CallTool):
            await self._call_tool(part, status)
        elif isinstance(part, Say) and "audio" in self.settings["output_modalities"]:
            await self._say(part, audio, status)
        else:
            await self._write(part, status)

    # One message item, spoken

    async def _say(self, say: Say, audio: bytes, status: Status) -> None:
        item = Item(self._session.new_id("item"), "message", "assistant", has_audio=True, transcript="")
        self._open(item)
        self._send_part("added", item, {"type": "audio", "transcript": ""})
        spoken = ""
        self._next_delta_at = time.monotonic()
        try:
            for text, piece in _interleave(say.text, audio, self._session.tuning.delta_ms * BYTES_PER_MS):
                await self._pace(len(piece))
                spoken += text
                self._speak(item, text, piece)
        except InterruptedResponseError:
            self._close_spoken(item, spoken, "incomplete")
            raise
        self._close_spoken(item, spoken, status)

    def _speak(self, item: Item, text: str, piece: bytes) -> None:
        """One transcript delta and one audio delta; a message forgotten by truncation stays forgotten."""
        if item.truncated_at is None:
            item.transcript = (item.transcript or "") + text
        if text:
            self._send_in(item, "response.output_audio_transcript.delta", delta=text)
        if piece:
            item.audio_bytes += len(piece)
            self._session.has_spoken = True
            pcmu = self._session.config["audio"]["output"]["format"]["type"] == "audio/pcmu"
            payload = piece if pcmu else to_pcm24k(piece)
            self._send_in(item, "response.output_audio.delta", delta=base64.b64encode(payload).decode())

    def _close_spoken(self, item: Item, spoken: str, status: Status) -> None:
        self._send_in(item, "response.output_audio.done")
        self._send_in(item, "response.output_audio_transcript.done", transcript=spoken)
        self._send_part("done", item, {"type": "audio", "transcript": spoken})
        self._close(item, status)

    # One message item, written

    async def _write(self, part: Say | WriteText, status: Status) -> None:
        item = Item(self._session.new_id("item"), "message", "assistant")
        self._open(item)
        self._send_part("added", item, {"type": "text", "text": ""})
        try:
            for word in part.text.split(" "):
                await self._pause_until(time.monotonic())
                piece = word if not item.text else f" {word}"
                item.text += piece
                self._send_in(item, "response.output_text.delta", delta=piece)
        except InterruptedResponseError:
            self._close_written(item, "incomplete")
            raise
        self._close_written(item, status)

    def _close_written(self, item: Item, status: Status) -> None:
        self._send_in(item, "response.output_text.done", text=item.text)
        self._send_part("done", item, {"type": "text", "text": item.text})
        self._close(item, status)

    # One function call item

    async def _call_tool(self, call: CallTool, status: Status) -> None:
        call_id = call.call_id or self._session.new_id("call")
        item = Item(self._session.new_id("item"), "function_call", call_id=call_id, name=call.name)
        self._open(item)
        step = max(1, math.ceil(len(call.arguments_json) / _ARGUMENT_PIECES))
        try:
            for at in range(0, len(call.arguments_json), step):
                await self._pause_until(time.monotonic())
                piece = call.arguments_json[at : at + step]
                item.arguments += piece
                self._send_call(item, "response.function_call_arguments.delta", delta=piece)
        except InterruptedResponseError:
            self._close_call(item, "incomplete")
            raise
        self._close_call(item, status)

    def _close_call(self, item: Item, status: Status) -> None:
        self._send_call(item, "response.function_call_arguments.done", name=item.name, arguments=item.arguments)
        self._close(item, status)

    # What all items have in common

    def _open(self, item: Item) -> None:
        item.status = "in_progress"
        item.response_id = self.id
        self.items.append(item)
        self._send_item("response.output_item.added", item)
        if not self.out_of_band:
            previous = self._session.conversation.add(item)
            self._send("conversation.item.added", previous_item_id=previous, item=item.as_event())

    def _close(self, item: Item, status: Status) -> None:
        item.status = status
        self._send_item("response.output_item.done", item)
        if self._session.conversation.find(item.id) is not None:
            previous = self._session.conversation.before(item)
            self._send("conversation.item.done", previous_item_id=previous, item=item.as_event())

    def _created(self) -> None:
        self._send("response.created", response=self._as_event("in_progress", None, with_usage=False))
        self._send("rate_limits.updated", rate_limits=self._session.rate_limits())

    def _as_event(self, status: str, details: Event | None, *, with_usage: bool) -> Event:
        output = self._session.config["audio"]["output"]
        return {
            "object": "realtime.response",
            "id": self.id,
            "conversation_id": None if self.out_of_band else self._session.conversation_id,
            "status": status,
            "status_details": details,
            "output": [item.as_event() for item in self.items],
            "output_modalities": self.settings["output_modalities"],
            "max_output_tokens": self.settings["max_output_tokens"],
            "audio": {"output": {"format": output["format"], "voice": output["voice"]}},
            "metadata": self.create.get("metadata"),
            "usage": usage(self.settings, self._session.conversation.items, self.items) if with_usage else None,
        }

    def _send(self, event_type: str, **fields: object) -> None:
        self._session.send({"type": event_type, **fields})

    def _send_item(self, event_type: str, item: Item) -> None:
        index = self.items.index(item)
        self._send(event_type, response_id=self.id, output_index=index, item=item.as_event())

    def _send_call(self, item: Item, event_type: str, **fields: object) -> None:
        index = self.items.index(item)
        here = {"response_id": self.id, "item_id": item.id, "output_index": index, "call_id": item.call_id}
        self._send(event_type, **here, **fields)

    def _send_in(self, item: Item, event_type: str, **fields: object) -> None:
        index = self.items.index(item)
        here = {"response_id": self.id, "item_id": item.id, "output_index": index, "content_index": 0}
        self._send(event_type, **here, **fields)

    def _send_part(self, what: str, item: Item, part: Event) -> None:
        self._send_in(item, f"response.content_part.{what}", part=part)

    # Time

    async def _pace(self, audio_bytes: int) -> None:
        """Wait until the next delta is due; a delta buys the time in which it plays, divided by the speed."""
        await self._pause_until(self._next_delta_at)
        self._next_delta_at += audio_bytes / BYTES_PER_MS / 1000 / self._session.tuning.speed

    async def _pause_until(self, at: float) -> None:
        """Wait, and leave the ladder if the response was cancelled before or meanwhile."""
        delay = at - time.monotonic()
        if delay > 0 and (self.cancel_reason is None or self._late_deltas):
            loop = asyncio.get_running_loop()
            self._pause_over = loop.create_future()
            timer = loop.call_later(delay, _finish, self._pause_over)
            try:
                await self._pause_over
            finally:
                timer.cancel()
        if self.cancel_reason is not None:
            self._late_deltas -= 1
            if self._late_deltas < 0:
                raise InterruptedResponseError


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _interleave(text: str, audio: bytes, delta_bytes: int) -> list[tuple[str, bytes]]:
    """Deltas of audio, each with the part of the transcript that it sounds like."""
    pieces = [audio[at : at + delta_bytes] for at in range(0, len(audio), delta_bytes)] or [b""]
    words = text.split(" ")
    words = [word if index == 0 else f" {word}" for index, word in enumerate(words)]
    cuts = [math.ceil(len(words) * index / len(pieces)) for index in range(len(pieces) + 1)]
    return [("".join(words[cuts[i] : cuts[i + 1]]), piece) for i, piece in enumerate(pieces)]


def _outcome(reply: Reply) -> tuple[str, Event | None]:
    if reply.status == "failed":
        return _failed(*reply.error)
    if reply.status == "incomplete":
        return "incomplete", {"type": "incomplete", "reason": reply.reason}
    return "completed", None


def _failed(code: str, message: str) -> tuple[str, Event]:
    return "failed", {"type": "failed", "error": {"type": "server_error", "code": code, "message": message}}
