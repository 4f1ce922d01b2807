"""A call that is over, for the tests of what comes after it."""

from dataclasses import replace
from datetime import UTC, datetime

from kav.after_call import CallReport, Findings, Given, Said
from kav.call.flow import Owner

OWNER = Owner("+972509876543", "owner@example.com", "he")
REPORT = CallReport(
    call_sid="CA1",
    flow="clinic",
    business="מרפאת השיניים אלון",
    direction="inbound",
    own_number="+97231110002",
    other_number="+972501234567",
    began_at=datetime(2026, 11, 22, 8, 30, tzinfo=UTC),
    ended_at=datetime(2026, 11, 22, 8, 32, 4, tzinfo=UTC),
    duration_s=124,
    end_reason="goodbye",
    language="he",
    flow_done=True,
    do_not_call=False,
    answers=(
        Given("name", "מה השם המלא?", "דנה לוי"),
        Given("again", "ביקור ראשון?", "yes"),
        Given("day", "לאיזה יום?", None, "dont_know"),
    ),
    talk=(Said("bot", "שלום."), Said("caller", "אני צריכה תור."), Said("bot", "לאיזה")),
    owner=OWNER,
    wants_summary=True,
)
FINDINGS = Findings("דנה לוי ביקשה תור.", {"name": "דנה לוי", "phone": "0501234567", "urgency": "high"})


def report(**changes: object) -> CallReport:
    return replace(REPORT, **changes)  # type: ignore[arg-type]  # the fields' own types
