"""The command line: `flask --app app connect-number`, `doctor`, `check-flows`, `migrate` and `erase`.

The settings are those of the app: `app.config["KAV_SETTINGS"]`.
"""

import os
import re
from pathlib import Path

import click
from flask import Flask, current_app
from flask.cli import with_appcontext
from sqlalchemy.exc import DBAPIError

from kav.doctor import FALLBACK_PATH, STATUS_PATH, VOICE_PATH, base_url_fault, examine
from kav.flow_files import Checked, FlowFileError, check_file, check_folder, folder_of, load_flows, secrets_of
from kav.records import migration, retention
from kav.records.database import build_engine, parse_url, summary
from kav.records.errors import RecordsError
from kav.settings import Settings, read_secrets
from kav.wire.twilio_recordings import delete_recording
from kav.wire.twilio_rest import TwilioRest, TwilioRestError

E164 = re.compile(r"\+[1-9]\d{6,14}")
WRITTEN = re.compile(r"[\s().-]")  # how people group the digits of a number


def init_app(app: Flask) -> None:
    """Add the commands to an app."""
    for command in (connect_number, doctor, check_flows, migrate, erase):
        app.cli.add_command(command)


@click.command("connect-number")
@click.argument("number")
@click.option("--base-url", default="", help="Where Twilio reaches Kav, instead of PUBLIC_BASE_URL.")
@with_appcontext
def connect_number(number: str, base_url: str) -> None:
    """Let a Twilio NUMBER (+972...) ring at Kav: set its voice, status and fallback URLs."""
    settings = _settings()
    base, wanted = _public(base_url or settings.PUBLIC_BASE_URL), _e164(number)
    rest = TwilioRest(settings)
    try:
        found = rest.find_number(wanted)
        if found is None:
            raise click.ClickException(
                f"{wanted} is not a number of account {settings.TWILIO_ACCOUNT_SID}: "
                "check the digits and TWILIO_ACCOUNT_SID, or buy the number in the Twilio console."
            )
        now = rest.connect_number(found.sid, base + VOICE_PATH, base + STATUS_PATH, base + FALLBACK_PATH)
    except TwilioRestError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{wanted} now rings at Kav:")
    click.echo(f"  voice     POST {now.voice_url}")
    click.echo(f"  status    POST {now.status_callback}")
    click.echo(f"  fallback  POST {now.voice_fallback_url}")
    for note in notes(settings, wanted, base):
        click.echo(f"note: {note}")


@click.command("doctor")
@with_appcontext
def doctor() -> None:
    """Check all that a real call needs: one line each, with its remedy; exit status 1 when anything is wrong."""
    settings = _settings()
    faults = 0
    for finding in examine(settings, TwilioRest(settings)):
        click.echo(str(finding))
        faults += not finding.ok
    if faults:
        raise click.exceptions.Exit(1)


@click.command("check-flows")
@click.argument("where", metavar="[FOLDER|FILE]", type=click.Path(path_type=Path), default=None)
@with_appcontext
def check_flows(where: Path | None) -> None:
    """Check the flow files of FOLDER (default: KAV_FLOWS), or FILE alone: a line each; exit status 1 for any fault."""
    where = where or folder_of(_settings().KAV_FLOWS)
    shown = Path(os.path.relpath(where)) if where.resolve().is_relative_to(Path.cwd()) else where
    checked = (check_file(shown),) if shown.is_file() else check_folder(shown)
    for one in checked:
        click.echo("\n".join(str(fault) for fault in one.faults) or _summary(one))
    if any(one.faults for one in checked):
        raise click.exceptions.Exit(1)


@click.command("migrate")
@click.option("--revision", default="", help="Developers: write a new migration with this title from the models.")
@with_appcontext
def migrate(revision: str) -> None:
    """Bring the database to the schema that this Kav expects (Kav does so itself whenever it starts)."""
    try:
        engine = build_engine(parse_url(_settings().DATABASE_URL), "write")
    except RecordsError as error:
        raise click.ClickException(str(error)) from error
    with engine.begin() as connection:
        notice = migration.upgrade(connection)
        if revision:
            migration.create_revision(connection, revision)
        click.echo(notice or f"The database is at revision {migration.revision_of(connection)}.")
    engine.dispose()


