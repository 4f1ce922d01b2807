"""Guards what callers key and say, and what is told of them: a value of its kind or none, never a crash."""

import re

from hypothesis import example, given
from hypothesis import strategies as st

from kav.call.answers import MAX_ANSWER, Accepted, check
from kav.call.flow import AnswerKind, Step
from kav.call.keypad import MAX_KEYS, Keypad, by_keys, keys_wanted
from kav.call.variables import MAX_VALUE, harmless, quotable
from kav.dialling import NotDialableError, e164
from kav.log import masked
from realtime_prompt_builder import KIND_WORDS
from tests.fuzz import JSON, WORDS, fuzzed

KINDS: st.SearchStrategy[AnswerKind] = st.sampled_from(sorted(KIND_WORDS))


def step(kind: AnswerKind) -> Step:
    return Step("s", {"he": "?"}, kind=kind, choices=("לבן", "שחור") if kind == "choice" else ())


@fuzzed
@given(KINDS, st.lists(st.tuples(st.floats(0, 10), st.sampled_from("0123456789*#") | WORDS), max_size=60))
@example("date", [(0.0, "9")] * 60)
@example("number", [(0.0, "٣"), (5.0, "#")])
def test_whatever_is_pressed_an_entry_is_digits_and_says_something_or_nothing(
    kind: AnswerKind, keys: list[tuple[float, str]]
) -> None:
    pad, at = Keypad(), 0.0
    for pause_s, key in keys:
        at += pause_s
        for entry in (pad.tick(at), pad.press(at, key, keys_wanted(step(kind)))):
            if entry is not None:
                assert re.fullmatch(rf"[0-9]{{0,{MAX_KEYS}}}", entry)
                value = by_keys(step(kind), entry)
                assert value is None or check(step(kind), value)


@fuzzed
@given(KINDS, JSON)
@example("date", "٢٠٢٦-٠١-٠١")
@example("number", "٣")
@example("number", 10**4000)
@example("phone", "٠٥٠١٢٣٤٥٦٧")
@example("time", "24:00:00+99:99")
def test_any_value_is_accepted_in_its_own_form_or_refused_in_words(kind: AnswerKind, value: object) -> None:
    found = check(step(kind), value)
    if isinstance(found, Accepted):
        assert 0 < len(found.value) <= MAX_ANSWER
        assert kind != "number" or re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", found.value)
        assert kind != "phone" or re.fullmatch(r"\+?[0-9]{7,15}", found.value)
    else:
        assert found.why


@fuzzed
@given(WORDS | st.text("+0123456789-(). *#;ext=tel:", max_size=45), st.sampled_from(["IL", "US", "AQ"]))
@example("+972٥٠١٢٣٤٥٦٧", "IL")
@example("tel:+972501234567;phone-context=evil", "IL")
def test_any_number_is_dialled_in_one_form_or_refused_in_words(written: str, region: str) -> None:
    try:
        number = e164(written, region)
    except NotDialableError as error:
        why, _, remedy = str(error).partition("; ")
        known = bool(why and remedy)
    else:
        known = True
        assert re.fullmatch(r"\+[1-9][0-9]{4,16}", number)
        assert e164(number, region) == number
    assert known


@fuzzed
@given(WORDS)
def test_what_is_told_of_a_person_or_said_by_one_stays_one_line_without_marks(text: str) -> None:
    assert len(harmless(text)) <= MAX_VALUE
    for safe in (harmless(text), quotable(text)):
        assert not set(safe) & set("«»“”\n\r\x00\u2028\u202e")
        safe.encode()


@fuzzed
@given(WORDS, st.sampled_from(["+972501234567", "050-123 4567", "0501234567"]), WORDS)
@example("+972501234567", "050-123 4567", "")
def test_a_number_that_stands_alone_is_masked_whatever_stands_around_it(before: str, number: str, after: str) -> None:
    assert number not in masked(f"{before} {number} {after}")
