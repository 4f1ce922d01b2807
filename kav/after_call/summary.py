"""Sums a call up with one of OpenAI's text models: a few sentences, and what the caller said of themselves.

The conversation is a stranger's words, so the model's answer is read as data: the fields of the schema, cut to size.
The `openai` package is imported when it is warmed up, for it costs 30 MB that an installation without summaries saves.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from kav.after_call.report import CallReport, Findings
from kav.call.events import Usage
from kav.settings import Settings
from realtime_prompt_builder import language_name

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.responses import Response

ASKED: Final = Path(__file__).with_name("summary.yaml")

TIMEOUT_S: Final = 30.0
"""Of one request; a summary takes 2 to 5 s."""

RETRIES: Final = 2
"""The package's own, with its backoff: 408, 409, 429, 5xx and no answer."""

MAX_TALK: Final = 24_000
"""Characters of the conversation that are sent, the latest: some twenty minutes."""

MAX_SUMMARY: Final = 1_000
MAX_FIELD: Final = 300
MAX_TOKENS: Final = 2_000
"""Of the answer, a model's thoughts included."""

MOST_TOKENS: Final = 10**9
"""Beyond them it is no count."""

UNREADABLE: Final = (ValueError, TypeError, AttributeError, RecursionError)
"""What the package, or the standard library, makes of JSON of another kind than it expects."""


class NoSummary(Exception):
    """The model gave nothing that could be read as a summary."""


class Summarizer:
    """Asks the model; one client for the process, for making one costs 70 ms."""

    def __init__(self, settings: Settings, used: Callable[[CallReport, Usage], object]) -> None:
        self._used = used
        """Told of a call what its summary took, whatever came of it."""
        self._key = settings.OPENAI_API_KEY.get_secret_value()
        self._base_url = settings.OPENAI_BASE_URL
        self.model = settings.OPENAI_SUMMARY_MODEL
        asked = yaml.safe_load(ASKED.read_text(encoding="utf-8"))
        self._instructions: str = asked["instructions"]
        self._schema: dict[str, Any] = asked["schema"]
        self._client: OpenAI | None = None

    @property
    def is_on(self) -> bool:
        """Whether there is a key to ask with."""
        return bool(self._key)

    def warm_up(self) -> None:
        """Import the package and touch what it imports on first use: 0.5 s at boot instead of a stall in a call.

        The request is answered by a stand-in inside this process.
        """
        import httpx2
        from openai import OpenAI

        self._client = OpenAI(api_key=self._key, base_url=self._base_url, timeout=TIMEOUT_S, max_retries=RETRIES)
        inside = httpx2.MockTransport(lambda _: httpx2.Response(200, json=_ANSWER))
        usage_of(self._ask(self._client.with_options(http_client=httpx2.Client(transport=inside)), "Hebrew", ""))

    def sum_up(self, report: CallReport) -> Findings:
        """Return what the model makes of a call; waits for it, cooperatively.

        Raises:
            NoSummary: its answer is no summary.
            openai.OpenAIError: it did not answer.
        """
        if self._client is None:
            self.warm_up()
        assert self._client is not None  # noqa: S101 - warmed up
        language = report.owner.language if report.owner is not None else report.language
        with _promised():
            answer = self._ask(self._client, language_name(language), talk_of(report))
        self._used(report, usage_of(answer))
        with _promised():
            text = answer.output_text
        return self._read(text)

    def _ask(self, client: "OpenAI", language: str, talk: str) -> "Response":
        return client.responses.create(
            model=self.model,
            instructions=self._instructions.replace("{language}", language),
            input=talk,
            text={"format": {"type": "json_schema", "name": "call", "schema": self._schema, "strict": True}},
            max_output_tokens=MAX_TOKENS,
            store=False,
        )

    def _read(self, answer: str) -> Findings:
        try:
            found = json.loads(answer)
        except UNREADABLE:
            found = None
        summary = found.get("summary") if isinstance(found, dict) else None
        if not isinstance(summary, str) or not _cut(summary, MAX_SUMMARY):
            raise NoSummary("the model's answer is not the JSON that it was asked for")
        return Findings(_cut(summary, MAX_SUMMARY), _fields(found, self._schema["properties"]))


@contextmanager
def _promised() -> Iterator[None]:
    try:
        yield
    except UNREADABLE as error:
        raise NoSummary("the model's answer is not the JSON that the API promises") from error


def usage_of(answer: "Response") -> Usage:
    """Return what an answer took, a model's thoughts included; an API that does not say took one response."""
    told = getattr(answer, "usage", None)
    asked = _count(told, "input_tokens")
    cached = _count(getattr(told, "input_tokens_details", None), "cached_tokens")
    return Usage(
        responses=1, input_text=asked, cached_text=min(cached, asked), output_text=_count(told, "output_tokens")
    )


def _count(told: object, name: str) -> int:
    """A number of tokens, 0 where there is none that can be one: the package checks no types."""
    value = getattr(told, name, None)
    return value if type(value) is int and 0 <= value <= MOST_TOKENS else 0


def talk_of(report: CallReport) -> str:
    """The conversation as lines, the latest of it where there is too much."""
    lines = "\n".join(f"{said.who}: {' '.join(said.text.split())}" for said in report.talk if said.text)
    return lines[-MAX_TALK:]


def _fields(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What the schema names beside the summary, if it is a text or a plain value."""
    kept = {name: found.get(name) for name in wanted if name != "summary"}
    return {name: _cut(value, MAX_FIELD) if isinstance(value, str) else None for name, value in kept.items()}


def _cut(text: str, length: int) -> str:
    """One line of what can be written everywhere: no control characters, no halves of one (JSON may hold them)."""
    visible = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(visible.split())[:length]


_ANSWER: Final = {
    "id": "resp_0",
    "object": "response",
    "created_at": 0,
    "status": "completed",
    "model": "",
    "output": [
        {
            "type": "message",
            "id": "msg_0",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "{}", "annotations": []}],
        }
    ],
    "parallel_tool_calls": False,
    "tool_choice": "auto",
    "tools": [],
}
"""What the stand-in answers while the package is warmed up."""
