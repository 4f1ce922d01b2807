"""Words for the model: its instructions, its tools, and Kav's fixed phrases by id and language.

The instructions are one constant prefix for the whole call; what changes travels as appended system items, one before
each request: what to judge, or what to say. Texts are data: the instructions live in `kav/instructions.yaml`, the
phrases in `kav/phrases/<language>.yaml`, a file for each language, and a business's own in its flow file.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from kav.call.actions import RequestResponse
from kav.call.chronicle import ToolRun
from kav.call.conversation import Conversation
from kav.call.flow import AnswerKind, Flow
from kav.call.ruling import TOOLS as JUDGING_TOOLS
from kav.call.ruling import Directive, Say
from kav.call.variables import quotable
from kav.settings import Settings

DEFAULT_LANGUAGE: Final = "he"
PHRASES_FOLDER: Final = Path(__file__).parent / "kav" / "phrases"
PHRASE_IDS: Final = (
    "greeting",
    "resumed",
    "limit_notice",
    "apology",
    "apology_called_back",
    "resume",
    "still_there",
    "what_else",
    "what_else_no_transfer",
    "goodbye",
    "transfer",
    "nobody_answers",
    "take_message",
    "not_understood",
    "busy",
    "too_many_calls",
    "closed_for_today",
    "shutdown",
    "do_not_call",
)

INSTRUCTIONS: Final[Mapping[str, Any]] = yaml.safe_load(
    (Path(__file__).parent / "kav" / "instructions.yaml").read_text(encoding="utf-8")
)
"""The constant prefix's parts, in Hebrew; their order is told by `build_instructions`."""

MAX_PROMPT_TOKENS: Final = 16_384
"""What instructions and tools may take together (Realtime API); estimated below, on the safe side."""

CHARACTERS_A_TOKEN: Final = 1.5
"""As for Hebrew; Latin letters take fewer tokens."""

TOOLS: Final[tuple[dict[str, Any], ...]] = (
    {
        "type": "function",
        "name": "current_time",
        "description": "Today's date, the day of the week and the time of day at the business.",
        "parameters": {"type": "object", "properties": {}, "additionalProperties": False},
    },
)


KIND_WORDS: Final[Mapping[AnswerKind, str]] = {
    "text": "the caller's words, briefly",
    "choice": "one of the choices",
    "yes_no": "yes or no",
    "number": "a number in digits",
    "phone": "a telephone number in digits",
    "date": "a date as YYYY-MM-DD",
    "time": "a time of day as HH:MM, 24 hours",
    "name": "a name",
    "address": "an address",
}

CONTEXTS: Final[Mapping[str, str]] = {
    "confirm": " You have read its value back and asked whether it is right: yes or no is the answer to that, but if"
    " they say what is right, that is the value.",
    "more": " Their answer to it is noted, and will be read back, so do not call answer_step: judge what else they have"
    " said, or call unclear.",
    "resume": " You have asked whether to go on from where you were: a bare yes or no is the answer to that.",
    "still_there": " You have asked whether the caller is still there: a bare yes or no is the answer to that.",
    "what_else": " You have asked what else is wanted: a bare no means that the caller takes leave.",
    "answer": " You were answering what they had asked, and were cut off: if they ask on, call side_question; a mere"
    " sign of listening is unclear.",
    "transfer": " You were saying that you hand over to a person, and were cut off: if they only agree or thank you, or"
    " nothing was said at all, call transfer_to_human again.",
    "goodbye": " You were saying goodbye, and were cut off: if they only thank you or say goodbye too, or nothing was"
    " said at all, call end_call again.",
}
"""What the judge is told besides the step's own question, by the lock's name for what the caller's turn came upon."""

SPEAK_WORDS: Final[Mapping[Say, str]] = {
    "ask": "Acknowledge what the caller said in at most three words, then ask exactly {question}",
    "ask_again": "Ask exactly {question}",
    "not_understood": "Say in a few words that you did not quite get that, then ask exactly {question}",
    "confirm": "Read back “{value}” as one says it on the telephone, and ask whether that is right.",
    "answer_then_resume": "Answer the caller's question in one or two sentences, then end with {resume}",
    "no_transfer": "Say that no person is available now, then ask exactly {question}",
    "talk": "Answer the caller briefly, and ask whether there is anything else.",
    "keyed": "The caller has pressed the keys {value}. Answer that briefly.",
}

