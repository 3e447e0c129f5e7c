"""Operations are written once: both clients' methods wait in their own way, and say the same of themselves."""

import asyncio
import inspect
from typing import Any, get_type_hints

import pytest

from llm_service.telemetry import AsyncHold, AsyncTelemetryLogger, Hold, TelemetryLogger
from llm_service.telemetry.client.budgets_api import AsyncBudgets, Budgets
from llm_service.telemetry.client.steps import Step, Steps, Work, awaited, blocking, run, run_async
from llm_service.telemetry.queries.questions import DailyCost

TWINS: list[tuple[type, type]] = [(TelemetryLogger, AsyncTelemetryLogger), (Budgets, AsyncBudgets), (Hold, AsyncHold)]
SHARED = [
    (one, other, name)
    for one, other in TWINS
    for name in sorted(set(vars(one)) & set(vars(other)))
    if hasattr(vars(one)[name], "__wrapped__") and not name.startswith("_")
]


class Failing(Step[int]):
    """Fails in either way."""

    def block(self) -> int:
        raise OSError("block")

    async def wait(self) -> int:
        raise OSError("wait")


class Never(Step[None]):
    """Is never over."""

    async def wait(self) -> None:
        await asyncio.Event().wait()


def operation(core: int, more: int = 1, *, agent_name: str | None = None) -> Steps[int]:
    """Add what is given."""
    found = yield from Work(lambda: core + more)
    try:
        yield from Failing()
    except OSError as error:
        return found + len(str(error)) + len(agent_name or "")
    raise AssertionError


class Here:
    """What a sync client is."""

    _core = 40
    add = blocking(operation)


class There:
    """What an async client is."""

    _core = 40
    add = awaited(operation)


async def test_each_client_waits_in_its_own_way_and_a_failure_is_the_operations_to_answer() -> None:
    """What it returns is the method's result."""
    assert Here().add(2, agent_name="a") == 42 + len("block") + 1
    assert await There().add(2, agent_name="a") == 42 + len("wait") + 1


async def test_an_operation_that_is_cancelled_learns_of_it_where_it_waits() -> None:
    """So that it can take back what it began."""
    seen: list[type] = []

    def waiting() -> Steps[None]:
        try:
            yield from Never()
        except BaseException as error:
            seen.append(type(error))
            raise

    task = asyncio.ensure_future(run_async(waiting()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == [asyncio.CancelledError]


def test_what_an_operation_raises_comes_out_as_it_is() -> None:
    """Before its first step, too."""

    def failing() -> Steps[int]:
        if not seen:
            raise LookupError("at once")
        return (yield from Failing())

    seen: list[int] = []
    with pytest.raises(LookupError, match="at once"):
        run(failing())
    seen.append(1)
    with pytest.raises(OSError, match="block"):
        run(failing())


@pytest.mark.parametrize(
    ("given", "hint"), [("agent", r"did you mean agent_name\?"), ("zzz", "it has more, agent_name")]
)
async def test_an_argument_by_another_name_is_told_the_right_one(given: str, hint: str) -> None:
    """On both clients, with the method's name."""
    here: Any = Here()
    there: Any = There()
    message = rf"operation\(\) has no argument '{given}'; {hint}$"
    with pytest.raises(TypeError, match=message):
        here.add(**{given: "a"})
    with pytest.raises(TypeError, match=message):
        await there.add(**{given: "a"})
    with pytest.raises(TypeError, match="positional"):
        here.add(1, 2)


def test_there_are_twins_to_compare() -> None:
    """The next test has something to look at."""
    assert len(SHARED) == 17 + 7 + 3


@pytest.mark.parametrize(("one", "other", "name"), SHARED)
def test_twins_say_the_same_of_themselves(one: type, other: type, name: str) -> None:
    """`help`, signatures and types are those of a method written by hand: no trace of how it was made."""
    methods = [vars(one)[name], vars(other)[name]]
    signatures = [inspect.signature(method) for method in methods]
    assert signatures[0].parameters == signatures[1].parameters
    first = next(iter(signatures[0].parameters.values()))
    assert (first.name, first.annotation) == ("self", inspect.Parameter.empty)
    for method, its in zip(methods, signatures, strict=True):
        assert method.__name__ == name
        assert inspect.getdoc(method)
        assert inspect.getdoc(method) == inspect.getdoc(methods[0])
        assert method.__annotations__["return"] == its.return_annotation
        assert "Steps" not in str(its.return_annotation)
    if name not in {"reserve", "run"}:
        assert [inspect.iscoroutinefunction(method) for method in methods] == [False, True]
        assert signatures[0] == signatures[1]


def test_types_of_results_are_those_of_the_operation() -> None:
    """For whoever asks at run time; a type that is not imported yet stays a name."""
    assert get_type_hints(AsyncTelemetryLogger.get_daily_costs)["return"] == list[DailyCost]
    assert inspect.signature(TelemetryLogger.get_month_report).return_annotation == "MonthReport"
    assert inspect.signature(Hold.release).return_annotation is None
