"""A newcomer without any account walks through a flow by typing: the stand-in for the model understands that much."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from rehearsal.typist import PERSON, Typist
from rehearsal.world import World
from tests.console.browser import PASSWORD, WAIT_S, Operator, Page, called, until


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """As `make run` has it: no account, this machine alone."""
    settings = {"KAV_CONSOLE_PASSWORD": PASSWORD, "DRAIN_SECONDS": "0", "SILENCE_ASK_S": "30", "SILENCE_CLOSE_S": "40"}
    async with World(settings, signed=False) as world:
        yield world
        assert world.model.violations == [], "Kav broke the model's rules"


@pytest.fixture
async def page(world: World) -> AsyncIterator[Page]:
    assert PERSON == "browser"
    async with Operator(world.kav.url) as operator:
        page = await called(world, operator, Typist(), flow="locksmith", number="+972501234567")
        await until(lambda: page.stream.marks_echoed, "the greeting")
        yield page
        page.stream.hang_up()


async def answered(page: Page, line: str, wanted: str) -> None:
    """Type a line, and wait until the bot has said `wanted` to it. Raises AssertionError."""
    page.type(line)
    deadline = time.monotonic() + WAIT_S
    while True:
        turn = (await page.state())["turns"][-1]
        if turn["who"] == "bot" and wanted in turn["heard"] + turn["unheard"]:
            return
        assert time.monotonic() < deadline, f"{line} got {turn}"
        await asyncio.sleep(0.02)


async def test_a_flow_is_walked_through_with_a_question_in_between(page: Page) -> None:
    await answered(page, "ננעלתי מחוץ לבית", "באיזו עיר אתם?")
    await answered(page, "כמה זה עולה?", "אין לי כאן תשובה. רוצה שנמשיך מאיפה שהיינו?")
    await answered(page, "כן", "באיזו עיר אתם?")
    await answered(page, "חיפה", "מה הכתובת המלאה?")
    await answered(page, "הרצל 10", "הרצל 10, נכון?")
    await answered(page, "כן", "צריך שנגיע עכשיו?")


HEBREW = {
    "דלת טרוקה": "באיזו עיר אתם?",
    "חיפה": "מה הכתובת המלאה?",
    "הרצל 10": "הרצל 10, נכון?",
    "כן": "צריך שנגיע עכשיו?",
    "בטח": "לאיזה מספר המנעולן יחזור אליכם?",
    "050-123 4567": "0501234567, נכון?",
}
ENGLISH = {
    "A shut door": "Which city are you in?",
    "Haifa": "What is the full address?",
    "10 Herzl": "10 Herzl, Is that right?",
    "yes": "Do you need us right now?",
    "sure": "Which number should the locksmith call you on?",
    "050-123 4567": "0501234567, Is that right?",
}


@pytest.mark.parametrize("lines", [HEBREW, ENGLISH])
async def test_a_number_is_read_back_in_the_language_of_the_lines_before_it(page: Page, lines: dict[str, str]) -> None:
    for line, wanted in lines.items():
        await answered(page, line, wanted)
    assert 'id="breaches"' not in await shown(page)


async def test_a_first_line_without_letters_is_in_the_flows_own_language(page: Page) -> None:
    await answered(page, "10", "באיזו עיר אתם?")
    await answered(page, "12:30", "מה הכתובת המלאה?")
    await answered(page, "17", "17, נכון?")
    assert 'id="breaches"' not in await shown(page)


async def shown(page: Page) -> str:
    """The call's own page in the console."""
    async with page.operator.get(f"/console/calls/{page.sid}") as answer:
        assert answer.status == 200
        html: str = await answer.text()
        return html


async def test_who_types_a_farewell_hears_one_and_the_call_is_over(page: Page) -> None:
    page.type("להתראות")
    state = await page.over()
    assert state["turns"][-1]["heard"] == "תודה על השיחה, ולהתראות."
    assert state["why"] == "הבוט נפרד לשלום."
