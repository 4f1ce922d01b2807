"""Guards the console's door: who gets in, who is kept out, and what a browser may do with its pages."""

import re
import time
from datetime import UTC, datetime, timedelta
from html import unescape
from html.parser import HTMLParser

import pytest
from flask.sessions import SecureCookieSessionInterface
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sqlalchemy import select

from kav.console.door import HEADERS, inside
from kav.console.logouts import ASK_EVERY_S, Leave
from kav.records.models import LOGOUTS
from tests.console.desk import CSRF, PASSWORD, Open, Place, Visitor, going_on, recorded

PAGES = ("/console/", "/console/calls", "/console/calls/CApast", "/console/today", "/console/flows", "/console/phone")
EVIL = "https://evil.example.com"


def test_without_a_password_there_is_no_console_and_it_says_how_to_get_one(open_console: Open) -> None:
    for path in (*PAGES, "/console/login", "/console/events"):
        answer = open_console(records=False, KAV_CONSOLE_PASSWORD="").visitor().get(path)
        assert answer.status_code == 503
        assert "KAV_CONSOLE_PASSWORD" in answer.text


def test_the_bare_address_leads_to_the_console_and_is_no_other_path(open_console: Open) -> None:
    visitor = open_console(records=False).visitor()
    answer = visitor.get("/")
    assert (answer.status_code, answer.location) == (303, "/console/")
    assert HEADERS.items() <= dict(answer.headers).items()
    assert answer.headers["Cache-Control"] == "no-store"
    assert [visitor.get(path).status_code for path in ("/?a=b", "/index.html", "/login")] == [303, 404, 404]
    assert visitor.get("/", follow_redirects=True).request.path == "/console/login"


def test_without_a_console_there_is_nothing_at_the_bare_address(open_console: Open) -> None:
    answer = open_console(records=False, KAV_CONSOLE_PASSWORD="").visitor().get("/")
    assert (answer.status_code, "Location" in answer.headers) == (404, False)


def test_a_rehearsal_makes_a_password_up_and_says_it(open_console: Open) -> None:
    place = open_console(records=False, KAV_CONSOLE_PASSWORD="", KAV_REHEARSAL=True)
    said = place.app.extensions["kav.console"].welcome()
    assert place.visitor().log_in(said.rpartition(" ")[2]).status_code == 303


def test_a_password_that_an_operator_chose_is_never_said(place: Place) -> None:
    assert PASSWORD not in place.app.extensions["kav.console"].welcome()


@pytest.mark.parametrize("path", PAGES)
def test_a_stranger_is_sent_to_the_login_and_on_from_there(place: Place, path: str) -> None:
    recorded(place)
    visitor = place.visitor()
    answer = visitor.get(path)
    assert answer.status_code == 303
    assert answer.location.startswith("/console/login?next=")
    assert visitor.log_in(next=path).location == path
    assert visitor.get(path).status_code == 200


def test_a_stranger_does_nothing(place: Place) -> None:
    entry = going_on()
    visitor = place.visitor()
    assert visitor.post("/console/calls/CAlive/end").status_code == 403
    assert visitor.get("/console/events", headers={"Accept": "text/event-stream"}).status_code == 403
    assert not entry["ended"]


def test_a_wrong_password_is_told_and_opens_nothing(place: Place) -> None:
    visitor = place.visitor()
    answer = visitor.log_in("open sesame")
    assert answer.status_code == 403
    assert 'role="alert"' in answer.text
    assert visitor.get("/console/").status_code == 303


def test_who_is_wrong_too_often_waits_even_with_the_right_password(place: Place) -> None:
    visitor = place.visitor(REMOTE_ADDR="127.0.0.1")
    for _ in range(5):
        assert visitor.log_in("wrong").status_code == 403
    answer = visitor.log_in()
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 301
    assert visitor.get("/console/").status_code == 303


def test_who_is_elsewhere_does_not_wait_for_them(place: Place) -> None:
    guesser = place.visitor(REMOTE_ADDR="127.0.0.2")
    for _ in range(6):
        guesser.log_in("wrong")
    assert place.visitor(REMOTE_ADDR="127.0.0.1").log_in().status_code == 303


@pytest.mark.parametrize(
    "elsewhere",
    [EVIL, "//evil.example.com", "/twilio/voice", "/console/\\evil", "javascript:alert(1)", "/console/\r\nX: 1", ""],
)
def test_a_login_leads_to_the_console_and_nowhere_else(elsewhere: str) -> None:
    assert inside(elsewhere) == "/console/"


@given(st.text(max_size=60))
def test_whatever_is_asked_for_stays_inside(path: str) -> None:
    assert inside(path).startswith("/console/")
    assert inside("/console/" + path).isprintable()


# Forged forms


