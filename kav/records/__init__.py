"""What outlives a call."""

from kav.records.backlog import SaveResult
from kav.records.reading import CallFilter, next_cursor
from kav.records.writer import Records, durability_warning

__all__ = ["CallFilter", "Records", "SaveResult", "durability_warning", "next_cursor"]
