"""What models and users control costs steps in proportion to its size: counted, never timed.

A step is a call or a turn of a loop, as CPython's profiler and tracer tell of them; what C does within one call is not
seen, and is linear where no pattern is involved (patterns have tests of their own).
"""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from tests.slices import quick

from llm_service.cli.command_sql import _distinct
from llm_service.cli.output import clean
from llm_service.cli.tables import Column, fit
from llm_service.cli.trace import read_trace
from llm_service.config.documents import parse_document
from llm_service.errors import ConfigError
from llm_service.estimates.tokens import TokenRatios, size_of
from llm_service.pricing.model_names import candidates, spellings
from llm_service.redaction import shown, traceback_text
from llm_service.telemetry import InvocationRecord
from llm_service.telemetry.instrumentation.call_fields import describe_error
from llm_service.telemetry.queries.time_range import time_range

SIZE = 400


def steps_of(action: Callable[[], object]) -> int:
    """Lines and calls of the action, those of functions of C included; what it raises of ours is one of its ends."""
    counted = 0

    def trace(_frame: FrameType, _event: str, _argument: Any) -> Any:
        nonlocal counted
        counted += 1
        return trace

    def profile(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal counted
        counted += event == "c_call"

    before = sys.gettrace(), sys.getprofile()
    sys.settrace(trace)
    sys.setprofile(profile)
    try:
        action()
    except (ValueError, ConfigError):
        pass
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
    return counted


def chained(length: int) -> BaseException:
    """Exceptions, each the cause of the next."""
    error: BaseException = ValueError("x")
    for _ in range(length):
        following = ValueError("x")
        following.__cause__ = error
        error = following
    return error


def looped(length: int) -> BaseException:
    """The same, closed to a ring."""
    first = error = ValueError("x")
    for _ in range(length):
        following = ValueError("x")
        following.__context__ = error
        error = following
    first.__context__ = error
    return error


def logged(error: BaseException) -> Callable[[], object]:
    """As a log line."""
    return lambda: traceback_text(error)


class UnreadableError(Exception):
    """Its text cannot be had, or is very long."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def __str__(self) -> str:
        if self.size % 2:
            raise RuntimeError("no text")
        return "x\n" * self.size


def document(text: str) -> Callable[[], object]:
    """Read as configuration."""
    return lambda: parse_document(Path("x.yaml"), text)


def wide_table(width: int) -> object:
    """A cell of a statement's answer may be millions wide."""
    columns = [Column("a"), Column("b"), Column("c", "right")]
    return fit(columns, [("x" * width, "y" * width, "1")], 80)


CASES: dict[str, Callable[[int, Path], Callable[[], object]]] = {
    "a chain of causes, described": lambda n, _: lambda: describe_error(chained(n)),
    "a chain of causes, logged": lambda n, _: logged(chained(n)),
    "a ring of exceptions": lambda n, _: logged(looped(n)),
    "a group of many": lambda n, _: lambda: traceback_text(ExceptionGroup("g", [ValueError("x")] * n)),
    "an exception with a long text": lambda n, _: lambda: describe_error(UnreadableError(2 * n)),
    "an exception without a text": lambda n, _: lambda: describe_error(UnreadableError(2 * n + 1)),
    "a value in an error": lambda n, _: lambda: shown(["x"] * n),
    "wide metadata": lambda n, _: lambda: InvocationRecord(metadata={str(i): i for i in range(n)}),
    "backslashes in metadata": lambda n, _: lambda: InvocationRecord(metadata={"a": "\\" * n + "\0"}),
    "tags": lambda n, _: lambda: InvocationRecord(tags=["t"] * n),
    "messages of a prompt": lambda n, _: (
        lambda: size_of([{"role": "user", "content": "x"}] * n, None, (), TokenRatios(), None)
    ),
    "one word as a prompt": lambda n, _: lambda: size_of("x" * n * 1000, None, (), TokenRatios(), None),
    "parts of a name": lambda n, _: lambda: candidates.__wrapped__("litellm/" * n + "x"),
    "endings of a name": lambda n, _: lambda: spellings.__wrapped__("x" + "-latest" * n),
    "versions of a name": lambda n, _: lambda: spellings.__wrapped__("x" + ":1" * n, "aws"),
    "keys of a file": lambda n, _: document("\n".join(f"k{i}: 1" for i in range(n))),
    "a list of a file": lambda n, _: document("a: [" + "1," * n + "]"),
    # From 1,024 characters on, where YAML gives up to look for a key: up to there each one costs the one before again.
    "brackets of a file": lambda n, _: document("a: " + "[" * 3 * n),
    "dashes of a file": lambda n, _: document("- " * n),
    "aliases of a file": lambda n, _: document("a: &a [1]\n" + "".join(f"b{i}: [*a, *a]\n" for i in range(n))),
    "digits of a file": lambda n, _: document("a: " + "1" * n),
    "base sixty in a file": lambda n, _: document("a: 1" + ":1" * n),
    "a text of many lines in a file": lambda n, _: document("a: b\n" + " c\n" * n),
    "a quoted text in a file": lambda n, _: document('a: "' + "\\n" * n + '"'),
    "rows of a trace": lambda n, folder: trace_of(folder, "2023-01-01,1,1\n" * n),
    "blank lines of a trace": lambda n, folder: trace_of(folder, "\n" * n),
    "cells of a trace": lambda n, folder: trace_of(folder, "2023-01-01" + ",1" * n),
    "an open quote in a trace": lambda n, folder: trace_of(folder, '"' + "x\n" * n),
    "a duration": lambda n, _: lambda: time_range("1d" * n, now=datetime.now(UTC)),
    "control characters": lambda n, _: lambda: clean("\x1b[" * n),
    "a wide cell": lambda n, _: lambda: wide_table(n),
    "columns of one name": lambda n, _: lambda: _distinct(["x"] * n),
    "columns of numbered names": lambda n, _: lambda: _distinct(["x", "x_2"] * n),
}


def trace_of(folder: Path, text: str) -> Callable[[], object]:
    """Read as a trace."""
    path = folder / f"{len(text)}.csv"
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + text)
    return lambda: read_trace(path)


@pytest.mark.parametrize("name", quick(CASES, every=3))
def test_twice_the_size_takes_twice_the_steps_at_most(name: str, tmp_path: Path) -> None:
    """Four times the size, five times the steps at most: what grows with the square takes sixteen."""
    make = CASES[name]
    steps_of(make(SIZE, tmp_path))  # what is loaded once is loaded now
    few, many = (steps_of(make(size, tmp_path)) for size in (SIZE, 4 * SIZE))
    assert many <= 5 * few + 200
