"""Ten minutes without the database, with a hundred calls that talk all the time: all of it is on record afterwards."""

import resource

import pytest
from sqlalchemy import func, select

from kav.records import Records, backlog
from kav.records.models import CALLS, TOOL_CALLS, TURNS, USAGE
from rehearsal.servers.postgres import Postgres

CALLS_AT_ONCE, OUTAGE_S = 100, 600
TURN_EVERY_S = 4
MOST_MB = 150
"""What the queue may take; docs/records.md says some 70."""
DRAINED_S = 240


def a_second_of(records: Records, call_sid: str, second: int) -> None:
    """What the notebook tells of a call that talks, once a second; a turn is told while it grows."""
    turn, into = 1 + second // TURN_EVERY_S, second % TURN_EVERY_S
    records.save_turn(call_sid, turn, who="bot", kind="speak", at_ms=second * 1000, text="מילים " * 10 * (into + 1))
    if into == TURN_EVERY_S - 1:
        records.save_turn(call_sid, turn, heard="מילים " * 20, heard_ms=into * 1000)
        if turn % 2:
            records.save_tool_call(call_sid, f"call_{turn}", name="answer_step", output="noted", ok=True)
    records.save_usage(call_sid, "gpt-realtime-2.1", responses=turn, cost_micro_usd=second + 1)
    records.save_call(call_sid, language="he", flow_done=False)


def test_what_a_hundred_calls_bring_in_ten_minutes_is_all_written_when_the_database_is_back(
    postgres: Postgres, postgres_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backlog, "PACE_S", 0)  # no live call needs the interpreter meanwhile
    records = Records(postgres_url, leases=False)
    assert records.start().wait(10)
    postgres.stop()
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for second in range(OUTAGE_S):
        for number in range(CALLS_AT_ONCE):
            a_second_of(records, f"CA{number}", second)
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1024
    turns = OUTAGE_S // TURN_EVERY_S
    assert records.health()["waiting"] == CALLS_AT_ONCE * (1 + turns + turns // 2 + 1)
    assert grown_mb < MOST_MB
    postgres.start()
    assert records.settled(DRAINED_S)
    counted = records.read(
        lambda connection: [
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (CALLS, TURNS, TOOL_CALLS, USAGE)
        ]
    )
    assert counted == [CALLS_AT_ONCE, CALLS_AT_ONCE * turns, CALLS_AT_ONCE * (turns // 2), CALLS_AT_ONCE]
    stored = records.get_call("CA99")
    assert stored is not None
    assert {turn["heard_ms"] for turn in stored["turns"]} == {3000}
    assert (stored["cost_micro_usd"], stored["usage"][0]["responses"]) == (OUTAGE_S, turns)
    assert "record_not_saved" not in caplog.text
    assert records.stop(1) == 0
