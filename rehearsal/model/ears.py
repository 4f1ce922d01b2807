"""The input audio buffer of a session: it hears the caller, finds turns, commits them and has them transcribed."""

import asyncio
import time
from typing import TYPE_CHECKING

from rehearsal.model.conversation import Item
from rehearsal.model.mulaw import BYTES_PER_MS
from rehearsal.model.rules import Event, RuleError, Violation
from rehearsal.model.vad import SpeechStarted, SpeechStopped, VoiceActivity

if TYPE_CHECKING:
    from rehearsal.model.session import ModelSession

MIN_COMMIT_MS = 100


class Ears:
    """One session's input: `audio` is every byte appended, `committed_at` when the last turn was (monotonic)."""

    def __init__(self, session: "ModelSession") -> None:
        self.audio = bytearray()
        self.committed_at = 0.0
        self._session = session
        self._buffer_from = 0  # the first byte of `audio` that no turn has taken yet
        self._turn_id = ""
        self._turn_start_ms = 0
        self._voice_activity: VoiceActivity | None = None

    def hear(self, audio: bytes, event: Event, at: float) -> None:
        """Take appended audio; `event` and `at` are what a violation will quote."""
        self.audio += audio
        if self._session.config["audio"]["input"]["format"]["type"] != "audio/pcmu":
            # The API would take it for 24 kHz PCM and say nothing; only we count it.
            message = "Audio arrived before session.updated confirmed audio/pcmu"
            self._session.violations.append(Violation("audio-before-pcmu", message, event, at))
        elif self._voice_activity is not None:
            for found in self._voice_activity.feed(audio):
                self._turn_changed(found)

    def hear_speech(self) -> None:
        """Believe at this very moment that the caller speaks; the line's silence ends the turn as any other."""
        found = self._voice_activity.start() if self._voice_activity is not None else None
        if found is not None:
            self._turn_changed(found)

    def _turn_changed(self, found: SpeechStarted | SpeechStopped) -> None:
        if isinstance(found, SpeechStarted):
            self._speech_started(found)
        else:
            self._speech_stopped(found.audio_end_ms)

    def listen_anew(self) -> None:
        """Begin with a fresh detector, configured as the session is now."""
        detection = self._session.config["audio"]["input"]["turn_detection"]
        offset_ms = len(self.audio) // BYTES_PER_MS
        self._voice_activity = VoiceActivity(detection, offset_ms) if detection else None

    def _speech_started(self, found: SpeechStarted) -> None:
        self._turn_id = self._session.new_id("item")
        self._turn_start_ms = found.audio_start_ms
        where = {"audio_start_ms": found.audio_start_ms, "item_id": self._turn_id}
        self._session.send({"type": "input_audio_buffer.speech_started", **where})
        if self._turn_setting("interrupt_response") and self._session.active is not None:
            self._session.active.cancel("turn_detected")

    def _speech_stopped(self, audio_end_ms: int) -> None:
        where = {"audio_end_ms": audio_end_ms, "item_id": self._turn_id}
        self._session.send({"type": "input_audio_buffer.speech_stopped", **where})
        self.committed_at = time.monotonic()
        self._take_turn(self._turn_id, audio_end_ms - self._turn_start_ms)
        if self._turn_setting("create_response"):
            self._session.answer_turn()

    def _turn_setting(self, name: str) -> bool:
        """`create_response` or `interrupt_response`; both default to true."""
        detection = self._session.config["audio"]["input"]["turn_detection"] or {}
        return detection.get(name) is not False

    def commit(self) -> None:
        """Take what is in the buffer as a turn. Raises RuleError when that is less than 100 ms."""
        waiting_ms = (len(self.audio) - self._buffer_from) / BYTES_PER_MS
        if waiting_ms < MIN_COMMIT_MS:
            rule = "commit-under-100ms" if waiting_ms else "commit-empty"
            message = f"Error committing input audio buffer: buffer too small, {waiting_ms:.0f}ms of {MIN_COMMIT_MS}ms."
            raise RuleError(rule, message)
        self._take_turn(self._session.new_id("item"), round(waiting_ms))

    def clear(self) -> None:
        """Forget what is in the buffer."""
        self._buffer_from = len(self.audio)
        self.listen_anew()
        self._session.send({"type": "input_audio_buffer.cleared"})

    def _take_turn(self, item_id: str, duration_ms: int) -> None:
        """Make the buffer a user item, and transcribe it after a while if transcription is on."""
        self._buffer_from = len(self.audio)
        item = Item(item_id, "message", "user", has_audio=True, audio_bytes=duration_ms * BYTES_PER_MS)
        previous = self._session.conversation.add(item)
        self._session.send({"type": "input_audio_buffer.committed", "item_id": item_id, "previous_item_id": previous})
        self._session.send_item_added_and_done(item, previous)
        item.transcript = self._session.script.heard(self._session)
        if self._session.config["audio"]["input"]["transcription"]:
            loop = asyncio.get_running_loop()
            self._session.timers.add(loop.call_later(self._session.tuning.transcript_after_s, self._transcribe, item))

    def _transcribe(self, item: Item) -> None:
        where = {"item_id": item.id, "content_index": 0}
        kind = "conversation.item.input_audio_transcription"
        if self._session.faults.transcription_fails:
            error = {"type": "server_error", "code": "audio_unintelligible", "message": "On demand.", "param": None}
            self._session.send({"type": f"{kind}.failed", **where, "error": error})
            return
        usage: Event = {"type": "duration", "seconds": item.audio_bytes / BYTES_PER_MS / 1000}
        if self._session.faults.tells_no_usage:
            usage = {"type": "tokens", "input_tokens": 9, "output_tokens": 1, "total_tokens": 10}
        self._session.send({"type": f"{kind}.completed", **where, "transcript": item.transcript or "", "usage": usage})
