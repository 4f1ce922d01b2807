"""Guards what other processes tell by way of Redis: whatever stands there is read or refused, and ends nothing here."""

import json
import math
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import pytest
from flask import Flask
from hypothesis import example, given
from hypothesis import strategies as st

import stream_registry
from kav.call.conversation import Conversation
from kav.call.plain import UnreadableError
from kav.call.travel import from_plain, to_pages, to_plain
from kav.flow_files import load_flows
from kav.shared import scripts
from kav.shared.calls import SharedCalls
from kav.shared.fields import KINDS, Codec, Fields
from kav.shared.orders import SharedTickets
from realtime_prompt_builder import load_phrases
from rehearsal.servers.redis import RedisServer, binary
from rehearsal.twilio.signing import SIGNATURE_HEADER, signature
from stream_registry import Alone, Entry
from tests.fuzz import JSON, WORDS, altered, dumped, fuzzed
from tests.fuzz.installation import TOKEN, URL, installation

SID, ME = "CA" + "8" * 32, "this-process"
PHRASES = load_phrases()
FLOW = next(flow for flow in load_flows().flows if flow.id == "locksmith")
CODEC = Codec(ME, PHRASES, lambda: 1000.0)
needs_redis = pytest.mark.skipif(binary() is None, reason="no redis-server here: apt-get install redis-server")


def call(sid: str = SID) -> Entry:
    return stream_registry.new_entry(
        sid, direction="inbound", flow=FLOW, from_number="+972501234567", to_number="+97231110001"
    )


def talked() -> Conversation:
    """A conversation with something of everything."""
    talk = Conversation(FLOW, PHRASES.texts, "+972501234567")
    account = talk.chronicle
    account.now = 1.0
    account.begin()
    account.caller_turn("item1", "problem")
    account.caller_words("item1", "דלת")
    account.tool_called("call1", "answer_step", "{}")
    talk.judged("answer_step", json.dumps({"step": "problem", "value": "דלת", "language": "he"}), 1.0, "call1")
    account.tool_finished("call1", "next")
    account.spoke("response1", "item2", 8000, "phrase", "question", "he")
    return talk


def told() -> Fields:
    entry = call()
    entry["conversation"], entry["streamed_at"] = talked(), 1.0
    return CODEC.write(entry, {})


FIELDS = told()
PLAIN, PAGES = to_plain(talked(), 0.0), to_pages(talked().chronicle.pages())
NAMES = [*FIELDS, "admitted", "something-new"]
TEXTS = WORDS | JSON.map(lambda value: dumped(value).decode()) | st.just("[" * 100_000)
ENDS = altered([["goodbye", "hang_up", 5.0], ["transferred", "transfer", 1], None]).map(
    lambda end: dumped(end).decode()
)


@pytest.fixture(autouse=True)
def nobody_calls() -> Iterator[None]:
    stream_registry.registry.clear()
    yield
    stream_registry.registry.clear()
    stream_registry.share(Alone())


@fuzzed
@given(st.sampled_from([*KINDS, "chores", "end", "owner", "something-new"]), TEXTS | ENDS)
@example("end", '["goodbye","hang_up",1.0,"more"]')
@example("asked", '"x"')
@example("asked", "1" + "0" * 400)
@example("terminal", "NaN")
@example("token", "not json")
@example("chores", "[[]]")
def test_a_field_is_taken_or_refused(name: str, text: str) -> None:
    entry = stream_registry.registry[SID] = call()
    before = dict(entry)
    try:
        CODEC.take(entry, name, text)
    except UnreadableError:
        assert entry == before, "what is refused changes nothing"
    assert entry["token"] is None or isinstance(entry["token"], str)
    assert isinstance(entry["fresh_streams"], int)
    moments = (entry["terminal_at"], entry["after_stream_at"], entry["stream_lost_at"], entry["ended_at"])
    assert all(at is None or math.isfinite(at) for at in moments)
    assert name != "end" or text == "null" or entry["ended"], "an end that cannot be read is one"


@fuzzed
@given(altered([{name: FIELDS[name] for name in ("call", "flow")}]), st.sampled_from(["call", "flow"]), TEXTS)
@example({"call": FIELDS["call"], "flow": FIELDS["flow"]}, "call", '{"call_sid": 5}')
def test_a_call_is_read_whole_or_refused(fields: object, name: str, text: str) -> None:
    whole = {key: value for key, value in fields.items() if isinstance(value, str)} if isinstance(fields, dict) else {}
    for candidate in (whole, FIELDS | {name: text}):
        try:
            entry = CODEC.read(SID, candidate)
        except UnreadableError:
            continue
        assert entry["call_sid"] == SID
        assert math.isfinite(entry["created_at"])


