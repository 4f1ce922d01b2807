"""What can go wrong with the records.

RecordsError
├── DatabaseMisconfiguredError   the URL cannot be used; an operator must change it
├── InvalidRecordError           the record itself cannot be stored, now or later
├── InvalidCursorError           a page of calls was asked for that begins nowhere
├── ReadTimeoutError             the database did not answer a question in time
└── NotSavedError                the record could be stored, but was not
    ├── BacklogFullError         too many records were already waiting for the database
    └── RecordsStoppedError      the process ends, or the records were never started
"""


class RecordsError(Exception):
    """Root of everything that this package raises."""


class DatabaseMisconfiguredError(RecordsError):
    """DATABASE_URL cannot be used as it is."""


class InvalidRecordError(RecordsError):
    """A record that no database would take, e.g. one without its call."""


class InvalidCursorError(RecordsError):
    """A cursor that no page of calls ended with."""


class ReadTimeoutError(RecordsError):
    """The database did not answer a question in time."""


class NotSavedError(RecordsError):
    """A sound record that did not reach the database; it stands in the log instead."""


class BacklogFullError(NotSavedError):
    """As many records as Kav keeps in memory are waiting for the database."""


class RecordsStoppedError(NotSavedError):
    """The records are not running (any more)."""
