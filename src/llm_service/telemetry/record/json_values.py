"""Any Python value as JSON, bounded in depth, length and work.

A value that JSON lacks becomes its text; one that is too deep, too long or contains itself is cut, with a mark. One bad
value does not affect the others.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from datetime import date, time
from enum import Enum
from itertools import islice
from math import isfinite, isnan, prod
from typing import Any, Final, cast

from llm_service.redaction import without_cut_end
from llm_service.telemetry.record.texts import note_repair, plain_text, repaired

__all__ = ["MAX_JSON_CHARS", "MAX_LEVELS", "array_text", "as_mapping", "object_text", "text_of"]

MAX_JSON_CHARS: Final = 65_536
MAX_LEVELS: Final = 64
"""Nested objects and arrays; SQLite's own functions take 1,000 (https://sqlite.org/json1.html)."""

_MOST_VALUES: Final = MAX_JSON_CHARS // 2
"""More cannot be stored: each takes at least two characters."""
_MOST_BITS: Final = 4_096
"""Python parses integers of at most 4,300 digits."""
_MOST_KEY_CHARS: Final = 1_000
_WORK: Final = 16
"""Input is read up to this multiple of what can be stored, however many large values there are."""
_LEAST: Final = 256
"""Characters that every value may keep: a shorter one is stored whole, or dropped with the rest."""
_SMALLEST_CUT: Final = 48
"""Room for a mark."""
_CUT: Final = "[cut]"
_TOO_DEEP: Final = f"[cut: deeper than {MAX_LEVELS} levels]"
_WITHIN_ITSELF: Final = "[cut: within itself]"


def object_text(pairs: Mapping[Any, Any]) -> str:
    """A mapping as a JSON object of at most `MAX_JSON_CHARS`."""
    found: dict[str, Any] = {}
    numbers: dict[str, int] = {}
    values = characters = _WORK * MAX_JSON_CHARS
    above = frozenset({id(pairs)})
    items = list(islice(pairs.items(), _MOST_VALUES))
    for key, value in items:
        room = _Room(min(_MOST_VALUES, max(_LEAST, values)), min(MAX_JSON_CHARS, max(_LEAST, characters)))
        name = _unlike(_key(key), found, numbers)
        given, long = room.values, room.characters
        found[name] = _plain(value, above, 2, room)
        values -= given - room.values
        characters -= long - room.characters + len(name)
    _mark_rest(found, len(pairs) - len(items))
    return _fitting(found)


def array_text(texts: list[str]) -> str:
    """Texts as a JSON array of at most `MAX_JSON_CHARS`."""
    return _fitting(texts)


def as_mapping(value: object) -> Mapping[Any, Any] | None:
    """The named values of a mapping, dataclass, named tuple, or pydantic or attrs model; None for anything else."""
    kind = cast("Any", type(value))
    if _is(value, Mapping):
        return cast("Mapping[Any, Any]", value)
    if is_dataclass(kind):
        names = [one.name for one in dataclass_fields(kind)]
    elif _is(value, tuple) and hasattr(kind, "_fields"):
        names = list(kind._fields)
    elif hasattr(kind, "model_fields") and hasattr(kind, "model_dump"):
        names = [*kind.model_fields, *(getattr(value, "model_extra", None) or ())]
    elif hasattr(kind, "__attrs_attrs__"):
        names = [one.name for one in kind.__attrs_attrs__]
    else:
        return None
    return {name: getattr(value, name) for name in names}


def text_of(value: object, most: int = MAX_JSON_CHARS) -> str:
    """The text of any value, at most `most` characters and a mark: `str(value)`, ISO for times, UTF-8 for bytes."""
    try:
        if isinstance(value, bytes | bytearray):
            text = bytes(value[: most + 1]).decode(errors="backslashreplace")
        elif isinstance(value, date | time):
            text = value.isoformat()
        else:
            text = str(value)
        text = plain_text(text)
    except Exception as error:  # noqa: BLE001 - a foreign object may raise anything
        text = f"<{type(value).__name__} whose str raises {type(error).__name__}>"
    return repaired(text) if len(text) <= most else _cut_text(text, most)


