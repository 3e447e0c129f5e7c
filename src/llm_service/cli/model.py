"""What a trace does not say, modelled: who called, what it cost, how long it took, and whether it failed.

Pure functions of the row's index, its token counts and a seed: a second replay gives the same calls. Nothing here is
measured, and every output says so (`note`).

    latency_ms = (150 + 0.05 * context_tokens + 20 * generated_tokens) * u      u uniform in [0.8, 1.2)
    ttft_ms    = (150 + 0.05 * context_tokens) * u
    cost_usd   = context_tokens * input price + generated_tokens * output price
    status     = 'timeout' after 60 s in 0.5 % of the calls, 'error' in 2 %, else 'success'

A call fails while its answer streams, so that its tokens are counted and paid for.
"""

from typing import Final, Literal, NamedTuple

from llm_service.cli.trace import TraceRow
from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.record.timestamps import from_microseconds, to_microseconds

__all__ = ["MODELS", "ROLES", "ModelPrice", "Role", "agent_name", "draw", "note", "to_record"]


class ModelPrice(NamedTuple):
    """A model's list price, in nano-dollars a token: 2,500 is 2.50 USD for a million tokens."""

    provider: str
    input_nanos: int
    output_nanos: int


# List prices as the providers published them at the end of 2024, without discounts for caching or batches.
MODELS: Final = {
    "gpt-4o": ModelPrice("openai", 2_500, 10_000),  # https://openai.com/api/pricing/
    "gpt-4o-mini": ModelPrice("openai", 150, 600),  # https://openai.com/api/pricing/
    "claude-3.5-sonnet": ModelPrice("anthropic", 3_000, 15_000),  # https://www.anthropic.com/pricing
    "claude-3.5-haiku": ModelPrice("anthropic", 800, 4_000),  # https://www.anthropic.com/pricing
}


class Role(NamedTuple):
    """What one kind of agent works with."""

    agent: str
    tool: str
    model: str


ROLES: Final = (
    Role("backend-dev", "claude-code", "claude-3.5-sonnet"),
    Role("frontend-dev", "cursor", "gpt-4o"),
    Role("reviewer", "claude-code", "claude-3.5-haiku"),
    Role("tester", "aider", "gpt-4o-mini"),
    Role("architect", "claude-code", "claude-3.5-sonnet"),
    Role("doc-writer", "cursor", "gpt-4o-mini"),
    Role("data-engineer", "aider", "gpt-4o"),
    Role("security-auditor", "claude-code", "claude-3.5-haiku"),
)

OVERHEAD_MS: Final = 150.0
PREFILL_MS: Final = 0.05
DECODE_MS: Final = 20.0
TIMEOUT_MS: Final = 60_000.0
TIMEOUT_SHARE: Final = 0.005
ERROR_SHARE: Final = 0.02

_WORD: Final = 2**64 - 1


def note(*, shifted: bool = False) -> str:
    """What is real and what is modelled, in one line."""
    times = "token counts are from the trace, its times moved to end now"
    if not shifted:
        times = "token counts and times are from the trace"
    return f"{times}; agents, models, prices, latency and failures are modelled"


def draw(seed: int, index: int, purpose: int) -> float:
    """A number in [0, 1) that looks random and depends on nothing else: the finalizer of SplitMix64 (OOPSLA 2014)."""
    word = (seed * 0xD1342543DE82EF95 + (3 * index + purpose + 1) * 0x9E3779B97F4A7C15) & _WORD
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _WORD
    return ((word ^ (word >> 31)) >> 11) * 2.0**-53


def agent_name(agent: int) -> str:
    """The name of an agent counted from 0: the roles in turn, numbered from the second turn on."""
    turn, role = divmod(agent, len(ROLES))
    return ROLES[role].agent if turn == 0 else f"{ROLES[role].agent}-{turn + 1}"


def to_record(row: TraceRow, *, agents: int, seed: int = 0, shift_us: int = 0) -> InvocationRecord:
    """The record of a row, under a new id.

    Args:
        row: a call of the trace; agent number `row.number % agents` makes it.
        agents: how many agents share the trace.
        shift_us: microseconds to add to the row's time.

    Raises:
        RecordError: the shifted time cannot be stored.
    """
    agent = row.number % agents
    role = ROLES[agent % len(ROLES)]
    price = MODELS[role.model]
    nanos = row.context_tokens * price.input_nanos + row.generated_tokens * price.output_nanos
    jitter = 0.8 + 0.4 * draw(seed, row.number, 0)
    ttft_ms = (OVERHEAD_MS + PREFILL_MS * row.context_tokens) * jitter
    latency_ms = ttft_ms + DECODE_MS * row.generated_tokens * jitter
    status, error_type, error_message = _fate(draw(seed, row.number, 1))
    if status == "timeout":
        latency_ms, ttft_ms = TIMEOUT_MS, min(ttft_ms, TIMEOUT_MS)
    return InvocationRecord(
        agent_name=agent_name(agent),
        tool_name=role.tool,
        model_name=role.model,
        prompt_tokens=row.context_tokens,
        completion_tokens=row.generated_tokens,
        cost_usd=nanos / 1e9,
        latency_ms=round(latency_ms, 1),
        status=status,
        timestamp=from_microseconds(to_microseconds(row.timestamp) + shift_us) if shift_us else row.timestamp,
        provider=price.provider,
        cost_source="computed",
        ttft_ms=round(ttft_ms, 1),
        stream=True,
        source="replay",
        error_type=error_type,
        error_message=error_message,
    )


def _fate(chance: float) -> tuple[Literal["success", "error", "timeout"], str | None, str | None]:
    """Status, type of the error, and what it says."""
    if chance < TIMEOUT_SHARE:
        return "timeout", "timeout", "modelled: the answer was not complete after 60 s"
    if chance < TIMEOUT_SHARE + ERROR_SHARE:
        return "error", "connection_reset", "modelled: connection reset while the answer streamed"
    return "success", None, None
