"""Sends one e-mail over SMTP, always encrypted but for a server on this machine.

    smtps://user:password@smtp.example.com:465      TLS from the first byte
    smtp://user:password@smtp.example.com:587       STARTTLS, or nothing is sent

Source: RFC 8314 (implicit TLS, port 465; submission with STARTTLS, port 587).
"""

import smtplib
import ssl
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from functools import cache
from typing import Final
from urllib.parse import unquote, urlsplit

from kav.settings import LOOPBACK

TIMEOUT_S: Final = 20.0
"""Of each of the dozen exchanges that a message takes."""


class NotSent(Exception):
    """The server did not take it, or did not say; the message names no address and repeats no word of the server's."""


class NotSentYet(NotSent):
    """It surely has not left, and may if it is tried again: a passing refusal (greylisting), or no connection."""


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail is given to; `sender` is the address that it comes from."""

    host: str
    port: int
    implicit_tls: bool
    user: str
    password: str
    sender: str


def mail_server(url: str, sender: str) -> MailServer | None:
    """Read SMTP_URL and MAIL_FROM; None when no mail is sent."""
    if not url:
        return None
    parts = urlsplit(url)
    user, host = unquote(parts.username or ""), parts.hostname or ""
    tls = parts.scheme == "smtps"
    from_ = sender or (user if "@" in user else f"kav@{host}")
    return MailServer(host, parts.port or (465 if tls else 587), tls, user, unquote(parts.password or ""), from_)


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def warm_up() -> None:
    """Read the certificates now: 15 ms that no call should wait for."""
    _tls()


def send(server: MailServer, to: str, subject: str, text: str) -> None:
    """Send one message; waits, cooperatively.

    Raises NotSentYet while it may be sent again without coming twice, else NotSent.
    """
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = server.sender, to, subject
    message["Date"], message["Message-ID"] = formatdate(), make_msgid(domain=server.sender.rpartition("@")[2] or "kav")
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answering machine answers
    message.set_content(text)
    connection = _open(server)
    try:
        connection.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        raise _refusal(min(code for code, _ in error.recipients.values())) from None
    except smtplib.SMTPResponseException as error:
        raise _refusal(error.smtp_code) from None
    except (smtplib.SMTPException, OSError) as error:  # it may have been taken before that
        raise NotSent(f"the mail server did not say whether it took it ({type(error).__name__})") from None
    finally:
        _leave(connection)


def _leave(connection: smtplib.SMTP) -> None:
    """Say goodbye and go: whatever is answered, the mail was taken or was not."""
    try:
        with suppress(smtplib.SMTPException, OSError):
            connection.quit()
    finally:
        connection.close()


def _open(server: MailServer) -> smtplib.SMTP:
    """Return a connection that is ready to send; nothing has left yet, so a passing fault may be tried again."""
    try:
        return _admitted(_connected(server), server)
    except smtplib.SMTPResponseException as error:
        raise _refusal(error.smtp_code) from None
    except ssl.SSLCertVerificationError as error:
        raise NotSent(f"the mail server's certificate is no good ({error.verify_message})") from None
    except smtplib.SMTPNotSupportedError as error:
        raise NotSent(f"the mail server cannot do what SMTP_URL asks of it: {error}") from None
    except (smtplib.SMTPException, OSError) as error:
        raise NotSentYet(f"the mail server could not be reached ({type(error).__name__})") from None


def _refusal(code: int) -> NotSent:
    """What a server's reply means: 4yz is a refusal for now, 5yz for good (RFC 5321, 4.2.1)."""
    if 400 <= code < 500:
        return NotSentYet(f"the mail server does not take it yet ({code})")
    return NotSent(f"the mail server refused it ({code})")


def _connected(server: MailServer) -> smtplib.SMTP:
    if server.implicit_tls:
        return smtplib.SMTP_SSL(server.host, server.port, timeout=TIMEOUT_S, context=_tls())
    return smtplib.SMTP(server.host, server.port, timeout=TIMEOUT_S)


def _admitted(connection: smtplib.SMTP, server: MailServer) -> smtplib.SMTP:
    """Return the connection, encrypted and logged in; closed if it is not, for its error may be kept for long."""
    try:
        if not server.implicit_tls and server.host not in LOOPBACK:
            connection.starttls(context=_tls())
        if server.user:
            connection.login(server.user, server.password)
    except BaseException:
        connection.close()
        raise
    return connection
