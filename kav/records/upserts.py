"""Upserts that are the same on SQLite and PostgreSQL: one statement each, so two writers cannot lose each other's.

Statements are built once and kept, for building one costs more than running it.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from sqlalchemy import Column, ColumnElement, Integer, String, Table, bindparam, case, func
from sqlalchemy.dialects import postgresql, sqlite

from kav.records import cleaning
from kav.records.errors import InvalidRecordError
from kav.records.models import SID_CHARS

Upsert = postgresql.Insert | sqlite.Insert


@cache
def merge(dialect: str, table: Table, names: tuple[str, ...]) -> Upsert:
    """Insert a row with the columns `names`, or update only those of the row that is there, as each column merges."""
    insert = insert_into(dialect, table, names)
    primary = [column.name for column in table.primary_key]
    changes = {name: _merged(table.c[name], insert.excluded[name]) for name in names if name not in primary}
    if not changes:
        return insert.on_conflict_do_nothing()
    return insert.on_conflict_do_update(index_elements=primary, set_=changes)


@cache
def unless_there(dialect: str, table: Table, names: tuple[str, ...]) -> Upsert:
    """Insert a row, or leave the one that is there as it is."""
    return insert_into(dialect, table, names).on_conflict_do_nothing()


def insert_into(dialect: str, table: Table, names: tuple[str, ...]) -> Upsert:
    """Build an insert of the columns `names`, which can be told what to do on a conflict."""
    insert = sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)
    return insert.values({name: bindparam(name) for name in names})


def _merged(old: Column[Any], new: ColumnElement[Any]) -> ColumnElement[Any]:
    keeps = old.info.get("keeps")
    if keeps == "first":
        return func.coalesce(old, new)
    if keeps == "earliest":
        return case((old < new, old), else_=new)
    if keeps == "greatest":
        return greatest(old, new)
    if keeps == "until_erased":
        return case((old.table.c.erased_at.is_(None), new), else_=old)
    return new


def in_one(table: Table, before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What `merge` leaves of two sets of fields that come one after the other, before a database has seen either."""
    known = {name: value for name, value in before.items() if value is not None}
    for name, value in after.items():
        if value is not None:
            keep = _KEEPERS.get(table.c[name].info.get("keeps", ""))
            known[name] = keep(known[name], value) if keep and name in known else value
    return known


_KEEPERS: Mapping[str, Callable[[Any, Any], Any]] = {"first": lambda old, _: old, "earliest": min, "greatest": max}


def greatest(old: ColumnElement[Any], new: ColumnElement[Any]) -> ColumnElement[Any]:
    """The greater of two values that may be missing."""
    # NULL compares as unknown, which takes the first branch's else: a missing new value keeps the old one.
    return case((old.is_(None), new), (new > old, new), else_=old)


def said(table: Table, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are not None, each made fit for its column."""
    return {name: _fitting(table, name, value) for name, value in fields.items() if value is not None}


def _fitting(table: Table, name: str, value: object) -> object:
    kind = table.c[name].type
    if isinstance(kind, String) and isinstance(value, str) and kind.length:
        return cleaning.words(value, kind.length)
    return round(value) if isinstance(kind, Integer) and isinstance(value, float) else value


def sid(text: str, call_sid: str) -> str:
    """A CallSid or StreamSid that fits its column; raises InvalidRecordError when it, or its call's, is missing."""
    if not text or not call_sid:
        raise InvalidRecordError(f"call {call_sid!r}: a record without its CallSid or StreamSid cannot be stored")
    return cleaning.key(text, SID_CHARS)
