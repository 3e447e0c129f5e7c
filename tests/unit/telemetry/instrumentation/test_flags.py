"""Flags that say how a call went (`success`, `is_error`, `timedOut`) make its status, by whatever way they are told."""

from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm_service.telemetry import TelemetryLogger, record_from_response
from llm_service.telemetry.instrumentation.failed_answers import _SAY_IT_FAILED
from llm_service.telemetry.instrumentation.field_aliases import ALIASES
from llm_service.telemetry.record.failures import TELL_FAILURE
from llm_service.telemetry.record.record import FIELDS
from llm_service.telemetry.record.statuses import _FLAGS, _VERBS

Say = Callable[[TelemetryLogger, dict[str, Any]], object]


def camel(name: str) -> str:
    """A name in camel case."""
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def spelled() -> Iterator[tuple[str, str]]:
    """Each flag's word, and a name of it: alone, after a verb, in both cases."""
    for word in _FLAGS:
        yield word, word
        for verb in sorted(_VERBS):
            yield word, f"{verb}_{word}"
            yield word, camel(f"{verb}_{word}")
    yield from (("timedout", "timed_out"), ("timedout", "timedOut"), ("ratelimited", "rate_limited"))


def begun(logger: TelemetryLogger, fields: dict[str, Any]) -> None:
    """As the block begins."""
    with logger.invocation("a", **fields):
        pass


def told(logger: TelemetryLogger, fields: dict[str, Any]) -> None:
    """By `set`."""
    with logger.invocation("a") as call:
        call.set(**fields)


def used(logger: TelemetryLogger, fields: dict[str, Any]) -> None:
    """With usage."""
    with logger.invocation("a") as call:
        call.record_usage(prompt_tokens=1, completion_tokens=1, **fields)


def reported(logger: TelemetryLogger, fields: dict[str, Any]) -> None:
    """With a provider's names of usage."""
    with logger.invocation("a") as call:
        call.record_usage(input_tokens=1, output_tokens=1, **fields)


def decorated(logger: TelemetryLogger, fields: dict[str, Any]) -> None:
    """Of a function."""
    logger.instrumented("a", **fields)(lambda: 1)()


def by_arguments(logger: TelemetryLogger, fields: dict[str, Any]) -> None:
    """Of a function, by its arguments."""
    functions: dict[str, Any] = {name: lambda value: value for name in fields}
    for value in fields.values():
        logger.instrumented("a", **functions)(lambda _: 1)(value)


def streamed(logger: TelemetryLogger, fields: dict[str, Any]) -> None:
    """Of a stream."""
    list(logger.wrap_stream(iter([1]), **fields))


def read(logger: TelemetryLogger, fields: dict[str, Any]) -> None:
    """By the function that reads usage."""
    logger.instrumented("a", usage=lambda _: {"prompt_tokens": 1, **fields})(lambda: 1)()


def read_beside(logger: TelemetryLogger, fields: dict[str, Any]) -> None:
    """Beside usage as a provider has it."""
    logger.instrumented("a", usage=lambda _: {"usage": {"input_tokens": 1, "output_tokens": 1}, **fields})(lambda: 1)()


WAYS: tuple[Say, ...] = (begun, told, used, reported, decorated, by_arguments, streamed, read, read_beside)


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[TelemetryLogger]:
    """A logger without prices."""
    with TelemetryLogger(tmp_path / "t.db", models=False, policies=False) as made:
        yield made


def status(logger: TelemetryLogger) -> str:
    """Of the newest record."""
    logger.flush()
    return logger.get_invocations(limit=1)[0]["status"]


@pytest.mark.parametrize("say", WAYS)
def test_a_flag_is_the_status_by_whatever_way_it_is_told(say: Say, logger: TelemetryLogger) -> None:
    """True and false; what does not say how a call went says nothing, and none costs a warning."""
    for word, (when_true, when_false) in _FLAGS.items():
        name = f"is_{word}"
        say(logger, {name: True})
        assert status(logger) == when_true.status, name
        say(logger, {name: False})
        assert status(logger) == (when_false or ("success",))[0], name
        say(logger, {name: None})
        assert status(logger) == "success"
    assert logger.stats().bad_values == 0


