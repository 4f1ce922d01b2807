"""Patterns that no text makes slow: of an engine whose time grows with the text, and not with how it might be read.

Callers choose the text, and `re` would try `^(a+)+$` on forty letters for hours. This is pydantic's own engine, Rust's
`regex`: without look-around and back-references, else what JSON Schema's patterns are.
"""

from functools import lru_cache
from typing import Annotated

from pydantic import StringConstraints, TypeAdapter, ValidationError
from pydantic_core import SchemaError


def check(pattern: str) -> None:
    """Raise ValueError for what is no such pattern."""
    _compiled(pattern)


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern occurs in the text; raises ValueError as above."""
    try:
        _compiled(pattern).validate_python(text)
    except ValidationError:
        return False
    return True


@lru_cache
def _compiled(pattern: str) -> TypeAdapter[str]:
    try:
        return TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)])
    except SchemaError as error:
        raise ValueError(str(error).rpartition("rror: ")[2].strip() or "it cannot be read") from None
