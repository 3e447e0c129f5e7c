"""Do estimates of output tokens hold, on a real trace and while the distribution drifts, and how wide are they?

The trace is the *code* trace of the Azure LLM Inference Trace 2023 by Microsoft, CC BY 4.0
(https://github.com/Azure/AzurePublicDataset). The whole of it is looked for beside the repository, under
`../shared/data`; else the packaged first 1,000 rows are taken, and the report says so; `--trace PATH` names another.
`--table` prints the comparison of all methods that benchmarks/TRIED.md keeps.
"""

import argparse
import asyncio
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Final, NamedTuple

import llm_service.cli
from benchmarks._data import AGENTS, MODELS, TOOLS
from benchmarks._data import records as make_records
from benchmarks._harness import (
    Bar,
    Options,
    Report,
    Row,
    as_json,
    as_text,
    check,
    environment,
    median,
    percentile,
    scratch,
)
from benchmarks._predictors import METHODS, SERIES, Predictor
from llm_service.cli.trace import read_trace
from llm_service.estimates.quantiles import LEVELS, Quantiles
from llm_service.telemetry import AsyncTelemetryLogger

__all__ = ["run"]

_WHOLE: Final = Path(__file__).parents[2] / "shared" / "data" / "azure_llm_inference_2023_code.csv"
_PACKAGED: Final = Path(llm_service.cli.__file__).parent / "data" / "azure_llm_inference_2023_code_first_1000.csv"
_OURS: Final = next(iter(METHODS))
_PEER: Final = "rolling quantile, 300"
_WARM: Final = 30


class Score(NamedTuple):
    """How predictions of a stretch fared.

    Attributes:
        coverage: the share of values that did not exceed each level.
        width: the mean of each level.
        loss: the mean pinball loss of each level: both misses and width in one number, lower is better.
        to_true: mean p90 divided by the true p90; 0 where that is unknown.
    """

    coverage: tuple[float, ...]
    width: tuple[float, ...]
    loss: tuple[float, ...]
    to_true: float


def online(method: Predictor, values: Sequence[int], first: int, end: int, true: Sequence[float] = ()) -> Score:
    """Predict each value from `first` up to `end` from all that came before it."""
    held, width, loss = ([0.0] * len(LEVELS) for _ in range(3))
    to_true = 0.0
    for number, value in enumerate(values[:end]):
        predicted = method.predict()
        if number >= first and predicted is not None:
            for place, (level, bound) in enumerate(zip(LEVELS, predicted, strict=True)):
                held[place] += value <= bound
                width[place] += bound
                loss[place] += (value - bound) * level if value > bound else (bound - value) * (1 - level)
            to_true += predicted.p90 / true[number] if true else 0.0
        method.add(value)
    count = end - first
    coverage, widths, losses = (tuple(total / count for total in totals) for totals in (held, width, loss))
    return Score(coverage, widths, losses, to_true / count)


class _Fixed(NamedTuple):
    """A prediction that stays."""

    predicted: Quantiles[int] | None

    def predict(self) -> Quantiles[int] | None:
        return self.predicted

    def add(self, value: int, /) -> None:
        """It learns nothing."""


def frozen(method: Predictor, values: Sequence[int], first: int) -> Score:
    """Learn from the values before `first`, then predict all others without learning from them."""
    for value in values[:first]:
        method.add(value)
    return online(_Fixed(method.predict()), values[first:], 0, len(values) - first)


def drifting(make: Callable[[], Predictor], name: str, seeds: int) -> Score:
    """The mean over several draws of one drifting series."""
    series = SERIES[name]
    scores: list[Score] = []
    for seed in range(seeds):
        values, true = series.draw(seed)
        scores.append(online(make(), values, series.first, series.end, true))

    def mean(of: Callable[[Score], tuple[float, ...]]) -> tuple[float, ...]:
        return tuple(statistics.fmean(each) for each in zip(*map(of, scores), strict=True))

    return Score(
        mean(lambda score: score.coverage),
        mean(lambda score: score.width),
        mean(lambda score: score.loss),
        statistics.fmean(score.to_true for score in scores),
    )


def all_scores(values: Sequence[int], seeds: int, names: Sequence[str] = tuple(METHODS)) -> dict[str, dict[str, Score]]:
    """By stretch and method."""
    half = len(values) // 2
    asked: dict[str, Callable[[Callable[[], Predictor]], Score]] = {
        "trace, second half, learning on": lambda make: online(make(), values, half, len(values)),
        "trace, second half, from the first alone": lambda make: frozen(make(), values, half),
        "trace, each call from those before": lambda make: online(make(), values, _WARM, len(values)),
    }
    for name in SERIES:
        asked[name] = partial(drifting, name=name, seeds=seeds)
    return {what: {name: ask(METHODS[name]) for name in names} for what, ask in asked.items()}


def microseconds(make: Callable[[], Predictor], values: Sequence[int], rounds: int = 5) -> float:
    """The processor's time of predicting one value and learning from it, the least of a few rounds."""

    def once() -> float:
        method = make()
        started = process_time()
        for value in values:
            method.predict()
            method.add(value)
        return (process_time() - started) / len(values) * 1e6

    return min(once() for _ in range(rounds))