class _Room:
    """The budget of one value: how many nested values and characters may still be taken."""

    __slots__ = ("characters", "values")

    def __init__(self, values: int, characters: int) -> None:
        self.values = values
        self.characters = characters

    def take(self, text: str) -> str:
        """The text, cut to the characters that are left."""
        whole = repaired(text) if len(text) <= self.characters else _cut_text(text, max(_SMALLEST_CUT, self.characters))
        self.characters = max(0, self.characters - len(whole))
        return whole


def _plain(value: Any, above: frozenset[int], level: int, room: _Room) -> Any:
    """The value in JSON's types. `above` holds the ids of its containers, `level` its depth."""
    room.values -= 1
    kind = cast("Any", type(value))
    if kind is str:
        return room.take(value)
    if value is None or kind is bool:
        return value
    if kind is int and value.bit_length() <= _MOST_BITS:
        return value
    if kind is float and isfinite(value):
        return value
    try:
        return _converted(value, above, level, room)
    except Exception:  # noqa: BLE001 - a foreign object may raise anything, wherever it is touched
        return _odd(value, room)


def _converted(value: Any, above: frozenset[int], level: int, room: _Room) -> Any:
    """A value of another class than JSON's own: a subclass, a container, or any object as its text."""
    if isinstance(value, str) and not isinstance(value, Enum):
        return room.take(plain_text(value))
    if isinstance(value, int | float) and not isinstance(value, Enum):
        return _number(value)
    inner = value.value if isinstance(value, Enum) else _array(value)
    pairs = None if inner is not value else as_mapping(value)
    if inner is value and pairs is None and not _is_list(value):
        return _odd(value, room)
    if level > MAX_LEVELS or id(value) in above:
        note_repair()
        return _TOO_DEEP if level > MAX_LEVELS else _WITHIN_ITSELF
    above |= {id(value)}
    if inner is not value:
        return _plain(inner, above, level, room)
    return _array_of(value, above, level, room) if pairs is None else _object_of(pairs, above, level, room)


def _number(value: float) -> float | str:
    """A number that every JSON parser can read, or its text."""
    if isinstance(value, int):
        number = int.__int__(value)
        if number.bit_length() <= _MOST_BITS:
            return number
        note_repair()
        return f"<int of {number.bit_length():,} bits>"
    plain = float.__float__(value)
    if isfinite(plain):
        return plain
    note_repair()
    return "NaN" if isnan(plain) else "Infinity" if plain > 0 else "-Infinity"


def _is(value: object, kind: type) -> bool:
    """`isinstance` without narrowing: type checkers would infer unknown element types."""
    return isinstance(value, kind)


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence | AbstractSet) and not isinstance(value, bytes | bytearray | memoryview)


def _array_of(values: Any, above: frozenset[int], level: int, room: _Room) -> list[Any]:
    is_unordered = _is(values, AbstractSet)
    some: list[Any] = [*islice(values, _MOST_VALUES)] if is_unordered else []
    ordered = sorted(some, key=text_of) if is_unordered else values
    found = [_plain(value, above, level + 1, room) for value in _while_room(ordered, room)]
    _mark_rest(found, len(values) - len(found))
    return found


def _object_of(pairs: Mapping[Any, Any], above: frozenset[int], level: int, room: _Room) -> dict[str, Any]:
    found: dict[str, Any] = {}
    numbers: dict[str, int] = {}
    for key, value in _while_room(pairs.items(), room):
        name = _unlike(_key(key), found, numbers)
        room.characters -= len(name)
        found[name] = _plain(value, above, level + 1, room)
    _mark_rest(found, len(pairs) - len(found))
    return found


def _while_room(values: Iterable[Any], room: _Room) -> Iterator[Any]:
    for value in list(islice(values, max(0, room.values))):
        if room.values <= 0 or room.characters <= 0:
            return
        yield value


