"""Guards what the operator's programs ask: every error is JSON that helps, and none is a 5xx of Kav's own."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from hypothesis import example, given
from hypothesis import strategies as st

import stream_registry
from tests.fuzz import JSON, WORDS, altered, dumped, fuzzed, mutated
from tests.fuzz.installation import API_TOKEN, SECRETS, installation

CALL = {"to": "050-123 4567", "flow": "sales", "variables": {"name": "דנה"}, "anytime": True}
LISTED = {"number": "050-123 4567"}
BODIES = altered([CALL, LISTED]).map(dumped) | mutated([dumped(CALL)]) | JSON.map(dumped) | st.binary(max_size=60)
QUERIES = st.dictionaries(
    st.sampled_from(["business", "direction", "number", "end_reason", "since", "until", "limit", "after", "x"]),
    WORDS.map(lambda text: text.encode(errors="replace").decode()),
    max_size=4,
)
NOBODY_THERE = (502, 503)
"""Twilio is not, in here; it is told as such."""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    with installation(tmp_path_factory.mktemp("kav")) as app:
        yield app


def ask(app: Flask, method: str, path: str, token: str = API_TOKEN, **sent: Any) -> tuple[int, Any]:  # noqa: ANN401 - Flask's
    answer = app.test_client().open(path, method=method, headers={"Authorization": f"Bearer {token}"}, **sent)
    assert not any(secret in answer.text for secret in SECRETS)
    return answer.status_code, json.loads(answer.data)


@fuzzed
@given(st.sampled_from(["/calls", "/do-not-call", "/calls/CA1/end"]), BODIES)
@example("/calls", b'{"to":"\\ud800","flow":"\\ud800"}')
@example("/calls", b'{"variables":{"\\ud800":"x"},"to":"1","flow":"sales"}')
@example("/calls", b"[" * 60_000)
@example("/do-not-call", b'{"number":' + b"9" * 5000 + b"}")
def test_any_body_is_answered(app: Flask, path: str, body: bytes) -> None:
    stream_registry.registry.clear()
    status, said = ask(app, "POST", path, data=body)
    assert status < 500 or (status in NOBODY_THERE and said["error"]["remedy"])
    assert status < 300 or set(said["error"]) == {"code", "message", "remedy"}


@fuzzed
@given(st.sampled_from(["GET", "POST", "DELETE"]), st.sampled_from(["/do-not-call/", "/calls/", "/"]), WORDS)
@example("GET", "/calls/", "\x00")
def test_any_path_is_answered(app: Flask, method: str, prefix: str, name: str) -> None:
    path = prefix + quote(name, safe="", errors="replace")
    answer = app.test_client().open(path, method=method, headers={"Authorization": f"Bearer {API_TOKEN}"})
    assert answer.status_code < 500, answer.text


@fuzzed
@given(QUERIES)
@example({"since": "0001-01-01T00:00:00+14:00"})
@example({"until": "9999-12-31T23:59:59-14:00"})
@example({"after": "MDAwMS0wMS0wMVQwMDowMDowMCsxNDowMCB4"})
@example({"business": "\x00"})
def test_any_filter_is_answered(app: Flask, query: dict[str, str]) -> None:
    status, said = ask(app, "GET", "/calls", query_string=query)
    assert status in (200, 400), said


@fuzzed
@given(
    st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=60),
    st.sampled_from(["/calls", "/metrics"]),
)
@example(f"bearer {API_TOKEN}", "/calls")
@example(f"Bearer {API_TOKEN} ", "/calls")
@example("Bearer ", "/calls")
def test_nothing_but_the_token_is_the_token(app: Flask, header: str, path: str) -> None:
    answer = app.test_client().get(path, headers={"Authorization": header})
    assert answer.status_code in (401, 403, 404) or header.strip() == f"Bearer {API_TOKEN}"
