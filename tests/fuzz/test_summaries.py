"""Guards what the summary's model answers: findings cut to size, or none; what it took in whole numbers."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from openai import OpenAIError

from kav.after_call import summary
from kav.after_call.report import Findings
from kav.after_call.summary import MAX_FIELD, MAX_SUMMARY, NoSummary, Summarizer
from kav.call.events import Usage
from kav.cost import load_prices
from kav.settings import Settings
from tests.after_call.receivers import summing_up
from tests.after_call.reports import REPORT
from tests.fuzz import JSON, WORDS, altered, answering, dumped, fuzzed, mutated
from tests.fuzz.answering import Service
from tests.fuzz.answering import answer as http

GOOD = {"summary": "דנה ביקשה תור.", "name": "דנה", "phone": None, "reason": "תור", "urgency": "normal"}
WHOLE = summing_up(GOOD)(b"")
ENVELOPE = json.loads(WHOLE)
KEY = "sk-the-openai-key"
MOST_TOKENS = 10**9

TEXTS = altered([GOOD]).map(dumped).map(bytes.decode) | JSON.map(dumped).map(bytes.decode) | WORDS
BODIES = altered([ENVELOPE]).map(dumped) | TEXTS.map(lambda text: dumped(saying(text))) | JSON.map(dumped)
STATUSES = st.sampled_from(
    ["200 OK", "200 OK", "200 OK", "204 No Content", "302 Found", "400 No", "429 Slow", "500 Oops"]
)
ANSWERS = st.builds(http, BODIES, STATUSES) | mutated([http(WHOLE)])


def saying(text: object) -> dict[str, Any]:
    """The API's answer with that text in it."""
    said = json.loads(WHOLE)
    said["output"][0]["content"][0]["text"] = text
    return dict(said)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with answering.service() as service:
        yield service


@pytest.fixture(scope="module")
def took() -> list[Usage]:
    return []


@pytest.fixture(scope="module")
def summarizer(service: Service, took: list[Usage]) -> Iterator[Summarizer]:
    """One that asks once: what is tried again gets the same answer here."""
    with pytest.MonkeyPatch.context() as once:
        once.setattr(summary, "RETRIES", 0)
        once.setattr(summary, "TIMEOUT_S", 2.0)
        known: dict[str, Any] = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{service.url}/v1"}
        made = Summarizer(Settings(_env_file=None, **known), lambda _, used: took.append(used))  # type: ignore[call-arg]  # pydantic-settings' own argument
        made.warm_up()
        yield made


@fuzzed
@given(ANSWERS)
@example(http(WHOLE))
@example(http(b"[]"))
@example(http(b"null"))
@example(http(dumped({**ENVELOPE, "output": None})))
@example(http(dumped({**ENVELOPE, "output": [7]})))
@example(http(dumped({**ENVELOPE, "usage": "x"})))
@example(http(dumped({**ENVELOPE, "usage": {"input_tokens": "7", "output_tokens": None}})))
@example(http(dumped({**ENVELOPE, "usage": {"input_tokens": 10**400, "output_tokens": -1}})))
@example(http(dumped({**ENVELOPE, "usage": {"input_tokens": 1.5, "output_tokens": True, "input_tokens_details": 3}})))
@example(http(dumped(saying("[" * 50_000))))
@example(http(dumped(saying(7))))
@example(http(dumped(saying('{"summary":"\\ud800"}'))))
@example(http(dumped(saying('{"summary":"x","name":"\\u0000"}'))))
def test_whatever_the_model_answers_is_findings_or_none(
    service: Service, summarizer: Summarizer, took: list[Usage], data: bytes
) -> None:
    service.answer = data
    took.clear()
    findings = Findings()
    try:
        findings = summarizer.sum_up(REPORT)
        assert findings.summary
    except (NoSummary, OpenAIError):
        pass
    assert len(findings.summary) <= MAX_SUMMARY
    assert set(findings.extracted) <= set(GOOD) - {"summary"}
    for text in (findings.summary, *filter(None, findings.extracted.values())):
        assert isinstance(text, str)
        assert len(text) <= max(MAX_SUMMARY, MAX_FIELD)
        assert "\x00" not in text, "PostgreSQL takes none"
        text.encode()
    for used in took:
        counts = [getattr(used, name) for name in Usage.__slots__]
        assert all(type(count) is int and 0 <= count <= MOST_TOKENS for count in counts)
        assert used.cached_text <= used.input_text
        load_prices().micro_usd(summarizer.model, used)
