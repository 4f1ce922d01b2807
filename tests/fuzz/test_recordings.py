"""Guards recordings: whatever Twilio tells of one, gives of one, or a player asks of one, it is answered."""

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from hypothesis import example, given
from hypothesis import strategies as st

from rehearsal.twilio.signing import SIGNATURE_HEADER, signature
from tests.fuzz import NASTY, answering, fuzzed, mutated
from tests.fuzz.answering import Service
from tests.fuzz.installation import API_TOKEN, SECRETS, TOKEN, URL, installation

SID, PATH = "RE" + "1" * 32, "/twilio/recording"
VALUES = (NASTY | st.text(max_size=30)).filter(
    lambda text: text.isascii() or text.encode(errors="ignore").decode() == text
)
FIELDS = ("RecordingStatus", "RecordingChannels", "RecordingDuration", "RecordingUrl", "ErrorCode", "RecordingSource")
FORMS = st.fixed_dictionaries(
    {},
    optional={
        "CallSid": st.just("CA" + "1" * 32) | VALUES,
        "RecordingSid": st.just(SID) | VALUES,
        **dict.fromkeys(FIELDS, st.sampled_from(["completed", "absent", "2", "7", "٣", "-1", "9999999"]) | VALUES),
    },
)
SOUND = b"\xff\xfb" * 400
HONEST = [
    b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: 800\r\nAccept-Ranges: bytes\r\n\r\n" + SOUND,
    b"HTTP/1.1 206 Partial Content\r\nContent-Type: audio/mpeg\r\nContent-Range: bytes 0-7/800\r\n"
    b"Content-Length: 8\r\n\r\n" + SOUND[:8],
    b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n",
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */800\r\nContent-Length: 0\r\n\r\n",
]
RANGES = st.sampled_from(
    ["", "bytes=0-", "bytes=0-7", "bytes=-1", "bytes=9-1", "bytes=0-1,5-6", "items=1-2"]
) | st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=60)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with answering.service() as service:
        yield service


@pytest.fixture(scope="module")
def app(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    with installation(tmp_path_factory.mktemp("kav"), TWILIO_API_BASE_URL=service.url) as app:
        yield app


def play(app: Flask, part: str = "", sid: str = SID) -> tuple[int, Any, bytes]:
    """Status, headers and sound, as far as it came."""
    headers = {"Authorization": f"Bearer {API_TOKEN}", **({"Range": part} if part else {})}
    answer = app.test_client().get(f"/recordings/{sid}", headers=headers)
    came = b""
    try:
        for piece in answer.iter_encoded():
            came += piece
    except OSError:
        pass  # the sound broke off on its way, and so does the answer
    return answer.status_code, answer.headers, came


@fuzzed
@given(st.lists(FORMS, min_size=1, max_size=3))
@example([{"CallSid": "CA1", "RecordingSid": SID, "RecordingDuration": "٣", "RecordingChannels": "\x00"}])
@example([{"CallSid": "\x00", "RecordingSid": SID, "RecordingStatus": "\x00"}])
@example([{"CallSid": "C" * 5000, "RecordingSid": SID, "RecordingStatus": "x" * 5000}])
def test_whatever_is_told_of_a_recording_is_noted_or_not_and_the_records_stay_well(
    app: Flask, forms: list[dict[str, str]]
) -> None:
    for form in forms:
        headers = {SIGNATURE_HEADER: signature(TOKEN, URL + PATH, form)}
        answer = app.test_client().post(PATH, data=form, headers=headers)
        assert (answer.status_code, answer.data) == (204, b"")
    records = app.extensions["kav"].records
    assert records.settled(5)


@fuzzed
@given(st.sampled_from(["", "x", SID.lower(), "RE" + "g" * 32, SID + "0"]), RANGES)
def test_only_a_recording_s_own_name_is_asked_for(service: Service, app: Flask, sid: str, part: str) -> None:
    service.answer = HONEST[0]
    service.asked.clear()
    assert play(app, part, sid)[0] == 404
    assert service.asked == []


@fuzzed
@given(RANGES)
@example("bytes=0-\x00")
@example("bytes=0-7\xe9")
def test_whatever_part_is_asked_for_is_asked_of_twilio_in_one_line_or_not_at_all(
    service: Service, app: Flask, part: str
) -> None:
    service.answer = HONEST[0]
    service.asked.clear()
    status, _, sound = play(app, part)
    assert (status, sound) == (200, SOUND)
    (asked,) = service.asked
    lines = asked.decode("latin-1").split("\r\n")
    assert sum(line.lower().startswith("range:") for line in lines) <= 1
    assert all(": " in line for line in lines[1:-2])


@fuzzed
@given(mutated(HONEST) | st.binary(max_size=200), st.lists(st.integers(1, 200), max_size=4))
@example(b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\n evil: 1\r\n\r\nx", [])
@example(b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: -5\r\n\r\nx", [])
@example(b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: 9\r\n\r\nx", [1, 1])
@example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabc", [])
@example(b"HTTP/1.1 302 Found\r\nLocation: http://[\r\n\r\n", [])
@example(b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n", [])
@example(b"HTTP/1.1 302 Found\r\nLocation: ftp://127.0.0.1:1/x\r\n\r\n", [])
@example(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\x00\r\n\r\n", [])
@example(b"HTTP/1.1 302 Found\r\nLocation: http://x:y/\r\n\r\n", [])
@example(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<script>", [])
@example(b"HTTP/1.1 101 Switching\r\n\r\n", [])
@example(b"HTTP/1.1 200 OK\r\nContent-Type: audio/\xff\r\n\r\nx", [])
def test_whatever_twilio_gives_is_passed_on_as_sound_or_refused_in_words(
    service: Service, app: Flask, data: bytes, cuts: list[int]
) -> None:
    service.answer, service.cuts = data, cuts
    status, headers, sound = play(app)
    service.cuts = []
    assert status in (200, 206, 404, 416, 502), data
    assert not any(secret.encode() in sound for secret in SECRETS)
    if status in (200, 206):
        assert headers["Content-Type"].startswith(("audio/", "application/octet-stream"))
        length = headers.get("Content-Length", "")
        assert not length or length.isdecimal()
        assert headers["X-Content-Type-Options"] == "nosniff"
