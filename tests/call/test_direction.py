"""Guards that a call's direction is read once, from the stream's start, and that nothing sets it again."""

import pytest

from kav.call import events as ev
from tests.call.world import World


@pytest.mark.parametrize(("first", "second"), [("inbound", "outbound"), ("outbound", "inbound")])
def test_a_second_start_changes_no_direction(first: ev.Direction, second: ev.Direction) -> None:
    world = World()
    world.do(ev.StreamStarted(world.now, first))
    assert world.do(ev.StreamStarted(world.now, second)) == []
    assert world.session.direction == first


def test_a_start_that_names_none_is_inbound() -> None:
    world = World()
    assert world.session.direction is None, "nothing is known before the stream's start"
    world.do(ev.StreamStarted(world.now))
    assert world.session.direction == "inbound"


def test_whoever_sets_it_is_refused() -> None:
    world = World().started()
    with pytest.raises(AttributeError):
        world.session.direction = "outbound"  # type: ignore[misc]  # the very thing that is refused
    assert world.session.direction == "inbound"
