"""Predicts the next call from past ones: by agent, tool and model, or by fewer names if there are too few calls.

Each group keeps its quantiles and its *reported coverage*: before a call is added, it is compared with its prediction,
so that an estimate can report how often such predictions held.
"""

import re
from collections import OrderedDict
from functools import lru_cache
from threading import RLock
from typing import Final, Literal, NamedTuple

from llm_service.estimates.quantiles import AdaptiveQuantiles, Quantiles

__all__ = ["MAX_GROUPS", "MIN_SAMPLES", "Coverage", "History", "Level", "Past", "is_cut_short"]

Level = Literal["agent+tool+model", "agent+model", "model", "default"]

MIN_SAMPLES: Final = 30
"""Calls that a group needs before it is used: with fewer, its p90 would rest on less than three."""
MAX_GROUPS: Final = 1_000
"""Groups in memory; the least recently used is dropped first. At most 10 MB with all streams full [tracemalloc]."""
_SCORED: Final = 1_000
"""Predictions that the reported coverage counts: its standard error at p90 is 0.9 points."""

# Reasons of truncated answers: OpenAI (`length`, `content_filter`, Responses API `max_output_tokens`), Anthropic
# (`max_tokens`, `model_context_window_exceeded`, `pause_turn`), Gemini (`SAFETY`, `RECITATION`, `BLOCKLIST`,
# `PROHIBITED_CONTENT`, `SPII`, `MALFORMED_FUNCTION_CALL`), Bedrock (`content_filtered`, `guardrail_intervened`), and
# `cancelled`, which this project records for a stream that its consumer left.
_CUT_SHORT: Final = frozenset({
    "aborted", "blocklist", "cancelled", "canceled", "content_filter", "content_filtered", "error", "error_limit",
    "guardrail_intervened", "incomplete", "length", "malformed_function_call", "max_output_tokens", "max_tokens",
    "model_context_window_exceeded", "model_length", "pause_turn", "prohibited_content", "recitation", "safety", "spii",
})  # fmt: skip
_WORD: Final = re.compile(r"[a-z_]+")

_Key = tuple[str, ...]


@lru_cache(maxsize=256)
def is_cut_short(finish_reason: str) -> bool:
    """Whether this `finish_reason` means a truncated answer; for several reasons, whether one of them does."""
    words = _WORD.findall(finish_reason.lower().replace("-", "_"))
    return not _CUT_SHORT.isdisjoint(words)


class Coverage:
    """The share of recent predictions that held, by level. Memory: one byte for each.

    Args:
        most: number of recent predictions.
    """

    __slots__ = ("_counts", "_most", "_next", "_outcomes")

    def __init__(self, most: int = _SCORED) -> None:
        self._most = most
        self._outcomes = bytearray()
        self._next = 0
        self._counts = [0, 0, 0, 0]

    def add(self, predicted: Quantiles[int], value: int) -> None:
        """Compare a prediction with the actual value."""
        # Predictions ascend by level, so the number that held tells which: the highest ones.
        middle, high, top = predicted
        outcome = 3 if value <= middle else 2 if value <= high else 1 if value <= top else 0
        counts, outcomes = self._counts, self._outcomes
        counts[outcome] += 1
        if len(outcomes) < self._most:
            outcomes.append(outcome)
            return
        counts[outcomes[self._next]] -= 1
        outcomes[self._next] = outcome
        self._next = (self._next + 1) % self._most

    def shares(self) -> Quantiles[float] | None:
        """The share that held, 0 to 1; None before the first prediction."""
        count = len(self._outcomes)
        if not count:
            return None
        _, top, high, middle = self._counts
        return Quantiles(middle / count, (middle + high) / count, (middle + high + top) / count)


class _Stream:
    """One quantity of one group, and the coverage of its predictions."""

    __slots__ = ("coverage", "quantiles")

    def __init__(self) -> None:
        self.quantiles = AdaptiveQuantiles()
        self.coverage = Coverage()

    def add(self, value: int) -> None:
        seen = self.quantiles.seen
        predicted = self.quantiles.add(value)
        if predicted is not None and seen >= MIN_SAMPLES:  # before, no prediction would have been given
            self.coverage.add(predicted, value)


class _Group:
    """The calls of one group: completion tokens, and nano-dollars if known."""

    __slots__ = ("costs", "tokens")

    def __init__(self) -> None:
        self.tokens = _Stream()
        self.costs: _Stream | None = None