@fuzzed
@given(altered([PLAIN]), altered([PAGES]))
@example({**PLAIN, "now": 10**400}, PAGES)
@example({**PLAIN, "lock": {**PLAIN["lock"], "_active": "no such step"}}, PAGES)
@example({**PLAIN, "pages": [10**9, 0, 0]}, PAGES)
def test_a_conversation_goes_on_or_is_refused(plain: object, pages: object) -> None:
    try:
        talk = from_plain(plain, pages if isinstance(pages, dict) else {}, FLOW, PHRASES.texts)
    except UnreadableError:
        return
    talk.begin_stream()
    talk.opening("resumed")
    talk.turn("item9")
    talk.judged("answer_step", json.dumps({"step": "city", "value": "חיפה", "language": "he"}), 2.0, "call9")
    talk.chronicle.news()


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def app(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    with installation(tmp_path_factory.mktemp("kav"), REDIS_URL=redis_server.url) as app:
        shared_calls(app).link.probe()
        yield app


def shared_calls(app: Flask) -> SharedCalls:
    calls: SharedCalls = app.extensions["kav"].shared.calls
    return calls


@needs_redis
@fuzzed
@given(
    st.dictionaries(st.sampled_from(NAMES), TEXTS | ENDS, max_size=3),
    st.lists(st.sampled_from(sorted(FIELDS)), max_size=2),
    st.dictionaries(st.sampled_from([*PAGES, "turn:x"]), TEXTS, max_size=2),
    st.lists(
        st.tuples(st.sampled_from(["voice", "after-stream", "dial-result", "status"]), st.booleans()),
        min_size=1,
        max_size=3,
    ),
)
@example({"end": '["goodbye","hang_up",1.0,"more"]'}, [], {}, [("after-stream", False), ("status", True)])
@example({"asked": '"x"'}, [], {}, [("after-stream", False)])
@example({"token": "not json"}, [], {}, [("voice", False)])
@example({"owner": "garbage", "stream": "[]"}, ["call"], {"turn:1": "5"}, [("after-stream", False)])
def test_whatever_stands_in_redis_twilio_gets_an_answer(
    app: Flask, changed: Fields, lost: list[str], pages: Fields, asked: list[tuple[str, bool]]
) -> None:
    calls = shared_calls(app)
    stream_registry.share(calls)
    client = calls.link.client
    client.flushall()
    fields = FIELDS | {"owner": '"another"', "stream": "null"} | changed
    kept = {name: text for name, text in fields.items() if name not in lost}
    _write(client, scripts.call_key(SID), kept)
    _write(client, scripts.pages_key(SID), {name: json.dumps(page) for name, page in PAGES.items()} | pages)
    for hook, over in asked:
        form = {"CallSid": SID, "From": "+972501234567", "To": "+97231110001"}
        form["CallStatus"] = "completed" if over else "in-progress"
        path = f"/twilio/{hook}"
        answer = app.test_client().post(path, data=form, headers={SIGNATURE_HEADER: signature(TOKEN, URL + path, form)})
        if hook == "status":
            assert (answer.status_code, answer.data) == (204, b"")
        else:
            assert answer.status_code == 200
            assert ElementTree.fromstring(answer.data).tag == "Response"
    assert not calls.link.away


def _write(client: Any, key: str, fields: Fields) -> None:  # noqa: ANN401 - a client whose types are half true
    for name, text in fields.items():
        client.hset(key, name, text.encode("utf-8", "surrogatepass"))


@needs_redis
@fuzzed
@given(TEXTS | st.builds("{} {} {}".format, WORDS, st.just(SID), TEXTS | ENDS))
@example(f"other {SID}")
@example(f"other {SID} [")
def test_whatever_is_published_the_listener_lives(app: Flask, text: str) -> None:
    calls = shared_calls(app)
    entry = stream_registry.registry[SID] = call()
    calls.heard(text)
    calls.heard(f'other {SID} ["goodbye","hang_up",1.0]')
    assert entry["ended"]


@needs_redis
@fuzzed
@given(TEXTS, TEXTS, altered([{"flow": 1, "to": "+972501234567", "from_": "+97231110003", "at": 1.0}]))
def test_an_order_is_read_or_refused(app: Flask, order: str, answered_by: str, plain: object) -> None:
    link = shared_calls(app).link
    link.client.flushall()
    tickets = SharedTickets(link)
    for text in (order, dumped(plain).decode()):
        _write(link.client, "kav:ticket:t", {"order": text, "answered_by": answered_by, "to": order})
        link.client.zadd("kav:tickets", {"t": 1e12})
        found = tickets.find("t", "CA1", 2.0)
        assert found is None or found.answered_by in (None, "person", "machine", "fax")
        list(tickets.numbers(2.0))
        tickets.knows("CA1")
    assert not link.away
