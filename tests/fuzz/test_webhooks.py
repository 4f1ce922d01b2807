"""Guards Twilio's webhooks: never a 5xx, always TwiML that is well-formed, and not a word for whoever did not sign."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

import pytest
from flask import Flask
from hypothesis import example, given
from hypothesis import strategies as st

import stream_registry
from kav.flow_files import load_flows
from rehearsal.twilio.signing import SETTINGS_HEADER, SIGNATURE_HEADER, signature
from tests.fuzz import NASTY, WORDS, fuzzed
from tests.fuzz.installation import TOKEN, URL, installation

SPOKEN = ("voice", "outbound-voice", "voice-fallback", "after-stream", "dial-result")
SILENT = ("machine", "status", "stream-status")
SIDS = st.sampled_from(["CA" + "1" * 32, "CA" + "2" * 32])
FIELDS = (
    *("To", "From", "CallStatus", "Direction", "CallDuration", "AnsweredBy", "DialCallStatus", "StreamEvent"),
    *("AccountSid", "StreamError", "SequenceNumber", "Timestamp"),
)
VALUES = (NASTY | st.text(max_size=30)).filter(
    lambda text: text.isascii() or text.encode(errors="ignore").decode() == text
)
NUMBERS = st.sampled_from([number for flow in load_flows().flows for number in flow.numbers])
FORMS = st.fixed_dictionaries(
    {}, optional={"CallSid": SIDS | VALUES, **dict.fromkeys(FIELDS, VALUES), "surprise": VALUES}
)
AFTER = st.sampled_from(["transfer", "announced_transfer", "apology", "hang_up", "message"])
STEPS = st.lists(
    st.tuples(st.sampled_from(SPOKEN + SILENT), FORMS, st.sampled_from(["", "a", "b"])) | st.tuples(SIDS, AFTER),
    min_size=1,
    max_size=5,
)
CALLED = {"CallSid": "CA" + "1" * 32, "From": "+972501234567", "To": "+97231234567", "CallStatus": "ringing"}
TRANSFERS = next(flow for flow in load_flows().flows if flow.transfer is not None and flow.direction == "inbound")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    with installation(tmp_path_factory.mktemp("kav")) as app:
        yield app


@fuzzed
@given(STEPS, st.booleans())
@example(
    [("voice", {**CALLED, "To": "\x00<&\"'"}, ""), ("CA" + "1" * 32, "transfer"), ("after-stream", CALLED, "")], False
)
@example(
    [
        ("voice", {**CALLED, "To": TRANSFERS.numbers[0]}, ""),
        (CALLED["CallSid"], "transfer"),
        ("dial-result", CALLED, ""),
    ],
    False,
)
@example([("voice", {**CALLED, "Direction": "outbound-api"}, ""), ("after-stream", CALLED, "")], False)
def test_whatever_is_signed_is_answered_in_words_that_twilio_understands(
    app: Flask, steps: list[Any], forget: bool
) -> None:
    if forget:
        stream_registry.registry.clear()
    for step in steps:
        if len(step) == 2:
            stream_registry.end(step[0], "transferred", after_stream=step[1])
            continue
        hook, form, repeated = step
        path = f"/twilio/{hook}"
        headers = {SIGNATURE_HEADER: signature(TOKEN, URL + path, form), "I-Twilio-Idempotency-Token": repeated}
        answer = app.test_client().post(path, data=form, headers=headers)
        if hook in SPOKEN:
            assert answer.status_code == 200, answer.text
            assert ElementTree.fromstring(answer.data).tag == "Response"
        else:
            assert (answer.status_code, answer.data) == (204, b"")


HEADERS = st.fixed_dictionaries(
    {},
    optional={
        name: st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=40)
        for name in (SIGNATURE_HEADER, SETTINGS_HEADER, "Content-Type", "X-Forwarded-For", "Origin", "Host", "Cookie")
    },
)


@fuzzed
@given(
    st.sampled_from(["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE"]),
    st.sampled_from([*SPOKEN, *SILENT, "media", "", "..", "x"]),
    st.binary(max_size=40).map(lambda raw: raw.decode("latin-1"))
    | WORDS.map(lambda text: quote(text, errors="ignore")),
    HEADERS,
    st.binary(max_size=100)
    | st.dictionaries(st.text(max_size=9), st.text(max_size=9)).map(lambda d: urlencode(d).encode()),
)
@example("POST", "status", "\xff", {}, b"")
@example("POST", "status", "", {SIGNATURE_HEADER: "\xe9"}, b"")
@example("POST", "voice", "", {"Content-Type": "multipart/form-data; boundary="}, b"--")
def test_whoever_did_not_sign_is_refused_and_nothing_comes_of_it(
    app: Flask, method: str, hook: str, query: str, headers: dict[str, str], body: bytes
) -> None:
    before = dict(stream_registry.registry)
    answer = app.test_client().open(
        f"/twilio/{hook}", method=method, query_string=query, headers=headers, data=body, base_url=URL
    )
    assert 400 <= answer.status_code < 500, answer.text
    assert "token" not in answer.text
    assert stream_registry.registry == before