@pytest.mark.parametrize("say", WAYS)
@pytest.mark.parametrize("field", sorted(TELL_FAILURE))
def test_a_failure_is_no_success_by_any_name_of_its_field(say: Say, field: str, logger: TelemetryLogger) -> None:
    """In snake and in camel case."""
    value = {"http_status": "500 Internal Server Error", "error_type": "ServerError"}.get(field, "error")
    names = [field, *(alias for alias, meant in ALIASES.items() if meant == field)]
    for name in {*names, *map(camel, filter(str.isidentifier, names))}:
        say(logger, {name: value})
        assert status(logger) == "error", name


def test_flags_are_known_by_every_spelling(logger: TelemetryLogger) -> None:
    """Alone and after a verb."""
    for word, name in spelled():
        assert name not in FIELDS
        told(logger, {name: True})
        assert status(logger) == _FLAGS[word][0].status, name
    assert logger.stats().bad_values == 0


@pytest.mark.parametrize(
    "no",
    [False, 0, 0.0, "false", " No ", np.bool_(0), "failed", "503", HTTPStatus.NOT_FOUND, "splendid", object(), [1]],
)
def test_a_success_that_is_not_clearly_one_is_none(no: object, logger: TelemetryLogger) -> None:
    """By any type of false, by a word, and by what nobody understands."""
    told(logger, {"success": no})
    assert status(logger) == "error"


def test_a_failure_wins_among_flags_and_the_status_itself_over_both(logger: TelemetryLogger) -> None:
    """Whatever stands first."""
    for fields in ({"ok": True, "failed": True}, {"failed": True, "ok": True}, {"ok": True, "error": "reset"}):
        told(logger, fields)
        assert status(logger) == "error"
        told(logger, {**fields, "status": "timeout"})
        assert status(logger) == "timeout"
    with logger.invocation("a") as call:
        call.set(success=False)
        call.set(success=True)
    assert status(logger) == "success"
    told(logger, {"cancelled": True})
    assert status(logger) == "error"
    assert logger.get_invocations(limit=1)[0]["error_type"] == "cancelled"


def test_seconds_and_messages_are_no_flags(logger: TelemetryLogger) -> None:
    """A `timeout` of 1 is a limit; the text of an `error` is its message."""
    told(logger, {"timeout": 1})
    assert status(logger) == "success"
    told(logger, {"error": "false"})
    row = logger.get_invocations(limit=1)[0]
    assert (row["status"], row["error_message"]) == ("error", "false")
    told(logger, {"exception": TimeoutError("slow")})
    row = logger.get_invocations(limit=1)[0]
    assert (row["status"], row["error_type"], row["error_message"]) == ("timeout", "TimeoutError", "slow")


@pytest.mark.parametrize(("name", "said"), _SAY_IT_FAILED.items())
def test_an_answer_that_flags_its_failure_is_none_that_succeeded(
    name: str, said: bool, logger: TelemetryLogger
) -> None:
    """By every way of reading one."""
    answer = {"model": "m", "usage": {"input_tokens": 1, "output_tokens": 1}, name: said}
    assert record_from_response(answer).status == "error"
    assert record_from_response({**answer, name: not said}).status == "success"
    with logger.invocation("a") as call:
        call.record(answer)
    assert status(logger) == "error"
    with logger.invocation("a") as call:
        call.record_usage(answer)
    assert status(logger) == "error"


def test_a_function_of_a_flag_that_raises_leaves_no_success(logger: TelemetryLogger) -> None:
    """As one of a status does."""
    logger.instrumented("a", success=lambda: 1 / 0)(lambda: 1)()
    assert status(logger) == "error"
