"""Values of a call as plain ones that JSON can hold, and back: what one process tells another about a call.

    restore(fresh, json.loads(json.dumps(pack(old))))     # `fresh` is now as `old` was

Dataclasses become objects by field name, with private fields, for a state is all of them. What comes back is checked
against the fields' types, so that nothing that another release has written passes for a state of this one.
"""

import json
import types
import typing
from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from math import isfinite
from typing import Any, Literal, Union, get_args, get_origin

NOTHING: frozenset[str] = frozenset()


class UnreadableError(ValueError):
    """Plain values that are not what was to be read; the message names the type."""


def loads(text: str) -> Any:  # noqa: ANN401 - any JSON
    """Return what a text says. Raises UnreadableError."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(type(error).__name__) from error


def pack(value: object, leave: Collection[str] = NOTHING) -> Any:  # noqa: ANN401 - JSON has no narrower type
    """Return `value` as JSON's own types; `leave` are fields of the outermost dataclass that do not travel."""
    if is_dataclass(value):
        return {f.name: pack(getattr(value, f.name)) for f in fields(value) if f.name not in leave}
    if isinstance(value, Mapping):
        return {str(key): pack(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [pack(held) for held in value]
    return value


def restore(target: Any, plain: object, leave: Collection[str] = NOTHING) -> None:  # noqa: ANN401 - any dataclass
    """Set the fields of a dataclass to what `pack` has made of another one's.

    Raises:
        UnreadableError: something is missing, or is of another type.
    """
    kinds, told = _kinds_of(target.__class__), _object(plain, type(target))
    travelling = {name for name in kinds if name not in leave}
    if set(told) != travelling:
        raise UnreadableError(f"{type(target).__name__}: fields {sorted(set(told) ^ travelling)}")
    for name in travelling:
        setattr(target, name, unpack(kinds[name], told[name]))


def unpack(kind: Any, plain: object) -> Any:  # noqa: ANN401 - `kind` is any annotation, and so is what comes back
    """Return the value of type `kind` that `pack` has made `plain` of. Raises UnreadableError."""
    origin = get_origin(kind)
    if kind is Any:
        return plain
    if is_dataclass(kind):
        return _dataclass(kind, plain)
    if origin in (Union, types.UnionType):
        return _one_of(kind, plain)
    if origin is Literal:
        return _checked(kind, plain, ok=any(plain == one for one in get_args(kind)))
    if origin is tuple:
        return _tuple(kind, plain)
    if origin is list:
        return [unpack(get_args(kind)[0], held) for held in _list(plain, kind)]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        key, held = get_args(kind)
        return {unpack(key, name): unpack(held, value) for name, value in _object(plain, kind).items()}
    return _scalar(kind, plain)


def _dataclass(kind: Any, plain: object) -> object:  # noqa: ANN401 - a class
    kinds, told = _kinds_of(kind), _object(plain, kind)
    try:
        return kind(**{name: unpack(kinds[name], value) for name, value in told.items()})
    except (KeyError, TypeError) as error:
        raise UnreadableError(f"{kind.__name__}: {error}") from error


def _one_of(kind: Any, plain: object) -> object:  # noqa: ANN401 - a union
    for one in get_args(kind):
        try:
            return unpack(one, plain)
        except UnreadableError:
            continue
    raise UnreadableError(f"{kind}: {type(plain).__name__}")


def _tuple(kind: Any, plain: object) -> tuple[object, ...]:  # noqa: ANN401 - a tuple's type
    kinds, held = get_args(kind), _list(plain, kind)
    if kinds[-1] is Ellipsis:
        return tuple(unpack(kinds[0], one) for one in held)
    if len(kinds) != len(held):
        raise UnreadableError(f"{kind}: {len(held)} values")
    return tuple(unpack(one, value) for one, value in zip(kinds, held, strict=True))


def _scalar(kind: Any, plain: object) -> object:  # noqa: ANN401 - int, str, float, bool or None's type
    if kind is float and type(plain) is int:
        plain = _float(plain)
    if kind is float and isinstance(plain, float) and not isfinite(plain):
        raise UnreadableError(f"{kind}: not finite")
    return _checked(kind, plain, ok=type(plain) is kind)  # a bool is no int here


def _float(plain: int) -> float:
    try:
        return float(plain)
    except OverflowError as error:
        raise UnreadableError(f"{float}: {error}") from error


def _object(plain: object, kind: object) -> Mapping[str, object]:
    return typing.cast("Mapping[str, object]", _checked(kind, plain, ok=isinstance(plain, Mapping)))


def _list(plain: object, kind: object) -> list[object]:
    return typing.cast("list[object]", _checked(kind, plain, ok=isinstance(plain, list)))


def _checked(kind: object, plain: object, *, ok: bool) -> object:
    if not ok:
        raise UnreadableError(f"{kind}: {type(plain).__name__}")
    return plain


@lru_cache
def _kinds_of(kind: Any) -> Mapping[str, Any]:  # noqa: ANN401 - a dataclass
    hints = typing.get_type_hints(kind)
    return {f.name: hints[f.name] for f in fields(kind)}
