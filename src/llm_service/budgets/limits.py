"""The limits of policies, and whether a call fits those that apply to it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, Literal, NamedTuple

from llm_service.budgets.scopes import Call, Counter, CounterKey

__all__ = [
    "METRICS",
    "NANOS",
    "Amounts",
    "Limit",
    "Metric",
    "Policy",
    "Standing",
    "Totals",
    "has_room",
    "shown_amount",
    "standing",
]

Metric = Literal["usd", "tokens", "calls"]
METRICS: Final[tuple[Metric, ...]] = ("usd", "tokens", "calls")
NANOS: Final = 1_000_000_000


class Amounts(NamedTuple):
    """Nano-dollars, tokens and calls."""

    nanos: int = 0
    tokens: int = 0
    calls: int = 0

    def of(self, metric: Metric) -> int:
        """The amount for this metric."""
        return self[METRICS.index(metric)]

    def plus(self, other: "Amounts") -> "Amounts":
        """The sum of both."""
        return Amounts(self.nanos + other.nanos, self.tokens + other.tokens, self.calls + other.calls)

    def minus(self, other: "Amounts") -> "Amounts":
        """The difference of both."""
        return Amounts(self.nanos - other.nanos, self.tokens - other.tokens, self.calls - other.calls)


class Totals(NamedTuple):
    """The sums of one window of a counter.

    Attributes:
        spent: by the records in the window; calls of unknown cost count no money here, but in `unpriced_calls`.
        reserved: for calls in progress.
        unknown: reserved for calls of unknown outcome, which may have spent it.
        unpriced_calls: calls whose cost is unknown.
    """

    spent: Amounts = Amounts()
    reserved: Amounts = Amounts()
    unknown: Amounts = Amounts()
    unpriced_calls: int = 0

    def plus(self, other: "Totals") -> "Totals":
        """The sum of both."""
        return Totals(
            self.spent.plus(other.spent),
            self.reserved.plus(other.reserved),
            self.unknown.plus(other.unknown),
            self.unpriced_calls + other.unpriced_calls,
        )

    def committed(self, metric: Metric) -> int:
        """The amount that counts against a limit."""
        return self.spent.of(metric) + self.reserved.of(metric) + self.unknown.of(metric)


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit of one metric in one window of one counter.

    Attributes:
        policy: the policy's name.
        metric: the limited metric.
        amount: nano-dollars, tokens or calls.
        counter: the counter's key.
        hard: False never stops calls, and only raises alerts.
        thresholds: percent of the amount at which `on_budget` is called, ascending.
    """

    policy: str
    metric: Metric
    amount: int
    counter: CounterKey
    hard: bool = True
    thresholds: tuple[int, ...] = (80, 100)


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy, compiled.

    Attributes:
        name: as in policies.yaml.
        limits: all of them; they share scope, `per` and time zone.
        probe: a counter for testing the scope.
        unknown_price: `block`, `estimate` or `allow`: the rule for calls of unknown price.
        unknown_price_nanos: the assumed cost of such a call if there is no estimate.
        justification_over_nanos: a reservation above this needs a justification; None: none does.
        prefer_cheaper_under_tokens: below this number of prompt tokens an estimate names cheaper models.
        lease: seconds after which an open hold counts as unknown spend.
        metrics: of its limits.
    """

    name: str
    limits: tuple[Limit, ...]
    probe: Counter
    unknown_price: Literal["block", "estimate", "allow"] = "estimate"
    unknown_price_nanos: int | None = None
    justification_over_nanos: int | None = None
    prefer_cheaper_under_tokens: int | None = None
    lease: float = 600.0
    metrics: frozenset[Metric] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", frozenset(limit.metric for limit in self.limits))

    @property
    def has_scope(self) -> bool:
        """Whether it has a scope; else it applies if chosen by name."""
        return bool(self.probe.scope)

    def applies(self, call: Call) -> bool:
        """Whether a call is in its scope."""
        return self.probe.subject(call) is not None


@dataclass(frozen=True, slots=True)
class Standing:
    """One limit with the sums of its window.

    Attributes:
        limit: the limit.
        totals: the window's.
        subject: JSON array of the values of `per`.
        asked: the amount of the call.
        resets_at_us: end of the window in microseconds since 1970; None if it has no end or rolls.
    """

    limit: Limit
    totals: Totals
    subject: str
    asked: int
    resets_at_us: int | None

    @property
    def fits(self) -> bool:
        """Whether the call is within the limit. A span, which asks for no call, is within every limit in calls."""
        if self.limit.metric == "calls" and self.asked == 0:
            return True
        return has_room(self.totals.committed(self.limit.metric), self.asked, self.limit.amount)

    @property
    def left(self) -> int:
        """What the limit leaves after the call; negative if the call does not fit."""
        return self.limit.amount - self.totals.committed(self.limit.metric) - self.asked


def has_room(committed: int, asked: int, amount: int) -> bool:
    """Whether a limit has room. It may be reached exactly; after that nothing fits, not even a call that asks for 0.

    Args:
        committed: the amount that counts against it.
        asked: the amount of the call.
        amount: the limit. All in nano-dollars, tokens or calls.
    """
    return committed + max(asked, 1) <= amount


def standing(
    limits: Iterable[Limit],
    asked: Amounts,
    places: Mapping[CounterKey, tuple[str, Totals, int | None]],
) -> list[Standing]:
    """Each limit with its window.

    Args:
        limits: those that apply to a call.
        asked: the amounts of the call.
        places: subject, totals and end of the window, by counter.
    """
    found: list[Standing] = []
    for limit in limits:
        subject, totals, resets_at = places[limit.counter]
        found.append(Standing(limit, totals, subject, asked.of(limit.metric), resets_at))
    return found


def crossed(thresholds: Sequence[int], used: int, amount: int) -> list[int]:
    """The reached thresholds, in percent of an amount."""
    return [percent for percent in thresholds if used * 100 >= amount * percent]


def shown_amount(metric: Metric, amount: int) -> Decimal | int:
    """An amount for display: USD as Decimal, tokens and calls unchanged."""
    return Decimal(amount) / NANOS if metric == "usd" else amount
