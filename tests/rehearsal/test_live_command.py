"""Guards `python -m rehearsal --live`: it says what it needs and costs, plays by ear alone, and tells the adherence."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from rehearsal.scenario import load
from tests.rehearsal.openai_stand_in import KEY, Disobedient, Listener, OpenAi, openai_on_loopback
from tests.rehearsal.test_rehearsal_command import running, written

LIVE_WITHIN_S = 110.0
ASKS = """
title: The caller asks something in between
from: "+972509990001"
to: "+97231110001"
steps:
  - says: הדלת ננעלה והמפתח בפנים
    judge: {tool: answer_step, step: problem, value: הדלת ננעלה והמפתח בפנים}
  - says: מה השעה?
    judge: {tool: side_question, question: מה השעה}
    replies:
      - say: השעה עכשיו שלוש. רוצה שנמשיך מאיפה שהיינו?
  - says: אני בתל אביב
    judge: {tool: answer_step, step: city, value: תל אביב}
  - hangs_up: true
expect:
  heard:
    - whole: שלום, הגעתם למנעולי אורן. מדברת הנציגה הדיגיטלית. ספרו לי בקצרה, מה קרה?
    - whole: באיזו עיר אתם?
    - whole: השעה עכשיו שלוש. רוצה שנמשיך מאיפה שהיינו?
    - whole: מה הכתובת המלאה?
  closed_within_s: 4
  end_reason: caller_hung_up
  statuses: [completed]
  streams: 1
"""
TALKS_OVER = """
title: The caller talks over the greeting, in English
from: "+972509990002"
steps:
  - says: Wait a moment, I have a question
    language: en
    while_bot_says: שלום…
    after_ms: 900
    replies:
      - say: I am listening.
  - hangs_up: true
expect:
  heard:
    - cut_off: שלום…
      silent_within_ms: 3000
    - whole: I am listening.
  closed_within_s: 4
  end_reason: caller_hung_up
"""
NEEDS_A_SCRIPT = """
title: The model's connection dies
from: "+972509990003"
steps:
  - model: drop
"""
TAKES_LEAVE = """
title: The caller takes leave
from: "+972509990004"
to: "+97231110001"
steps:
  - says: הדלת ננעלה והמפתח בפנים
    judge: {tool: answer_step, step: problem, value: הדלת ננעלה והמפתח בפנים}
  - says: תודה, להתראות
    judge: {tool: end_call}
expect:
  end_reason: goodbye
