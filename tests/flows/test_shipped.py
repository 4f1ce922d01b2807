"""Guards the businesses that Kav ships with, and Kav's own sentences in each of its languages."""

import re

import pytest

from kav.call.flow import Flow, Texts
from kav.call.variables import PLACEHOLDER
from kav.flow_files import FOLDER, load_flows
from realtime_prompt_builder import PHRASE_IDS, load_phrases

FLOWS = {flow.id: flow for flow in load_flows().flows}
SCRIPTS = {"he": "\u0590-\u05ff", "ar": "\u0600-\u06ff", "ru": "\u0400-\u04ff", "en": "A-Za-z"}
DIGITAL = {"he": "דיגיטלי", "en": "digital representative", "ar": "الرقمي", "ru": "цифров"}


def texts_of(flow: Flow) -> list[Texts]:
    transfer = [flow.transfer.announcement] if flow.transfer else []
    message = [flow.machine_message] if flow.machine_message else []
    return [flow.greeting, flow.closing, *(step.ask for step in flow.steps), *transfer, *message]


def is_written_in(text: str, language: str) -> bool:
    """Whether every letter of a text is of its language's script; a placeholder's name is nobody's to hear."""
    return bool(text) and not re.search(rf"[^\W\d_{SCRIPTS[language]}]", PLACEHOLDER.sub("", text))


def test_three_businesses_and_the_default_flow_are_shipped() -> None:
    directions = {flow.id: flow.direction for flow in FLOWS.values()}
    assert directions == {"locksmith": "inbound", "clinic": "inbound", "sales": "outbound", "default": "inbound"}
    assert [flow.id for flow in FLOWS.values() if not flow.numbers] == ["default"]
    assert {path.suffix for path in FOLDER.iterdir()} == {".yaml"}


@pytest.mark.parametrize("flow", FLOWS.values(), ids=FLOWS)
def test_each_shipped_sentence_stands_in_all_four_languages_and_their_scripts(flow: Flow) -> None:
    for texts in texts_of(flow):
        assert set(texts) == set(SCRIPTS)
        assert all(is_written_in(text, language) for language, text in texts.items()), texts


@pytest.mark.parametrize("flow", FLOWS.values(), ids=FLOWS)
def test_each_shipped_greeting_says_that_a_digital_representative_speaks(flow: Flow) -> None:
    assert all(DIGITAL[language] in text for language, text in flow.greeting.items())


def test_the_shipped_flows_show_every_kind_of_answer_but_a_plain_number() -> None:
    kinds = {step.kind for flow in FLOWS.values() for step in flow.steps}
    assert kinds == {"text", "choice", "yes_no", "phone", "date", "time", "name", "address"}


def test_someone_who_is_not_interested_is_asked_nothing_more() -> None:
    sales = FLOWS["sales"]
    assert sales.after(sales.steps[0], "no") is None
    assert sales.after(sales.steps[0], "yes") == "callback_day"


def test_the_resume_phrase_is_the_one_that_was_given() -> None:
    assert load_phrases().text("resume", "he") == "רוצה שנמשיך מאיפה שהיינו?"


@pytest.mark.parametrize("language", SCRIPTS)
def test_each_fixed_phrase_stands_in_its_language(language: str) -> None:
    texts = load_phrases().texts[language]
    assert set(texts) == set(PHRASE_IDS)
    assert all(is_written_in(text, language) for text in texts.values())
