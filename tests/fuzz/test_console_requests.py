"""Guards the console: whatever a browser, or somebody without one, sends it is answered, and is no way in or out."""

from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import example, given
from hypothesis import strategies as st

from tests.console.browser import CSRF
from tests.fuzz import WORDS, fuzzed
from tests.fuzz.installation import PASSWORD, SECRETS, URL, installation

LATIN = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n;"), max_size=60)
PATHS = (
    st.sampled_from(
        [
            *(
                "",
                "events",
                "calls",
                "calls/CA1",
                "calls/CA1/end",
                "today",
                "flows",
                "flows/clinic.yaml",
                "phone",
                "login",
            ),
            *(
                "phone/calls",
                "phone/calls/CA1",
                "phone/media",
                "logout",
                "language/he",
                "static/console.css",
                "nowhere",
            ),
        ]
    )
    | WORDS.map(lambda text: "calls/" + quote(text, safe="", errors="replace"))
    | WORDS.map(lambda text: "flows/" + quote(text, safe="", errors="replace"))
    | WORDS.map(lambda text: "static/" + quote(text, safe="/", errors="replace"))
)
SENT = WORDS.map(lambda text: text.encode(errors="replace").decode())
QUERIES = st.dictionaries(
    st.sampled_from(["next", "after", "day", "business", "direction", "number", "end_reason", "since", "until", "v"]),
    SENT,
    max_size=4,
)
FORMS = st.dictionaries(
    st.sampled_from(["csrf", "password", "next", "flow", "number", "variable_sales_name", "x"]), SENT, max_size=4
)
METHODS = st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE"])
OPEN_TO_ALL = ("login", "language", "static")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    with installation(tmp_path_factory.mktemp("kav"), KAV_CONSOLE_VIEWERS=1) as app:
        yield app


@pytest.fixture(scope="module")
def operator(app: Flask) -> FlaskClient:
    """Somebody who is logged in."""
    client = app.test_client()
    found = CSRF.search(client.get("/console/login", base_url=URL).text)
    assert found
    entered = client.post("/console/login", data={"csrf": found[1], "password": PASSWORD}, base_url=URL)
    assert entered.status_code == 303, entered.text
    return client


@fuzzed
@given(METHODS, PATHS, QUERIES, FORMS)
@example("GET", "today", {"day": "0001-01-01"}, {})
@example("GET", "calls", {"since": "0001-01-02", "until": "9999-12-31"}, {})
@example("GET", "calls", {"after": "MDAwMS0wMS0wMVQwMDowMDowMCsxNDowMCB4"}, {})
@example("GET", "calls", {"business": "\x00", "number": "\x00"}, {})
@example("GET", "login", {"next": "//["}, {})
def test_an_operator_s_request_is_answered(
    operator: FlaskClient, method: str, path: str, query: dict[str, str], form: dict[str, str]
) -> None:
    if path == "events" and method == "GET":
        return  # an answer that goes on
    answer = operator.open(
        f"/console/{path}", method=method, query_string=query, data=form if method == "POST" else None, base_url=URL
    )
    assert answer.status_code < 500, answer.text
    stays(answer.headers.get("Location", ""))
    assert not any(secret in answer.text for secret in SECRETS)


@fuzzed
@given(METHODS, PATHS, QUERIES, FORMS, LATIN, LATIN, LATIN)
@example("POST", "login", {}, {"password": "\ufffd"}, "", "http://[", "")
@example("GET", "", {}, {}, "", "", "eyJzaW5jZSI6MX0.x.y")
def test_a_stranger_s_request_is_answered_and_gets_nowhere(
    app: Flask, method: str, path: str, query: dict[str, str], form: dict[str, str], host: str, origin: str, cookie: str
) -> None:
    headers = {"Origin": origin, "Cookie": f"__Host-kav={cookie}; kav={cookie}; kav_language={cookie}"}
    headers = {name: value for name, value in headers.items() if value}
    if host:
        headers["Host"] = host
    sent = form if method == "POST" else None
    answer = app.test_client().open(
        f"/console/{path}", method=method, query_string=query, data=sent, headers=headers, base_url=URL
    )
    assert answer.status_code < 500, answer.text
    stays(answer.headers.get("Location", ""))
    if not path.startswith(OPEN_TO_ALL):
        assert answer.status_code in (303, 308, 400, 403, 404, 405) or method in ("HEAD", "OPTIONS")


def stays(location: str) -> None:
    """A redirect goes on within the console."""
    parts = urlsplit(location)
    assert not location or (parts.netloc in ("", urlsplit(URL).netloc) and parts.path.startswith("/console/"))
