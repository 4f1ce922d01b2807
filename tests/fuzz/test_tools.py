"""Guards a business's own tools from both sides: what the model gives them, and what their servers answer."""

from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import SecretStr

from kav.call.flow import HttpTool
from kav.wire.http_tools import ANSWER_CHARACTERS, CUT_OFF, HttpTools
from kav.wire.tool_arguments import WrongArguments, read_arguments
from tests.fuzz import JSON, WORDS, answering, dumped, fuzzed, mutated
from tests.fuzz.answering import Service

SECRET = 'k3y"of-the-clinic'
PROPERTIES: dict[str, dict[str, object]] = {
    "day": {"type": "string", "pattern": "^[0-9-]*$", "maxLength": 10},
    "many": {"type": "array", "items": {"type": ["integer", "null"]}, "uniqueItems": True, "maxItems": 3},
    "share": {"type": "number", "multipleOf": 0.5, "minimum": 0},
    "kind": {"enum": ["a", 1, None]},
}
PARAMETERS = {"type": "object", "properties": PROPERTIES, "required": ["day"], "additionalProperties": False}
HONEST = [
    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{"free":"12:30"}',
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n" + b"x" * 40_000,
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n" + SECRET.encode(),
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
]
TOOL = HttpTool(
    "free_slots",
    "What is free.",
    "https://clinic.example/api?a=b",
    method="GET",
    timeout_s=2.0,
    parameters={"type": "object", "properties": {}},
    headers={"Authorization": "Bearer ${CLINIC_API_TOKEN}"},
)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with answering.service() as service:
        yield service


@fuzzed
@given(mutated(HONEST) | st.binary(max_size=300))
@example(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + b"[" * 30_000)
@example(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + b"9" * 30_000)
@example(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"\\ud800"')
@example(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\nContent-Type: text/plain\r\n\r\nx")
@example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\n\r\n-5\r\nabc")
@example(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n")
@example(b"HTTP/1.1 " + b"9" * 70_000)
def test_whatever_a_service_answers_the_model_gets_a_short_text_without_the_secret(
    service: Service, data: bytes
) -> None:
    service.answer = data
    tools = HttpTools({"CLINIC_API_TOKEN": SecretStr(SECRET)}, stand_in=service.url)
    told = tools.call(TOOL, "{}")
    assert 0 < len(told.output) <= ANSWER_CHARACTERS + len(CUT_OFF)
    assert SECRET not in told.output
    told.output.encode()
    assert len(told.status) < 100


@fuzzed
@given(
    JSON.map(dumped).map(bytes.decode)
    | WORDS
    | st.fixed_dictionaries(
        {"day": WORDS},
        optional={name: JSON for name in PROPERTIES if name != "day"},
    )
    .map(dumped)
    .map(bytes.decode)
)
@example('{"day":"1","share":1e308}')
@example('{"day":"1","share":' + "9" * 4000 + "}")
@example('{"day":"1","share":1e400}')
@example("[" * 8000)
@example('{"day":"\\ud800"}')
def test_whatever_the_model_gives_is_read_by_the_schema_or_refused_in_words(text: str) -> None:
    wrong, read = "", {}
    try:
        read = read_arguments(PARAMETERS, text)
    except WrongArguments as error:
        wrong = str(error)
    assert wrong or "day" in read
    assert set(read) <= set(PROPERTIES)
