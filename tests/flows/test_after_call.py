"""Guards what a flow file says about the time after the call: the owner, the summary, the recording."""

from pathlib import Path

import pytest

from kav.call.flow import Owner
from tests.flows.files import SMALL, changed, faults_of, flow_of

OWNER = SMALL + "owner:\n  sms: +972501234567\n  email: owner@example.com\n"


def test_a_flow_without_these_keys_tells_nobody_and_records_nothing(tmp_path: Path) -> None:
    flow = flow_of(tmp_path, SMALL)
    assert (flow.owner, flow.summary, flow.recording) == (None, False, {})


def test_the_owner_is_told_in_the_flow_s_own_language_unless_another_is_named(tmp_path: Path) -> None:
    assert flow_of(tmp_path, OWNER).owner == Owner("+972501234567", "owner@example.com", "he")
    owner = flow_of(tmp_path, OWNER + "  language: ru\n").owner
    assert owner is not None
    assert owner.language == "ru"


@pytest.mark.parametrize(("said", "summed_up"), [("", True), ("summary: false\n", False), ("summary: true\n", True)])
def test_calls_that_somebody_is_told_of_are_summed_up_unless_the_file_says_no(
    tmp_path: Path, said: str, summed_up: bool
) -> None:
    assert flow_of(tmp_path, OWNER + said).summary is summed_up
    assert flow_of(tmp_path, SMALL + "summary: true\n").summary is True


@pytest.mark.parametrize(
    ("owner", "fault"),
    [
        (
            "{sms: 050-1234567}",
            "18: owner.sms: '050-1234567' is no number in E.164 form; write the number with its country",
        ),
        ("{email: owner@home}", "18: owner.email: `owner@home` is no address; write one address"),
        ('{email: "a@b.example, c@d.example"}', "18: owner.email: `a@b.example, c@d.example` is no address"),
        ("{language: he}", "18: owner.sms: nobody can be told without a number or an address"),
        ("{sms: +972501234567, language: xx}", "18: owner.language: `xx` is not possible here"),
        ("{sms: +972501234567, fax: 1}", "18: owner.fax: there is no such key"),
    ],
)
def test_a_fault_of_the_owner_is_told_with_its_line_and_remedy(tmp_path: Path, owner: str, fault: str) -> None:
    (found,) = faults_of(tmp_path, SMALL + f"owner: {owner}\n")
    assert found.startswith(fault)


def test_a_recorded_call_begins_with_the_announcement(tmp_path: Path) -> None:
    flow = flow_of(tmp_path, SMALL + "recording: {announce: השיחה מוקלטת.}\n")
    assert flow.greeting["he"] == "השיחה מוקלטת. שלום, מדברת הנציגה הדיגיטלית."
    assert flow.recording == {"he": "השיחה מוקלטת."}


def test_every_language_that_is_greeted_in_is_told_of_the_recording(tmp_path: Path) -> None:
    text = changed("greeting: שלום, מדברת הנציגה הדיגיטלית.", "greeting: {he: שלום., en: Hello.}")
    (fault,) = faults_of(tmp_path, text + "recording: {announce: {he: השיחה מוקלטת.}}\n")
    assert "recording.announce: the greeting is in `en` too" in fault
    assert faults_of(tmp_path, text + "recording: {announce: {he: השיחה מוקלטת., en: Recorded.}}\n") == []


def test_a_recording_that_nobody_is_told_of_is_refused(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, SMALL + "recording: {}\n")
    assert "recording.announce: it is missing" in fault
