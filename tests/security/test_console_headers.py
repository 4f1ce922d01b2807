"""Guards the console against headers that lie: whose address, whose page, where to go on to."""

import pytest
from flask import Flask, request

from kav.console.door import Door, client_address, inside
from kav.settings import Settings

PASSWORD = "open sesame, please"


@pytest.mark.parametrize(
    ("connected", "forwarded", "who"),
    [
        ("10.1.2.3", "6.6.6.6, 198.51.100.7", "198.51.100.7"),  # the router in front appends whom it saw
        ("10.1.2.3", "", "10.1.2.3"),
        ("127.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("fd00::1", "2606:2800:220:1::1", "2606:2800:220:1::1"),
        ("93.184.216.34", "10.0.0.1", "93.184.216.34"),  # nobody's proxy: a stranger's own word
        ("93.184.216.34", "", "93.184.216.34"),
        ("2606:2800:220:1::1", "10.0.0.1", "2606:2800:220:1::1"),
        ("", "198.51.100.7", "198.51.100.7"),  # a Unix socket
    ],
)
def test_who_tries_a_password_is_whom_the_nearest_proxy_saw_or_whoever_is_connected(
    connected: str, forwarded: str, who: str
) -> None:
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    with Flask("t").test_request_context(environ_base={"REMOTE_ADDR": connected}, headers=headers):
        assert client_address(request) == who


@pytest.mark.parametrize(
    "path",
    [
        *(
            "//evil.example/console/",
            "https://evil.example/console/",
            "/\\evil.example",
            "/console/\\..\\x",
            "http://[",
        ),
        *("//[", "/console/\r\nSet-Cookie: a=b", "javascript:alert(1)", "", "console/", "/twilio/voice", "/console"),
    ],
)
def test_a_login_goes_on_to_nowhere_but_the_console(path: str) -> None:
    assert inside(path) == "/console/"


@pytest.mark.parametrize("origin", ["http://[", "null", "https://evil.example", "http://localhost.evil.example", "x"])
def test_a_form_from_another_page_is_refused_however_odd_its_origin(origin: str) -> None:
    settings = Settings(_env_file=None, KAV_CONSOLE_PASSWORD=PASSWORD)  # type: ignore[call-arg, arg-type]  # pydantic-settings' own
    door, app = Door(settings), Flask("t")
    door.init_app(app)
    with app.test_request_context("/console/phone/media", headers={"Origin": origin}):
        assert not door.admits_socket(request)
