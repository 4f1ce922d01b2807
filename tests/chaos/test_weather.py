"""How a storm measures and counts: ghosts by the peers' clocks, and troubles by whether they took hold."""

import random
from typing import cast

import pytest

from chaos import troubles
from chaos.caller import Talker
from chaos.ghosts import Deafness, Ghosts, Stillness, Trigger, left_open
from chaos.troubles import OF_A_CALL, Deck
from rehearsal.peer import Peer


class Closed:
    """A connection whose close frame and FIN were seen then."""

    eof_at: float | None
    close_frame_at: float | None
    reset_at = closed_at = None

    def __init__(self, eof_at: float | None, *, framed: bool = True) -> None:
        self.eof_at, self.close_frame_at = eof_at, eof_at if framed else None


def peer(eof_at: float | None, *, framed: bool = True) -> Peer:
    return cast("Peer", Closed(eof_at, framed=framed))


def measured(trigger: Trigger, deafness: Deafness | None = None, still: Stillness | None = None) -> Ghosts:
    ghosts = Ghosts()
    ghosts.add(trigger, deafness or Deafness(), (), still or Stillness())
    return ghosts


def test_a_ghost_lasts_until_the_later_of_both_fins() -> None:
    assert measured(Trigger("CA1", "end", 10.0, [peer(10.1), peer(10.25)])).ms == [pytest.approx(250)]


def test_a_process_that_was_stopped_meanwhile_is_told_apart() -> None:
    ghosts = measured(Trigger("CA1", "end", 10.0, [peer(11.6)]), still=Stillness(spans=[(9.0, 10.5)]))
    assert (ghosts.ms, ghosts.excused) == ([], 1)
    waited = Stillness(_waited=[(9.9, 1.0), (10.5, 1.1), (11.0, 1.6), (11.9, 1.6)])
    assert measured(Trigger("CA1", "end", 10.0, [peer(10.9)]), still=waited).excused == 1
    assert measured(Trigger("CA1", "end", 10.0, [peer(11.9)]), still=waited).ms == [pytest.approx(1900)]
    assert measured(Trigger("CA1", "end", 10.0, [peer(10.4)]), still=waited).ms == [pytest.approx(400)]
    assert measured(Trigger("CA1", "end", 10.0, [peer(10.1)]), still=Stillness(spans=[(8.0, 9.9)])).excused == 0


def test_a_peer_that_did_not_read_is_left_out_and_the_other_is_not() -> None:
    deaf = peer(19.0)
    deafness = Deafness(spells=[(deaf, 9.5)])
    assert measured(Trigger("CA1", "end", 10.0, [deaf, peer(10.1)]), deafness).ms == [pytest.approx(100)]
    assert measured(Trigger("CA1", "end", 10.0, [deaf]), deafness).excused == 1
    deafness.over[deaf] = 9.9
    assert measured(Trigger("CA1", "end", 10.0, [deaf]), deafness).ms == [pytest.approx(9000)]


def test_an_end_without_a_close_frame_and_a_socket_that_stays_are_counted() -> None:
    assert measured(Trigger("CA1", "end", 10.0, [peer(10.1, framed=False)])).unframed == ["end"]
    assert left_open([peer(None), peer(10.0)]) == 1


async def test_every_kind_of_trouble_is_dealt_and_what_came_in_vain_is_counted_apart_and_dealt_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries = iter([False, *[True] * 100])

    async def trouble(_talker: Talker, _chance: random.Random) -> bool:
        return next(tries)

    monkeypatch.setattr(troubles, "OF_A_CALL", dict.fromkeys(OF_A_CALL, trouble))
    deck = Deck(random.Random(1))
    for _ in range(len(OF_A_CALL) + 1):
        await deck.meet(cast("Talker", Noted()))
    assert set(deck.took_hold) == set(OF_A_CALL)
    assert deck.in_vain.total() == 1


class Noted:
    """All that a deck needs of a call."""

    def __init__(self) -> None:
        self.troubles: list[str] = []
