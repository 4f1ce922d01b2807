"""Guards the e-mail to the owner: Hebrew arrives whole, nobody adds a header, nothing goes out in the clear."""

from base64 import b64decode
from collections.abc import Iterator
from contextlib import nullcontext

import gevent
import pytest

from kav.after_call import mail
from tests.after_call.receivers import Mailbox, mail_receiver

A_LOGIN = ("a@b.example", "p")
SOON_S = 5


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with mail_receiver() as mailbox:
        yield mailbox


def server_of(url: str, sender: str = "") -> mail.MailServer:
    server = mail.mail_server(url, sender)
    assert server is not None
    return server


def test_the_mail_arrives_as_it_was_written(mailbox: Mailbox) -> None:
    mail.send(server_of(mailbox.url), "owner@example.com", "מרפאה: שיחה", "דנה לוי ביקשה תור.\n")
    ((recipient, got),) = mailbox.mails
    assert (recipient, got["To"], got["From"]) == ("owner@example.com", "owner@example.com", "bot@kav.example")
    assert (got["Subject"], got.get_content().splitlines()) == ("מרפאה: שיחה", ["דנה לוי ביקשה תור."])
    assert got["Auto-Submitted"] == "auto-generated"
    assert b64decode(mailbox.logins[0]) == b"\0bot@kav.example\0secret-word"


def test_nobody_adds_a_header_through_the_subject(mailbox: Mailbox) -> None:
    with pytest.raises(ValueError, match="linefeed or carriage return"):
        mail.send(server_of(mailbox.url), "owner@example.com", "x\nBcc: thief@example.com", "x")
    assert mailbox.mails == []


def test_off_this_machine_nothing_is_sent_before_tls(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "LOOPBACK", ())  # as if the server stood elsewhere: it offers no STARTTLS
    with pytest.raises(mail.NotSent, match="STARTTLS"):
        mail.send(server_of(mailbox.url), "owner@example.com", "x", "x")
    assert (mailbox.mails, mailbox.logins) == ([], [])


@pytest.mark.parametrize("verb", ["EHLO", "AUTH", "MAIL", "RCPT", "DATA", "."])
def test_a_passing_refusal_says_that_it_may_be_sent_again_and_names_nobody(mailbox: Mailbox, verb: str) -> None:
    mailbox.refusals = [(verb, "451 4.7.1 <owner@example.com> is greylisted"), (".", "451 4.7.1 later")]
    if verb == "EHLO":
        mailbox.refusals.insert(1, ("HELO", "421 4.3.2 later"))
    with pytest.raises(mail.NotSentYet) as told:
        mail.send(server_of(mailbox.url), "owner@example.com", "x", "x")
    assert "owner" not in str(told.value)
    assert mailbox.mails == []


@pytest.mark.parametrize("verb", ["AUTH", "MAIL", "RCPT", "DATA", "."])
def test_a_refusal_for_good_is_not_tried_again_and_names_nobody(mailbox: Mailbox, verb: str) -> None:
    mailbox.refusals = [(verb, "550 5.1.1 <owner@example.com> is unknown")]
    with pytest.raises(mail.NotSent, match="550") as told:
        mail.send(server_of(mailbox.url), "owner@example.com", "x", "x")
    assert not isinstance(told.value, mail.NotSentYet)
    assert "owner" not in str(told.value)


@pytest.mark.parametrize("reply", ["451 4.7.1", "550 5.1.1"])
def test_a_mail_that_was_taken_is_sent_whatever_the_server_says_at_the_end(mailbox: Mailbox, reply: str) -> None:
    mailbox.refusals = [("QUIT", f"{reply} <owner@example.com> goodbye")]
    mail.send(server_of(mailbox.url), "owner@example.com", "x", "x")
    assert (len(mailbox.mails), mailbox.refusals) == (1, [])


def test_a_passing_refusal_is_one_whatever_the_server_says_at_the_end(mailbox: Mailbox) -> None:
    mailbox.refusals = [("RCPT", "451 4.7.1 greylisted"), ("QUIT", "550 5.1.1 <owner@example.com> goodbye")]
    with pytest.raises(mail.NotSentYet, match="does not take it yet"):
        mail.send(server_of(mailbox.url), "owner@example.com", "x", "x")
    assert mailbox.refusals == []


@pytest.mark.parametrize("verb", ["AUTH", "RCPT", "QUIT"])
def test_a_server_that_refuses_is_left_though_the_error_is_kept(mailbox: Mailbox, verb: str) -> None:
    mailbox.refusals = [(verb, "454 4.7.0 later"), ("DATA", "451 4.7.1 later")]
    with pytest.raises(mail.NotSentYet) if verb != "QUIT" else nullcontext() as told:
        mail.send(server_of(mailbox.url), "owner@example.com", "x", "x")
    _is_left(mailbox)
    assert (told is None) is (verb == "QUIT"), "its traceback holds what it came through"


def test_a_server_without_tls_is_left_too(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "LOOPBACK", ())  # as above
    with pytest.raises(mail.NotSent) as told:
        mail.send(server_of(mailbox.url), "owner@example.com", "x", "x")
    _is_left(mailbox)
    assert told.tb is not None


def _is_left(mailbox: Mailbox) -> None:
    """Wait until nobody is connected."""
    with gevent.Timeout(SOON_S):
        while mailbox.connections:
            gevent.sleep(0.01)


def test_a_server_that_cannot_be_reached_may_be_asked_again() -> None:
    with pytest.raises(mail.NotSentYet, match="could not be reached"):
        mail.send(server_of("smtp://127.0.0.1:1"), "owner@example.com", "x", "x")


@pytest.mark.parametrize(
    ("url", "sender", "expected"),
    [
        ("smtps://u:p%40ss@m.example", "", mail.MailServer("m.example", 465, True, "u", "p@ss", "kav@m.example")),
        ("smtp://a%40b.example:p@m.example", "", mail.MailServer("m.example", 587, False, *A_LOGIN, "a@b.example")),
        ("smtps://m.example:2465", "x@y.example", mail.MailServer("m.example", 2465, True, "", "", "x@y.example")),
    ],
)
def test_the_url_says_where_and_who(url: str, sender: str, expected: mail.MailServer) -> None:
    assert mail.mail_server(url, sender) == expected


def test_without_a_url_there_is_no_mail_server() -> None:
    assert mail.mail_server("", "x@y.example") is None
