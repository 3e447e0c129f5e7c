"""Checks a document against a schema, and reports all errors at once with file, line, key and remedy."""

from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from llm_service.config.documents import Document, read_document
from llm_service.config.key_paths import KeyPath, path_text
from llm_service.config.schema_values import Strict
from llm_service.errors import ConfigError, ConfigErrors
from llm_service.redaction import shown

__all__ = ["parsed", "parsed_file", "problems_of"]

_T = TypeVar("_T", bound=Strict)
_WHOLE: Final = ("is ", "there is ")
"""The beginnings of messages that say what is wrong; all others say what to do instead."""


def parsed(schema: type[_T], document: Document) -> _T:
    """The document as an object of the schema; a ConfigError, or a ConfigErrors if there are several."""
    value, problems = problems_of(schema, document)
    if value is None or problems:
        raise problems[0] if len(problems) == 1 else ConfigErrors(problems) from None
    return value


def parsed_file(schema: type[_T], path: str | Path) -> _T:
    """A YAML file as an object of the schema; a ConfigError as in `parsed` and `read_document`."""
    return parsed(schema, read_document(path))


def problems_of(schema: type[_T], document: Document) -> tuple[_T | None, list[ConfigError]]:
    """The document as an object of the schema (None if invalid), and all its errors, by line."""
    value: _T | None = None
    found = list(document.problems)
    try:
        value = schema.model_validate(document.values)
    except ValidationError as error:
        for item in error.errors(include_url=False):
            path = _path(item["loc"])
            if path not in document.empty:  # reported when it was read
                found.append(_error(document, path, item))
    return value, sorted(found, key=lambda error: error.line or 0)


def _path(place: tuple[str | int, ...]) -> KeyPath:
    """A pydantic location as a path of keys: `[key]` at its end means the key before it."""
    return place[:-1] if place and place[-1] == "[key]" else place


def _error(document: Document, path: KeyPath, item: Any) -> ConfigError:
    remedy: str = item["msg"]
    if not remedy.startswith(_WHOLE):
        remedy = f"{_shown(item['input'])} is not usable; {remedy}"
    return ConfigError(remedy, file=document.file, line=document.line(path), key=path_text(path) or None)


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return str(value) if isinstance(value, float) or type(value).__name__ == "Decimal" else shown(value)
