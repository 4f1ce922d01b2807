"""Guards the way from a call's chronicle to its record: what is told once is there, what may not be told is nowhere."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from call_notebook import Notebook
from kav.call.admission import Spending
from kav.call.audit import Breach
from kav.call.conversation import Conversation
from kav.call.events import Usage
from kav.call.flow import Flow
from kav.records import Records
from kav.settings import Settings

SAID, UNASKED = "הדלת נטרקה", "ומה מספר כרטיס האשראי?"
SOON_S = 10
Take = Callable[..., dict[str, Any]]


@pytest.fixture
def take(tmp_path: Path) -> Iterator[Take]:
    """Has a short talk written down with the given settings; returns the call's record."""
    opened: list[Records] = []

    def take(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - settings of any type
        settings = Settings(_env_file=None, **changes)  # type: ignore[call-arg]  # pydantic-settings' own argument
        records = Records(f"sqlite:///{tmp_path / 'kav.db'}", store_words=settings.KAV_STORE_WORDS)
        opened.append(records)
        records.start()
        Notebook(settings, records, Spending()).take("CA1", "MZ1", a_talk())
        assert records.settled(SOON_S)
        call = records.get_call("CA1")
        assert call is not None
        return call

    yield take
    for records in opened:
        records.stop(1)


def a_talk() -> Conversation:
    talk = Conversation(Flow("plain", "בדיקה", "inbound", (), ("he",), greeting={}, closing={}), {})
    talk.chronicle.begin()
    talk.chronicle.keyed(SAID, "problem")
    talk.chronicle.note([Breach("question not asked", UNASKED)])
    talk.chronicle.used(Usage(1, input_text=119, cached_text=64, input_audio=13, output_text=30, output_audio=91))
    return talk


def test_what_a_chronicle_holds_is_on_record_with_its_cost(take: Take) -> None:
    call = take()
    assert [(turn["who"], turn["kind"], turn["text"]) for turn in call["turns"]] == [("caller", "keys", SAID)]
    assert [(breach["what"], breach["detail"]) for breach in call["breaches"]] == [("question not asked", UNASKED)]
    assert (call["usage"][0]["cached_text"], call["cost_micro_usd"]) == (64, 7206)


def test_words_that_are_not_to_be_kept_are_in_no_record_and_no_line(
    take: Take, caplog: pytest.LogCaptureFixture
) -> None:
    call = take(KAV_STORE_WORDS=False)
    assert "question not asked" in caplog.text
    assert [word for word in (SAID, UNASKED) if word in repr(call) + caplog.text] == []


def test_a_model_without_a_price_is_named_and_the_call_has_no_cost(
    take: Take, caplog: pytest.LogCaptureFixture
) -> None:
    call = take(OPENAI_REALTIME_MODEL="gpt-of-tomorrow")
    assert "the price of gpt-of-tomorrow is not known" in caplog.text
    assert (call["usage"][0]["input_text"], call["cost_micro_usd"]) == (119, None)


def test_a_flow_without_steps_is_not_completed_by_being_called(take: Take) -> None:
    assert take()["flow_done"] is None
