"""Guards POST /calls and the do-not-call list: who may ask, what is refused and how, and that nobody is rung twice."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from werkzeug.test import TestResponse

import stream_registry
from app import Kav
from kav.call.admission import LATE_FOR_S
from kav.call.flow import Flow, Hours, Step
from kav.flow_files import Flows
from kav.tickets import Tickets
from routes_calls import CallDesk, Parts, init_app
from tests.in_process import API_TOKEN, kavs, with_twilio
from tests.local_servers import TwilioApi, twilio_api

DANA = "050-123 4567"
DANA_E164 = "+972501234567"
NEVER = Hours("Asia/Jerusalem", {})
SALES = Flow(
    id="sales",
    business="Solar",
    direction="outbound",
    numbers=("+97231110003", "+97231110004"),
    languages=("he",),
    greeting={"he": "שלום {name}."},
    closing={"he": "להתראות."},
    steps=(Step("interested", {"he": "עדיין מתעניינים?"}, kind="yes_no"),),
    variables=("name",),
)
CLOSED = replace(SALES, id="closed", numbers=("+97231110005",), greeting={"he": "שלום."}, variables=(), hours=NEVER)
NARROW = replace(CLOSED, id="narrow", numbers=("+97231110006",), hours=None, max_calls=1)
INBOUND = replace(SALES, id="clinic", direction="inbound", numbers=("+97231110002",), variables=())


class Operator:
    """Whoever has the token, in front of one Kav."""

    def __init__(self, api: TwilioApi, whole: Flask) -> None:
        self.api, self.whole, self.tickets = api, whole, Tickets()
        self.kav: Kav = whole.extensions["kav"]
        app = Flask("operator")
        app.config["MAX_CONTENT_LENGTH"] = 64 * 1024
        flows = Flows((SALES, CLOSED, NARROW, INBOUND))
        parts = Parts(self.kav.settings, flows, self.kav.media, self.kav.records, self.kav.rest, self.tickets)
        init_app(app, CallDesk(parts))
        self._client = app.test_client()

    def ask(self, method: str, path: str, *, token: str | None = API_TOKEN, **sent: Any) -> TestResponse:  # noqa: ANN401 - Flask's
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        return self._client.open(path, method=method, headers=headers, **sent)

    def place(self, to: str = DANA, **more: object) -> TestResponse:
        return self.ask("POST", "/calls", json={"to": to, "flow": "sales", "variables": {"name": "דנה"}, **more})

    @property
    def placed(self) -> list[dict[str, str]]:
        """What Twilio was asked to place."""
        return [form for method, path, form, _ in self.api.seen if method == "POST" and path.endswith("/Calls.json")]


@pytest.fixture
def api() -> Iterator[TwilioApi]:
    with twilio_api() as api:
        yield api


@pytest.fixture
def start(api: TwilioApi, tmp_path: Path) -> Iterator[Callable[..., Operator]]:
    """Start a Kav with its records; `records=False` is one whose database is not there yet."""
    with kavs(tmp_path, with_twilio(api)) as start_kav:
        yield lambda **changed: Operator(api, start_kav(**changed))


@pytest.fixture
def operator(start: Callable[..., Operator]) -> Operator:
    return start()


def refusal(answer: TestResponse, status: int) -> str:
    """The code of an error, which always comes with words and a remedy."""
    assert answer.status_code == status, answer.text
    error = answer.get_json()["error"]
    assert set(error) == {"code", "message", "remedy"}
    assert error["message"]
    assert error["remedy"]
    return str(error["code"])


# Who may ask


@pytest.mark.parametrize("token", [None, "", "wrong", API_TOKEN + "x", "טוקן".encode().decode("latin-1")])
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/calls"), ("POST", "/do-not-call"), ("GET", "/do-not-call/x"), ("DELETE", "/do-not-call/x")],
)
def test_nobody_without_the_token_is_served(operator: Operator, method: str, path: str, token: str | None) -> None:
    answer = operator.ask(method, path, token=token, json={})
    assert refusal(answer, 401) == "unauthorized"
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_without_a_configured_token_nobody_is_served_and_the_setting_is_named(start: Callable[..., Operator]) -> None:
    answer = start(KAV_API_TOKEN="").ask("POST", "/calls", token="", json={})
    assert refusal(answer, 503) == "no_token_configured"
    assert "KAV_API_TOKEN" in answer.text


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/calls", "POST"),
        ("PUT", "/calls", "POST"),
        ("OPTIONS", "/calls", "POST"),
        ("PATCH", "/do-not-call/x", "DELETE, GET, HEAD"),
        ("GET", "/do-not-call", "POST"),
    ],
)
def test_another_method_is_refused_as_json_too(operator: Operator, method: str, path: str, allowed: str) -> None:
    answer = operator.ask(method, path)
    assert refusal(answer, 405) == "wrong_method"
    assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize("path", ["/calls/", "/calls/CA1", "/do-not-call/", "/do-not-call/x/y", "/calls/%00/<b>"])
def test_a_path_that_there_is_not_is_refused_as_json_too(operator: Operator, path: str) -> None:
    assert refusal(operator.ask("DELETE", path), 404) == "no_such_path"


# What is placed


def test_a_call_is_placed_with_a_ticket_that_nobody_can_guess(operator: Operator) -> None:
    answer = operator.place()
    assert answer.status_code == 201
    told = {"call_sid": "CA7", "to": DANA_E164, "from": "+97231110003", "flow": "sales", "status": "queued"}
    assert answer.get_json() == told
    (form,) = operator.placed
    base, ticket = form["Url"].split("?ticket=")
    assert base == "https://kav.example.com/twilio/outbound-voice"
    assert len(ticket) >= 32
    assert form["StatusCallback"] == f"https://kav.example.com/twilio/status?ticket={ticket}"
    assert form["AsyncAmdStatusCallback"] == f"https://kav.example.com/twilio/machine?ticket={ticket}"
    order = operator.tickets.find(ticket, "CA7", time.monotonic())
    assert order is not None
    assert order.flow.greeting == {"he": "שלום דנה."}


def test_it_calls_from_the_flow_s_number_that_was_asked_for(operator: Operator) -> None:
    assert operator.place(**{"from": "+97231110004"}).get_json()["from"] == "+97231110004"


def test_what_is_told_of_a_person_cannot_leave_its_sentence(operator: Operator) -> None:
    assert operator.place(variables={"name": "דנה»\n# {name} «x"}).status_code == 201
    (order,) = operator.tickets.waiting(time.monotonic())
    assert order.flow.greeting == {"he": "שלום דנה # name x."}


# What is not


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"to": "12"}, "invalid_number"),
        ({"to": "nobody"}, "invalid_number"),
        ({"to": 972501234567}, "invalid_body"),
        ({"to": None}, "invalid_body"),
        ({"to": "\ud800"}, "invalid_number"),
        ({"variables": {"\ud800": "x"}}, "wrong_variables"),
        ({"to": "03-1110002"}, "own_number"),
        ({"flow": "clinic"}, "no_such_flow"),
        ({"flow": "x" * 10_000}, "invalid_body"),
        ({"from": "+97231110002"}, "not_the_flows_number"),
        ({"variables": {}}, "wrong_variables"),
        ({"variables": {"name": "דנה", "city": "חיפה"}}, "wrong_variables"),
        ({"variables": {"name": " \n"}}, "wrong_variables"),
        ({"variables": {"name": "x" * 81}}, "wrong_variables"),
        ({"variables": {"name": 5}}, "invalid_body"),
        ({"variables": ["name"]}, "invalid_body"),
        ({"anytime": "yes"}, "invalid_body"),
        ({"fow": "sales"}, "invalid_body"),
    ],
)
def test_what_cannot_be_right_is_refused_before_twilio_hears_of_it(
    operator: Operator, changed: dict[str, Any], code: str
) -> None:
    assert refusal(operator.place(**changed), 400) == code
    assert operator.placed == []


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 50_000, b'{"to": 1, "to": }', b"null", b"[]", b'"x"'])
def test_a_body_that_is_no_json_object_is_refused(operator: Operator, body: bytes) -> None:
    assert refusal(operator.ask("POST", "/calls", data=body), 400) in ("no_json", "invalid_body")


FORM = {"Content-Type": "application/x-www-form-urlencoded"}
MULTIPART = {"Content-Type": "multipart/form-data; boundary=x"}


@pytest.mark.parametrize("form", [FORM, MULTIPART])
@pytest.mark.parametrize("path", ["/calls", "/do-not-call"])
def test_json_that_is_sent_as_a_form_is_refused_and_the_header_is_named(
    start: Callable[..., Operator], path: str, form: dict[str, str]
) -> None:
    operator, sent = start(), {"to": DANA, "flow": "sales", "variables": {"name": "a&b=c+%20d"}}
    client, token = operator.whole.test_client(), {"Authorization": f"Bearer {API_TOKEN}"}
    answer = client.post(path, data=json.dumps(sent), headers=token | form)
    assert refusal(answer, 400) == "no_json"
    assert answer.get_json()["error"]["remedy"] == "send it with the header `Content-Type: application/json`"
    assert "is no JSON" not in answer.text
    assert "is no JSON" in client.post(path, data="to=0501234567&flow=sales", headers=token | form).text
    assert operator.placed == []


def test_a_body_that_is_too_long_is_refused(operator: Operator) -> None:
    assert refusal(operator.ask("POST", "/calls", data=b"x" * 70_000), 413) == "bad_request"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["to", "flow", "from", "variables", "anytime", "x"]), JSON) | JSON)
@examples(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_body_whatsoever_makes_it_fail(operator: Operator, body: Any) -> None:  # noqa: ANN401 - any JSON
    answer = operator.ask("POST", "/calls", json=body)
    assert refusal(answer, 400)


def test_nobody_is_called_outside_the_hours_unless_they_agreed(operator: Operator) -> None:
    body = {"to": DANA, "flow": "closed"}
    assert refusal(operator.ask("POST", "/calls", json=body), 409) == "outside_hours"
    assert operator.placed == []
    assert operator.ask("POST", "/calls", json={**body, "anytime": True}).status_code == 201


def test_nobody_is_called_twice_at_once(operator: Operator) -> None:
    assert operator.place().status_code == 201
    answer = operator.place(to="+972 50 1234567")
    assert refusal(answer, 409) == "already_calling"
    assert len(operator.placed) == 1


def test_nobody_is_called_who_is_talking_with_kav(operator: Operator) -> None:
    stream_registry.register("CA1", direction="inbound", flow=INBOUND, from_number=DANA_E164, to_number="+97231110002")
    assert refusal(operator.place(), 409) == "already_calling"
    stream_registry.end("CA1", "caller_hung_up")
    assert operator.place().status_code == 201


def test_no_more_calls_a_minute_than_the_setting_says(start: Callable[..., Operator]) -> None:
    operator = start(CALLS_PER_MINUTE=2)
    assert [operator.place(to=f"050123456{number}").status_code for number in range(2)] == [201, 201]
    answer = operator.place(to="0501234569")
    assert refusal(answer, 429) == "rate_limited"
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert len(operator.placed) == 2


def test_what_was_refused_counts_for_nothing(start: Callable[..., Operator]) -> None:
    operator = start(CALLS_PER_MINUTE=1)
    assert refusal(operator.place(to="12"), 400)
    assert operator.place().status_code == 201


def test_calls_that_still_ring_count_among_those_that_are_allowed_at_once(start: Callable[..., Operator]) -> None:
    operator = start(MAX_CALLS=1)
    assert operator.place().status_code == 201
    answer = operator.place(to="0501234568")
    assert refusal(answer, 429) == "full"
    assert answer.headers["Retry-After"]


def test_a_kav_that_is_being_stopped_places_no_calls(operator: Operator) -> None:
    operator.kav.media.draining = True
    assert refusal(operator.place(), 503) == "draining"
    assert operator.placed == []


# What Twilio says


def test_a_call_that_twilio_refuses_may_be_placed_again(operator: Operator) -> None:
    operator.api.faults = [400]
    answer = operator.place()
    assert refusal(answer, 400) == "refused_by_twilio"
    assert DANA_E164 not in answer.text
    assert operator.place().status_code == 201


@pytest.mark.parametrize("fault", [401, 429])
def test_a_twilio_that_does_not_place_calls_is_told_as_such(operator: Operator, fault: int) -> None:
    operator.api.faults = [fault] * 3  # as often as Kav tries
    assert refusal(operator.place(), 502) == "twilio_failed"


def test_a_call_of_which_nobody_knows_is_not_placed_again(operator: Operator) -> None:
    operator.api.faults = [503]
    answer = operator.place()
    assert refusal(answer, 502) == "unknown"
    assert "Twilio's call log" in answer.text
    assert refusal(operator.place(), 409) == "already_calling"
    assert len(operator.placed) == 1
    (order,) = operator.tickets.waiting(time.monotonic())
    assert order.to == DANA_E164, "should it be answered after all, it is known"


def test_without_an_account_the_settings_are_named(start: Callable[..., Operator]) -> None:
    answer = start(TWILIO_ACCOUNT_SID="", TWILIO_AUTH_TOKEN="").place()
    assert refusal(answer, 503) == "no_twilio_account"
    assert "TWILIO_ACCOUNT_SID" in answer.text


# The do-not-call list


def test_whoever_is_on_the_list_is_not_called_until_they_are_taken_off_it(operator: Operator) -> None:
    assert operator.ask("POST", "/do-not-call", json={"number": DANA}).status_code == 201
    assert operator.ask("GET", f"/do-not-call/{DANA}").get_json() == {"number": DANA_E164, "do_not_call": True}
    assert refusal(operator.place(anytime=True), 409) == "do_not_call"
    assert operator.placed == []
    assert operator.ask("DELETE", f"/do-not-call/{DANA_E164}").status_code == 200
    assert operator.ask("GET", f"/do-not-call/{DANA}").get_json()["do_not_call"] is False
    assert operator.place().status_code == 201


def test_what_is_no_number_is_not_listed(operator: Operator) -> None:
    assert refusal(operator.ask("POST", "/do-not-call", json={"number": "12"}), 400) == "invalid_number"
    assert refusal(operator.ask("DELETE", "/do-not-call/12"), 400) == "invalid_number"


def test_while_the_list_cannot_be_read_nobody_is_called(start: Callable[..., Operator]) -> None:
    operator = start(records=False)
    answer = operator.place()
    assert refusal(answer, 503) == "records_away"
    assert operator.placed == []


def test_a_process_that_is_late_places_no_calls(operator: Operator) -> None:
    lateness = operator.kav.media.lateness
    lateness.observe(100.0, LATE_FOR_S)
    answer = operator.place()
    assert refusal(answer, 503) == "late"
    assert answer.headers["Retry-After"]
    lateness.observe(100.0 + LATE_FOR_S, 0.0)
    assert operator.place().status_code == 201


def test_a_flow_s_own_limit_holds_for_calls_that_are_placed(operator: Operator) -> None:
    assert operator.place("+972501234501", flow="narrow", variables={}).status_code == 201
    answer = operator.place("+972501234502", flow="narrow", variables={})
    assert refusal(answer, 429) == "flow_full"
    assert operator.place("+972501234502").status_code == 201, "another flow's calls are another's"
    assert len(operator.placed) == 2
