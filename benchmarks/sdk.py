"""What does `instrument()` add to a call of a real SDK, beside the same SDK without it, on a stub of a transport?"""

import json
import time
from collections.abc import Callable
from typing import Any, Final

from benchmarks._harness import Bar, Options, Report, Row, check, command, percentile, scratch
from llm_service.telemetry import TelemetryLogger

__all__ = ["run"]

_CHUNKS: Final = 200
_ANSWER: Final[dict[str, Any]] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_780_000_000,
    "model": "gpt-5-mini",
    "service_tier": "default",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "42"}, "finish_reason": "stop"}],
    "usage": {
        "prompt_tokens": 1200,
        "completion_tokens": 7,
        "total_tokens": 1207,
        "prompt_tokens_details": {"cached_tokens": 1024, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 0},
    },
}
_ASKED: Final[dict[str, Any]] = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Why 42?"}]}


def run(options: Options) -> Report:
    """Microseconds of thread time that a call and a chunk take more with hooks: medians of interleaved rounds."""
    report = Report("sdk", "what recording adds to a call of the OpenAI SDK")
    with scratch() as folder, TelemetryLogger(folder / "sdk.db", queue_max_records=1_000_000) as logger:
        calls, rounds = options.count(200, 20), options.count(40, 3)
        bench = _Bench()
        for what, once, repeats, limit in (
            ("a call, p50", bench.call, calls, 10.0),
            ("a chunk of a stream, p50", bench.chunk, max(2, calls // 20), 2.0),
        ):
            bare, ours = _both(logger, once, repeats, rounds)
            report.rows.append(
                Row(f"{what}, added", max(0.0, ours - bare), "us", bare, "the SDK alone", bar=Bar("ours", "<=", limit))
            )
        logger.flush()
        made = rounds * (calls + max(2, calls // 20)) + 2
        check(logger.stats().ledger.written == made, "each call of a hooked client is a row")
        (row,) = logger.get_invocations(limit=1)
        check((row["prompt_tokens"], row["finish_reason"]) == (1200, "stop"), "rows are right")
    return report


def _both(logger: TelemetryLogger, once: Callable[[], float], repeats: int, rounds: int) -> tuple[float, float]:
    """Medians without and with hooks, in turn."""
    each: dict[bool, list[float]] = {False: [], True: []}
    for hooked in (False, True):
        _switch(logger, hooked=hooked)
        once()
    for _ in range(rounds):
        for hooked, times in each.items():
            _switch(logger, hooked=hooked)
            times += [once() for _ in range(repeats)]
        logger.flush()
    _switch(logger, hooked=False)
    return percentile(each[False], 0.5), percentile(each[True], 0.5)


def _switch(logger: TelemetryLogger, *, hooked: bool) -> None:
    (logger.instrument if hooked else logger.uninstrument)("openai")


class _Bench:
    def __init__(self) -> None:
        import httpx2
        import openai

        chunk: dict[str, Any] = {**_ANSWER, "object": "chat.completion.chunk", "usage": None}
        piece: list[Any] = [{"index": 0, "delta": {"content": "42"}, "finish_reason": None}]
        last: list[Any] = [{"index": 0, "delta": {}, "finish_reason": "stop"}]
        used: dict[str, Any] = {**chunk, "choices": [], "usage": _ANSWER["usage"]}
        events: list[dict[str, Any]] = [*([{**chunk, "choices": piece}] * _CHUNKS), {**chunk, "choices": last}, used]
        body = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"

        def respond(request: Any) -> Any:
            if b'"stream":true' in request.content:
                return httpx2.Response(200, text=body, headers={"content-type": "text/event-stream"})
            return httpx2.Response(200, json=_ANSWER)

        stub = httpx2.Client(transport=httpx2.MockTransport(respond))
        self._client: Any = openai.OpenAI(base_url="http://stub/v1", api_key="none", http_client=stub)

    def call(self) -> float:
        """Microseconds of one call."""
        started = time.thread_time_ns()
        self._client.chat.completions.create(**_ASKED)
        return (time.thread_time_ns() - started) / 1000

    def chunk(self) -> float:
        """Microseconds of one chunk, of those in the middle of a stream."""
        items = iter(self._client.chat.completions.create(**_ASKED, stream=True))
        next(items)
        started = time.thread_time_ns()
        for _ in range(_CHUNKS - 2):
            next(items)
        took = (time.thread_time_ns() - started) / 1000 / (_CHUNKS - 2)
        for _ in items:
            pass
        return took


if __name__ == "__main__":
    command(run)
