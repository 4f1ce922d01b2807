"""Guards what Twilio's REST API answers: a value of its kind, or one of Kav's own errors, whatever came back."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kav.wire.twilio_recordings import delete_recording
from kav.wire.twilio_rest import Account, HangUp, NewCall, Number, TwilioRest, TwilioRestError, UnknownOutcomeError
from kav.wire.twilio_sms import send_sms
from tests.fuzz import JSON, WORDS, altered, answering, dumped, fuzzed, mutated
from tests.fuzz.answering import Service
from tests.fuzz.answering import answer as http
from tests.fuzz.installation import TOKEN, URL, settings

SID, PERSON, OWN = "CA" + "1" * 32, "+972501234567", "+97231234567"
NEW = NewCall(PERSON, OWN, URL, URL, URL, URL, waits_for_beep=True, ring_s=30, time_limit_s=600)

ASKED: dict[str, tuple[Callable[[TwilioRest], Any], Any]] = {
    "hang up": (lambda rest: rest.hang_up(SID), HangUp),
    "redirect": (lambda rest: rest.redirect(SID, "<Response/>"), type(None)),
    "status": (lambda rest: rest.fetch_status(SID), (tuple, type(None))),
    "place": (lambda rest: rest.place_call(NEW), str),
    "find": (lambda rest: rest.find_number(OWN), (Number, type(None))),
    "connect": (lambda rest: rest.connect_number("PN1", URL, URL, URL), Number),
    "numbers": (lambda rest: rest.numbers(), list),
    "account": (lambda rest: rest.account(), Account),
    "sms": (lambda rest: send_sms(rest, PERSON, OWN, "שלום"), str),
    "forget": (lambda rest: delete_recording(rest, "RE" + "1" * 32), type(None)),
}
ASKED_ONCE = ("place", "redirect", "sms")
"""What may have been done, where nobody can read the answer: it is told so, and not tried again."""

STATUSES = st.sampled_from(
    [
        *("200 OK", "201 Created", "204 No Content", "299 Odd", "302 Found", "307 Temporary Redirect"),
        *("400 Bad Request", "401 Unauthorized", "404 Not Found", "429 Too Many Requests", "500 Oops", "999 Beyond"),
    ]
)
NUMBER = {"sid": "PN1", "phone_number": OWN, "voice_url": URL, "voice_method": "POST", "date_created": "Mon, 1 Jan"}
CALL: dict[str, Any] = {
    "sid": SID,
    "status": "completed",
    "duration": "7",
    "price": "-0.01",
    "start_time": None,
    "annotation": {},
}
HONEST: list[Any] = [
    CALL,
    {"sid": "AC1", "status": "active", "date_updated": "Mon, 23 Nov 2026 05:00:00 +0000"},
    {"incoming_phone_numbers": [NUMBER], "next_page_uri": "/2010-04-01/Accounts/AC1/x.json?Page=1", "page": 0},
    {"code": 21220, "message": "Call is not in progress.", "more_info": "", "status": 400},
    {"code": "70051", "title": "t", "detail": "d", "httpStatusCode": 400, "userError": True, "params": {}},
]
LATIN = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=40).map(
    lambda text: text.encode("latin-1")
)
HEADERS = st.lists(
    st.tuples(st.sampled_from([b"Date", b"Location", b"Retry-After", b"Content-Encoding", b"X"]), LATIN).map(
        b": ".join
    ),
    max_size=3,
)
BODIES = altered(HONEST).map(dumped) | JSON.map(dumped) | st.binary(max_size=60)
ANSWERS = st.builds(lambda body, status, headers: http(body, status, *headers), BODIES, STATUSES, HEADERS)
WRONG = mutated([http(dumped(CALL)), http(dumped(HONEST[3]), "400 Bad Request")]) | st.binary(max_size=80)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with answering.service() as service:
        yield service


@pytest.fixture(scope="module")
def rest(service: Service, tmp_path_factory: pytest.TempPathFactory) -> TwilioRest:
    folder: Path = tmp_path_factory.mktemp("kav")
    return TwilioRest(
        settings(folder, TWILIO_API_BASE_URL=service.url), timeout_s=0.5, sleep=cast("Any", lambda _: None)
    )


@fuzzed
@given(st.sampled_from(sorted(ASKED)), ANSWERS | WRONG)
@example("status", http(b"[]"))
@example("place", http(b"{}", "201 Created"))
@example("account", http(b"{}", "200 OK", b"Date: Mon, 01 Jan 99999999999999999999 00:00:00 GMT"))
@example("status", http(b'{"status":"completed","duration":"\\u0663"}'))
@example("status", http(b'{"status":"completed","duration":"' + b"9" * 5000 + b'"}'))
@example("numbers", http(b'{"incoming_phone_numbers":7}'))
@example("numbers", http(b'{"incoming_phone_numbers":[7]}'))
@example("hang up", http(b'"x"', "400 Bad Request"))
@example("hang up", http(b'{"code":[],"message":{}}', "400 Bad Request"))
@example("account", http(b"{}", "200 OK", b"Date: Mon, 99 Jan 99999999999 99:99:99 +9999"))
def test_whatever_twilio_answers_is_read_or_an_error_with_a_remedy(
    service: Service, rest: TwilioRest, what: str, data: bytes
) -> None:
    service.answer = data
    ask, kinds = ASKED[what]
    found, failed = None, None
    try:
        found = ask(rest)
    except TwilioRestError as error:
        failed = error
    if failed is None:
        assert isinstance(found, kinds), found
        assert what != "place" or found not in ("", "None")
        whole(found)
    else:
        unclear = what in ASKED_ONCE and data.startswith(b"HTTP/1.1 2")
        assert isinstance(failed, UnknownOutcomeError) or not unclear
        assert TOKEN not in str(failed)
        assert len(str(failed)) < 1000


def whole(found: object) -> None:
    """What was read is what its type says: it goes into URLs, records and answers."""
    if isinstance(found, tuple):
        status, seconds = found
        assert isinstance(status, str)
        assert seconds is None or (isinstance(seconds, int) and seconds >= 0)
    for number in found if isinstance(found, list) else [found]:
        if isinstance(number, Number):
            assert all(isinstance(getattr(number, name), str) for name in Number.__slots__)


@fuzzed
@given(st.sampled_from([URL + "/x", "http://127.0.0.1:1/", "//x", "file:///etc/passwd"]) | WORDS)
def test_credentials_follow_no_redirect(service: Service, rest: TwilioRest, where: str) -> None:
    location = b"Location: " + where.encode(errors="replace").translate(None, b"\r\n")
    service.answer = http(b"{}", "307 Temporary Redirect", location)
    service.asked.clear()
    with pytest.raises(TwilioRestError):
        rest.hang_up(SID)
    assert all(asked.startswith(b"POST /2010-04-01/Accounts/") for asked in service.asked)
