"""How an estimate looks: its quantiles as a table, and below it what they rest on."""

from decimal import ROUND_CEILING, Decimal
from typing import Final, TypeVar

from llm_service.cli.cell_formats import usd
from llm_service.cli.output import lines, table
from llm_service.cli.tables import Column
from llm_service.estimates.estimate import HISTORY, Estimate
from llm_service.estimates.quantiles import Quantiles

__all__ = ["show_estimate"]

_T = TypeVar("_T", int, float)

_UNKNOWN: Final = "unknown"
_COLUMNS: Final = (Column("of the call", whole=True), *(Column(name, "right") for name in Quantiles._fields))
_SOURCES: Final = {
    "given": "given",
    "tokenizer": "counted by the model's tokenizer",
    "learned": "by the ratio of past prompts",
    "bytes": "a guess: a third of its bytes",
}
_LEVELS: Final = {
    "agent+tool+model": "of this agent, tool and model",
    "agent+model": "of this agent and model",
    "model": "of this model",
    "default": "of all agents and models",
}


def show_estimate(estimate: Estimate, remedy: str = "write it into models.yaml") -> None:
    """Tokens and cost at p50, p90 and p99, how often such estimates held, and the bound.

    Args:
        estimate: what to show.
        remedy: what to do where the price is unknown.
    """
    table(
        _COLUMNS,
        [
            ["output tokens", *_cells(estimate.completion_tokens, "{:,}")],
            ["held lately", *_cells(estimate.coverage, "{:.1%}", "-")],
            [
                "cost USD",
                *([_UNKNOWN] * 3 if estimate.cost_usd is None else [usd(one, 6) for one in estimate.cost_usd]),
            ],
        ],
    )
    limit, most = estimate.max_completion_tokens, estimate.max_cost_usd
    lines(
        [
            ("prompt", _prompt(estimate)),
            ("output limit", "none known; give --max-tokens" if limit is None else f"{limit:,} tokens"),
            ("cost at most", f"{_UNKNOWN}, as {_why_unbounded(estimate)}" if most is None else _bound(most)),
            ("rests on", f"{estimate.samples:,} calls {_LEVELS[estimate.level]}"),
            ("price", _price(estimate, remedy)),
        ]
    )


def _cells(quantiles: Quantiles[_T] | None, shape: str, missing: str = _UNKNOWN) -> list[str]:
    return [missing] * 3 if quantiles is None else [shape.format(value) for value in quantiles]


def _bound(most: Decimal) -> str:
    """Rounded up: a bound that is cut is none."""
    return f"{most.quantize(Decimal('0.000001'), ROUND_CEILING):,f} USD"


def _prompt(estimate: Estimate) -> str:
    tokens, source = estimate.prompt_tokens, estimate.prompt_tokens_source
    if tokens is None or source is None:
        return f"{_UNKNOWN}; give --prompt-file or --prompt-tokens"
    return f"{tokens:,} tokens, {_SOURCES[source]}"


def _why_unbounded(estimate: Estimate) -> str:
    if estimate.prompt_tokens is None:
        return "is the prompt"
    if estimate.price_source in {None, HISTORY}:
        return "is the price"
    if estimate.max_completion_tokens is None:
        return "the output has no limit"
    return "the ratio of past prompts is no bound"


def _price(estimate: Estimate, remedy: str) -> str:
    if estimate.price_source is None:
        return f"{_UNKNOWN}; {remedy}"
    return "what such calls have cost" if estimate.price_source == HISTORY else estimate.price_source
