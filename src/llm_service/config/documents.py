"""Reads YAML as plain values: only mappings, lists and scalars, each with its line.

A file is read as YAML *events*. Tags, anchors, aliases and merge keys are refused before anything is built from them;
depth and number of values are bounded. Numbers are decimal and exact.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final, NoReturn, cast

import yaml
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from llm_service.config.files import expanded, read_text
from llm_service.config.key_paths import KeyPath, path_text
from llm_service.errors import ConfigError
from llm_service.redaction import shown

__all__ = [
    "Document",
    "is_empty",
    "line_of",
    "parse_document",
    "plain_value",
    "read_document",
    "refuse_second",
    "root_event",
    "skip",
    "yaml_events",
]

_MOST_VALUES: Final = 20_000
_MOST_DEPTH: Final = 16
"""The deepest value of a schema is on level six."""
_MOST_DIGITS: Final = 40
_MOST_EXPONENT: Final = 30
_EXPONENT_NUMBER: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)[eE][-+]?[0-9]+")
"""YAML 1.2.2, 10.3.2: `3e-6` is a number; the resolver here is that of YAML 1.1, where it is text."""


@dataclass(frozen=True, slots=True)
class Document:
    """A file as plain values.

    Attributes:
        file: its path, as it was named.
        values: the top mapping; keys are text, values are mappings, lists, text, int, Decimal, bool or None.
        lines: the line of each value, from 1; for a mapping's value, that of its key.
        problems: errors of single keys that do not stop the reading.
        empty: the keys among them without a value.
    """

    file: Path
    values: dict[str, object]
    lines: Mapping[KeyPath, int]
    problems: Sequence[ConfigError]
    empty: frozenset[KeyPath]

    def line(self, path: KeyPath) -> int | None:
        """The line of a value, or of its nearest parent; None for the whole file."""
        return next((self.lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in self.lines), None)


def read_document(path: str | Path) -> Document:
    """Read a YAML file. Raises ConfigError: the file is missing, cannot be read, or is not a plain YAML mapping."""
    file = expanded(path)
    text = read_text(file)
    if text is None:
        raise ConfigError("there is no such file; correct the path or create the file", file=file)
    return parse_document(file, text)


def parse_document(file: Path, text: str) -> Document:
    """The values of a YAML text (an empty one is an empty mapping); ConfigError for what is not a plain mapping."""
    events = yaml_events(file, text)
    root = root_event(events)
    reader = _Reader(file, events)
    values: dict[str, object] = {}
    if isinstance(root, yaml.MappingStartEvent):
        values = reader.mapping(())
    elif not is_empty(root):
        raise ConfigError("is not a mapping; write one `name: value` a line", file=file, line=line_of(root))
    refuse_second(file, events)
    return Document(file, values, reader.lines, reader.problems, frozenset(reader.empty))


class _Reader:
    """Builds values from events, and stores their lines."""

    def __init__(self, file: Path, events: Iterator[yaml.Event]) -> None:
        self._file = file
        self._events = events
        self._count = 0
        self.lines: dict[KeyPath, int] = {}
        self.problems: list[ConfigError] = []
        self.empty: set[KeyPath] = set()

    def mapping(self, path: KeyPath) -> dict[str, object]:
        found: dict[str, object] = {}
        while not isinstance(key := next(self._events), yaml.MappingEndEvent):
            name, line = self._key(key), line_of(key)
            place = (*path, name)
            value = self._value(next(self._events), place, line)
            if name in found:
                self._wrong(f"is set in line {self.lines[place]} already; keep one", place, line)
            found.setdefault(name, value)
            self._stands(place, line)
        return found

    def _sequence(self, path: KeyPath) -> list[object]:
        found: list[object] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            place = (*path, len(found))
            found.append(self._value(event, place, line_of(event)))
            self._stands(place, line_of(event))
        return found

    def _value(self, event: yaml.Event, path: KeyPath, line: int) -> object:
        if isinstance(event, yaml.ScalarEvent):
            if event.implicit[0] and event.value == "":  # null in YAML, but a forgotten budget is not "none"
                self._wrong("has no value; give one or remove the line", path, line)
                self.empty.add(path)
            return plain_value(event.value, _exact) if event.implicit[0] else event.value
        return self.mapping(path) if isinstance(event, yaml.MappingStartEvent) else self._sequence(path)

    def _key(self, event: yaml.Event) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            self._refuse("a list or a mapping cannot be a key; write `name: value`", line_of(event))
        if event.value == "<<" and event.implicit[0]:
            self._refuse("a merge key is refused; write the keys out", line_of(event))
        return event.value

    def _stands(self, path: KeyPath, line: int) -> None:
        self.lines.setdefault(path, line)
        self._count += 1
        if self._count > _MOST_VALUES:
            self._refuse(f"has more than {_MOST_VALUES:,} values; this is no settings file", line)

    def _wrong(self, problem: str, path: KeyPath, line: int) -> None:
        self.problems.append(ConfigError(problem, file=self._file, line=line, key=path_text(path)))

    def _refuse(self, problem: str, line: int) -> NoReturn:
        raise ConfigError(problem, file=self._file, line=line)


def yaml_events(file: Path, text: str) -> Iterator[yaml.Event]:
    """The YAML events of a text; ConfigError at tags, anchors, aliases, deep nesting, which no setting needs."""
    try:
        loader = yaml.SafeLoader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError("has a control character; remove it", file=file, line=line) from None
    depth = 0
    while True:
        try:
            event = cast("yaml.Event | None", loader.get_event())  # type: ignore[no-untyped-call]
        except (yaml.YAMLError, ValueError, OverflowError) as error:  # PyYAML raises the last two for odd numbers
            mark = getattr(error, "problem_mark", None)
            problem = str(getattr(error, "problem", None) or "a number in an escape or a directive is out of range")
            line = (mark.line if mark else loader.line) + 1
            raise ConfigError(f"is not YAML: {problem[:80]}; correct the syntax", file=file, line=line) from None
        if event is None:  # after the end of the stream
            return
        _refuse_extras(event, file)
        depth += int(isinstance(event, yaml.CollectionStartEvent)) - int(isinstance(event, yaml.CollectionEndEvent))
        if depth > _MOST_DEPTH:  # the scanner's time grows with each level
            problem = f"is nested deeper than {_MOST_DEPTH} levels; no key needs that"
            raise ConfigError(problem, file=file, line=line_of(event))
        yield event


def root_event(events: Iterator[yaml.Event]) -> yaml.Event:
    """The first event of the first document; the end of the stream if there is none."""
    return next(event for event in events if not isinstance(event, yaml.StreamStartEvent | yaml.DocumentStartEvent))


def is_empty(root: yaml.Event) -> bool:
    """Whether a file has no value."""
    return isinstance(root, yaml.StreamEndEvent) or (isinstance(root, yaml.ScalarEvent) and root.value == "")


def refuse_second(file: Path, events: Iterator[yaml.Event]) -> None:
    """Read to the end, and refuse a second document."""
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            raise ConfigError("has a second YAML document; keep one", file=file, line=line_of(event))


def skip(start: yaml.Event, events: Iterator[yaml.Event]) -> None:
    """Skip the rest of a list or mapping that has started; a scalar has ended already."""
    depth = int(isinstance(start, yaml.CollectionStartEvent))
    while depth > 0:
        event = next(events)
        depth += int(isinstance(event, yaml.CollectionStartEvent)) - int(isinstance(event, yaml.CollectionEndEvent))


def _refuse_extras(event: yaml.Event, file: Path) -> None:
    extra = getattr(event, "tag", None) or getattr(event, "anchor", None)
    if extra is not None:
        raise ConfigError(f"YAML tag or anchor {shown(extra)} is refused; drop it", file=file, line=line_of(event))


def line_of(event: yaml.Event) -> int:
    """The line on which an event starts, counted from 1."""
    return event.start_mark.line + 1  # type: ignore[union-attr]  # optional only for events made by hand


def plain_value(text: str, number: Callable[[str], object] = float) -> object:
    """The value of an unquoted YAML scalar.

    Numbers are decimal, as in YAML 1.2: `010` is ten, `3e-6` is a number and `1:30` is text (in YAML 1.1 they are 8,
    text and 90). Anything else stays text, which the type check refuses.

    Args:
        text: as written in the file.
        number: converts a number that is not an integer; raises ValueError for other texts.
    """
    tag = cast("str", Resolver().resolve(yaml.ScalarNode, text, (True, False)))  # type: ignore[no-untyped-call]
    kind = tag.rpartition(":")[2]
    if kind == "null":
        return None
    if kind == "bool":
        return SafeConstructor.bool_values[text.lower()]
    if kind == "str" and _EXPONENT_NUMBER.fullmatch(text):
        kind = "float"
    try:
        return int(text) if kind == "int" else number(text) if kind == "float" else text
    except ValueError:
        return text


def _exact(text: str) -> Decimal:
    """An exact decimal number; an absurdly large or small one raises ValueError."""
    if len(text) <= _MOST_DIGITS:
        try:
            value = Decimal(text)
        except InvalidOperation:
            raise ValueError(text) from None
        if value.is_finite() and abs(value.adjusted()) <= _MOST_EXPONENT:
            return value
    raise ValueError(text)