def _mark_rest(found: "list[Any] | dict[str, Any]", rest: int) -> None:
    if rest <= 0:
        return
    note_repair()
    if isinstance(found, dict):
        found[_CUT] = f"{rest:,} more"
    else:
        found.append(f"[cut: {rest:,} more]")


def _odd(value: object, room: _Room) -> str:
    note_repair()
    return room.take(text_of(value, max(_LEAST, room.characters)))


def _array(value: Any) -> Any:
    """Arrays of numpy and similar libraries as lists, their scalars as numbers; anything else unchanged."""
    convert: Callable[[Any], Any] | None = getattr(cast("Any", type(value)), "tolist", None)
    if convert is None:
        return value
    if prod(getattr(value, "shape", ())) > _MOST_VALUES:
        return value[:_MOST_VALUES].tolist() if len(value.shape) == 1 else str(value)
    return convert(value)


def _key(key: Any) -> str:
    if isinstance(key, Enum):
        key = key.value
    if isinstance(key, str):
        text = plain_text(key)
        return repaired(text) if len(text) <= _MOST_KEY_CHARS else _cut_text(text, _MOST_KEY_CHARS)
    if key is None or isinstance(key, bool):
        return json.dumps(key)
    return text_of(key, _MOST_KEY_CHARS)


def _unlike(name: str, taken: Mapping[str, Any], numbers: dict[str, int]) -> str:
    """A free key: two keys may have the same text (1 and "1"), and both values are kept."""
    if name not in taken:
        return name
    note_repair()
    number = numbers.get(name, 1) + 1
    while f"{name}#{number}" in taken:
        number += 1
    numbers[name] = number
    return f"{name}#{number}"


# Fitting


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _fitting(value: Any) -> str:
    encoded = _dumps(value)
    if len(encoded) <= MAX_JSON_CHARS:
        return encoded
    note_repair()
    return _dumps(_shortened(value, MAX_JSON_CHARS, len(encoded)))


def _shortened(value: Any, room: int, size: int) -> Any:
    """The value cut so that its JSON, `size` characters long, takes at most `room`; the longest parts are cut first."""
    if size <= room:
        return value
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value)
        kept = _shortened_parts(list(pairs.values()), [len(_dumps(key)) + 2 for key in pairs], room)
        short: Any = dict(zip(pairs, kept, strict=False))
        _mark_rest(short, len(pairs) - len(kept))
        return short
    if isinstance(value, list):
        parts = cast("list[Any]", value)  # type: ignore[redundant-cast]  # pyright does not know what is in it
        kept = _shortened_parts(parts, [1] * len(parts), room)
        _mark_rest(kept, len(parts) - len(kept))
        return kept
    return _cut_text(value if isinstance(value, str) else _dumps(value), room)


def _shortened_parts(parts: list[Any], extra: list[int], room: int) -> list[Any]:
    """The first parts, cut so that all fit; `extra` is what each takes besides its own JSON."""
    sizes = [len(_dumps(part)) for part in parts]
    room -= _SMALLEST_CUT  # for the brackets and the mark
    needed = keep = 0
    for size, beside in zip(sizes, extra, strict=True):
        needed += min(size, _LEAST) + beside
        if needed > room:
            break
        keep += 1
    most = _fair(sizes[:keep], room - sum(extra[:keep]))
    return [_shortened(part, most, size) for part, size in zip(parts[:keep], sizes, strict=False)]


def _fair(sizes: list[int], room: int) -> int:
    """The largest size for each so that all together fit into `room`."""
    sizes.sort()
    for place, size in enumerate(sizes):
        share = room // (len(sizes) - place)
        if size > share:
            return share
        room -= size
    return MAX_JSON_CHARS


def _cut_text(text: str, most: int) -> str:
    """The start of a text and a mark, at most `most` characters of JSON; a cut word is dropped, as half of a secret."""
    note_repair()
    mark = f"[cut: {len(text):,} characters]"
    length = most - len(mark) - 3
    while length > 0:
        short = repaired(without_cut_end(text[:length]))
        taken = len(_dumps(short)) + len(mark)
        if taken <= most:
            return f"{short}{mark}"
        length = min(length - 1, length * most // taken)
    return mark