"""


def files(folder: Path, *texts: str) -> list[Path]:
    return [written(folder / f"call_{number}.yaml", text) for number, text in enumerate(texts)]


async def live(folder: Path, openai: OpenAi, *arguments: str | Path, key: str = KEY) -> tuple[int, str]:
    """The command as its user runs it, with its cache in the folder; its exit status, and what it printed."""
    environment = {**openai.environment, "OPENAI_API_KEY": key, "XDG_CACHE_HOME": str(folder / "cache")}
    async with running("rehearsal", "--live", *arguments, cwd=folder, within_s=LIVE_WITHIN_S, **environment) as command:
        return await command.until_ended(), command.printed


def report(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def results(of_scenario: dict[str, Any], beginning: str) -> list[str]:
    """The results of the promises that begin so."""
    return [one["result"] for one in of_scenario["promises"] if one["promise"].startswith(beginning)]


@pytest.fixture(scope="module")
async def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str, dict[str, Any], OpenAi, Path]:
    """Two scenarios that a model can be held to and one that none can, played to a model that obeys."""
    folder = tmp_path_factory.mktemp("live")
    paths = files(folder, ASKS, TALKS_OVER, NEEDS_A_SCRIPT)
    scenarios = {scenario.from_: scenario for scenario in map(load, paths)}
    async with openai_on_loopback(scenarios) as openai:
        status, printed = await live(folder, openai, "--yes", "--parallel", "2", "--json", folder / "out.json", *paths)
    return status, printed, report(folder / "out.json") if (folder / "out.json").exists() else {}, openai, folder


Played = tuple[int, str, dict[str, Any], OpenAi, Path]


async def test_a_model_that_obeys_keeps_every_promise_that_can_be_looked_at(played: Played) -> None:
    status, printed, told, _openai, _folder = played
    broken = [
        one for scenario in told["scenarios"] for one in scenario.get("promises", ()) if one["result"] == "broken"
    ]
    assert broken == [], printed
    assert status == 0, printed
    assert re.search(r"adherence: 100 % of \d\d+ checks in 2 calls", printed)
    assert told["kept"] == told["checks"] > 15


async def test_what_only_a_scripted_model_can_play_is_left_out_and_said_to_be(played: Played) -> None:
    _status, printed, told, _openai, _folder = played
    assert "left out  call_2.yaml: the model's connection is to fail (drop)" in printed
    assert "drop" in told["scenarios"][2]["left_out"]


async def test_silence_after_the_caller_spoke_is_measured_in_what_was_heard(played: Played) -> None:
    assert results(played[2]["scenarios"][1], "silence within") == ["kept"]


async def test_every_line_is_spoken_by_text_to_speech_and_recorded(played: Played) -> None:
    _status, _printed, _told, openai, folder = played
    assert set(openai.spoken.values()) == {1}
    assert {"מה השעה?", "Wait a moment, I have a question"} <= set(openai.spoken)
    assert (folder / "recordings" / "live_call_0.wav").stat().st_size > 100_000


async def test_a_disobedient_model_lowers_the_adherence_and_a_line_says_where(tmp_path: Path) -> None:
    paths = files(tmp_path, TAKES_LEAVE)
    scenario = load(paths[0])

    async def play(model: type[Listener], name: str) -> tuple[int, str, dict[str, Any]]:
        async with openai_on_loopback({scenario.from_: scenario}, model) as openai:
            status, printed = await live(tmp_path, openai, "--yes", "--json", tmp_path / name, *paths)
        return status, printed, report(tmp_path / name)

    good_status, good_printed, good = await play(Listener, "good.json")
    bad_status, bad_printed, bad = await play(Disobedient, "bad.json")
    assert good_status == 0, good_printed
    assert bad_status == 1
    assert bad["adherence"] < good["adherence"] == 1
    assert results(bad["scenarios"][0], "the record says why it ended") == ["broken"]
    assert "!!  expected: the record says why it ended: goodbye" in bad_printed


async def test_without_a_key_one_sentence_says_so_and_nothing_is_played(tmp_path: Path) -> None:
    async with running("rehearsal", "--live", "--yes", *files(tmp_path, TALKS_OVER), cwd=tmp_path) as command:
        assert await command.until_ended() == 2
    assert "OPENAI_API_KEY is not set" in command.printed
    assert "Traceback" not in command.printed


async def test_nothing_is_played_before_somebody_agrees_to_the_cost(tmp_path: Path) -> None:
    paths = files(tmp_path, TALKS_OVER)
    async with openai_on_loopback({}) as openai:
        status, printed = await live(tmp_path, openai, *paths)
        assert openai.spoken == {}
        assert openai.model.sessions == []
    assert status == 2
    assert re.search(r"billed to your OpenAI account: 1 call, about \d min on the line, about \$0\.\d\d", printed)
    assert "--yes" in printed


async def test_no_more_calls_are_played_than_was_said(tmp_path: Path) -> None:
    paths = files(tmp_path, TALKS_OVER, ASKS)
    async with openai_on_loopback({}) as openai:
        _status, printed = await live(tmp_path, openai, "--at-most", "1", *paths)
    assert "account: 1 call," in printed
    assert "left out  1 more" in printed


async def test_a_voice_that_refuses_the_key_is_said_and_nothing_is_played(tmp_path: Path) -> None:
    paths = files(tmp_path, TALKS_OVER)
    async with openai_on_loopback({}) as openai:
        status, printed = await live(tmp_path, openai, "--yes", *paths, key="sk-other")
        assert openai.model.sessions == []
    assert status == 2
    assert "check OPENAI_API_KEY" in printed
    assert "sk-other" not in printed
