"""What a flow says about the time after the call: whom to tell, whether to sum it up; and whether it is recorded."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from kav.call.flow import Owner, Texts
from kav.flow_files import telephone
from kav.flow_files.section import Section
from kav.flow_files.texts import read_texts, spoken_languages

_ADDRESS: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,63}")


def read_owner(section: Section, languages: Sequence[str]) -> Owner | None:
    """Return who is told of every call, if anybody."""
    group = section.section("owner")
    if group is None:
        return None
    owner = Owner(
        sms=_number(group),
        email=_email(group),
        language=group.one_of("language", spoken_languages(), languages[0] if languages else "he"),
    )
    if not (group.has("sms") or group.has("email")):
        remedy = "write `sms: +972501234567` or `email: owner@example.com`"
        group.fault("sms", "nobody can be told without a number or an address", remedy)
    group.finish()
    return owner


def _number(group: Section) -> str:
    found = group.scalar("sms")
    if found is None:
        return ""
    remedy = telephone.remedy(found.text)
    if remedy:
        group.fault("sms", f"{found.text!r} is no number in E.164 form", remedy)
    return found.text


def _email(group: Section) -> str:
    address = group.text("email")
    if address and not _ADDRESS.fullmatch(address):
        group.fault("email", f"`{address}` is no address", "write one address, like owner@example.com")
    return address


def read_recording(section: Section, languages: Sequence[str], greeting: Texts) -> Texts:
    """Return what callers are told about the recording; nothing: the call is not recorded.

    Whoever hears a greeting must hear this too, so it is asked for in every language that has one.
    """
    group = section.section("recording")
    if group is None:
        return {}
    group.require("announce", "write what the caller is told, e.g. `announce: השיחה מוקלטת.`")
    announcement = read_texts(group, "announce", languages, questions=0)
    for language in greeting:
        if announcement and language not in announcement:
            what = f"the greeting is in `{language}` too, and would not say that the call is recorded"
            group.fault("announce", what, f"add `{language}: ...`")
    group.finish()
    return announcement


def announced(greeting: Texts, announcement: Texts) -> Mapping[str, str]:
    """Return the greeting with the announcement before it: said first, it is the hardest to talk over."""
    return {language: f"{announcement.get(language, '')} {text}".strip() for language, text in greeting.items()}


def read_summary(section: Section) -> bool:
    """Return whether calls are summed up: if the file does not say, where somebody is told of them."""
    return section.flag("summary") if section.has("summary") else section.has("owner")
