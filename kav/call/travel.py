"""How a conversation goes from one process to another: as plain values, between two of its streams.

    plain, pages = to_plain(talk, shift), to_pages(talk.chronicle.pages())     # JSON can hold them
    talk = from_plain(plain, pages, flow, phrases, shift)     # the same step, answers, language, account

What grows with the call (turns, tools, breaches) are pages: of those, only what has changed need be told again
(`to_pages(talk.chronicle.moved())`), so that what it costs to tell of a call does not grow with its length.
What belongs to a stream alone stays behind: the turn that was being judged, the phrase that was being said, the items
of a model that is gone. What the notebook has not taken yet of the account is left to the process that has written it.
"""

from collections.abc import Mapping
from typing import Any, Final

from kav.call.audit import Breach
from kav.call.chronicle import Chronicle, Pages, ToolRun, Turn
from kav.call.conversation import MESSAGE, Conversation
from kav.call.flow import Flow, Step, Texts
from kav.call.plain import UnreadableError, pack, restore, unpack

VERSION: Final = 4

_LOCK_STAYS: Final = frozenset({"flow", "caller_number"})
_PAGES: Final = frozenset({"turns", "tools", "breaches"})
_ACCOUNT_STAYS: Final = _PAGES | {
    *(
        "now",
        "began_at",
        "_changed",
        "_settled",
        "_told_at",
        "_told_state",
        "_earlier_turns",
        "_speaking",
        "_caller_items",
        "_speech_began_at",
        "_turn_ended_at",
        "_judge_ms",
    ),
    *("_moved_turns", "_moved_tools", "_copied_breaches"),
}
_PARTS: Final = frozenset(
    {
        *("version", "caller_number", "do_not_call", "message", "now", "began_at", "lock", "language", "farewell"),
        *("account", "pages"),
    }
)


def to_plain(talk: Conversation, shift: float) -> dict[str, Any]:
    """Return all of a conversation that outlives a stream.

    Args:
        talk: whose caller's words are in here, and in the answers: see docs/scaling.md.
        shift: seconds that make a moment of this process's clock one of everybody's.
    """
    account = talk.chronicle
    return {
        "version": VERSION,
        "caller_number": talk.caller_number,
        "do_not_call": talk.do_not_call,
        "message": None if (message := talk.flow.step(MESSAGE)) is None else pack(message.ask),
        "now": round(account.now + shift, 3),
        "began_at": None if account.began_at is None else round(account.began_at + shift, 3),
        "lock": pack(talk.lock, _LOCK_STAYS),
        "language": pack(talk.language),
        "farewell": pack(talk.farewell),
        "account": pack(account, _ACCOUNT_STAYS),
        "pages": [len(account.turns), len(account.tools), len(account.breaches)],
    }


def to_pages(moved: Pages) -> dict[str, Any]:
    """Return the parts of an account that grow with the call, each by its name."""
    turns = {f"turn:{turn.number}": pack(turn) for turn in moved.turns}
    tools = {f"tool:{place}": pack(run) for place, run in moved.tools}
    return turns | tools | {f"breach:{place}": pack(breach) for place, breach in moved.breaches}


def from_plain(
    plain: object,
    pages: Mapping[str, object],
    flow: Flow,
    phrases: Mapping[str, Mapping[str, str]],
    shift: float = 0.0,
) -> Conversation:
    """Return the conversation that `to_plain` has told of.

    Args:
        plain: what `to_plain` returned, by way of JSON or not.
        pages: all that `to_pages` has ever returned, the latest of each; those that are newer than `plain` do no harm.
        flow: the call's script, as it was registered.
        phrases: the exact texts, by language and id.
        shift: the reading process's own; see `to_plain`.

    Raises:
        UnreadableError: another release has written it, or nobody.
    """
    if not isinstance(plain, Mapping) or plain.get("version") != VERSION or set(plain) != _PARTS:
        raise UnreadableError("a conversation of another version")
    talk = Conversation(flow, phrases, str(plain["caller_number"]))
    if plain["message"] is not None and flow.step(MESSAGE) is None:
        talk.lock.add(Step(MESSAGE, unpack(Texts, plain["message"]), optional=True))
        talk.flow = talk.lock.flow
    talk.do_not_call = plain["do_not_call"] is True
    restore(talk.lock, plain["lock"], _LOCK_STAYS)
    if not talk.lock.done and talk.lock.active is None:
        raise UnreadableError("a step that the script does not have")
    restore(talk.language, plain["language"])
    restore(talk.farewell, plain["farewell"])
    restore(talk.chronicle, plain["account"], _ACCOUNT_STAYS)
    _read_pages(talk.chronicle, plain["pages"], pages)
    now, began_at = unpack(float, plain["now"]), unpack(float | None, plain["began_at"])
    talk.chronicle.now = now - shift
    talk.chronicle.began_at = None if began_at is None else began_at - shift
    return talk


def _read_pages(account: Chronicle, told: object, pages: Mapping[str, object]) -> None:
    turns, tools, breaches = unpack(tuple[int, int, int], told)
    try:
        account.turns = [unpack(Turn, pages[f"turn:{number}"]) for number in range(1, turns + 1)]
        runs: list[ToolRun] = [unpack(ToolRun, pages[f"tool:{place}"]) for place in range(1, tools + 1)]
        account.breaches = [unpack(tuple[int, Breach], pages[f"breach:{place}"]) for place in range(1, breaches + 1)]
    except KeyError as error:
        raise UnreadableError(f"a conversation without its {error}") from error
    account.tools = {run.call_id: run for run in runs}
    account.retell()
    account.moved()  # whoever told of it has a copy
