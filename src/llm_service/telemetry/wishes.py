"""What somebody wants to reserve, as it was said, and what that comes to in nano-dollars and tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any, Final, Self

from llm_service.budgets.limits import NANOS, Policy
from llm_service.errors import JustificationNeededError, QueryError, UnknownPriceError, shown
from llm_service.telemetry.fields import MAX_COST_USD, MAX_TOKENS
from llm_service.telemetry.records import Amount, new_id

__all__ = ["NAMES", "Wish", "lease_us", "nanos", "tokens"]

NAMES: Final = ("agent_name", "tool_name", "model_name", "provider", "user_id", "session_id", "trace_id")
"""The names of a call that can be given to a reservation."""
_LONGEST_LEASE: Final = 366 * 86_400
_LEASE: Final = 600.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to reserve, as it was said; see `Budgets.reserve`."""

    hold_id: str
    names: dict[str, str | None]
    usd: Amount | None = None
    tokens: int | None = None
    justification: str | None = None
    lease: float | None = None

    @classmethod
    def of(cls, names: Mapping[str, str | None], hold_id: str | None = None, **said: Any) -> Self:
        """A wish of these arguments.

        Raises:
            TypeError: for a name that no call has.
        """
        unknown = sorted(set(names) - set(NAMES))
        if unknown:
            raise TypeError(f"unknown argument {shown(unknown[0])}; the names of a call are: {', '.join(NAMES)}")
        return cls(hold_id=hold_id or new_id(), names={name: names.get(name) for name in NAMES}, **said)


def nanos(wish: Wish, policies: Sequence[Policy]) -> int:
    """What a wish reserves, in nano-dollars, rounded up.

    Raises:
        QueryError: for an amount that cannot be.
        UnknownPriceError: none is given, and a policy blocks such calls or says nothing of what they cost.
        JustificationNeededError: it is above what a policy allows without one.
    """
    amount = _unknown(policies, wish.names["model_name"]) if wish.usd is None else _nanos(_usd(wish.usd))
    for policy in policies:
        over = policy.justification_over_nanos
        if over is not None and amount > over and not wish.justification:
            raise JustificationNeededError(policy.name, Decimal(amount) / NANOS, Decimal(over) / NANOS)
    return amount


def _unknown(policies: Sequence[Policy], model_name: str | None) -> int:
    """What a call of unknown price is taken to cost: the most that any policy says."""
    nanos = 0
    for policy in policies:
        if not any(limit.metric == "usd" for limit in policy.limits) or policy.unknown_price == "allow":
            continue
        if policy.unknown_price == "block" or policy.unknown_price_nanos is None:
            raise UnknownPriceError(policy.name, model_name)
        nanos = max(nanos, policy.unknown_price_nanos)
    return nanos


def _usd(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise QueryError("usd", value, "give a number of USD, or None where it is unknown")
    usd = value if isinstance(value, Decimal) else Decimal(str(value))
    if not usd.is_finite() or not 0 <= usd <= Decimal(str(MAX_COST_USD)):
        raise QueryError("usd", value, f"give USD from 0 to {MAX_COST_USD:,.0f}")
    return usd


def _nanos(usd: Decimal) -> int:
    return int((usd * NANOS).to_integral_value(ROUND_CEILING))


def tokens(value: object) -> int:
    """How many tokens are reserved; unknown counts none."""
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_TOKENS:
        raise QueryError("tokens", value, f"give a whole number from 0 to {MAX_TOKENS:,}")
    return value


def lease_us(value: object, policies: Sequence[Policy]) -> int:
    """Microseconds until a hold that nobody ended is of unknown outcome: what was said, else the policies' shortest."""
    seconds = min((policy.lease for policy in policies), default=_LEASE) if value is None else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= _LONGEST_LEASE:
        raise QueryError("lease", value, "give seconds above 0, up to a year")
    return int(seconds * 1_000_000)