TOOL_WORDS: Final = (
    " If one of your tools can tell, say in at most three words that you are looking, and call it; then answer from"
    " what it returns, and from nothing else."
)
"""What a reply is told that may call the business's own tools."""

LANGUAGE_ARGUMENT: Final = {
    "type": "string",
    "description": "ISO 639-1 code of the language the caller speaks, e.g. he",
}


MAX_RETOLD_TURNS: Final = 40
MAX_RETOLD_CHARS: Final = 400
MAX_RETOLD_TOOLS: Final = 8
"""What a connection that takes another's place is told of the conversation: enough to go on from."""


@dataclass(frozen=True, slots=True)
class Retold:
    """One message of a conversation that was had on another connection."""

    role: Literal["system", "user", "assistant"]
    text: str


class PromptTooLong(ValueError):
    """A flow's words do not fit into the model's limits; the message says which flow, and what to shorten."""


class MissingPhrase(LookupError):
    """A language's file lacks a phrase, or another of its words; the message names the file and what is missing."""


@dataclass(frozen=True, slots=True)
class Voice:
    """Twilio's voice for `<Say>`, e.g. he-IL and Google.he-IL-Wavenet-A."""

    language: str
    voice: str


@dataclass(frozen=True, slots=True)
class Phrases:
    """The fixed phrases of every language that has a file."""

    texts: Mapping[str, Mapping[str, str]]
    voices: Mapping[str, Voice]

    def text(self, phrase: str, language: str) -> str:
        """Return a phrase in `language`, or in the default language if it has none of its own."""
        return self.texts.get(language, self.texts[DEFAULT_LANGUAGE])[phrase]

    def voice(self, language: str) -> Voice:
        """Return Twilio's voice for `language`, or for the default language."""
        return self.voices.get(language, self.voices[DEFAULT_LANGUAGE])


@cache
def load_languages(folder: Path = PHRASES_FOLDER) -> Mapping[str, Mapping[str, Any]]:
    """Read every language's file, by its code, once: parsing all of them would stall a live call.

    A new language is one file more.

    Raises:
        MissingPhrase: a file lacks a phrase, or words that the default language's has.
    """
    files = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.yaml"))}
    wanted = set(_words_in(files[DEFAULT_LANGUAGE])) | {f"phrases.{phrase}" for phrase in PHRASE_IDS}
    for language, content in files.items():
        if missing := sorted(wanted - set(_words_in(content))):
            raise MissingPhrase(f"{folder / language}.yaml lacks {', '.join(missing)}: add them.")
    return files


def _words_in(content: Mapping[str, Any]) -> Iterator[str]:
    """The keys that hold something, e.g. `name` and `phrases.greeting`."""
    for key, value in content.items():
        yield from (f"{key}.{inner}" for inner in value if value[inner]) if isinstance(value, dict) else [key]


def load_phrases(folder: Path = PHRASES_FOLDER) -> Phrases:
    """Read the fixed phrases of every language. Raises MissingPhrase as `load_languages` does."""
    files = load_languages(folder)
    return Phrases(
        texts={language: content["phrases"] for language, content in files.items()},
        voices={language: Voice(**content["say"]) for language, content in files.items()},
    )


@cache
def _language_names() -> dict[str, str]:
    return {language: content["name"] for language, content in load_languages().items()}


def quote(text: str) -> str:
    """Return the system message that makes the model say `text` and nothing else."""
    return f"Say to the caller exactly the following, word for word, in its own language, and nothing else: «{text}»"


def quote_translated(text: str, language: str) -> str:
    """Return the system message that makes the model say `text` in a language that Kav has no texts for."""
    return f"Say the following to the caller in the language {language!r}, nothing more and nothing less: «{text}»"


def language_name(language: str) -> str:
    """Return a language's English name, or its code."""
    return _language_names().get(language, language)


