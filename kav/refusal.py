"""Why Kav does not begin, in lines that an operator can act on: never a traceback, never a value that is secret.

SMTP_URL: write smtps://user:password@smtp.example.com:465
DATABASE_URL: Kav keeps records in SQLite or PostgreSQL, nowhere else
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click
from pydantic import ValidationError

from kav.records.errors import DatabaseMisconfiguredError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

STATUS: Final = 2
"""The exit status of a Kav that was set up wrongly, served or asked."""


def lines(error: ValidationError | DatabaseMisconfiguredError) -> str:
    """Return a line for each fault: the setting's name and what is to be done."""
    if isinstance(error, DatabaseMisconfiguredError):
        return str(error)
    return "\n".join(_line(fault) for fault in error.errors(include_url=False, include_input=False))


@contextmanager
def under_flask() -> Iterator[None]:
    """Let a command of `flask --app app` end with those lines; elsewhere the error goes on to who asked."""
    try:
        yield
    except (ValidationError, DatabaseMisconfiguredError) as error:
        if click.get_current_context(silent=True) is None:
            raise
        click.echo(lines(error), err=True)
        raise SystemExit(STATUS) from None  # flask's `--help` would print any other error with its traceback


def _line(fault: "ErrorDetails") -> str:
    """A fault over several settings has no place, for its text names them."""
    text = str(fault["ctx"]["error"]) if fault["type"] == "value_error" else fault["msg"]
    return ": ".join(filter(None, (".".join(map(str, fault["loc"])), text)))
