"""Encodes a record by `marshal`, for speed; decodes it by a small safe reader.

`marshal.loads` may crash on bytes that it did not write, so it is never called. Version 2 of its format (CPython's
Python/marshal.c) writes a tuple of None, int, float and str with six type codes and no references; `decode` knows
exactly these, and builds the record through `InvocationRecord`'s own checks.
"""

import json
import marshal
import struct
import zlib
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final, cast

from llm_service.telemetry.record.fields import ADDED
from llm_service.telemetry.record.record import CARD_FIELDS, FIELDS, InvocationRecord
from llm_service.telemetry.record.timestamps import MAX_MICROSECONDS, from_microseconds

__all__ = ["LAYOUT", "LAYOUTS", "UnreadableRecordError", "decode", "encode"]


def _layout(fields: Sequence[str]) -> int:
    return zlib.crc32(",".join(fields).encode())


_ADDED: Final = tuple(ADDED[version] for version in sorted(ADDED, reverse=True))
"""The columns that each version added, newest version first."""
LAYOUT: Final = _layout(FIELDS)
"""Identifies the fields and their order; another layout means another release."""
LAYOUTS: Final[Mapping[int, Sequence[str]]] = {
    _layout(fields): fields
    for fields in (
        tuple(name for name in FIELDS if name not in set(chain.from_iterable(_ADDED[:releases])))
        for releases in range(len(_ADDED) + 1)
    )
}
"""The fields of each readable layout: this release's and earlier ones."""

_FORMAT: Final = 2
_INT: Final = struct.Struct("<i")
_DIGITS: Final = struct.Struct("<i")
_FLOAT: Final = struct.Struct("<d")
_MOST_DIGITS: Final = 8
"""15 bits each: more than any number of a record."""
_JSON_FIELDS: Final = ("tags", "metadata")


class UnreadableRecordError(ValueError):
    """The bytes are not a record."""


def encode(record: InvocationRecord) -> bytes:
    """The record's two tuples as bytes; all their values are of plain types."""
    return marshal.dumps((record.card, record.extensions), _FORMAT)


def decode(data: bytes, layout: int = LAYOUT) -> InvocationRecord:
    """The record that `encode` was given.

    Args:
        layout: one of `LAYOUTS`, from the segment's header.

    Raises:
        UnreadableRecordError: for any other bytes; no input crashes it.
    """
    try:
        value, end = _read(data, 0, 2)
        return _record(value, LAYOUTS[layout], whole=end == len(data))
    except UnreadableRecordError:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError, struct.error) as error:
        raise UnreadableRecordError(f"{type(error).__name__}: {error}") from None


def _read(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    """The value that starts at `at`, and where it ends."""
    code, at = data[at : at + 1], at + 1
    if code == b"N":
        return None, at
    if code == b"i":
        return _INT.unpack_from(data, at)[0], at + _INT.size
    if code == b"g":
        return _FLOAT.unpack_from(data, at)[0], at + _FLOAT.size
    if code == b"l":
        return _read_long(data, at)
    if code in {b"u", b"("}:
        (length,) = _INT.unpack_from(data, at)
        at += _INT.size
        if not 0 <= length <= len(data) - at:  # each element of a tuple takes at least a byte
            raise UnreadableRecordError("a length beyond the end")
        if code == b"u":
            return data[at : at + length].decode(), at + length
        if depth:
            parts: list[Any] = []
            for _ in range(length):
                part, at = _read(data, at, depth - 1)
                parts.append(part)
            return tuple(parts), at
    raise UnreadableRecordError("an unknown type code")


def _read_long(data: bytes, at: int) -> tuple[int, int]:
    """An int beyond 32 bits: a signed count of 15-bit digits, the lowest first."""
    (count,) = _DIGITS.unpack_from(data, at)
    at += _DIGITS.size
    if not 0 < abs(count) <= _MOST_DIGITS:
        raise UnreadableRecordError("a number of no sensible size")
    digits = struct.unpack_from(f"<{abs(count)}H", data, at)
    number = sum((digit & 0x7FFF) << (15 * place) for place, digit in enumerate(digits))
    return (number if count > 0 else -number), at + 2 * abs(count)


def _record(pair: Any, names: Sequence[str], *, whole: bool) -> InvocationRecord:
    if not whole or not isinstance(pair, tuple):
        raise UnreadableRecordError("not one pair")
    card, extensions = cast("tuple[Any, Any]", pair)
    if len(card) != len(CARD_FIELDS) or (extensions is not None and len(extensions) != len(names) - len(CARD_FIELDS)):
        raise UnreadableRecordError("not the fields of a record")
    fields: dict[str, Any] = dict(zip(names, (*card, *(extensions or ())), strict=False))
    if type(fields["timestamp"]) is not int or not 0 <= fields["timestamp"] <= MAX_MICROSECONDS:
        raise UnreadableRecordError("no moment")
    fields["timestamp"] = from_microseconds(fields["timestamp"])
    if type(fields["invocation_id"]) is not str:
        raise UnreadableRecordError("no id")
    if fields.get("stream") is not None:
        fields["stream"] = bool(fields["stream"])
    for name in _JSON_FIELDS:
        if fields.get(name) is not None:
            fields[name] = json.loads(fields[name])
    return InvocationRecord(**fields)
