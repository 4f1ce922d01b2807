"""Words for the model: every flow's prefix fits, every order names one thing, and no language is left without words."""

import itertools
from dataclasses import replace

import pytest

from kav.call.actions import RequestResponse
from kav.call.events import Direction
from kav.call.flow import Flow
from kav.call.ruling import Directive
from kav.flow_files import load_flows
from kav.settings import Settings
from realtime_prompt_builder import TOOL_WORDS, build_instructions, build_session, load_phrases, order, own_tools

PHRASES = load_phrases()
FLOWS = load_flows().flows
NOW = "Sunday 2026-11-22 12:00"


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.id)
def test_the_prefix_says_who_speaks_the_supreme_rule_and_the_facts(flow: Flow) -> None:
    session = build_session(Settings(_env_file=None), flow)  # type: ignore[call-arg]  # pydantic-settings' own argument
    words = session["instructions"]
    assert flow.business in words
    assert flow.facts.strip() in words
    assert "language" not in session["audio"]["input"]["transcription"], "transcription is never pinned"


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.id)
def test_the_prefix_holds_every_rule_in_its_order(flow: Flow) -> None:
    words = build_instructions(flow)
    rules = ["מי מדבר", "איך מדברים", "הכלל העליון", "נעילת התסריט" if flow.steps else "פרידה", "שפה", "עברית מדוברת"]
    rules += [*(["עובדות"] if flow.facts else []), *(["שעות הפתיחה"] if flow.hours else []), "משפטים קבועים"]
    places = [words.index(f"# {rule}") for rule in rules]
    assert places == sorted(places)
    assert words.count("\n# ") + 1 == len(rules), "and no other"
    assert "{" not in words.replace(flow.facts.strip(), "")


@pytest.mark.parametrize(("direction", "told"), [("inbound", "התקשר אל העסק"), ("outbound", "העסק התקשר אל")])
def test_the_prefix_says_who_has_called_whom(direction: Direction, told: str) -> None:
    assert told in build_instructions(_with(FLOWS[0], direction=direction))


@pytest.mark.parametrize("language", ["he", "en", "ar", "ru", "fr"])
@pytest.mark.parametrize("phrase", ["greeting", "closing", "resume", "still_there", "limit_notice", "goodbye"])
def test_every_phrase_has_words_in_every_language(language: str, phrase: str) -> None:
    for flow in FLOWS:
        if phrase == "closing" and not flow.closing:
            continue
        words = order(flow, PHRASES, RequestResponse("kav1", "phrase", phrase, language=language), NOW)
        assert "«" in words
        assert "«»" not in words


def test_a_closing_in_one_language_is_translated_for_the_others() -> None:
    flow = next(flow for flow in FLOWS if flow.id == "locksmith")
    own = {flow.language: flow.closing[flow.language]}
    request = RequestResponse("kav1", "phrase", "closing", language="en")
    words = order(_with(flow, closing=own), PHRASES, request, NOW)
    assert own[flow.language] in words
    assert "'en'" in words


@pytest.mark.parametrize("flow", [flow for flow in FLOWS if flow.steps], ids=lambda flow: flow.id)
def test_the_model_is_shown_the_active_question_and_no_other(flow: Flow) -> None:
    for step, language in itertools.product(flow.steps, ("he", "en", "fr")):
        for kind in ("judge", "speak"):
            request = RequestResponse("kav1", kind, language=language, directive=Directive("ask", step.id))
            words = order(flow, PHRASES, request, NOW)
            others = [other for other in flow.steps if other.id != step.id]
            assert not [other.id for other in others if other.ask[flow.language] in words]


def test_a_tool_is_offered_to_what_is_spoken_freely_and_never_to_the_judge() -> None:
    clinic = next(flow for flow in FLOWS if flow.tools)
    settings = Settings(_env_file=None)  # type: ignore[call-arg]  # pydantic-settings' own argument
    (tool,) = own_tools(clinic)
    assert (tool["type"], tool["name"], tool["parameters"]["required"]) == ("function", "free_slots", ["day"])
    assert len(build_session(settings, clinic)["tools"]) == 6
    free = build_session(settings, _with(clinic, steps=()))["tools"]
    assert [one["name"] for one in free] == ["current_time", "free_slots"]


def test_only_a_reply_that_may_call_a_tool_is_told_so() -> None:
    clinic = next(flow for flow in FLOWS if flow.tools)
    request = RequestResponse("kav1", "speak", language="he", directive=Directive("answer_then_resume", "day"))
    plain = order(clinic, PHRASES, request, NOW)
    assert order(clinic, PHRASES, replace(request, tools="may_call"), NOW) == plain + TOOL_WORDS


def _with(flow: Flow, **changes: object) -> Flow:
    return replace(flow, **changes)  # type: ignore[arg-type]  # a field at a time
