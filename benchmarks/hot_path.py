"""What does one call cost the agent, beside an OpenTelemetry span and a pydantic model of the same fields?"""

import asyncio
import gc
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Literal

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from pydantic import BaseModel

from benchmarks._data import records
from benchmarks._harness import Bar, Options, Report, Row, check, command, interleave, median, percentile, scratch
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord

__all__ = ["run"]


class _Model(BaseModel):
    """The record's 13 card fields, as a plain pydantic model."""

    invocation_id: str
    agent_name: str | None = None
    tool_name: str | None = None
    model_name: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cost_usd: float | None = None
    latency_ms: float | None = None
    status: Literal["success", "error", "timeout"] = "success"
    error_message: str | None = None
    privacy_level: str | None = None
    timestamp: datetime | None = None


class _Counting(SpanExporter):
    """Exports to nowhere, and counts."""

    def __init__(self) -> None:
        self.delivered = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take the spans."""
        self.delivered += len(spans)
        return SpanExportResult.SUCCESS


def run(options: Options) -> Report:
    """Microseconds a call: nowait, await, record, invocation(), beside a span with ten attributes and pydantic."""
    report = Report("hot_path", "what one call costs its caller, and a peer's call beside it")
    with scratch() as folder:
        bench = _HotPath(folder, options.count(1_000, 200), options.count(40, 3))
        asyncio.run(bench.measure(report))
    return report


class _Ours:
    """Each way of logging, `calls` times; returns nanoseconds."""

    def __init__(self, telemetry: AsyncTelemetryLogger) -> None:
        self._telemetry = telemetry
        instrumented = telemetry.instrumented("backend-dev", "claude-code", "claude-3.5-sonnet", usage=_itself)
        self._decorated = instrumented(_answer)

    async def nowait(self, calls: int) -> int:
        ready, log = list(records(calls)), self._telemetry.log_invocation_nowait
        started = perf_counter_ns()
        for record in ready:
            log(record)
        return perf_counter_ns() - started

    async def awaited(self, calls: int) -> int:
        ready, log = list(records(calls)), self._telemetry.log_invocation
        started = perf_counter_ns()
        for record in ready:
            await log(record)
        return perf_counter_ns() - started

    async def block(self, calls: int) -> int:
        invocation = self._telemetry.invocation
        started = perf_counter_ns()
        for _ in range(calls):
            with invocation("backend-dev", "claude-code", "claude-3.5-sonnet") as call:
                call.record_usage(prompt_tokens=100, completion_tokens=200, cost_usd=0.015)
        return perf_counter_ns() - started

    async def decorated(self, calls: int) -> int:
        ask = self._decorated
        started = perf_counter_ns()
        for _ in range(calls):
            ask()
        return perf_counter_ns() - started

    async def async_block(self, calls: int) -> int:
        invocation = self._telemetry.invocation
        started = perf_counter_ns()
        for _ in range(calls):
            async with invocation("backend-dev", "claude-code", "claude-3.5-sonnet") as call:
                call.record_usage(prompt_tokens=100, completion_tokens=200, cost_usd=0.015)
        return perf_counter_ns() - started


def _answer() -> dict[str, Any]:
    return {"prompt_tokens": 100, "completion_tokens": 200, "cost_usd": 0.015}


def _itself(answer: dict[str, Any]) -> dict[str, Any]:
    return answer


class _Spans:
    """The peer: a span with ten attributes, through a batch processor with its default settings."""

    def __init__(self) -> None:
        self.exporter = _Counting()
        self.ended = 0
        self._provider = TracerProvider()
        self._provider.add_span_processor(BatchSpanProcessor(self.exporter))
        self._tracer = self._provider.get_tracer("benchmarks")

    async def spans(self, calls: int) -> int:
        tracer = self._tracer
        started = perf_counter_ns()
        for _ in range(calls):
            span = tracer.start_span("chat")
            span.set_attribute("gen_ai.agent.name", "backend-dev")
            span.set_attribute("gen_ai.tool.name", "claude-code")
            span.set_attribute("gen_ai.request.model", "claude-3.5-sonnet")
            span.set_attribute("gen_ai.usage.input_tokens", 100)
            span.set_attribute("gen_ai.usage.output_tokens", 200)
            span.set_attribute("gen_ai.usage.total_tokens", 300)
            span.set_attribute("gen_ai.cost_usd", 0.015)
            span.set_attribute("gen_ai.latency_ms", 1500)
            span.set_attribute("gen_ai.status", "success")
            span.set_attribute("gen_ai.privacy_level", "metadata")
            span.end()
        elapsed = perf_counter_ns() - started
        self.ended += calls
        return elapsed

    def flush(self) -> None:
        """Deliver what waits."""
        self._provider.force_flush()

    def shutdown(self) -> None:
        """End the processor's thread."""
        self._provider.shutdown()


