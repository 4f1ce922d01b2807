"""Recordings that nobody may keep: noted with the same stroke that takes their call away, deleted at Twilio after it.

The sound lies with Twilio, which may be away when a call is erased or too old, and which may tell of a recording only
when its call has been erased already. So what must go is a row, written in the transaction that needs it gone, and the
row stays until Twilio has deleted the sound.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, select, update

from kav.records.models import RECORDINGS, UNWANTED_RECORDINGS
from kav.records.upserts import unless_there

BATCH = 20  # recordings a round: a few seconds of asking Twilio


def condemn(connection: Connection, recording_sids: Sequence[str], at: datetime) -> None:
    """Note recordings that are to be deleted at Twilio; one that is noted already stays as it is."""
    statement = unless_there(connection.dialect.name, UNWANTED_RECORDINGS, ("recording_sid", "since"))
    for recording_sid in recording_sids:
        connection.execute(statement, {"recording_sid": recording_sid, "since": at})


def condemn_those_of(connection: Connection, call_sids: Sequence[str], at: datetime) -> None:
    """Note all recordings of calls."""
    query = select(RECORDINGS.c.recording_sid).where(RECORDINGS.c.call_sid.in_(call_sids))
    condemn(connection, list(connection.execute(query).scalars()), at)


def unwanted(connection: Connection, limit: int = BATCH) -> list[str]:
    """The recordings that have waited longest."""
    query = select(UNWANTED_RECORDINGS.c.recording_sid).order_by(UNWANTED_RECORDINGS.c.since).limit(limit)
    return list(connection.execute(query).scalars())


def forget(connection: Connection, recording_sid: str) -> None:
    """Twilio has deleted it."""
    connection.execute(delete(UNWANTED_RECORDINGS).where(UNWANTED_RECORDINGS.c.recording_sid == recording_sid))


def put_last(connection: Connection, recording_sid: str, at: datetime) -> None:
    """Twilio has not deleted it: the others come first, so that one that it refuses holds up none."""
    theirs = UNWANTED_RECORDINGS.c.recording_sid == recording_sid
    connection.execute(update(UNWANTED_RECORDINGS).where(theirs).values(since=at))
