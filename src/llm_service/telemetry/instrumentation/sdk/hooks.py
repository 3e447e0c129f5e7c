"""What hooks into any SDK have in common: a method that is a call, and one that tells the call of something.

What a method gives stays the same object, but for a generator that sends its request with its first step: it becomes
another generator of the same items, and its call begins there.
"""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from functools import wraps
from inspect import isasyncgen, iscoroutinefunction, isgenerator, isgeneratorfunction
from typing import Any, Final

from llm_service.redaction import traceback_text
from llm_service.telemetry.instrumentation.call_fields import describe_error
from llm_service.telemetry.instrumentation.open_blocks import current
from llm_service.telemetry.instrumentation.refused_calls import nothing_billed, was_refused
from llm_service.telemetry.instrumentation.responses.answers import read_answer
from llm_service.telemetry.instrumentation.sdk.recorded_response import AsyncChunks, Chunks, StreamRecord
from llm_service.telemetry.instrumentation.sdk.sdk_call import SdkCall
from llm_service.telemetry.instrumentation.sink import Sink

__all__ = ["Asked", "Hook", "Hooks", "RequestCall"]

_LOG: Final = logging.getLogger("llm_service.telemetry")
_REQUEST_IDS: Final = frozenset({"x-request-id", "request-id", "apim-request-id", "mistral-correlation-id"})
_OK: Final = 200
_FAILED: Final = 400
Hook = tuple[type, str, Callable[..., Any]]
"""Class, attribute, and what to put there."""
Asked = Callable[[tuple[Any, ...], dict[str, Any]], dict[str, Any] | None]
"""The fields of the call that a method's arguments are, `self` among them; None where they are none."""
Tell = Callable[["RequestCall", tuple[Any, ...], dict[str, Any]], None]
Answered = Callable[["RequestCall", Any], None]


class RequestCall(SdkCall):
    """A call of a hooked method.

    Attributes:
        response: the HTTP response that the client was given, while it is looked at.
        answers: requests that were answered with what its caller might be given.
        mediated: whether a middleware of its client gave the answer: it may send any number of requests, or none.
        refused: whether no model ran for its last request.
    """

    __slots__ = ("answers", "mediated", "refused", "response")

    def __init__(self, sink: Sink, fields: dict[str, Any], attempts: int | None) -> None:
        super().__init__(sink, fields, attempts)
        self.response: Any = None
        self.refused = self.mediated = False
        self.answers = 0

    def sent_again(self) -> None:
        """A request is sent for it, the first or another one."""
        self.retried(refused=self.refused)
        self.refused = False

    def request_failed(self, error: BaseException) -> None:
        """A request of it has failed."""
        told = describe_error(error)
        self.refused = bool(nothing_billed(error, told))

    def take_mediation(self) -> None:
        """Where a middleware sent more than the one request that is answered here, or none, the cost is unknown."""
        if not self.mediated or self.answers == 1:
            return
        self._fields["unpriced_usage"] = f"requests of a middleware: {self.answers}"
        self.may_be_billed |= self.answers > 1
        if self.attempts is not None:
            self.attempts = max(self.attempts, self.answers)

    @property
    def streams(self) -> bool:
        """Whether a stream was asked for."""
        return self._fields.get("stream") is True

    def know(self, fields: dict[str, Any]) -> None:
        """Take what is known, where it is not None."""
        self._fields |= {field: value for field, value in fields.items() if value is not None}

    def facts_of_response(self, response: Any) -> None:
        """Take status and request id of the HTTP response."""
        self.take_status(response)
        self.take_request_id(response)

    def take_status(self, response: Any) -> None:
        """Take the status alone, which costs nothing."""
        status = response.status_code
        if type(status) is int:
            self._fields["http_status"] = status

    def take_request_id(self, response: Any) -> None:
        """Take the id that the server gave the request."""
        headers = response.headers
        for name in headers:  # asking for each name is a search of its own
            if name.lower() in _REQUEST_IDS:
                found = headers[name]
                if type(found) is str:
                    self._fields["request_id"] = found
                return

    def responded(self, response: Any) -> None:
        """The client was given an HTTP response; None for none. Never raises."""
        self.response = response
        try:
            if response is not None and response.status_code == _OK and not self.answers:  # most are
                self.refused, self.answers = False, 1
                self._fields["http_status"] = _OK
                return
            self.refused = response is not None and was_refused(response.status_code)
            if response is not None:
                self.take_status(response)
                self.may_be_billed |= self.answers > 0
                self.answers += response.status_code < _FAILED
        except Exception:  # noqa: BLE001 - it is looked at once more, where its failure is said
            self.response = None

    def returned(self) -> Any:
        """The method has returned, or its first step; the HTTP response that it was told of."""
        self.release()
        response, self.response = self.response, None
        return response

    def answered(self, found: dict[str, Any]) -> None:
        """The whole answer is there."""
        found.setdefault("usage_source", "missing")
        self.end(found)


