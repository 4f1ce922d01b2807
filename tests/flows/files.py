"""Flow files for the tests: a small one that is right, and changes to it."""

from pathlib import Path

from kav.call.flow import Flow
from kav.flow_files import FlowFileError, read_flow

SMALL = """\
id: bakery
business: The Bakery
numbers: [+97231110042]
languages: [he, en]
greeting: שלום, מדברת הנציגה הדיגיטלית.
closing: {he: "תודה, להתראות.", en: "Thank you, goodbye."}
steps:
  - id: bread
    ask: איזה לחם?
    answer: choice
    choices: [לבן, שחור]
  - id: sliced
    ask: לפרוס?
    answer: yes_no
  - id: name
    ask: על שם מי?
    answer: name
"""


def changed(old: str, new: str) -> str:
    """The small file with one piece of it replaced."""
    assert SMALL.count(old) == 1, old
    return SMALL.replace(old, new)


def write(folder: Path, text: str, name: str = "bakery.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def flow_of(folder: Path, text: str) -> Flow:
    return read_flow(write(folder, text))


def faults_of(folder: Path, text: str) -> list[str]:
    """Every fault of a file, without its path: `line: field: what; remedy.`"""
    path = write(folder, text)
    try:
        read_flow(path)
    except FlowFileError as error:
        return [str(fault).removeprefix(f"{path}:") for fault in error.faults]
    return []