@pytest.mark.parametrize("token", ["", "made-up", "x" * 5000])
def test_a_form_without_its_token_does_nothing(place: Place, token: str) -> None:
    entry = going_on()
    operator = place.operator()
    assert operator.post("/console/calls/CAlive/end", csrf=token).status_code == 403
    assert not entry["ended"]


def test_the_token_of_another_session_is_none(place: Place) -> None:
    entry = going_on()
    other = place.operator().token()
    assert place.operator().post("/console/calls/CAlive/end", csrf=other).status_code == 403
    assert not entry["ended"]


@pytest.mark.parametrize(
    "headers", [{"Origin": EVIL}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}]
)
def test_a_form_of_another_site_does_nothing(place: Place, headers: dict[str, str]) -> None:
    entry = going_on()
    operator = place.operator()
    token = operator.token()
    answer = operator.client.post("/console/calls/CAlive/end", data={"csrf": token}, headers=headers)
    assert answer.status_code == 403
    assert not entry["ended"]
    answer = operator.client.post(
        "/console/calls/CAlive/end", data={"csrf": token}, headers={"Origin": "http://localhost"}
    )
    assert (answer.status_code, entry["end_reason"]) == (303, "operator")


def test_a_login_changes_the_token_so_that_nobody_prepares_a_session(place: Place) -> None:
    visitor = place.visitor()
    before = visitor.token()
    visitor.log_in()
    assert visitor.token() != before


def test_a_login_that_is_open_twice_takes_the_password_in_both(place: Place) -> None:
    visitor = place.visitor()
    tokens = [visitor.token() for _ in range(2)]
    assert [visitor.log_in(csrf=token).status_code for token in tokens] == [303, 303]


# Sessions


def test_the_login_s_page_leaves_a_session_alone_that_did_not_come_along(place: Place) -> None:
    """With a link from elsewhere the browser sends no cookie that is `SameSite=Strict`, but it keeps what is set."""
    operator = place.operator()
    kept = operator.client.get_cookie("kav")
    answer = place.visitor().get("/console/login")
    assert [name.partition("=")[0] for name in answer.headers.getlist("Set-Cookie")] == ["kav-form"]
    assert kept == operator.client.get_cookie("kav")


def test_a_link_from_elsewhere_is_asked_for_again_by_the_console_s_own_page(open_console: Open) -> None:
    place = open_console(TWILIO_AUTH_TOKEN="t")
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    visitor = place.visitor()
    arrived = visitor.get('/console/calls?number="&business=x', headers=link)
    assert arrived.status_code == 200
    (again,) = re.findall(r'<meta http-equiv="refresh" content="0; url=([^"]+)">', arrived.text)
    assert unescape(again) == '/console/calls?number="&business=x'
    own = visitor.get(unescape(again), headers=link | {"Sec-Fetch-Site": "same-origin"})
    assert own.location.startswith("/console/login?next="), "whoever is not logged in is not sent round in circles"


def cookie(visitor: Visitor, name: str = "kav") -> str:
    kept = visitor.client.get_cookie(name)
    assert kept is not None
    return kept.value


def test_scripts_and_other_sites_never_see_the_cookie(place: Place) -> None:
    set_cookie = place.visitor().log_in().headers["Set-Cookie"]
    assert "HttpOnly" in set_cookie
    assert "SameSite=Strict" in set_cookie


def test_over_https_the_cookie_is_bound_to_host_and_tls(open_console: Open) -> None:
    place = open_console(records=False, PUBLIC_BASE_URL="https://kav.example.com", TWILIO_AUTH_TOKEN="t")
    answer = place.visitor().get("/console/login")
    assert re.match(r"__Host-kav-form=.*; Secure; HttpOnly; Path=/; SameSite=Lax", answer.headers["Set-Cookie"])
    assert "max-age" in answer.headers["Strict-Transport-Security"]
    visitor = place.visitor()
    page = visitor.client.get("/console/login", base_url="https://kav.example.com")
    form = {"csrf": CSRF.findall(page.text)[0], "password": PASSWORD}
    answer = visitor.client.post("/console/login", data=form, base_url="https://kav.example.com")
    assert re.match(r"__Host-kav=.*; Secure; HttpOnly; .*Path=/; SameSite=Strict", answer.headers["Set-Cookie"])
    assert "max-age" in answer.headers["Strict-Transport-Security"]


def test_a_logout_ends_the_session_also_for_whoever_kept_its_cookie(place: Place) -> None:
    operator = place.operator()
    kept = cookie(operator)
    assert operator.post("/console/logout").status_code == 303
    thief = place.visitor()
    thief.client.set_cookie("kav", kept)
    assert thief.get("/console/").status_code == 303