def build_instructions(flow: Flow) -> str:
    """Return the constant prefix of a call, by its rules: who speaks, how, the supreme rule, the script, languages,
    spoken Hebrew, then what the business knows; last, how a fixed sentence is given.
    """
    hours = flow.hours.days.items() if flow.hours is not None else ()
    filling = {
        "business": flow.business,
        "direction": INSTRUCTIONS["direction"][flow.direction],
        "gender": INSTRUCTIONS["gender"][flow.gender],
        "language": INSTRUCTIONS["languages"].get(flow.language, language_name(flow.language)),
        "closing": flow.closing.get(flow.language, ""),
        "facts": flow.facts.strip(),
        "timezone": flow.hours.timezone if flow.hours is not None else "",
        "hours": "; ".join(f"{day} {', '.join(spans) or 'closed'}" for day, spans in hours),
    }
    script = "script" if flow.steps else "no_script"
    known = [*(["facts"] if flow.facts else []), *(["hours"] if flow.hours is not None else [])]
    parts = ("identity", "brevity", "supreme", script, "language", "spoken", *known, "fixed")
    return "".join(INSTRUCTIONS[part].format(**filling) for part in parts)


def judge_tools() -> list[dict[str, Any]]:
    """Return the six tools with which a turn is judged (Realtime API, function tools)."""
    step = {"type": "string", "description": "id of the question"}
    value = {"type": "string", "description": "what the caller answered, in the kind's own form"}
    more = {"type": "boolean", "description": "the same turn holds another answer, or a question as well"}
    answer = {"step": step, "value": value, "more": more}
    reason = {"type": "string", "enum": ["dont_know", "not_understood", "refused"]}
    asked = {"type": "string", "description": "what the caller asked"}
    never_again = {"type": "boolean", "description": "true if they ask not to be called any more"}
    return [
        _tool("answer_step", "The caller answered the active question.", answer, "value"),
        _tool("correct_answer", "The caller changed an earlier answer.", answer, "step", "value"),
        _tool("side_question", "The caller asked something; the active question is not answered.", {"question": asked}),
        _tool("unclear", "Neither an answer nor a question, or it cannot be understood.", {"reason": reason}),
        _tool("transfer_to_human", "The caller asks for a person.", {}),
        _tool("end_call", "The caller takes leave for good; thanks alone are no leave.", {"do_not_call": never_again}),
    ]


def _tool(name: str, description: str, properties: dict[str, Any], *required: str) -> dict[str, Any]:
    parameters = {
        "type": "object",
        "properties": {**properties, "language": LANGUAGE_ARGUMENT},
        "required": [*required, "language"],
    }
    return {"type": "function", "name": name, "description": description, "parameters": parameters}


