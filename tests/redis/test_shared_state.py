"""What Redis rules on for all processes: one claim, the first end, no life after it, nothing that stays for ever."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest
import redis

import stream_registry
from kav.call.aftermath import Chore
from kav.shared import scripts
from kav.shared.calls import SharedCalls
from kav.shared.fields import Codec
from kav.shared.link import MOST_AT_ONCE, AwayError, Link
from kav.shared.lives import Lives
from kav.shared.meeting import Meetings
from kav.shared.orders import SharedTickets
from kav.tickets import Order
from realtime_prompt_builder import load_phrases
from rehearsal.servers.redis import RedisServer
from stream_registry import Entry
from tests.call.test_script_properties import FLOW

ROOT = Path(__file__).parents[2]
TTL_S = 100
STATE = {"token": '"t"', "end": "null", "terminal": "null", "stream": "null", "conversation": "{}", "call": "{}"}


@pytest.fixture
def link(redis_server: RedisServer) -> Iterator[Link]:
    link = Link(redis_server.url)
    link.client.flushall()
    yield link
    link.close()


def merge(
    link: Link,
    me: str,
    call: str,
    fields: dict[str, str],
    pages: dict[str, str] | None = None,
    *,
    new: bool = False,
    whole: bool = True,
) -> object:
    values = [me, call, "new" if new else "known", TTL_S, int(whole), len(fields)]
    pairs = [part for pair in (*fields.items(), *(pages or {}).items()) for part in pair]
    found = link.script(scripts.MERGE, scripts.keys_of(call), [*values, *pairs])
    return dict(zip(found[::2], found[1::2], strict=True))


def told(link: Link, owner: str = "a") -> str:
    call = "CA" + uuid4().hex
    merge(link, owner, call, STATE | {"owner": json.dumps(owner)}, new=True)
    return call


def claim(link: Link, me: str, call: str, token: str = "t") -> int:
    values = [json.dumps(me), call, json.dumps(token), me]
    claimed: int = link.script(scripts.CLAIM, [scripts.call_key(call)], values)
    return claimed


def test_of_many_processes_that_claim_a_stream_at_once_one_has_it(link: Link, redis_server: RedisServer) -> None:
    call = told(link)
    begin, won = threading.Barrier(8), []

    def rival(me: str) -> None:
        own = redis.Redis.from_url(redis_server.url)
        begin.wait(5)
        if own.eval(scripts.CLAIM, 1, scripts.call_key(call), json.dumps(me), call, '"t"', me):
            won.append(me)
        own.close()

    rivals = [threading.Thread(target=rival, args=(f"p{n}",)) for n in range(8)]
    for each in rivals:
        each.start()
    for each in rivals:
        each.join(10)
    assert len(won) == 1
    found = link.client.hgetall(scripts.call_key(call))
    assert isinstance(found, dict)
    assert (found["owner"], found["stream"], found["token"]) == (json.dumps(won[0]), json.dumps(won[0]), "null")


@pytest.mark.parametrize("change", [{"token": '"other"'}, {"end": '["silence", "hang_up", 1.0]'}])
def test_nobody_claims_a_call_that_is_over_or_with_another_token(link: Link, change: dict[str, str]) -> None:
    call = told(link)
    merge(link, "b", call, change)
    assert claim(link, "c", call) == 0
    assert claim(link, "c", "CA-unknown") == -1


def test_the_first_end_and_the_first_terminal_status_win_for_everybody(link: Link) -> None:
    call = told(link)
    first, second = '["goodbye", "hang_up", 1.0]', '["call_status_completed", "hang_up", 2.0]'
    assert merge(link, "a", call, {"end": first, "terminal": "5.0"}, whole=False) == merge(
        link, "b", call, {"end": second, "terminal": "4.0"}, whole=False
    )
    found = merge(link, "c", call, {})
    assert isinstance(found, dict)
    assert (found["end"], found["terminal"]) == (first, "5.0")
    merge(link, "d", call, {"end": "null"})
    reopened = merge(link, "c", call, {"end": second})
    assert isinstance(reopened, dict)
    assert reopened["end"] == second, "a call that came back from a hand-over ends once more"


def test_who_comes_second_with_a_new_call_takes_what_stands_there(link: Link) -> None:
    call = told(link)
    found = merge(link, "b", call, STATE | {"token": '"mine"', "owner": '"b"'}, new=True)
    assert isinstance(found, dict)
    assert (found["token"], found["owner"]) == ('"t"', '"a"')


def test_a_late_writer_brings_no_call_back(link: Link) -> None:
    call = told(link)
    merge(link, "a", call, {}, {"turn:1": "{}"})
    assert link.client.hgetall(scripts.pages_key(call)) == {"turn:1": "{}"}
    assert 0 < cast("int", link.client.ttl(scripts.pages_key(call))) <= TTL_S
    link.script(scripts.FORGET, scripts.keys_of(call), [call, TTL_S])
    for new in (True, False):
        assert merge(link, "a", call, STATE, {"turn:1": "{}"}, new=new) == {"forgotten": "1"}
    assert link.client.exists(scripts.pages_key(call)) == 0
    assert merge(link, "a", "CA-unknown", {"end": "null"}) == {}
    assert link.client.exists(scripts.call_key("CA-unknown")) == 0
    assert claim(link, "a", call) == 0
    assert link.client.hgetall(scripts.call_key(call)) == {"forgotten": "1"}, "no words are left"


def test_calls_of_a_process_without_a_sign_of_life_are_taken_over_by_one(link: Link) -> None:
    dead, alive, streaming, over = told(link, "dead"), told(link, "alive"), told(link, "dead"), told(link, "dead")
    merge(link, "dead", streaming, {"stream": '"dead"'})
    merge(link, "dead", over, {"stream": '"dead"', "end": '["silence", "hang_up", 1.0]'})
    link.client.set(scripts.process_key("alive"), "1", ex=TTL_S)
    link.client.set(scripts.process_key("b"), "1", ex=TTL_S)
    assert sorted(link.script(scripts.TAKE_OVER, [scripts.CALLS], ['"b"'])) == sorted([dead, over])
    assert link.script(scripts.TAKE_OVER, [scripts.CALLS], ['"c"']) == [], "its new owner lives"
    assert link.client.hget(scripts.call_key(alive), "owner") == '"alive"'
    assert link.client.hget(scripts.call_key(streaming), "owner") == '"dead"', "it may live, and have lost Redis alone"


def test_everything_goes_by_itself_some_day(link: Link) -> None:
    told(link)
    tickets = SharedTickets(link)
    tickets.keep("ticket", Order(FLOW, "+972501234567", "+97231110003", time.monotonic()))
    tickets.find("ticket", "CA1", 2.0)
    keys = link.client.keys()
    assert isinstance(keys, list)
    assert len(keys) == 4, keys
    assert all(0 < ttl <= 300 for ttl in map(link.client.ttl, keys) if isinstance(ttl, int))
    assert -1 not in map(link.client.ttl, keys)


def two_processes(redis_server: RedisServer) -> tuple[SharedTickets, SharedTickets]:
    one, other = Link(redis_server.url), Link(redis_server.url)
    for each in (one, other):
        each.probe()
    return SharedTickets(one), SharedTickets(other)


def test_a_ticket_is_one_calls_whoever_is_asked(link: Link, redis_server: RedisServer) -> None:
    one, other = two_processes(redis_server)
    now = time.monotonic()
    one.keep("t", Order(FLOW, "+972501234567", "+97231110003", now))
    found = other.find("t", "CA1", now)
    assert found is not None
    assert (found.flow, found.to, found.from_) == (FLOW, "+972501234567", "+97231110003")
    assert one.find("t", "CA2", now) is None, "another call must not have it"
    other.found("t", found, "machine")
    mine = one.find("t", "CA1", now)
    assert mine is not None
    assert mine.answered_by == "machine"
    assert one.knows("CA1")
    assert other.knows("CA1")
    assert not other.knows("CA2")
    assert list(other.numbers(now)) == ["+972501234567"]
    other.drop("t")
    assert one.find("t", "CA1", now) is None, "used up for all"
    assert list(one.numbers(now)) == []
    assert link.client.keys() == []


def order() -> Order:
    return Order(FLOW, "+972501234567", "+97231110003", time.monotonic())


def test_of_two_orders_for_one_person_one_is_kept_whoever_has_it(link: Link, redis_server: RedisServer) -> None:
    one, other = two_processes(redis_server)
    assert one.keep("t", order())
    assert not one.keep("u", order())
    assert not other.keep("v", order())
    assert other.find("v", "CA1", time.monotonic()) is None, "what is refused leaves nothing"
    other.drop("t")
    assert other.keep("v", order())
    other.drop("v")

    call = told(link)
    for direction, party, kept in (
        ("outbound", "to_number", False),
        ("inbound", "from_number", False),
        ("inbound", "to_number", True),
    ):
        link.client.hset(scripts.call_key(call), "call", json.dumps({"direction": direction, party: "+972501234567"}))
        assert one.keep("w", order()) is kept, (direction, party)
    one.drop("w")
    link.client.hset(scripts.call_key(call), "call", "not JSON")
    assert one.keep("x", order())


def test_of_many_processes_that_ring_one_person_at_once_one_does(link: Link, redis_server: RedisServer) -> None:
    link.probe()
    begin, rings = threading.Barrier(8), []

    def rival(ticket: str) -> None:
        own = Link(redis_server.url)
        begin.wait(5)
        if SharedTickets(own).keep(ticket, order()):
            rings.append(ticket)
        own.close()

    rivals = [threading.Thread(target=rival, args=(f"t{n}",)) for n in range(8)]
    for each in rivals:
        each.start()
    for each in rivals:
        each.join(10)
    assert len(rings) == 1
    assert link.client.zrange("kav:tickets", 0, -1) == rings


def test_without_redis_a_process_knows_its_own_orders() -> None:
    away = Link("redis://127.0.0.1:1/0")
    tickets = SharedTickets(away)
    tickets.keep("t", Order(FLOW, "+972501234567", "+97231110003", 1.0))
    assert away.away
    assert tickets.find("t", "CA1", 2.0) is not None
    assert list(tickets.numbers(2.0)) == ["+972501234567"]
    assert tickets.knows("CA1")
    with pytest.raises(AwayError):
        away.ask(lambda: 1)
    tickets.drop("t")
    assert list(tickets.numbers(2.0)) == []


def test_a_call_that_is_registered_while_another_webhook_asks_for_it_is_not_lost(
    link: Link, redis_server: RedisServer
) -> None:
    link.probe()
    calls, call = SharedCalls(link, load_phrases(), TTL_S), "CA" + uuid4().hex
    asks = threading.Thread(target=calls.find, args=(call,))
    redis_server.signal(signal.SIGSTOP)
    asks.start()
    time.sleep(0.2)  # its question is on its way, and has no answer yet
    stream_registry.register(call, direction="inbound", flow=FLOW, from_number="+1", to_number="+2")
    redis_server.signal(signal.SIGCONT)
    asks.join(5)
    assert stream_registry.registry.pop(call, None) is not None


def meetings(link: Link) -> Meetings:
    link.probe()
    return Meetings(link, Codec("a", load_phrases(), lambda: link.shift), TTL_S)


@pytest.fixture
def entry() -> Iterator[Entry]:
    sid = "CA" + uuid4().hex
    yield stream_registry.register(sid, direction="inbound", flow=FLOW, from_number="+1", to_number="+2")
    stream_registry.registry.pop(sid, None)


def test_a_call_that_is_over_and_told_is_asked_about_seldom_until_something_changes(link: Link, entry: Entry) -> None:
    process, sid = meetings(link), entry["call_sid"]
    process.meet(sid, new=True)
    assert process.unsettled() == [sid], "it goes on"
    stream_registry.end(sid, "goodbye")
    process.meet(sid)
    assert process.unsettled() == [sid], "Twilio has not said yet that it is over"
    entry["terminal_at"] = time.monotonic()
    assert process.meet_all([sid]) == []
    assert process.unsettled() == []
    entry["chores_done"].add(Chore.REPORT)
    assert process.unsettled() == [sid]
    process.meet_all([sid])
    assert process.unsettled() == []
    assert "REPORT" in cast("str", link.client.hget(scripts.call_key(sid), "chores"))
    entry["human_left_at"] = time.monotonic()
    assert process.unsettled() == [sid]


def test_a_redis_that_has_lost_its_memory_is_told_of_all_calls_anew(link: Link, entry: Entry) -> None:
    process, others = meetings(link), [f"CA{n:032}" for n in range(2 * MOST_AT_ONCE)]
    sids = [entry["call_sid"], *others]
    for sid in others:
        stream_registry.register(sid, direction="inbound", flow=FLOW, from_number="+1", to_number="+2")
    try:
        process.meet_all(sids)
        link.client.flushall()
        link.client.script_flush()
        process.meet_all(sids)
    finally:
        for sid in others:
            del stream_registry.registry[sid]
    assert link.client.smembers(scripts.CALLS) == set(sids)
    assert {link.client.hget(scripts.call_key(sid), "owner") for sid in sids} == {'"a"'}


def test_a_call_of_which_somebody_else_is_telling_holds_up_no_other(link: Link, entry: Entry) -> None:
    process, sid = meetings(link), entry["call_sid"]
    with process.known(sid).lock:
        assert process.meet_all([sid]) == [sid], "its turn comes again"
    assert process.meet_all([sid]) == []
    assert link.client.hget(scripts.call_key(sid), "owner") == '"a"'


def test_who_may_have_been_taken_for_dead_asks_about_all_calls(link: Link) -> None:
    link.probe()
    asked: list[str] = []
    lives = Lives(link, "a", lambda: asked.append("a"), lambda: None)
    lives.beat()
    lives.beat()
    assert len(asked) == 1, "nobody knew of it before"
    link.client.delete(scripts.process_key("a"))
    lives.beat()
    assert len(asked) == 2


def test_one_process_alone_loads_nothing_of_it() -> None:
    script = "import sys, app; app.create_app(app.Settings(_env_file=None)); assert 'redis' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=60, env={"PATH": "/usr/bin:/bin"})