def test_a_logout_outlives_a_restart_and_reaches_other_processes(open_console: Open) -> None:
    here, elsewhere = open_console(), open_console()
    operator, other = here.operator(), here.operator()
    kept, others = cookie(operator), cookie(other)
    operator.post("/console/logout")
    assert here.kav.records.settled(5)
    for place in (elsewhere, open_console()):
        for value, status in ((kept, 303), (others, 200)):
            visitor = place.visitor()
            visitor.client.set_cookie("kav", value)
            assert visitor.get("/console/").status_code == status, "one logout is not everybody's"


def test_a_logout_elsewhere_is_known_within_seconds(open_console: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    here, elsewhere = open_console(), open_console()
    operator, visitor = here.operator(), elsewhere.visitor()
    visitor.client.set_cookie("kav", cookie(operator))
    assert visitor.get("/console/").status_code == 200
    operator.post("/console/logout")
    assert here.kav.records.settled(5)
    later = time.monotonic() + ASK_EVERY_S
    monkeypatch.setattr("kav.console.logouts.time.monotonic", lambda: later)
    assert visitor.get("/console/").status_code == 303


def test_logouts_are_forgotten_when_their_logins_would_have_expired(place: Place) -> None:
    records = place.kav.records
    records.submit(Leave("old", datetime.now(UTC) - timedelta(seconds=1)))
    assert records.submit(Leave("new", datetime.now(UTC) + timedelta(hours=1))).wait(5)
    found = records.read(lambda connection: connection.execute(select(LOGOUTS.c.login)).scalars().all())
    assert found == ["new"]


def test_a_login_expires(place: Place) -> None:
    signer = SecureCookieSessionInterface().get_signing_serializer(place.app)
    assert signer is not None
    for age_s, status in ((60, 200), (13 * 3600, 303), (-60, 303)):
        visitor = place.visitor()
        visitor.client.set_cookie("kav", signer.dumps({"since": time.time() - age_s, "id": "x", "csrf": "y"}))
        assert visitor.get("/console/").status_code == status


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, 200),
        ({"KAV_CONSOLE_PASSWORD": "another password"}, 303),
        ({"KAV_SECRET_KEY": "another key"}, 303),
        ({"KAV_SECRET_KEY": ""}, 303),
    ],
)
def test_logins_outlive_a_restart_but_no_new_password_or_key(
    open_console: Open, changed: dict[str, str], status: int
) -> None:
    kept = cookie(open_console().operator())
    visitor = open_console(**changed).visitor()
    visitor.client.set_cookie("kav", kept)
    assert visitor.get("/console/").status_code == status


@examples(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(codec="ascii", exclude_characters=';, "\\', min_codepoint=33), max_size=80))
def test_a_cookie_that_was_made_up_opens_nothing(place: Place, value: str) -> None:
    visitor = place.visitor()
    visitor.client.set_cookie("kav", value)
    assert visitor.get("/console/").status_code == 303


# What a browser may do


@pytest.mark.parametrize("path", [*PAGES, "/console/login", "/console/nothing", "/console/static/console.css"])
def test_every_answer_carries_the_strict_headers(place: Place, path: str) -> None:
    recorded(place)
    for visitor in (place.visitor(), place.operator()):
        headers = visitor.get(path).headers
        assert {name: headers[name] for name in HEADERS} == HEADERS
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert path.startswith("/console/static") or headers["Cache-Control"] == "no-store"


class Inline(HTMLParser):
    """Finds what a content security policy without `unsafe-inline` would stop."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        if tag == "style" or (tag == "script" and "src" not in names):
            self.found.append(tag)
        self.found += [name for name in names if name == "style" or name.startswith("on")]


@pytest.mark.parametrize("path", [*PAGES, "/console/login", "/console/flows/clinic.yaml"])
def test_no_page_needs_what_the_policy_forbids(place: Place, path: str) -> None:
    recorded(place)
    parser = Inline()
    parser.feed((place.visitor() if path.endswith("login") else place.operator()).get(path).text)
    assert parser.found == []


def test_a_file_is_kept_for_ever_under_its_version_and_asked_for_without(place: Place) -> None:
    visitor = place.visitor()
    (url,) = re.findall(r'href="(/console/static/console\.css\?v=[0-9a-f]+)"', visitor.get("/console/login").text)
    kept = visitor.get(url)
    assert "immutable" in kept.headers["Cache-Control"]
    again = visitor.get("/console/static/console.css", headers={"If-None-Match": kept.headers["ETag"]})
    assert (again.status_code, again.headers["Cache-Control"]) == (304, "no-cache")


@pytest.mark.parametrize("name", ["../pages.py", "..%2fpages.py", "nothing.css", ".", ""])
def test_nothing_but_the_files_is_served(place: Place, name: str) -> None:
    assert place.operator().get(f"/console/static/{name}").status_code == 404
