"""One flow file, from its bytes to a `Flow`: everything that is wrong with it is found in one reading."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast, get_args

from kav.call.events import Direction
from kav.call.flow import Flow, Gender, Transfer
from kav.flow_files import telephone
from kav.flow_files.after_call import announced, read_owner, read_recording, read_summary
from kav.flow_files.document import Scalar, read_document
from kav.flow_files.faults import Fault, Faults, FlowFileError, instead
from kav.flow_files.hours import read_hours
from kav.flow_files.limits import read_max_calls
from kav.flow_files.placeholders import read_variables
from kav.flow_files.section import Section
from kav.flow_files.steps import read_steps
from kav.flow_files.texts import read_languages, read_texts
from kav.flow_files.tools import read_tools

VOICES: Final = ("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar")
"""The Realtime API's voices; an unknown one makes it refuse the whole session. One's own begin with `voice_`."""

DEFAULT: Final = "default"
"""Instead of numbers: the flow that answers whatever no other flow has."""

LONGEST_RING_S: Final = 120
LONGEST_TRANSFER_S: Final = 4 * 3600  # Twilio's own limit on <Dial timeLimit>

_ID: Final = re.compile(r"[a-z][a-z0-9_-]{0,39}")


@dataclass(frozen=True, slots=True)
class Source:
    """A flow, the file that it came from, and the lines of what other files may be at odds with."""

    flow: Flow
    file: str
    lines: Mapping[str, int]
    """`id`, `numbers` and `transfer.to`, and every number, by what is written there."""


def read_flow(path: Path) -> Flow:
    """Return the flow of one file; its `numbers` are empty when it is the default flow.

    Raises:
        FlowFileError: the file cannot be used; it says everything that is wrong.
    """
    source, faults = read_source(path)
    if source is None:
        raise FlowFileError(faults)
    return source.flow


def read_source(path: Path) -> tuple[Source | None, tuple[Fault, ...]]:
    """Return a file's flow, or None and what is wrong with it."""
    faults = Faults(str(path))
    try:
        data = path.read_bytes()
    except OSError as error:
        faults.add(1, "", f"the file cannot be read: {error.strerror}", "check its path and its permissions")
        return None, faults.in_order()
    entries = read_document(data, faults)
    if entries is None:
        return None, faults.in_order()
    section = Section(entries, "", faults)
    flow = _flow(section)
    source = Source(flow, faults.file, _lines(section))
    return (None if faults.found else source), faults.in_order()


def _flow(section: Section) -> Flow:
    section.require("business", "write the name as callers know it")
    for key in ("greeting", "closing"):
        section.require(key, "write the sentence as it is to be spoken")
    direction = cast("Direction", section.one_of("direction", get_args(Direction), "inbound"))
    languages = read_languages(section)
    greeting = read_texts(section, "greeting", languages, questions=0 if section.has("steps") else 1)
    recording = read_recording(section, languages, greeting)
    flow = Flow(
        id=_id(section),
        business=section.text("business"),
        direction=direction,
        numbers=_numbers(section, direction),
        languages=languages,
        greeting=announced(greeting, recording),
        closing=read_texts(section, "closing", languages, questions=0),
        facts=section.text("facts"),
        steps=read_steps(section, languages),
        gender=cast("Gender", section.one_of("gender", get_args(Gender), "female")),
        voice=_voice(section),
        hours=read_hours(section.section("hours")),
        transfer=_transfer(section, languages),
        tools=read_tools(section),
        machine_message=_machine_message(section, direction, languages),
        variables=read_variables(section, direction),
        owner=read_owner(section, languages),
        summary=read_summary(section),
        recording=recording,
        max_calls=read_max_calls(section),
    )
    section.finish()
    return flow


def _id(section: Section) -> str:
    section.require("id", "give the flow a short name such as `locksmith`")
    flow_id = section.text("id")
    if flow_id and not _ID.fullmatch(flow_id):
        section.fault("id", f"`{flow_id}` is no id", "use up to 40 of a-z 0-9 _ -, a letter first")
    return flow_id


def _voice(section: Section) -> str:
    voice = section.text("voice")
    if voice and voice not in VOICES and not voice.startswith("voice_"):
        section.fault("voice", f"the model has no voice `{voice}`", instead(voice, VOICES))
    return voice


def _numbers(section: Section, direction: Direction) -> tuple[str, ...]:
    """Return the numbers, none for the default flow."""
    section.require("numbers", f"write `numbers: [+972312345678]`, or `numbers: {DEFAULT}` (docs/flows.md)")
    words = section.words("numbers")
    if [word.text for word in words] == [DEFAULT]:
        if direction == "outbound":
            section.fault("numbers", "an outbound flow calls from a number", "write `numbers: [+972312345678]`")
        return ()
    if section.has("numbers") and not words:
        section.fault("numbers", "there is no number", f"write `numbers: [+972312345678]`, or `numbers: {DEFAULT}`")
    for index, word in enumerate(words):
        _check_number(section, "numbers", word)
        if word.text in [other.text for other in words[:index]]:
            section.fault("numbers", f"{word.text} stands here twice", "keep one", word.line)
    return tuple(word.text for word in words)


def _check_number(section: Section, key: str, word: Scalar) -> None:
    remedy = telephone.remedy(word.text)
    if remedy:
        section.fault(key, f"{word.text!r} is no number in E.164 form", remedy, word.line)


def _transfer(section: Section, languages: tuple[str, ...]) -> Transfer | None:
    group = section.section("transfer")
    if group is None:
        return None
    group.require("to", "write the number of the human, e.g. `to: +972312345678`")
    group.require("announcement", "write what the caller hears before the human's phone rings")
    to = group.scalar("to")
    if to:
        _check_number(group, "to", to)
    transfer = Transfer(
        to=to.text if to else "",
        announcement=read_texts(group, "announcement", languages, questions=0),
        ring_s=group.whole("ring_s", 5, LONGEST_RING_S, 25),
        time_limit_s=group.whole("time_limit_s", 60, LONGEST_TRANSFER_S, 1800),
    )
    group.finish()
    return transfer


def _machine_message(section: Section, direction: Direction, languages: tuple[str, ...]) -> Mapping[str, str]:
    if section.has("machine_message") and direction == "inbound":
        remedy = "delete it, or write `direction: outbound`"
        section.fault("machine_message", "nobody's machine answers an inbound call", remedy)
    return read_texts(section, "machine_message", languages, questions=0)


def _lines(section: Section) -> dict[str, int]:
    lines = {key: section.line(key) for key in ("id", "numbers")}
    lines |= {word.text: word.line for word in section.words("numbers")}
    transfer = section.section("transfer")
    return lines | {"transfer.to": transfer.line("to") if transfer else section.entries.line}
