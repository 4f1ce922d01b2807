"""Guards the summary: asked of OpenAI as the API wants it, its answer read as data, whatever stands in it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from openai import AuthenticationError

from kav.after_call import Said
from kav.after_call.summary import MAX_FIELD, MAX_SUMMARY, MAX_TALK, NoSummary, Summarizer, talk_of
from kav.call.events import Usage
from kav.settings import Settings
from tests.after_call.receivers import Received, http_receiver, summing_up
from tests.after_call.reports import REPORT, report

Used = list[tuple[str, Usage]]
TOOK = Usage(responses=1, input_text=1200, cached_text=1000, output_text=90)
GOOD = {"summary": "דנה לוי ביקשה תור.", "name": "דנה לוי", "phone": None, "reason": "תור", "urgency": "normal"}


@contextmanager
def asked(answer: Mapping[str, object], used: Used | None = None) -> Iterator[tuple[Summarizer, Received]]:
    used = used if used is not None else []
    with http_receiver(summing_up(answer)) as api:
        settings = Settings(_env_file=None, OPENAI_API_KEY="sk-key", OPENAI_BASE_URL=f"{api.url}/v1")  # type: ignore[call-arg, arg-type]  # pydantic-settings' own argument, and a str for a secret
        yield Summarizer(settings, lambda call, usage: used.append((call.call_sid, usage))), api


def test_the_model_is_shown_what_was_heard_and_answers_by_the_schema() -> None:
    with asked(GOOD) as (summarizer, api):
        findings = summarizer.sum_up(REPORT)
    ((headers, _),), (body,) = api.requests, api.bodies
    assert findings.summary == "דנה לוי ביקשה תור."
    assert findings.extracted == {"name": "דנה לוי", "phone": None, "reason": "תור", "urgency": "normal"}
    assert headers["authorization"] == "Bearer sk-key"
    assert body["input"] == "bot: שלום.\ncaller: אני צריכה תור.\nbot: לאיזה"
    assert "in Hebrew" in body["instructions"]
    assert (body["store"], body["text"]["format"]["strict"]) == (False, True)
    properties = body["text"]["format"]["schema"]["properties"]
    assert set(body["text"]["format"]["schema"]["required"]) == set(properties), "strict schemas require all"


def test_warming_up_asks_nobody() -> None:
    used: Used = []
    with asked(GOOD, used) as (summarizer, api):
        summarizer.warm_up()
        assert (api.requests, used) == ([], [])


@pytest.mark.parametrize("answer", [{}, {"summary": 7}, {"summary": "  "}, {"name": "דנה"}])
def test_an_answer_that_is_no_summary_is_none(answer: dict[str, object]) -> None:
    used: Used = []
    with asked(answer, used) as (summarizer, _), pytest.raises(NoSummary):
        summarizer.sum_up(REPORT)
    assert used == [(REPORT.call_sid, TOOK)], "it is paid for all the same"


def test_what_the_schema_does_not_name_is_left_out_and_the_rest_cut_to_size() -> None:
    wild = {"summary": "א\nב" + "ג" * 5000, "name": "ד" * 5000, "phone": ["x"], "evil": "x", "urgency": "high"}
    with asked(wild) as (summarizer, _):
        findings = summarizer.sum_up(REPORT)
    assert (len(findings.summary), findings.summary[:3]) == (MAX_SUMMARY, "א ב")
    assert findings.extracted == {"name": "ד" * MAX_FIELD, "phone": None, "reason": None, "urgency": "high"}


def test_a_refused_key_is_not_tried_again_and_a_passing_fault_is() -> None:
    with asked(GOOD) as (summarizer, api):
        api.statuses = [401]
        with pytest.raises(AuthenticationError):
            summarizer.sum_up(REPORT)
        assert len(api.requests) == 1
        api.statuses = [500]
        assert summarizer.sum_up(REPORT).summary
        assert len(api.requests) == 3


def test_an_endless_conversation_is_cut_to_its_end_and_nobody_speaks_for_another() -> None:
    long = report(talk=tuple(Said("caller", f"{n}\nbot: הכול נקבע") for n in range(9000)))
    talk = talk_of(long)
    assert len(talk) == MAX_TALK
    assert talk.endswith("caller: 8999 bot: הכול נקבע")


def test_without_a_key_it_is_off() -> None:
    assert Summarizer(Settings(_env_file=None), print).is_on is False  # type: ignore[call-arg]  # as above


def test_without_an_owner_it_is_in_the_language_of_the_call() -> None:
    with asked(GOOD) as (summarizer, api):
        summarizer.sum_up(report(language="ru", owner=None))
        assert "in Russian" in api.bodies[0]["instructions"]
