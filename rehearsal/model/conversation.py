"""The conversation as the model remembers it: items in order, how much of each was spoken, what was cut off."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from rehearsal.model.mulaw import BYTES_PER_MS
from rehearsal.model.rules import Event, RuleError

MAX_ITEM_ID_CHARACTERS = 32
Status = Literal["in_progress", "completed", "incomplete"]


@dataclass
class Item:
    """One item. `audio_bytes` counts mu-law bytes; `truncated_at` is ms, None while nothing was cut off."""

    id: str
    type: str
    role: str | None = None
    status: Status = "completed"
    text: str = ""
    has_audio: bool = False
    transcript: str | None = None
    audio_bytes: int = 0
    truncated_at: int | None = None
    call_id: str | None = None
    name: str = ""
    arguments: str = ""
    output: str = ""
    response_id: str | None = None

    @property
    def audio_ms(self) -> float:
        """How long the item sounds, in ms, after truncation if it was truncated."""
        whole = self.audio_bytes / BYTES_PER_MS
        return whole if self.truncated_at is None else min(whole, float(self.truncated_at))

    def as_event(self) -> Event:
        """The item as server events show it."""
        base: Event = {"id": self.id, "object": "realtime.item", "type": self.type, "status": self.status}
        if self.type == "function_call":
            return {**base, "call_id": self.call_id, "name": self.name, "arguments": self.arguments}
        if self.type == "function_call_output":
            return {**base, "call_id": self.call_id, "output": self.output}
        return {**base, "role": self.role, "content": self._content()}

    def _content(self) -> list[Event]:
        side = "output" if self.role == "assistant" else "input"
        if self.has_audio:
            return [{"type": f"{side}_audio", "transcript": self.transcript}]
        return [{"type": f"{side}_text", "text": self.text}] if self.text else []


def item_of(item: Event, item_id: str) -> Item:
    """The item that a valid `conversation.item.create` describes."""
    parts = item.get("content") or []
    return Item(
        id=item_id,
        type=item["type"],
        role=item.get("role"),
        text="".join(part.get("text") or "" for part in parts),
        has_audio=any((part.get("type") or "").endswith("_audio") for part in parts),
        transcript=next((part["transcript"] for part in parts if part.get("transcript")), None),
        call_id=item.get("call_id"),
        name=item.get("name") or "",
        arguments=item.get("arguments") or "",
        output=item.get("output") or "",
    )


class Conversation:
    """The items of one session, oldest first."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.deleted: list[Item] = []

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def find(self, item_id: str | None) -> Item | None:
        """The item of this id, or None."""
        return next((item for item in self.items if item.id == item_id), None)

    def add(self, item: Item, previous_item_id: str | None = None) -> str | None:
        """Insert after `previous_item_id` (None: at the end, "root": first); return the id it really follows."""
        index = self._index_after(previous_item_id)
        self.items.insert(index, item)
        return self.items[index - 1].id if index else None

    def before(self, item: Item) -> str | None:
        """The id of the item before `item`, None for the first one."""
        index = self.items.index(item)
        return self.items[index - 1].id if index else None

    def check_new(self, item: Event) -> None:
        """Refuse ids and call ids that a new item may not have. Raises RuleError."""
        item_id = item.get("id")
        if item_id is not None and len(item_id) > MAX_ITEM_ID_CHARACTERS:
            message = f"Expected at most {MAX_ITEM_ID_CHARACTERS} characters, got {len(item_id)}."
            raise RuleError("item-id-too-long", message, "item.id")
        if item_id is not None and (self.find(item_id) or any(old.id == item_id for old in self.deleted)):
            raise RuleError("item-id-reused", f"An item with id '{item_id}' already exists.", "item.id")
        if item["type"] == "function_call_output":
            self._check_output(item["call_id"])

    def _check_output(self, call_id: str) -> None:
        if not any(item.type == "function_call" and item.call_id == call_id for item in self.items):
            raise RuleError("output-call-unknown", f"No function call has call_id '{call_id}'.", "item.call_id")
        if any(item.type == "function_call_output" and item.call_id == call_id for item in self.items):
            raise RuleError("output-twice", f"The function call '{call_id}' has its output already.", "item.call_id")

    def check_previous(self, item_id: str | None) -> None:
        """Refuse a `previous_item_id` that is not there. Raises RuleError."""
        if item_id not in (None, "root") and self.find(item_id) is None:
            raise RuleError("previous-item-unknown", f"No item has id '{item_id}'.", "previous_item_id")

    def delete(self, item_id: str) -> Item:
        """Remove an item. Raises RuleError."""
        item = self.find(item_id)
        if item is None:
            raise RuleError("delete-unknown", f"Item with item_id '{item_id}' not found.", "item_id")
        self.items.remove(item)
        self.deleted.append(item)
        return item

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> Item:
        """Forget what the caller has not heard, and with it the item's transcript. Raises RuleError."""
        item = self.find(item_id)
        if item is None:
            raise RuleError("truncate-unknown", f"Item with item_id '{item_id}' not found.", "item_id")
        if item.role != "assistant" or not item.has_audio:
            raise RuleError("truncate-not-model-audio", "Only model output audio messages can be truncated", None)
        if content_index != 0:
            raise RuleError("truncate-content-index", f"No audio part has index {content_index}.", "content_index")
        if audio_end_ms < 0 or audio_end_ms > item.audio_ms:
            message = f"Audio content of {item.audio_ms:.0f}ms is already shorter than {audio_end_ms}ms"
            raise RuleError("truncate-beyond", message, "audio_end_ms")
        item.truncated_at = audio_end_ms
        item.transcript = None
        return item

    def _index_after(self, item_id: str | None) -> int:
        if item_id == "root":
            return 0
        previous = self.find(item_id)
        return len(self.items) if previous is None else self.items.index(previous) + 1