def table(values: Sequence[int], seeds: int) -> str:
    """The comparison as Markdown: coverage of p90 (of p99), width, loss, and cost."""
    lines: list[str] = []
    for what, scores in all_scores(values, seeds).items():
        true = any(score.to_true for score in scores.values())
        width = "mean p90 / true p90" if true else "mean p90, p99"
        lines += [f"| {what} | p90 covers | p99 covers | {width} | pinball loss p90, p99 |", "|---|---|---|---|---|"]
        for name, score in scores.items():
            wide = f"{score.to_true:.2f}" if true else f"{score.width[1]:.0f}, {score.width[2]:.0f}"
            lines.append(
                f"| {name} | {score.coverage[1]:.3f} | {score.coverage[2]:.3f} | {wide} "
                f"| {score.loss[1]:.1f}, {score.loss[2]:.1f} |"
            )
        lines.append("")
    lines += ["| cost of one value | us |", "|---|---|"]
    lines += [f"| {name} | {microseconds(make, values):.1f} |" for name, make in METHODS.items()]
    return "\n".join(lines)


def trace_values(path: Path | None = None) -> tuple[Path, list[int]]:
    """The tokens of each answer of the trace, and which file they are from."""
    found = path or (_WHOLE if _WHOLE.exists() else _PACKAGED)
    values = [row.generated_tokens for row in read_trace(found)]
    check(len(values) >= 2 * _WARM, f"{found} holds {len(values)} calls; {2 * _WARM} are needed")
    return found, values


def run(options: Options, trace: Path | None = None) -> Report:
    """Coverage and width of the output estimates, beside a rolling quantile."""
    path, values = trace_values(trace)
    report = Report("estimates", "how often an estimated p90 of output tokens holds (90 % promised), how wide it is")
    for what, scores in all_scores(values, options.count(20, 2), (_OURS, _PEER)).items():
        report.rows += _rows(what, scores[_OURS], scores[_PEER])
    cost, peer_cost = (microseconds(METHODS[name], values) for name in (_OURS, _PEER))
    report.rows.append(Row("one value predicted and learnt", cost, "us", peer_cost, _PEER))
    with scratch() as folder:
        report.rows += asyncio.run(
            _warm(folder / "telemetry.db", options.count(20_000, 2_000), options.count(5_000, 500))
        )
    rows = f"{len(values):,} calls of {path.name} (Azure LLM Inference Trace 2023, Microsoft, CC BY 4.0)"
    report.notes.append(rows if path != _PACKAGED else f"{rows}: the packaged part; the bars are for the whole trace")
    return report


async def _warm(path: Path, records: int, asked: int) -> list[Row]:
    """What `estimate` takes once the file has been read, and what that takes."""
    who: dict[str, Any] = {"agent_name": AGENTS[7], "tool_name": TOOLS[3], "model_name": MODELS[2]}
    async with AsyncTelemetryLogger(path, retention_days=None, models=False, policies=False) as telemetry:
        for record in make_records(records):
            await telemetry.log_invocation(record)
        await telemetry.flush()
        started = perf_counter()
        first = await telemetry.estimate(**who, prompt_tokens=2_000, max_tokens=4_096)
        loaded = perf_counter() - started
        check(first.samples > 0 and first.completion_tokens is not None, "the past of the agent was found")
        times: dict[str, list[float]] = {"prompt_tokens=2000": [], "a prompt of 4,000 characters": []}
        prompts: list[dict[str, Any]] = [{"prompt_tokens": 2_000}, {"prompt": "four score " * 364}]
        for _ in range(asked):
            for taken, prompt in zip(times.values(), prompts, strict=True):
                started = perf_counter()
                await telemetry.estimate(**who, **prompt, max_tokens=4_096)
                taken.append((perf_counter() - started) * 1e6)
    rows = [Row(f"first estimate, {records:,} calls to read", loaded * 1e3, "ms")]
    for what, taken in times.items():
        rows.append(Row(f"estimate, warm, {what}: p50", median(taken), "us", bar=Bar("ours", "<=", 100.0)))
        rows.append(Row(f"estimate, warm, {what}: p99", percentile(taken, 0.99), "us"))
    return rows


def _rows(what: str, ours: Score, peer: Score) -> list[Row]:
    check(ours.width[0] <= ours.width[1] <= ours.width[2], "p50, p90 and p99 are in order")
    p50, p90, p99 = (100 * share for share in ours.coverage)
    peer_p50, peer_p90, peer_p99 = (100 * share for share in peer.coverage)
    drifts = ours.to_true > 0
    rows = [Row(f"{what}: p90 covers", p90, "%", peer_p90, _PEER, bar=Bar("ours", ">=", 87.0 if drifts else 88.0))]
    if drifts:
        rows.append(Row(f"{what}: mean p90 / true p90", ours.to_true, "times", peer.to_true, _PEER))
    else:
        rows.append(Row(f"{what}: no more than", p90, "%", bar=Bar("ours", "<=", 93.0)))
        rows.append(Row(f"{what}: mean p90", ours.width[1], "tokens", peer.width[1], _PEER))
    rows.append(Row(f"{what}: p50 covers", p50, "%", peer_p50, _PEER))
    rows.append(Row(f"{what}: p99 covers", p99, "%", peer_p99, _PEER))
    return rows


def main(arguments: list[str] | None = None) -> int:
    """The command line; 1 where a bar is missed."""
    parsing = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parsing.add_argument("--trace", type=Path, help="a CSV with GeneratedTokens, as `llm-telemetry replay` takes it")
    parsing.add_argument("--table", action="store_true", help="compare all methods, as Markdown")
    parsing.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parsing.add_argument("--quick", action="store_true", help="two draws of each series instead of twenty")
    given = parsing.parse_args(arguments)
    if given.table:
        print(table(trace_values(given.trace)[1], 2 if given.quick else 20))
        return 0
    report = run(Options(quick=given.quick), given.trace)
    if given.json:
        print(as_json([report]))
    else:
        print("  ".join(f"{name} {value}" for name, value in environment().items()))
        print(as_text(report))
    return int(any(row.verdict == "missed" for row in report.rows))


if __name__ == "__main__":
    sys.exit(main())
