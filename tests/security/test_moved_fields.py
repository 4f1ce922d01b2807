"""Guards what a signed form can be turned into: Twilio's scheme has no separators, so fields may be cut anew.

Whoever has a captured request may make others of the same signature. They lose or lengthen fields of the same call;
they never speak for a call whose sid is not in the captured text, nor make a status of what was none.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

import pytest
from flask import Flask
from hypothesis import assume, example, given
from hypothesis import strategies as st

import stream_registry
from rehearsal.twilio.signing import SIGNATURE_HEADER, signature
from tests.fuzz import fuzzed
from tests.fuzz.installation import TOKEN, URL, installation

ACCOUNT = "AC" + "0" * 32
CALL, CHILD, ANOTHER = "CA" + "1a" * 16, "CA" + "2b" * 16, "CA" + "3c" * 16
A_SID = re.compile(r"CA[0-9a-f]{32}")
Form = dict[str, str]
COMMON = {"AccountSid": ACCOUNT, "CallSid": CALL, "Direction": "inbound", "From": "+972501234567", "To": "+97231110002"}
CAPTURED: dict[str, Form] = {
    "status": {**COMMON, "CallStatus": "in-progress", "CallbackSource": "call-progress-events", "SequenceNumber": "2"},
    "dial-result": {**COMMON, "CallStatus": "in-progress", "DialCallSid": CHILD, "DialCallStatus": "no-answer"},
    "machine": {**COMMON, "AnsweredBy": "human", "MachineDetectionDuration": "2300"},
    "stream-status": {**COMMON, "StreamEvent": "stream-started", "StreamSid": "MZ" + "4" * 32},
}


def text_of(form: Form) -> str:
    """What is signed of a form."""
    return "".join(name + form[name] for name in sorted(form))


@st.composite
def cut_anew(draw: st.DrawFn, form: Form) -> Form:
    """Another form of the same text: each piece of it is a name or a value, and the names are in their order."""
    pairs = [(name, form[name]) for name in sorted(form)]
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(pairs) - 1))
        name, value = pairs[at]
        if at and draw(st.booleans()):  # the field before takes this one in
            before = pairs[at - 1]
            pairs[at - 1 : at + 1] = [(before[0], before[1] + name + value)]
        else:  # a field that nobody knows begins within this one
            begins = draw(st.integers(0, len(value)))
            ends = draw(st.integers(begins, len(value)))
            pairs[at : at + 1] = [(name, value[:begins]), (value[begins:ends], value[ends:])]
    assume(all(name for name, _ in pairs))
    assume(all(one < other for (one, _), (other, _) in pairwise(pairs)))
    return dict(pairs)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    with installation(tmp_path_factory.mktemp("kav")) as app:
        yield app


def said(app: Flask, hook: str, form: Form, signed: Form | None = None) -> tuple[int, str]:
    """Kav's answer to a form that carries the signature of another one, or its own."""
    path = f"/twilio/{hook}"
    headers = {SIGNATURE_HEADER: signature(TOKEN, URL + path, form if signed is None else signed)}
    answer = app.test_client().post(path, data=form, headers=headers)
    return answer.status_code, answer.text


@pytest.fixture
def calls(app: Flask) -> None:
    two_calls(app)


def two_calls(app: Flask) -> None:
    """Two calls that ring: the one that was captured, and somebody else's."""
    stream_registry.registry.clear()
    for sid, person in ((CALL, "+972501234567"), (ANOTHER, "+972507654321")):
        form = {**COMMON, "CallSid": sid, "From": person, "CallStatus": "ringing"}
        assert "<Stream" in said(app, "voice", form)[1]


def live(sid: str) -> tuple[object, ...]:
    entry = stream_registry.get(sid)
    assert entry is not None
    return entry["ended"], entry["token"], entry["after_stream"], entry["opening"]


MOVED = st.sampled_from(sorted(CAPTURED)).flatmap(lambda hook: st.tuples(st.just(hook), cut_anew(CAPTURED[hook])))
PARENT = {"AccountSid": f"{ACCOUNT}CallSid{CALL}CallStatusin-progressDial", "CallSid": CHILD}
REST = {name: CAPTURED["dial-result"][name] for name in ("DialCallStatus", "Direction", "From", "To")}


@fuzzed
@given(MOVED)
@example(("dial-result", {**PARENT, **REST}))
@example(
    ("status", {"AccountSid": ACCOUNT + text_of({n: v for n, v in CAPTURED["status"].items() if n != "AccountSid"})})
)
def test_a_form_that_was_cut_anew_is_about_no_call_that_the_captured_one_does_not_name(
    app: Flask, moved: tuple[str, Form]
) -> None:
    hook, form = moved
    assert text_of(form) == text_of(CAPTURED[hook])
    two_calls(app)
    another, before = live(ANOTHER), live(CALL)
    status, _ = said(app, hook, form, signed=CAPTURED[hook])
    assert status in (200, 204), "Twilio's own validator would take it as well"
    sid = form.get("CallSid", "")
    assert not A_SID.fullmatch(sid) or sid in (CALL, CHILD)
    assert live(ANOTHER) == another
    if sid != CALL:
        assert live(CALL) == before
    assert live(CALL)[0] == before[0], "a call that goes on is not ended by it"
    assert set(stream_registry.registry) <= {CALL, ANOTHER}, "and none is begun"


def test_a_call_s_sid_becomes_a_part_of_itself_or_that_of_its_own_other_leg(app: Flask, calls: None) -> None:  # noqa: ARG001
    """The worst of it: in what a hand-over brings the human's leg can stand in the call's place, whom nobody knows."""
    captured = CAPTURED["dial-result"]
    form = {**PARENT, **REST}
    before = live(CALL)
    status, answer = said(app, "dial-result", form, signed=captured)
    assert (status, "<Connect" in answer, "token" in answer) == (200, False, False)
    assert live(CALL) == before


@pytest.mark.parametrize("hook", sorted(CAPTURED))
def test_nothing_of_a_form_can_be_moved_into_the_address(app: Flask, calls: None, hook: str) -> None:  # noqa: ARG001
    """The address is the text's beginning: fields that are moved there name another page, and there is none."""
    captured = CAPTURED[hook]
    names = sorted(captured)
    signed = {SIGNATURE_HEADER: signature(TOKEN, URL + f"/twilio/{hook}", captured)}
    for count in range(1, len(names) + 1):
        moved = text_of({name: captured[name] for name in names[:count]})
        rest = {name: captured[name] for name in names[count:]}
        for path in (f"/twilio/{hook}{moved}", f"/twilio/{hook}?{moved}", f"/twilio/{hook}/{moved}"):
            assert app.test_client().post(path, data=rest, headers=signed).status_code in (403, 404)


def test_a_field_that_is_not_in_the_text_cannot_be_added(app: Flask, calls: None) -> None:  # noqa: ARG001
    captured = CAPTURED["status"]
    for forged in (
        {**captured, "CallSid": ANOTHER},
        {**captured, "CallStatus": "completed"},
        {**captured, "CallDuration": "7"},
        {name: value for name, value in captured.items() if name != "CallStatus"},
    ):
        assert said(app, "status", forged, signed=captured)[0] == 403
    assert not live(CALL)[0]
    assert not live(ANOTHER)[0]
