"""Every error of the tree: pickled, copied and raised in another process, it stays what it was."""

import copy
import inspect
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from llm_service import errors
from llm_service.errors import ConfigError, TelemetryError

GIVEN: dict[str, Any] = {
    "allowed": Decimal("0.5"), "asked": Decimal(1), "budget": "daily", "errors": [ConfigError("a")],
    "extra": "cli", "field": "usd", "file": Path("a.yaml"), "hint": None, "invocation_id": "1", "key": "a", "limit": 7,
    "line": 3, "message": "it is so", "metric": "calls", "missing": ("price",), "model_name": "gpt-4o", "package": "rich",
    "path": Path("t.db"), "problem": "it is not", "reason": "closed", "remedy": "give more", "reserved": 1,
    "resets_at": datetime(2026, 11, 30, tzinfo=UTC), "run": "night", "spent": 2, "subject": ("a",), "unknown": 3,
    "value": -1, "what": "compare", "window": "day",
}  # fmt: skip


def kinds(kind: type[TelemetryError] = TelemetryError) -> Iterator[type[TelemetryError]]:
    """The class and all below it that the module defines."""
    if kind.__module__ == errors.__name__:
        yield kind
    for one in kind.__subclasses__():
        yield from kinds(one)


def made(kind: type[TelemetryError]) -> TelemetryError:
    """One with all that its constructor takes."""
    if not inspect.isfunction(kind.__init__):
        return kind(GIVEN["message"])
    parameters = inspect.signature(kind).parameters.values()
    positional = [GIVEN[one.name] for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
    named = {one.name: GIVEN[one.name] for one in parameters if one.kind is one.KEYWORD_ONLY}
    return kind(*positional, **named)


@pytest.mark.parametrize("kind", sorted(set(kinds()), key=lambda kind: kind.__name__))
def test_an_error_is_the_same_after_pickling_and_copying(kind: type[TelemetryError]) -> None:
    """Type, message and all attributes."""
    error = made(kind)
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301 - our own bytes
        assert type(again) is kind
        assert str(again) == str(error)
        assert repr(vars(again)) == repr(vars(error))
    assert kind.__doc__
