"""What outlives a call."""

from kav.records.backlog import SaveResult
from kav.records.writer import Records, durability_warning

__all__ = ["Records", "SaveResult", "durability_warning"]
