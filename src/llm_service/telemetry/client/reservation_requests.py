"""What somebody wants to reserve, as it was said, and what that comes to in nano-dollars and tokens.

What is not said is estimated. A price that nobody knows is never taken for nothing: the policies say what happens.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Final, Self

from llm_service.budgets.limits import NANOS, Policy
from llm_service.errors import JustificationNeededError, QueryError, RecordError, UnknownPriceError, UnknownTokensError
from llm_service.telemetry.record.checks import MAX_COST_USD, MAX_TOKENS
from llm_service.telemetry.record.fields import CHECKS
from llm_service.telemetry.record.record import Amount, new_id

if TYPE_CHECKING:
    from llm_service.estimates.estimate import Estimate, Question
    from llm_service.estimates.tokens import Prompt

__all__ = ["NAMES", "PLACE", "ReservationRequest", "lease_us", "nanos", "tokens", "usd_of"]

NAMES: Final = (
    *("agent_name", "tool_name", "model_name", "request_model", "provider", "user_id", "session_id", "run", "trace_id"),
)
"""The names of a call that can be given to a reservation."""
PLACE: Final = ("service_tier", "region")
"""What its price depends on beside names."""
_LONGEST_LEASE: Final = 366 * 86_400
_LEASE: Final = 600.0


@dataclass(slots=True, kw_only=True)
class ReservationRequest:
    """What somebody wants to reserve, as it was said; see `Budgets.reserve`.

    Attributes:
        names: those of the call, as a record takes them.
        answers: how many are asked for; each is taken for a call of its own.
        expected_usd: what the call is estimated to cost, at its price.
        is_guess: its price is unknown, and `expected_usd` is what such calls have cost.
        missing: what an estimate would have needed, for whoever has to give it.
        no_answer: the call is known to have none, such as an embedding.
        is_call: False for a span: it holds money and tokens, and no call.
        hidden_tokens: that the provider adds to the prompt, at most.
        unread: parameters with which the model reads what is not in the prompt.
        beyond: what is billed beyond the prompt and its answers: no estimate holds.
    """

    hold_id: str = ""
    agent_name: str | None = None
    tool_name: str | None = None
    model_name: str | None = None
    request_model: str | None = None
    provider: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    run: str | None = None
    trace_id: str | None = None
    usd: Amount | None = None
    tokens: int | None = None
    prompt: "Prompt | None" = None
    prompt_tokens: int | None = None
    max_tokens: int | None = None
    answers: int = 1
    service_tier: str | None = None
    region: str | None = None
    justification: str | None = None
    lease: float | None = None
    expected_usd: Decimal | None = None
    is_guess: bool = False
    missing: tuple[str, ...] = ()
    no_answer: bool = False
    is_call: bool = True
    hidden_tokens: int = 0
    unread: tuple[str, ...] = ()
    beyond: tuple[str, ...] = ()

    names: dict[str, str | None] = field(init=False)

    def __post_init__(self) -> None:
        self.hold_id = self.hold_id or new_id()
        for name in (*NAMES, *PLACE):  # taken as a record takes them
            setattr(self, name, CHECKS[name](name, getattr(self, name)))
        with suppress(RecordError):  # told by the estimate, which may not need it
            self.prompt_tokens = CHECKS["prompt_tokens"]("prompt_tokens", self.prompt_tokens)
        self.names = {name: getattr(self, name) for name in NAMES}

    @property
    def called(self) -> str | None:
        """The name that the model is asked by."""
        return self.request_model or self.model_name

    def question(self) -> "Question":
        """What is to be estimated."""
        from llm_service.estimates.estimate import Question  # noqa: PLC0415 - only who estimates pays for it

        return Question(
            agent_name=self.agent_name,
            tool_name=self.tool_name,
            model_name=self.model_name,
            provider=self.provider,
            prompt=self.prompt,
            prompt_tokens=self.prompt_tokens,
            max_tokens=self.max_tokens,
            service_tier=self.service_tier,
            request_model=self.request_model,
            region=self.region,
            no_answer=self.no_answer,
            hidden_tokens=self.hidden_tokens,
            whole=not self.unread,
        )

    @property
    def _not_in_prompt(self) -> str:
        if self.unread:
            return f"of {', '.join(self.unread)} more than the prompt is read"
        return "the prompt has parts that are not text"

    def wants_estimate(self, policies: Iterable[Policy]) -> bool:
        """Whether a limit counts what was not said."""
        return any(
            (self.usd is None and "usd" in policy.metrics) or (self.tokens is None and "tokens" in policy.metrics)
            for policy in policies
        )

    def with_estimate(self, estimate: "Estimate", *, is_priced: bool) -> Self:
        """The request with what was estimated in the place of what was not said; a guess unless the model is priced."""
        used = self.tokens
        if used is None:
            answer = estimate.completion_tokens
            most = estimate.max_completion_tokens if answer is None or self.max_tokens is not None else answer.p99
            prompt = estimate.max_prompt_tokens or estimate.prompt_tokens
            is_unread = self.prompt is not None and prompt is None
            used = None if most is None or is_unread or self.beyond else (prompt or 0) + most
        needs = {
            "a price of its model (in models.yaml, or by the extra `prices`)": is_priced,
            "the prompt (prompt= or prompt_tokens=)": self.prompt is not None or self.prompt_tokens is not None,
            f"what such calls have cost, or prompt_tokens= ({self._not_in_prompt})": (
                self.prompt is None or estimate.max_prompt_tokens is not None or estimate.cost_usd is not None
            ),
            "a limit of the answer (max_tokens=)": (
                estimate.max_completion_tokens is not None or estimate.max_cost_usd is not None
            ),
        }
        missing = tuple(need for need, is_met in needs.items() if not is_met)
        missing += tuple(f"what {one} may cost" for one in self.beyond)
        usd = None if self.beyond else estimate.hold_usd()
        return replace(
            self,
            tokens=None if used is None else used * self.answers,
            expected_usd=None if usd is None else usd * self.answers,
            is_guess=not is_priced,
            missing=missing,
        )


def nanos(wanted: ReservationRequest, policies: Sequence[Policy]) -> int:
    """What a request reserves, in nano-dollars, rounded up.

    Raises:
        QueryError: for an amount that cannot be.
        UnknownPriceError: neither an amount is given nor the price is known, and a policy blocks such calls or says
            nothing of what they cost.
        JustificationNeededError: it is above what a policy allows without one.
    """
    if wanted.usd is not None:
        amount = _nanos(usd_of("usd", wanted.usd))
    elif wanted.expected_usd is not None and not wanted.is_guess:
        amount = _nanos(wanted.expected_usd)
    else:
        amount = _unknown(wanted, policies)
    for policy in policies:
        over = policy.justification_over_nanos
        if over is not None and amount > over and not wanted.justification:
            raise JustificationNeededError(policy.name, Decimal(amount) / NANOS, Decimal(over) / NANOS)
    return amount


def _unknown(wanted: ReservationRequest, policies: Sequence[Policy]) -> int:
    """What a call of unknown price is taken to cost: the most that any policy says, or what such calls have cost."""
    guess = None if wanted.expected_usd is None else _nanos(wanted.expected_usd)
    most = 0
    for policy in policies:
        if "usd" not in policy.metrics or policy.unknown_price == "allow":
            continue
        said = policy.unknown_price_nanos if policy.unknown_price_nanos is not None else guess
        if policy.unknown_price == "block" or said is None:
            raise UnknownPriceError(policy.name, wanted.called, wanted.missing)
        most = max(most, said)
    return most


def usd_of(name: str, value: object) -> Decimal:
    """An amount that can be reserved. Raises QueryError: it is none; `name` is what it was given as."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        unknown = "True for what is estimated" if name == "budget" else "None where it is unknown"
        raise QueryError(name, value, f"give a number of USD, or {unknown}")
    usd = value if isinstance(value, Decimal) else Decimal(str(value))
    if not usd.is_finite() or not 0 <= usd <= Decimal(str(MAX_COST_USD)):
        raise QueryError(name, value, f"give USD from 0 to {MAX_COST_USD:,.0f}")
    return usd


def _nanos(usd: Decimal) -> int:
    return int((usd * NANOS).to_integral_value(ROUND_CEILING))


def tokens(wanted: ReservationRequest, policies: Sequence[Policy] = ()) -> int:
    """How many tokens a request reserves in these policies.

    Raises:
        QueryError: for a number that cannot be.
        UnknownTokensError: neither was a number given nor can it be estimated, and a hard limit counts tokens.
    """
    value: object = wanted.tokens
    if value is None:
        limits = (limit for policy in policies for limit in policy.limits)
        blocking = next((limit for limit in limits if limit.hard and limit.metric == "tokens"), None)
        if blocking is not None:
            raise UnknownTokensError(blocking.policy, wanted.called)
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
