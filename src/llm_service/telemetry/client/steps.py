"""Both clients from one text: an operation is written once, as steps; `blocking` and `awaited` make methods of it.

The two differ only in how they wait, which each `Step` does either way. An operation is a function of what its object
has (its `_core`) and of the caller's arguments; the method has its name, arguments and docstring.
"""

from collections.abc import Callable, Coroutine, Generator, Mapping
from difflib import get_close_matches
from functools import wraps
from inspect import Parameter, signature
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, get_args

from llm_service.telemetry.instrumentation.field_aliases import ALIASES
from llm_service.telemetry.queries.field_names import ARGUMENTS
from llm_service.telemetry.writer.threads import off_the_loop

__all__ = ["Step", "Steps", "Work", "awaited", "blocking", "made", "run", "run_async"]

_T = TypeVar("_T")
_R = TypeVar("_R")
_Core = TypeVar("_Core")
_Given = ParamSpec("_Given")

Steps = Generator["Step[Any]", Any, _T]
"""What an operation does: it yields what it waits for, and returns its result."""


class Step(Generic[_T]):
    """Something to wait for; an operation says `result = yield from step`."""

    def block(self) -> _T:
        """Wait in the calling thread."""
        raise NotImplementedError

    async def wait(self) -> _T:
        """Wait on the event loop, which goes on meanwhile."""
        raise NotImplementedError

    def __iter__(self) -> Steps[_T]:
        result: _T = yield self
        return result


class Work(Step[_T]):
    """Work that blocks; on an event loop it is done in a thread, which goes on where the caller is cancelled."""

    def __init__(self, work: Callable[[], _T]) -> None:
        self._work = work

    def block(self) -> _T:
        """Do it here."""
        return self._work()

    async def wait(self) -> _T:
        """Have it done in a thread."""
        return await off_the_loop(self._work)


def run(steps: Steps[_T]) -> _T:
    """Run an operation in the calling thread."""
    try:
        step = next(steps)
        while True:
            try:
                result = step.block()
            except BaseException as error:  # noqa: BLE001 - the operation's own to answer
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # a generator's result has no type here


async def run_async(steps: Steps[_T]) -> _T:
    """Run an operation on an event loop; cancelling it cancels the wait it is at."""
    try:
        step = next(steps)
        while True:
            try:
                result = await step.wait()
            except BaseException as error:  # noqa: BLE001 - the operation's own to answer
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # as above


def blocking(operation: Callable[Concatenate[_Core, _Given], Steps[_T]]) -> Callable[Concatenate[Any, _Given], _T]:
    """A method that runs the operation in the calling thread."""

    def call(self: Any, /, *args: _Given.args, **kwargs: _Given.kwargs) -> _T:
        return run(_begun(operation, self, args, kwargs))

    return _described(call, operation, _result_of(operation))


def awaited(
    operation: Callable[Concatenate[_Core, _Given], Steps[_T]],
) -> Callable[Concatenate[Any, _Given], Coroutine[Any, Any, _T]]:
    """A method to be awaited, which runs the operation on an event loop."""

    async def call(self: Any, /, *args: _Given.args, **kwargs: _Given.kwargs) -> _T:
        return await run_async(_begun(operation, self, args, kwargs))

    return _described(call, operation, _result_of(operation))


def made(
    operation: Callable[Concatenate[_Core, _Given], _T], make: Callable[[_T], _R]
) -> Callable[Concatenate[Any, _Given], _R]:
    """A method that makes something of what the operation gives."""

    def call(self: Any, /, *args: _Given.args, **kwargs: _Given.kwargs) -> _R:
        return make(_begun(operation, self, args, kwargs))

    return _described(call, operation, make if isinstance(make, type) else make.__annotations__["return"])


def _begun(operation: Callable[..., _T], self: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> _T:
    """What the operation gives; an argument by another name is told the right one: `agent` means `agent_name`."""
    try:
        return operation(self._core, *args, **kwargs)
    except TypeError:
        _, *names = signature(operation).parameters
        for name in kwargs:
            if name not in names:
                others = (*get_close_matches(name, names, n=1), ALIASES.get(name), ARGUMENTS.get(name))
                meant = next((one for one in others[::-1] if one in names), None)
                hint = f"did you mean {meant}?" if meant else f"it has {', '.join(names) or 'none'}"
                raise TypeError(f"{operation.__name__}() has no argument {name!r}; {hint}") from None
        raise


def _result_of(operation: Callable[..., Any]) -> Any:
    """The type of an operation's result, as it is annotated: the last part of `Steps[...]`."""
    result = get_args(operation.__annotations__["return"])[-1]
    return getattr(result, "__forward_arg__", None if result is type(None) else result)


def _described(method: _R, operation: Callable[..., Any], result: Any) -> _R:
    """The method with the operation's name, docstring and arguments, for `help` and whoever asks for its signature."""
    described: Any = wraps(operation)(method)  # type: ignore[arg-type]  # a function, whose type is to stay
    takes = signature(operation)
    core, *given = takes.parameters.values()
    described.__annotations__ = {name: of for name, of in operation.__annotations__.items() if name != core.name}
    described.__annotations__["return"] = result
    self = core.replace(name="self", annotation=Parameter.empty)
    described.__signature__ = takes.replace(parameters=[self, *given], return_annotation=result)
    return method
