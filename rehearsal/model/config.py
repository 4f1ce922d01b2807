"""A session's configuration: before `session.update`, which updates are refused, and what an update leaves behind.

Depth of merging inside `audio` is undocumented. This stand-in reads it in the harshest way that a correct client
survives: an `audio.input` or `audio.output` without `format` falls back to 24 kHz PCM; all else present replaces, all
else absent stays.
"""

from copy import deepcopy

from rehearsal.model.rules import Event, RuleError

MAX_PROMPT_TOKENS = 16384  # instructions and tools; documented for the 2025 model
PCMU: Event = {"type": "audio/pcmu"}
_PCM: Event = {"type": "audio/pcm", "rate": 24000}
_LANGUAGE_MODELS = ("gpt-transcribe", "gpt-live-transcribe")
_HEBREW_CHARACTERS_PER_TOKEN, _OTHER_CHARACTERS_PER_TOKEN = 1.5, 4.0


def initial(model: str, session_id: str, expires_at: int) -> Event:
    """The session as `session.created` shows it; `expires_at` in Unix seconds."""
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": session_id,
        "model": model,
        "expires_at": expires_at,
        "output_modalities": ["audio"],
        "instructions": "",
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "include": None,
        "audio": {
            "input": {
                "format": _PCM,
                "noise_reduction": None,
                "transcription": None,
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.5,
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 200,
                    "idle_timeout_ms": None,
                    "create_response": True,
                    "interrupt_response": True,
                },
            },
            "output": {"format": _PCM, "voice": "alloy", "speed": 1.0},
        },
    }


def updated(current: Event, update: Event, has_spoken: bool) -> Event:
    """The configuration after `update` (the event's `session`). Raises RuleError; nothing of a refused update stays."""
    merged = deepcopy(current)
    for name, value in update.items():
        if name != "audio":
            merged[name] = value
    for side, value in (update.get("audio") or {}).items():
        merged["audio"][side] = {**merged["audio"][side], "format": _PCM, **(value or {})}
    _check_session(current, merged, has_spoken)
    return merged


def check_response(config: Event, response: Event, has_spoken: bool) -> None:
    """Check the overrides of a `response.create` against the session. Raises RuleError."""
    _check_common({**config, **response}, "response")
    _check_metadata(response.get("metadata") or {})
    _check_voice(config, (response.get("audio") or {}).get("output") or {}, has_spoken, "response.audio.output.voice")
    if response.get("reasoning") or response.get("parallel_tool_calls") is not None:
        _check_reasoning(str(config["model"]), "response.reasoning")


def reasons(model: str) -> bool:
    """Whether this Realtime model is one of the reasoning ones (gpt-realtime-2 and later)."""
    return model.startswith("gpt-realtime-2") and not model.startswith("gpt-realtime-2025")


def estimated_tokens(text: str) -> float:
    """A guess at a text's tokens: 4 characters each, 1.5 where they are Hebrew."""
    hebrew = sum("\u0590" <= character <= "\u05ff" for character in text)
    return hebrew / _HEBREW_CHARACTERS_PER_TOKEN + (len(text) - hebrew) / _OTHER_CHARACTERS_PER_TOKEN


def _check_session(current: Event, merged: Event, has_spoken: bool) -> None:
    if merged["model"] != current["model"]:
        message = f"The model cannot be changed from {current['model']!r} within a session."
        raise RuleError("model-change", message, "session.model")
    _check_common(merged, "session")
    if merged.get("reasoning") or merged.get("parallel_tool_calls") is not None:
        _check_reasoning(str(merged["model"]), "session.reasoning")
    _check_voice(current, merged["audio"]["output"], has_spoken, "session.audio.output.voice")
    _check_speed(merged["audio"]["output"].get("speed"))
    _check_turn_detection(merged["audio"]["input"].get("turn_detection") or {})
    _check_transcription(merged["audio"]["input"].get("transcription") or {})


def _check_common(settings: Event, where: str) -> None:
    """What session and response settings have in common."""
    if len(set(settings["output_modalities"] or ["audio"])) != 1:
        raise RuleError("two-modalities", "Choose either ['audio'] or ['text'].", f"{where}.output_modalities")
    limit = settings.get("max_output_tokens")
    if isinstance(limit, int) and not 1 <= limit <= 4096:
        message = f"Expected an integer from 1 to 4096 or 'inf', got {limit}."
        raise RuleError("max-output-tokens", message, f"{where}.max_output_tokens")
    _check_tools(settings, where)


def _check_tools(settings: Event, where: str) -> None:
    tools = settings.get("tools") or []
    for index, tool in enumerate(tools):
        if tool.get("type") != "mcp" and not tool.get("name"):
            param = f"{where}.tools.{index}.name"
            raise RuleError("tool-without-name", f"Missing required parameter: '{param}'.", param)
    choice = settings.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "function":
        names = [tool.get("name") for tool in tools]
        if choice.get("name") not in names:
            message = f"Tool choice {choice.get('name')!r} is not among the tools {names}."
            raise RuleError("tool-choice-unknown", message, f"{where}.tool_choice")
    tokens = estimated_tokens(str(settings.get("instructions") or "")) + estimated_tokens(str(tools) if tools else "")
    if tokens > MAX_PROMPT_TOKENS:
        message = f"Instructions and tools take about {tokens:.0f} tokens; at most {MAX_PROMPT_TOKENS} are allowed."
        raise RuleError("prompt-too-long", message, f"{where}.instructions")


def _check_reasoning(model: str, param: str) -> None:
    if not reasons(model):
        raise RuleError("reasoning-unsupported", f"Model {model!r} does not support '{param}'.", param)


def _check_voice(current: Event, output: Event, has_spoken: bool, param: str) -> None:
    voice = output.get("voice")
    if has_spoken and voice is not None and voice != current["audio"]["output"]["voice"]:
        raise RuleError("voice-change", "Cannot update a conversation's voice if assistant audio is present.", param)


def _check_speed(speed: float | None) -> None:
    if speed is not None and not 0.25 <= speed <= 1.5:
        raise RuleError("speed-range", f"Expected 0.25 to 1.5, got {speed}.", "session.audio.output.speed")


def _check_turn_detection(detection: Event) -> None:
    ranges = {
        "threshold": (0.0, 1.0),
        "prefix_padding_ms": (0, 60_000),
        "silence_duration_ms": (0, 60_000),
        "idle_timeout_ms": (5000, 30_000),
    }
    for name, (low, high) in ranges.items():
        value = detection.get(name)
        if value is not None and not low <= value <= high:
            param = f"session.audio.input.turn_detection.{name}"
            raise RuleError("vad-range", f"Expected {low} to {high}, got {value}.", param)


def _check_transcription(transcription: Event) -> None:
    model = transcription.get("model")
    wrong = [name for name in ("languages", "keywords") if transcription.get(name) and model not in _LANGUAGE_MODELS]
    if transcription.get("delay") and model != "gpt-realtime-whisper":
        wrong.append("delay")
    if wrong:
        param = f"session.audio.input.transcription.{wrong[0]}"
        raise RuleError("transcription-option", f"Model {model!r} does not take '{wrong[0]}'.", param)


def _check_metadata(metadata: dict[str, str]) -> None:
    too_long = any(len(key) > 64 or len(value) > 512 for key, value in metadata.items())
    if len(metadata) > 16 or too_long:
        message = "Metadata takes at most 16 pairs, keys of 64 and values of 512 characters."
        raise RuleError("metadata-limits", message, "response.metadata")