@click.command("erase")
@click.argument("number")
@with_appcontext
def erase(number: str) -> None:
    """Erase from the records all that belongs to the person with telephone NUMBER (+972...)."""
    wanted = number if ":" in number else _e164(number)
    if wanted in _own_numbers():
        raise click.ClickException(
            f"{wanted} is a number of your own: its calls are other people's; give one of theirs."
        )
    try:
        engine = build_engine(parse_url(_settings().DATABASE_URL), "write")
        with engine.begin() as connection:
            migration.upgrade(connection)
            recordings = retention.recordings_of(connection, wanted)
        _delete_recordings(recordings)
        erased = retention.erase_everywhere(engine, wanted)
    except (RecordsError, DBAPIError) as error:
        raise click.ClickException(f"not all is erased; run it again. {summary(error)}") from error
    engine.dispose()
    click.echo(f"{wanted}: {erased.calls} calls erased, with {erased.parts} turns, answers, breaches and tool calls.")
    if recordings:
        click.echo(f"{len(recordings)} recordings are deleted at Twilio.")
    click.echo("An entry of the do-not-call list stays. Twilio and OpenAI keep records of their own.")


def _delete_recordings(recordings: list[str]) -> None:
    """Delete them at Twilio before Kav forgets which they are."""
    rest = TwilioRest(_settings())
    try:
        for recording in recordings:
            delete_recording(rest, recording)
    except TwilioRestError as error:
        raise click.ClickException(f"nothing is erased yet, for a recording is still at Twilio. {error}") from error


def _own_numbers() -> set[str]:
    """The numbers that Kav answers or calls from, as far as its flow files can be read."""
    own = set(_settings().KAV_DEFAULT_NUMBERS)
    try:
        return own.union(*(flow.numbers for flow in load_flows(folder_of(_settings().KAV_FLOWS)).flows))
    except FlowFileError:
        return own


def notes(settings: Settings, number: str, base: str) -> list[str]:
    """What else must be so for a connected number to be answered."""
    said = []
    if base != settings.PUBLIC_BASE_URL:
        said.append(f"Kav must run with PUBLIC_BASE_URL={base}, or it refuses Twilio's signatures.")
    try:
        answered = load_flows(folder_of(settings.KAV_FLOWS), settings.KAV_DEFAULT_NUMBERS).inbound(number) is not None
    except FlowFileError:
        return [*said, "Kav does not start with its flow files as they are: run `flask --app app check-flows`."]
    if not answered:
        said.append(f"Kav rejects calls to {number} until a flow file or KAV_DEFAULT_NUMBERS names it.")
    return said


def _summary(checked: Checked) -> str:
    """Say what a flow file holds, and which secrets its tools will look for."""
    flow = checked.flow
    assert flow is not None  # noqa: S101 - a file without faults has a flow
    told = [flow.id, flow.direction, ", ".join(flow.numbers) or "default", f"{len(flow.steps)} steps"]
    held = read_secrets(secrets_of(flow))
    needed = [
        f"needs {name} in the environment" + ("" if name in held else ", which is not set: its tool is left out")
        for name in secrets_of(flow)
    ]
    return f"{checked.file}: ok ({'; '.join([*told, *needed])})"


def _settings() -> Settings:
    settings = current_app.config["KAV_SETTINGS"]
    assert isinstance(settings, Settings)  # noqa: S101 - the app's own promise
    return settings


def _public(base: str) -> str:
    base = base.rstrip("/")
    if not base:
        raise click.ClickException("Twilio must know where Kav is: set PUBLIC_BASE_URL or give --base-url https://...")
    fault = base_url_fault(base)
    if fault:
        raise click.ClickException(f"{base} cannot be called by Twilio: {fault}.")
    return base


def _e164(number: str) -> str:
    digits = WRITTEN.sub("", number)
    if not E164.fullmatch(digits):
        raise click.ClickException(f"{number!r} is not a full telephone number: write it like +972312345678.")
    return digits