class Past(NamedTuple):
    """The present state of a group.

    Attributes:
        level: the names that the calls share with the requested one.
        samples: calls so far, also those that have left the window.
        completion_tokens: quantiles of the next answer; None if nothing is known.
        coverage: how often they held, 0 to 1; None before the first prediction.
        cost_nanos: quantiles of the next call's cost in nano-dollars; None with fewer than `MIN_SAMPLES` known costs.
        cost_coverage: how often those held.
        cost_samples: calls of known cost so far.
    """

    level: Level
    samples: int
    completion_tokens: Quantiles[int] | None
    coverage: Quantiles[float] | None
    cost_nanos: Quantiles[int] | None
    cost_coverage: Quantiles[float] | None
    cost_samples: int = 0


_NOTHING: Final = Past("default", 0, None, None, None, None)


class History:
    """Learns from calls in their order, and predicts the next one of a group. Thread-safe.

    Args:
        max_groups: groups in memory; the least recently used is dropped first, the group of all calls never.
    """

    def __init__(self, max_groups: int = MAX_GROUPS) -> None:
        self._groups: OrderedDict[_Key, _Group] = OrderedDict()
        self._max_groups = max_groups
        self._lock = RLock()  # a signal handler, or a finalizer, may ask while its thread is in here

    def __len__(self) -> int:
        return len(self._groups)

    def observe(
        self,
        agent_name: str | None,
        tool_name: str | None,
        model_name: str | None,
        completion_tokens: int,
        cost_nanos: int | None = None,
        request_model: str | None = None,
    ) -> None:
        """Learn from a complete answer; truncated ones would make predictions too short.

        Args:
            agent_name, tool_name, model_name: of the call; None names no group.
            completion_tokens: of the answer, including reasoning.
            cost_nanos: nano-dollars, if known.
            request_model: the name that the model was asked by; where it differs, the groups of either name learn.
        """
        with self._lock:
            for _, key in _levels(agent_name, tool_name, model_name, request_model):
                group = self._groups.get(key)
                if group is None:
                    group = self._groups[key] = _Group()
                self._groups.move_to_end(key)
                group.tokens.add(completion_tokens)
                if cost_nanos is not None:
                    if group.costs is None:
                        group.costs = _Stream()
                    group.costs.add(cost_nanos)
            while len(self._groups) > max(1, self._max_groups):
                self._groups.popitem(last=False)

    def past(
        self,
        agent_name: str | None,
        tool_name: str | None,
        model_name: str | None,
        request_model: str | None = None,
    ) -> Past:
        """The state of the narrowest group with enough calls, of either name; else of all calls, however few."""
        with self._lock:
            for level, key in _levels(agent_name, tool_name, model_name, request_model):
                group = self._groups.get(key)
                if group is not None and (level == "default" or group.tokens.quantiles.seen >= MIN_SAMPLES):
                    self._groups.move_to_end(key)
                    return self._past_of(level, group)
        return _NOTHING

    def _past_of(self, level: Level, group: _Group) -> Past:
        tokens, costs = group.tokens, group.costs
        told = costs is not None and costs.quantiles.seen >= MIN_SAMPLES
        return Past(
            level,
            tokens.quantiles.seen,
            tokens.quantiles.predict(),
            tokens.coverage.shares(),
            costs.quantiles.predict() if costs is not None and told else None,
            costs.coverage.shares() if costs is not None and told else None,
            0 if costs is None else costs.quantiles.seen,
        )


def _levels(agent: str | None, tool: str | None, model: str | None, asked: str | None) -> list[tuple[Level, _Key]]:
    """The groups of a call, narrowest first, each once. Keys differ in length, so that levels do not share keys.

    A model is called by what answered and by what was asked for (`gpt-4o`, answered as `gpt-4o-2024-08-06`): who asks
    for an estimate may know either.
    """
    models = [name for name in (model, None if asked == model else asked) if name is not None]
    around: list[tuple[Level, _Key]] = [("model", ())]
    if agent is not None:
        around.insert(0, ("agent+model", (agent,)))
        if tool is not None:
            around.insert(0, ("agent+tool+model", (agent, tool)))
    levels: list[tuple[Level, _Key]] = [(level, (*names, name)) for level, names in around for name in models]
    levels.append(("default", ()))
    return levels