class Hooks:
    """The hooks into one SDK.

    Args:
        name: of the SDK.
        sink: the logger that records its calls now; None for none.
    """

    modules: tuple[str, ...]
    """The modules that are hooked, each when the program imports it."""

    def __init__(self, name: str, sink: Callable[[], Sink | None]) -> None:
        self._source = f"sdk:{name}"
        self._sink = sink
        self._attempts: int | None = None
        self._failed = False

    def hooks(self, module: Any) -> list[Hook]:
        """Class, attribute, and what to put there, of each method that is hooked.

        Raises:
            AttributeError: the SDK has no such classes or no such method.
            TypeError: the method is of another kind.
        """
        raise NotImplementedError

    def take(self, call: RequestCall, answer: Any, response: Any, *, asynchronous: bool) -> Any:
        """Record what a call gave, and return what its caller is to have: here a whole answer, as it is.

        Args:
            call: that has returned.
            answer: what it gave.
            response: the HTTP response that it was told of; None for none.
            asynchronous: whether the client is.

        Raises:
            Exception: it is not as it was known.
        """
        del asynchronous
        if response is not None:
            call.take_request_id(response)
        call.answered(read_answer(answer))
        return answer

    def found_in_failure(self, call: RequestCall, error: BaseException) -> dict[str, Any]:
        """What a call that failed had told before.

        Raises:
            Exception: as `take`.
        """
        del call, error
        return {}

    # A method that is a call

    def calling(self, original: Callable[..., Any], asked: Asked, *, lazy: bool = False) -> Callable[..., Any]:
        """The method, recorded.

        Args:
            original: the method.
            asked: reads its arguments.
            lazy: whether a stream of it is a generator that sends its request with its first step; a generator function
                is, in any case.
        """
        lazy = lazy or isgeneratorfunction(original)
        if iscoroutinefunction(original):

            @wraps(original)
            async def call_async(*args: Any, **kwargs: Any) -> Any:
                fields = self._asked(asked, args, kwargs)
                if lazy and fields is not None and "stream" in fields:
                    return self._lazily(fields, await original(*args, **kwargs), isasyncgen, self._steps_async)
                call = None if fields is None else self._begin(fields)
                if call is None:
                    return await original(*args, **kwargs)
                try:
                    answer = await original(*args, **kwargs)
                except BaseException as error:
                    self._fail(call, error)
                    raise
                return self._answer(call, answer, asynchronous=True)

            return call_async

        @wraps(original)
        def call_sync(*args: Any, **kwargs: Any) -> Any:
            fields = self._asked(asked, args, kwargs)
            if lazy and fields is not None and "stream" in fields:
                return self._lazily(fields, original(*args, **kwargs), isgenerator, self._steps)
            call = None if fields is None else self._begin(fields)
            if call is None:
                return original(*args, **kwargs)
            try:
                answer = original(*args, **kwargs)
            except BaseException as error:
                self._fail(call, error)
                raise
            return self._answer(call, answer, asynchronous=False)

        return call_sync

    def _asked(self, asked: Asked, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
        """The fields of the call that a method's arguments are; None where it is none, or nobody wants to know."""
        if self._sink() is None:
            return None
        try:
            return asked(args, kwargs)
        except Exception as failure:  # noqa: BLE001 - the caller must not notice
            self._step_aside(failure)
            return None

    def _begin(self, fields: dict[str, Any]) -> RequestCall | None:
        """The call, which begins now; None where nobody wants to know. What the logger's `admit` raises is raised."""
        sink = self._sink()
        if sink is None:
            return None
        if sink.admit is not None:
            sink.admit()
        try:
            fields["source"] = self._source
            call = RequestCall(sink, fields, self._attempts)
            call.start()
        except Exception as failure:  # noqa: BLE001 - as above
            self._step_aside(failure)
            return None
        return call

    def _fail(self, call: RequestCall, error: BaseException) -> None:
        try:
            call.release()
            found = self.found_in_failure(call, error)
            found.pop("status", None)
            response = call.returned()
            if response is not None:
                call.take_request_id(response)
            call.end(found, error)
        except Exception as failure:  # noqa: BLE001 - as above
            self._step_aside(failure)
            call.end({}, error)

    def _answer(self, call: RequestCall, answer: Any, *, asynchronous: bool) -> Any:
        try:
            return self.take(call, answer, call.returned(), asynchronous=asynchronous)
        except Exception as failure:  # noqa: BLE001 - as above
            self._step_aside(failure)
            call.end({})
            return answer

    # A generator

    def _lazily(
        self, fields: dict[str, Any], items: Any, is_known: Callable[[Any], bool], steps: Callable[..., Any]
    ) -> Any:
        if not is_known(items):
            self._step_aside(TypeError("a stream of it is no generator"))
            return items
        recorded = steps(fields, items)
        recorded.__name__, recorded.__qualname__ = items.__name__, items.__qualname__
        return recorded

    def _steps(self, fields: dict[str, Any], items: Any) -> Iterator[Any]:
        call = self._begin(fields)
        if call is None:
            yield from items
            return
        steps = Chunks(items, StreamRecord(call))
        try:
            first = next(steps)
        except StopIteration:
            return
        finally:
            call.returned()
        yield first
        yield from steps

    async def _steps_async(self, fields: dict[str, Any], items: Any) -> AsyncIterator[Any]:
        call = self._begin(fields)
        steps: Any = items if call is None else AsyncChunks(items, StreamRecord(call))
        try:
            if call is not None:
                try:
                    first = await anext(steps)
                except StopAsyncIteration:
                    return
                finally:
                    call.returned()
                yield first
            async for item in steps:
                yield item
        finally:
            await items.aclose()

    # A method that tells

    @staticmethod
    def telling(original: Callable[..., Any], tell: Tell, then: Answered | None = None) -> Callable[..., Any]:
        """The method, which tells the current call of what it is given, and then of what it gave; neither may raise."""
        if iscoroutinefunction(original):

            @wraps(original)
            async def told_async(*args: Any, **kwargs: Any) -> Any:
                call = current.get()
                if type(call) is not RequestCall:
                    return await original(*args, **kwargs)
                tell(call, args, kwargs)
                try:
                    answer = await original(*args, **kwargs)
                except BaseException as error:
                    call.request_failed(error)
                    raise
                if then is not None:
                    then(call, answer)
                return answer

            return told_async

        @wraps(original)
        def told(*args: Any, **kwargs: Any) -> Any:
            call = current.get()
            if type(call) is not RequestCall:
                return original(*args, **kwargs)
            tell(call, args, kwargs)
            try:
                answer = original(*args, **kwargs)
            except BaseException as error:
                call.request_failed(error)
                raise
            if then is not None:
                then(call, answer)
            return answer

        return told

    def told_by(
        self, kind: Any, name: str, tell: Tell, then: Answered | None = None, *, may_lack: bool = False
    ) -> list[Hook]:
        """The hook into a method that tells, where there is one; else that is said, unless releases may lack it."""
        original = getattr(kind, name, None)
        if original is None:
            if not may_lack:
                self.lacks(kind, name)
            return []
        return [(kind, name, self.telling(original, tell, then))]

    def lacks(self, kind: Any, name: str) -> None:
        """A class is without a method that each release has had."""
        self._step_aside(AttributeError(f"{getattr(kind, '__name__', 'its class')} without {name}"))

    def _step_aside(self, failure: Exception) -> None:
        """This SDK is not as it was known: that is said once."""
        if not self._failed:
            self._failed = True
            _LOG.warning(
                "telemetry: %s is not as it was known here; what could not be read is missing in its records: %s",
                self._source, traceback_text(failure),
            )  # fmt: skip