class _HotPath:
    def __init__(self, folder: Path, calls: int, rounds: int) -> None:
        self._folder = folder
        self._calls = calls
        self._rounds = rounds
        self._each: dict[str, list[int]] = {}

    async def measure(self, report: Report) -> None:
        """Run all contenders, and fill the report."""
        peer = _Spans()
        async with AsyncTelemetryLogger(self._folder / "hot.db", models=False, policies=False) as telemetry:
            ours = _Ours(telemetry)
            contenders = {
                "nowait": ours.nowait,
                "await": ours.awaited,
                "with": ours.block,
                "async with": ours.async_block,
                "decorated": ours.decorated,
                "record": _records,
                "pydantic": _models,
                "span": peer.spans,
            }

            def contender(name: str, work: Callable[[int], Awaitable[int]]) -> Callable[[], Awaitable[float]]:
                async def batch() -> float:
                    self._each.setdefault(name, []).extend([await work(1) for _ in range(self._calls // 10)])
                    elapsed = await work(self._calls)
                    await telemetry.flush()  # outside the timed part: all queues are empty at the next round
                    peer.flush()
                    return elapsed / self._calls / 1000

                return batch

            await _check_results(telemetry)
            gc.collect()
            times = await interleave(self._rounds, {name: contender(name, work) for name, work in contenders.items()})
            ledger = telemetry.stats().ledger
        peer.shutdown()
        logged = (self._rounds + 1) * (self._calls + self._calls // 10) * 5 + _CHECKED
        check(ledger.balanced and ledger.submitted == ledger.written == logged, "every logged record is written")
        check(0 < peer.exporter.delivered <= peer.ended, "spans are exported")
        self._fill(report, times)
        report.notes.append(f"spans delivered to the exporter: {peer.exporter.delivered:,} of {peer.ended:,}")
        report.notes.append(f"records written: {ledger.written:,} of {ledger.submitted:,}, none dropped")

    def _fill(self, report: Report, times: dict[str, list[float]]) -> None:
        middle = {name: median(values) for name, values in times.items()}
        peers: tuple[tuple[str, str, str, Bar | None], ...] = (
            ("nowait", "log_invocation_nowait(record)", "span", Bar("ratio", ">=", 10.0)),
            ("await", "await log_invocation(record)", "span", None),
            ("with", "with invocation(): record_usage", "span", Bar("ratio", ">=", 1.0)),
            ("async with", "async with invocation(): record_usage", "span", Bar("ratio", ">=", 1.0)),
            ("decorated", "@instrumented function, usage read", "span", None),
            ("record", "InvocationRecord(...)", "pydantic", Bar("ratio", ">=", 1.0)),
        )
        names = {"span": "OTel span, 10 attributes", "pydantic": "pydantic, 13 fields"}
        for name, what, peer, bar in peers:
            report.rows.append(Row(what, middle[name], "us", middle[peer], names[peer], inverse=True, bar=bar))
        for name, each in self._each.items():
            report.notes.append(
                f"{name}: fastest round {min(times[name]):.2f} us; single calls p50 "
                f"{percentile(each, 0.5) / 1000:.2f}, p99 {percentile(each, 0.99) / 1000:.2f} us"
            )


_CHECKED = 2
_FIELDS: dict[str, Any] = {
    "agent_name": "backend-dev",
    "tool_name": "claude-code",
    "model_name": "claude-3.5-sonnet",
    "prompt_tokens": 100,
    "completion_tokens": 200,
    "total_tokens": 300,
    "cost_usd": 0.015,
    "latency_ms": 1500,
    "status": "success",
}


async def _check_results(telemetry: AsyncTelemetryLogger) -> None:
    record = InvocationRecord(invocation_id="checked", **_FIELDS)
    model = _Model(invocation_id="checked", **_FIELDS)
    check(all(getattr(record, field) == getattr(model, field) for field in _FIELDS), "record and model agree")
    check(await telemetry.log_invocation(record, durable=True), "a durable record is committed")
    with telemetry.invocation("backend-dev", "claude-code", "claude-3.5-sonnet") as call:
        call.record_usage(prompt_tokens=100, completion_tokens=200, cost_usd=0.015)
    (row, _) = await telemetry.get_invocations(agent_name="backend-dev")
    check((row["total_tokens"], row["cost_usd"], row["status"]) == (300, 0.015, "success"), "a block is recorded")


async def _records(calls: int) -> int:
    ids = [str(uuid.uuid4()) for _ in range(calls)]
    started = perf_counter_ns()
    for invocation_id in ids:
        InvocationRecord(
            invocation_id=invocation_id,
            agent_name="backend-dev",
            tool_name="claude-code",
            model_name="claude-3.5-sonnet",
            prompt_tokens=100,
            completion_tokens=200,
            total_tokens=300,
            cost_usd=0.015,
            latency_ms=1500,
            status="success",
        )
    return perf_counter_ns() - started


async def _models(calls: int) -> int:
    ids = [str(uuid.uuid4()) for _ in range(calls)]
    started = perf_counter_ns()
    for invocation_id in ids:
        _Model(
            invocation_id=invocation_id,
            agent_name="backend-dev",
            tool_name="claude-code",
            model_name="claude-3.5-sonnet",
            prompt_tokens=100,
            completion_tokens=200,
            total_tokens=300,
            cost_usd=0.015,
            latency_ms=1500,
            status="success",
        )
    return perf_counter_ns() - started


if __name__ == "__main__":
    command(run)
