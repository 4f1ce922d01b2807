"""Guards orders that wait for their call: one ticket, one call, for a while; no more calls a minute than allowed."""

from hypothesis import given
from hypothesis import strategies as st

from kav.call.flow import Flow
from kav.tickets import TTL_S, Order, Rate, Tickets

FLOW = Flow("sales", "Solar", "outbound", ("+97231110003",), ("he",), {"he": "שלום."}, {"he": "להתראות."})


def kept(at: float = 0.0) -> tuple[Tickets, Order]:
    """A desk with one order, under the ticket `t`."""
    tickets, order = Tickets(), Order(FLOW, "+972501234567", "+97231110003", at)
    tickets.keep("t", order)
    return tickets, order


def test_the_first_call_that_brings_a_ticket_has_it_and_may_bring_it_again() -> None:
    tickets, order = kept()
    assert tickets.find("t", "CA1", 1.0) is order
    assert tickets.find("t", "CA1", 2.0) is order
    assert tickets.find("t", "CA2", 3.0) is None, "another call must not have it"


def test_a_ticket_that_nobody_gave_and_a_call_without_a_sid_find_nothing() -> None:
    tickets, _ = kept()
    assert tickets.find("x", "CA1", 1.0) is None
    assert tickets.find("", "CA1", 1.0) is None
    assert tickets.find("t", "", 1.0) is None


def test_a_ticket_that_was_dropped_or_is_too_old_is_good_for_nothing() -> None:
    tickets, _ = kept()
    tickets.drop("t")
    tickets.drop("t")
    assert tickets.find("t", "CA1", 1.0) is None
    tickets, _ = kept()
    assert tickets.find("t", "CA1", TTL_S + 0.1) is None
    assert tuple(tickets.waiting(TTL_S + 0.1)) == ()


def test_nobody_is_rung_twice_at_once() -> None:
    tickets, order = kept()
    assert not tickets.keep("u", Order(FLOW, order.to, "+97231110004", 1.0))
    assert tickets.find("u", "CA1", 1.0) is None
    assert tickets.keep("v", Order(FLOW, "+972501234568", order.from_, 1.0))
    tickets.drop("t")
    assert tickets.keep("u", Order(FLOW, order.to, order.from_, 2.0))


def test_orders_wait_until_they_are_dropped() -> None:
    tickets, order = kept()
    assert tuple(tickets.waiting(1.0)) == (order,)
    tickets.find("t", "CA1", 1.0)
    assert tuple(tickets.waiting(1.0)) == (order,), "it rings"
    tickets.drop("t")
    assert tuple(tickets.waiting(1.0)) == ()


@given(st.integers(1, 5), st.lists(st.floats(0.0, 40.0), max_size=60))
def test_no_minute_ever_has_more_than_allowed(per_minute: int, gaps: list[float]) -> None:
    rate, now, taken = Rate(per_minute), 0.0, list[float]()
    for gap in gaps:
        now += gap
        if rate.wait_s(now) == 0:
            rate.take(now)
            taken.append(now)
        assert len([at for at in taken if now - at < Rate.WINDOW_S]) <= per_minute


@given(st.lists(st.floats(0.0, 30.0), min_size=1, max_size=20))
def test_after_the_wait_that_was_told_the_next_one_may_be_taken(gaps: list[float]) -> None:
    rate, now = Rate(1), 0.0
    for gap in gaps:
        now += gap
        now += rate.wait_s(now) + 1e-6
        assert rate.wait_s(now) == 0
        rate.take(now)
        assert rate.wait_s(now) > 0
