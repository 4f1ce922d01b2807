"""One Realtime session of the model stand-in: takes client events, holds them to the rules, listens, answers."""

import asyncio
import base64
import binascii
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import msgspec

from rehearsal.model import config as configuration
from rehearsal.model.conversation import Conversation, Item, item_of
from rehearsal.model.ears import Ears
from rehearsal.model.faults import GARBAGE, Faults, Tuning
from rehearsal.model.journal import Journal
from rehearsal.model.response import Response
from rehearsal.model.rules import Event, RuleError, Violation
from rehearsal.model.script import Script
from rehearsal.model.shapes import check_shape
from rehearsal.peer import Peer

if TYPE_CHECKING:
    from rehearsal.model.server import ModelServer

CROSSING_S = 1.0  # an event may have been under way for so long when the one it contradicts was sent
MAX_APPEND_BYTES = 15 * 1024 * 1024
_APPEND_STARTS = ('{"type":"input_audio_buffer.append"', '{"type": "input_audio_buffer.append"')


class _Append(msgspec.Struct, forbid_unknown_fields=True):
    """The one event that comes fifty times a second; everything else takes the long way through the vendor's types."""

    type: Literal["input_audio_buffer.append"]
    audio: bytes  # msgspec decodes the base64
    event_id: str | None = None


_decode_append = msgspec.json.Decoder(_Append).decode
_encode = msgspec.json.Encoder().encode