def own_tools(flow: Flow) -> list[dict[str, Any]]:
    """Return the business's own tools (Realtime API, function tools)."""
    return [
        {"type": "function", "name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
        for tool in flow.tools
    ]


def judge(flow: Flow, directive: Directive, now: str) -> str:
    """Return the system message under which the caller's last turn is judged: the open question and its kind.

    `directive.why` names what the turn came upon (`CONTEXTS`), `directive.value` what was wrong with a judgement of it
    that was refused; `now` is the time, for whoever says "tomorrow".
    """
    told = "Judge what the caller has said since you last spoke, with one tool call."
    context = CONTEXTS.get(directive.why, "")
    step = flow.step(directive.step)
    if step is None:
        return f"{told} No question is open.{context}"
    kind = f"one of: {', '.join(step.choices)}" if step.choices else KIND_WORDS[step.kind]
    this_number = " If they mean this call's own number, the value is caller_id." if step.default_caller_id else ""
    again = f" That was refused before ({quotable(directive.value)}): if they said no such value, call unclear."
    return (
        f"{told} The active question is {step.id}: “{step.ask.get(flow.language, '')}” Its value: {kind}.{this_number}"
        f"{context}{again if directive.value else ''} It is now {now} at the business."
    )


def speak(flow: Flow, directive: Directive, language: str, resume: str, now: str) -> str:
    """Return the system message that says what to say; `resume` is how it asks to resume, `now` the time."""
    step = flow.step(directive.step)
    question = ""
    if step is not None:
        own = step.ask.get(language)
        question = f"“{own}”" if own else f"this, in {language_name(language)}: “{step.ask[flow.language]}”"
    words = SPEAK_WORDS[directive.say].format(question=question, value=quotable(directive.value), resume=resume)
    why = f" ({quotable(directive.why)})" if directive.why else ""
    return f"Speak {language_name(language)} only. {words}{why} It is now {now} at the business."


def order(flow: Flow, phrases: Phrases, request: RequestResponse, now: str) -> str:
    """Return the system message that goes before a request for a response, if any: what to judge, or what to say."""
    language = request.language or flow.language
    if request.kind == "phrase":
        exact = request.text or phrases.texts.get(language, {}).get(request.phrase)
        return quote(exact) if exact else quote_translated(own_text(flow, phrases, request.phrase), language)
    if request.directive is None:
        return ""
    if request.kind == "judge":
        return judge(flow, request.directive, now)
    resume = phrases.texts.get(language, {}).get("resume")
    words = f"exactly “{resume}”" if resume else f"this, translated: “{phrases.text('resume', flow.language)}”"
    told = speak(flow, request.directive, language, words, now)
    return told + TOOL_WORDS if request.tools == "may_call" else told


def own_text(flow: Flow, phrases: Phrases, phrase: str) -> str:
    """Return a phrase in the flow's own language, its own words first."""
    announcement = flow.transfer.announcement if flow.transfer is not None else {}
    told = {"greeting": flow.greeting, "closing": flow.closing, "recording": flow.recording, "transfer": announcement}
    return told.get(phrase, {}).get(flow.language) or phrases.text(phrase, flow.language)


def retold(talk: Conversation, *, playing: bool) -> list[Retold]:
    """Return what a new connection is told of the call so far: what was heard of it, and what was answered.

    `playing`: the bot's last sentence is still being heard, so that nobody knows yet how much of it will be.
    """
    last = next((turn for turn in reversed(talk.chronicle.turns) if turn.who == "bot"), None) if playing else None
    said = [
        Retold("assistant" if turn.who == "bot" else "user", turn.heard[:MAX_RETOLD_CHARS])
        for turn in talk.chronicle.turns[-MAX_RETOLD_TURNS:]
        if turn.heard and turn is not last
    ]
    answers = [f"{answer.step}: {answer.value or 'none'}" for answer in talk.lock.answers.values()]
    noted = [Retold("system", f"Answered so far: {'; '.join(answers)}.")] if answers else []
    return [*said, *noted]


def retold_tools(talk: Conversation) -> list[ToolRun]:
    """Return the tools that a new connection is told of: those that brought something, or that are at work still."""
    return [run for run in talk.chronicle.tools.values() if run.name not in JUDGING_TOOLS][-MAX_RETOLD_TOOLS:]


def build_session(settings: Settings, flow: Flow) -> dict[str, Any]:
    """Return the `session` of `session.update` (Realtime API, GA): mu-law both ways, and turns that Kav alone answers.

    `create_response` is off, for Kav decides when the bot speaks; `interrupt_response` is on, for the model's own
    reaction to the caller is the fastest there is. The transcriber's language is never pinned.
    """
    pcmu = {"type": "audio/pcmu"}
    session: dict[str, Any] = {
        "type": "realtime",
        "output_modalities": ["audio"],
        "instructions": build_instructions(flow),
        "audio": {
            "input": {
                "format": pcmu,
                "noise_reduction": None,
                "transcription": {"model": settings.OPENAI_TRANSCRIBE_MODEL},
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": settings.VAD_THRESHOLD,
                    "prefix_padding_ms": settings.VAD_PREFIX_MS,
                    "silence_duration_ms": settings.VAD_SILENCE_MS,
                    "idle_timeout_ms": None,
                    "create_response": False,
                    "interrupt_response": True,
                },
            },
            "output": {"format": pcmu, "voice": flow.voice or settings.OPENAI_VOICE, "speed": 1.0},
        },
        "tools": judge_tools() if flow.steps else [*TOOLS, *own_tools(flow)],
        "tool_choice": "auto",
        "max_output_tokens": 1024,
        "truncation": {"type": "retention_ratio", "retention_ratio": 0.8},
        "tracing": None,
        "reasoning": {"effort": "low"},  # left out where the model does not reason
    }
    _check_length(flow, session["instructions"], [*session["tools"], *own_tools(flow)])
    return session


def _check_length(flow: Flow, instructions: str, tools: list[dict[str, Any]]) -> None:
    tokens = (len(instructions) + len(str(tools)) / 2) / CHARACTERS_A_TOKEN
    if tokens > MAX_PROMPT_TOKENS:
        raise PromptTooLong(
            f"The flow {flow.id} takes about {tokens:.0f} tokens of {MAX_PROMPT_TOKENS}: shorten its facts."
        )