class ModelSession:
    """One WebSocket, one session.

    For tests: `journal` (and its `received`, `sent`, `wait_for` here), `audio_in`, `conversation`, `item(id)`, `peer`,
    `violations`, `crossings`, `config`, `active`. To do harm: `drop`, `reset`, `close`, `stall`, `vanish`, `garbage`,
    `error`, `expire`; each acts now, and `Faults.after` calls it at a chosen moment.
    """

    script: Script

    def __init__(self, server: "ModelServer", peer: Peer, number: int, model: str, faults: Faults) -> None:
        self.number = number
        self.id = f"sess_{number}"
        self.conversation_id = f"conv_{number}"
        self.peer = peer
        self.faults = faults
        self.tuning: Tuning = server.tuning
        self.journal = Journal()
        self.conversation = Conversation()
        self.violations: list[Violation] = []
        self.crossings: list[Violation] = []
        self.has_spoken = False
        self.active: Response | None = None
        self._server = server
        self._ids = 0
        self._responses: dict[str, Response] = {}
        self._ended_at: dict[str, float] = {}
        self._began_by_voice: set[str] = set()
        self.timers: set[asyncio.TimerHandle] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._held: list[Event] | None = None
        self.config = configuration.initial(model, self.id, int(time.time() + self.tuning.lifetime_s))
        self.ears = Ears(self)
        self._handlers: dict[str, Callable[[Event], None]] = {
            "session.update": self._session_update,
            "input_audio_buffer.append": self._append_slowly,
            "input_audio_buffer.commit": lambda _event: self.ears.commit(),
            "input_audio_buffer.clear": lambda _event: self.ears.clear(),
            "output_audio_buffer.clear": self._output_clear,
            "conversation.item.create": self._item_create,
            "conversation.item.retrieve": self._item_retrieve,
            "conversation.item.truncate": self._item_truncate,
            "conversation.item.delete": self._item_delete,
            "response.create": self._response_create,
            "response.cancel": self._response_cancel,
        }

    # What tests read

    @property
    def received(self) -> list[tuple[float, Event]]:
        """Client events with monotonic times; `audio_bytes` stands for an append's payload."""
        return self.journal.received

    @property
    def sent(self) -> list[tuple[float, Event]]:
        """Server events with monotonic times; `audio_bytes` stands for a delta's payload."""
        return self.journal.sent

    @property
    def audio_in(self) -> bytes:
        """Every appended byte, in order."""
        return bytes(self.ears.audio)

    @property
    def is_open(self) -> bool:
        """Whether neither FIN nor RST has come from the client; a close frame alone frees nothing."""
        peer = self.peer
        return peer.eof_at is peer.reset_at is peer.closed_at is None

    def item(self, item_id: str) -> Item:
        """An item of the conversation. Raises KeyError."""
        found = self.conversation.find(item_id)
        if found is None:
            raise KeyError(f"{self.id} has no item {item_id}; it has {[item.id for item in self.conversation]}")
        return found

    async def wait_for(self, event_type: str, count: int = 1, timeout: float = 10) -> Event:
        """The `count`th event of this type, received or sent, when it has come. Raises TimeoutError."""
        return await self.journal.wait_for(event_type, count, timeout)

    # Harm

    def drop(self) -> None:
        """End with FIN and no close frame."""
        self.peer.drop()

    def reset(self) -> None:
        """End with RST."""
        self.peer.reset()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """End with a close frame."""
        self.peer.close(code, reason)

    def stall(self, *, reading: bool = True) -> None:
        """Send nothing more and keep the socket open; go on reading, or not even that."""
        self._held = self._held or []
        if not reading:
            self.peer.pause_reading()

    def resume(self) -> None:
        """End a stall: what was held back goes out now."""
        held, self._held = self._held or [], None
        self.peer.resume_reading()
        for event in held:
            self.send(event)

    def vanish(self) -> None:
        """Neither read nor write any more, without FIN, as a machine that lost its network."""
        self.peer.vanish()

    def garbage(self, kind: str = "text") -> None:
        """Send what no client should die of: text, binary, unknown, no_type, list, truncated, huge or empty."""
        if kind == "binary":
            self.peer.send_binary(b"\x00\xff garbage")
            return
        self.peer.send_text(GARBAGE[kind])

    def error(self, code: str, message: str = "On demand.", error_type: str = "invalid_request_error") -> None:
        """Send an `error` event that nobody provoked; insufficient_quota and its like are fatal to a client."""
        self._send_error(error_type, code, message, None, None)

    def expire(self) -> None:
        """Say that the session's hour is over, then close (the close code is unverified)."""
        self.error("session_expired", "Your session hit the maximum duration of 60 minutes.")
        self.peer.close(1001, "session_expired")

    # The connection

    async def run(self) -> None:
        """Serve the client until it is gone."""
        self.peer.answers_close = self.faults.answers_close
        self.peer.deliver_to(self._message)
        if not self.faults.no_session_created:
            self.send({"type": "session.created", "session": self.config})
        try:
            await self.peer.gone()
        finally:
            for timer in self.timers:
                timer.cancel()
            for task in self._tasks:
                task.cancel()

    def send(self, event: Event) -> None:
        """Send a server event; it gets its event_id here."""
        if self._held is not None:
            self._held.append(event)
            return
        event = {"type": event["type"], "event_id": self.new_id("event"), **event}
        if self.peer.send_text(_encode(event)):
            self.journal.add_sent(event)
            self._trigger(event["type"])

    def new_id(self, prefix: str) -> str:
        """An id that no other session uses."""
        self._ids += 1
        return f"{prefix}_{self.number}_{self._ids}"

    async def voice(self, text: str, language: str) -> bytes:
        """The sound of a sentence, mu-law; synthesis runs beside the loop, or all sessions would wait for it."""
        return await asyncio.to_thread(self._server.speak, text, language)

    def rate_limits(self) -> list[Event]:
        """The two limits as a middling account has them."""
        return [
            {"name": "requests", "limit": 5000, "remaining": 5000 - len(self._ended_at), "reset_seconds": 0.012},
            {"name": "tokens", "limit": 400_000, "remaining": 399_000, "reset_seconds": 0.15},
        ]

    def _trigger(self, event_type: str) -> None:
        for after in self.faults.after:
            if after.event_type == event_type and after.count == self.journal.counts[event_type]:
                after.do(self)

    # Client events

    def _message(self, message: str | bytes, at: float) -> None:
        if isinstance(message, str) and message.startswith(_APPEND_STARTS) and self._append_fast(message, at):
            return
        event: Event = {}
        try:
            event = _parsed(message)
            self.journal.add_received(_without_audio(event), at)
            self._check_then_handle(event)
        except RuleError as error:
            self._refuse(error, _without_audio(event), at)
        self._trigger(str(event.get("type")))

    def _check_then_handle(self, event: Event) -> None:
        check_shape(event)
        self._handlers[event["type"]](event)

    def _refuse(self, error: RuleError, event: Event, at: float) -> None:
        """Answer as the API would, and count: as a crossing if the client could not have known, else as a violation."""
        crossed = self._crossed(error.rule.id, event)
        (self.crossings if crossed else self.violations).append(Violation(error.rule.id, error.message, event, at))
        event_id = event.get("event_id")
        known_id = event_id if isinstance(event_id, str) else None
        self._send_error("invalid_request_error", error.rule.code, error.message, error.param, known_id)

    def _crossed(self, rule_id: str, event: Event) -> bool:
        """Whether the event left the client before it could know better; docs/conformance.md tells the cases."""
        now = time.monotonic()
        by_voice = self.active is not None and self.active.id in self._began_by_voice
        if rule_id in ("cancel-not-active", "cancel-other"):
            ended_at = self._ended_at.get(str(event.get("response_id")), 0.0)
            return now - ended_at <= CROSSING_S and (self.active is None or by_voice)
        if rule_id == "create-while-active" and self.active is not None:
            return by_voice and now - self.active.requested_at <= CROSSING_S
        return rule_id in ("commit-empty", "commit-under-100ms") and now - self.ears.committed_at <= CROSSING_S

    def _send_error(
        self, error_type: str, code: str | None, message: str, param: str | None, client_event_id: str | None
    ) -> None:
        error = {"type": error_type, "code": code, "message": message, "param": param, "event_id": client_event_id}
        self.send({"type": "error", "error": error})

    def _session_update(self, event: Event) -> None:
        if self.faults.refuse_update_code is not None:
            code = self.faults.refuse_update_code
            self._send_error("invalid_request_error", code, "Refused on demand.", "session", event.get("event_id"))
            return
        new = configuration.updated(self.config, event["session"], self.has_spoken)
        if self.faults.no_session_updated:
            return
        before, self.config = self.config["audio"]["input"], new
        if new["audio"]["input"] != before:
            self.ears.listen_anew()
        self.send({"type": "session.updated", "session": self.config})

    def _item_create(self, event: Event) -> None:
        self.conversation.check_new(event["item"])
        self.conversation.check_previous(event.get("previous_item_id"))
        item = item_of(event["item"], event["item"].get("id") or self.new_id("item"))
        previous = self.conversation.add(item, event.get("previous_item_id"))
        self.send_item_added_and_done(item, previous)

    def _item_retrieve(self, event: Event) -> None:
        item = self.conversation.find(event["item_id"])
        if item is None:
            raise RuleError("retrieve-unknown", f"Item with item_id '{event['item_id']}' not found.", "item_id")
        self.send({"type": "conversation.item.retrieved", "item": item.as_event()})

    def _item_truncate(self, event: Event) -> None:
        where = {name: event[name] for name in ("item_id", "content_index", "audio_end_ms")}
        self.conversation.truncate(**where)
        self.send({"type": "conversation.item.truncated", **where})

    def _item_delete(self, event: Event) -> None:
        self.conversation.delete(event["item_id"])
        self.send({"type": "conversation.item.deleted", "item_id": event["item_id"]})

    def _output_clear(self, _event: Event) -> None:
        raise RuleError("webrtc-only", "output_audio_buffer.clear is for WebRTC and SIP only.", "type")

    # Responses

    def _response_create(self, event: Event) -> None:
        create = event.get("response") or {}
        configuration.check_response(self.config, create, self.has_spoken)
        for item in create.get("input") or []:
            if item.get("type") == "item_reference" and self.conversation.find(item.get("id")) is None:
                raise RuleError("reference-unknown", f"No item has id '{item.get('id')}'.", "response.input")
        if create.get("conversation") != "none" and self.active is not None:
            message = f"Conversation already has an active response in progress: {self.active.id}."
            raise RuleError("create-while-active", f"{message} Wait until it is done before creating a new one.")
        self._respond(create)

    def answer_turn(self) -> None:
        """Begin a response without being asked, as `create_response` has it, unless one runs."""
        if self.active is None:
            self._began_by_voice.add(self._respond({}).id)

    def _respond(self, create: Event) -> Response:
        response = Response(self, create)
        self._responses[response.id] = response
        if not response.out_of_band:
            self.active = response
        task = asyncio.get_running_loop().create_task(response.run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return response

    def _response_cancel(self, event: Event) -> None:
        wanted = event.get("response_id")
        response = self._responses.get(wanted) if wanted else self.active
        if response is not None:
            response.cancel("client_cancelled")
        elif wanted and self.active is not None:
            message = f"Cancellation failed: {wanted} is not the active response {self.active.id}"
            raise RuleError("cancel-other", message, "response_id")
        else:
            raise RuleError("cancel-not-active", "Cancellation failed: no active response found")

    def response_over(self, response: Response) -> None:
        """Make room for the next response; called by the one that ends, just before its `response.done`."""
        del self._responses[response.id]
        self._ended_at[response.id] = time.monotonic()
        if self.active is response:
            self.active = None

    # Listening

    def _append_fast(self, message: str, at: float) -> bool:
        """Take an append without a dictionary of it; False sends it the long way, which tells what is wrong."""
        try:
            append = _decode_append(message)
        except msgspec.DecodeError:
            return False
        if len(append.audio) > MAX_APPEND_BYTES:
            return False
        event = {"type": append.type, "audio_bytes": len(append.audio), "event_id": append.event_id}
        self.journal.add_received(event, at)
        self.ears.hear(append.audio, event, at)
        if self.faults.after:
            self._trigger(append.type)
        return True

    def _append_slowly(self, event: Event) -> None:
        try:
            audio = base64.b64decode(event["audio"], validate=True)
        except binascii.Error as error:
            message = f"Invalid 'audio'. Expected base64-encoded audio bytes: {error}."
            raise RuleError("append-base64", message, "audio") from None
        if len(audio) > MAX_APPEND_BYTES:
            raise RuleError("append-too-big", f"{len(audio)} bytes; at most 15 MiB may be appended at once.", "audio")
        self.ears.hear(audio, _without_audio(event), time.monotonic())

    def send_item_added_and_done(self, item: Item, previous: str | None) -> None:
        """Announce an item that is whole from the beginning."""
        for what in ("added", "done"):
            event = {"type": f"conversation.item.{what}", "previous_item_id": previous, "item": item.as_event()}
            self.send(event)


def _parsed(message: str | bytes) -> Event:
    if isinstance(message, bytes):
        raise RuleError("binary-frame", "Binary frames are not accepted; send JSON as text.")
    try:
        event = msgspec.json.decode(message)
    except msgspec.DecodeError as error:
        raise RuleError("malformed-json", f"The message is no valid JSON: {error}.") from None
    if not isinstance(event, dict):
        raise RuleError("malformed-json", "The message is no JSON object.")
    return event


def _without_audio(event: Event) -> Event:
    """The event as it is noted: an append's payload counts, it is not kept."""
    if event.get("type") != "input_audio_buffer.append":
        return event
    rest = {name: value for name, value in event.items() if name != "audio"}
    audio = event.get("audio")
    return {**rest, "audio_bytes": len(audio) * 3 // 4 if isinstance(audio, str) else 0}
