"""`estimate`: what a call will take and cost, before it is made."""

from decimal import ROUND_CEILING, Decimal
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import click

from llm_service.cli.formats import Output, Rows, formatted, put_out
from llm_service.cli.group import Misuse
from llm_service.cli.kinds import kinds_of, of_kind
from llm_service.cli.options import MODELS, common, examples, seller
from llm_service.cli.output import lines, listing
from llm_service.cli.tables import UNKNOWN, Column, percent, plural, usd
from llm_service.cli.target import Target, reading

if TYPE_CHECKING:
    from llm_service.estimates.estimate import Estimate

__all__ = ["estimate"]

_MOST_BYTES: Final = 16 << 20
"""Of a prompt: several times what the largest context takes."""
_QUANTILES: Final = ("p50", "p90", "p99")


def _quantile(name: str) -> Column:
    return Column(name, "right", of=lambda row: row[name])


_COLUMNS: Final = (Column("of the call", whole=True, of=lambda row: row["what"]), *map(_quantile, _QUANTILES))


@click.command(
    epilog=examples(
        "estimate --model gpt-4o --prompt-file prompt.txt --max-tokens 4096",
        "estimate --model claude-sonnet-4-5 --agent backend-dev --tool claude-code --prompt-tokens 12000",
        "git diff | llm-telemetry estimate --model gpt-4o --prompt-file - --json",
    )
)
@click.option("--model", "model_name", required=True, metavar="NAME", help="The model that is to be called.")
@click.option("--agent", "agent_name", metavar="NAME", help="The agent that will call it.")
@click.option("--tool", "tool_name", metavar="NAME", help="The tool that will call it.")
@seller
@click.option("--prompt-file", type=click.File("rb"), metavar="FILE", help="The prompt as UTF-8 text; - reads stdin.")
@click.option("--prompt-tokens", type=int, metavar="N", help="How many tokens the prompt has, where that is known.")
@click.option("--max-tokens", type=int, metavar="N", help="The limit of the answer: with it, cost has a hard bound.")
@MODELS
@formatted()
@common
def estimate(
    *, prompt_file: IO[bytes] | None, models: Path | None, output: Output, target: Target, **asked: Any
) -> None:
    """Estimate tokens and cost of a call from the past of such calls and today's prices.

    Of a hundred such calls, about 50, 90 and 99 stay within p50, p90 and p99; `held` says how many did so lately. Below
    stands what each number rests on: learned from so many calls, computed, an upper bound, or a guess. A price that is
    unknown is unknown, never 0. With --json: one object with the fields of Estimate, its grounds, and hold_usd.
    """
    from llm_service.estimates.estimate import Estimate, Question, make_estimate
    from llm_service.telemetry.client.estimate_history import EstimateHistory

    if prompt_file is not None and asked["prompt_tokens"] is not None:
        raise click.UsageError("--prompt-file and --prompt-tokens both say the prompt; give one of them")
    prompt = None if prompt_file is None else _text(prompt_file)
    question = Question(prompt=prompt, **asked)
    path = target.report_path()
    # Without a file there is no past, but there are prices; a file that was named must be there.
    learner = EstimateHistory(partial(reading, path, may_lack=target.db is None))
    learner.load()
    book = target.prices(models)
    found = make_estimate(question, learner.history, book, learner.ratios, learner.tokenizer)
    hold = found.hold_usd()
    shown = found.to_dict() | {"hold_usd": None if hold is None else float(hold)}
    kinds = kinds_of(Estimate) | of_kind("json", "grounds") | of_kind("number", "hold_usd")
    what = Rows([shown], _COLUMNS, kinds, shown, _rows(found))
    put_out(output, target, what, lambda: _show(found))


def _text(file: IO[bytes]) -> str:
    data = file.read(_MOST_BYTES + 1)  # a device or a pipe may never end
    if len(data) > _MOST_BYTES:
        raise Misuse(f"--prompt-file {file.name}: it is longer than 16 MiB; give --prompt-tokens")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Misuse(f"--prompt-file {file.name}: byte {error.start} is not UTF-8; give a text in UTF-8") from None


def _show(estimate: "Estimate") -> None:
    """Tokens and cost at p50, p90 and p99, how often such estimates held, the bound, and what each rests on."""
    listing(_COLUMNS, _rows(estimate))
    limit, most, grounds = estimate.max_completion_tokens, estimate.max_cost_usd, estimate.grounds
    lines(
        [
            ("prompt", _prompt(estimate)),
            ("output", grounds["completion_tokens"]),
            ("output limit", _limit(limit, grounds["max_completion_tokens"])),
            ("cost", grounds["cost_usd"]),
            ("cost at most", f"{UNKNOWN}, as {_why_unbounded(estimate)}" if most is None else _bound(most)),
            ("price", grounds["price"]),
        ]
    )


def _rows(estimate: "Estimate") -> list[dict[str, str]]:
    tokens, held, costs = estimate.completion_tokens, estimate.coverage, estimate.cost_usd
    unknown = [UNKNOWN] * 3
    rows = (
        ("output tokens", unknown if tokens is None else [f"{one:,}" for one in tokens]),
        ("held lately", ["-"] * 3 if held is None else [percent(one) for one in held]),
        ("cost USD", unknown if costs is None else [usd(one, 6) for one in costs]),
    )
    return [dict(zip(("what", *_QUANTILES), (what, *cells), strict=True)) for what, cells in rows]


def _bound(most: Decimal) -> str:
    """Rounded up: a bound that is cut is none."""
    return f"{most.quantize(Decimal('0.000001'), ROUND_CEILING):,f} USD"


def _prompt(estimate: "Estimate") -> str:
    tokens = estimate.prompt_tokens
    if tokens is None:
        return f"{UNKNOWN}; give --prompt-file or --prompt-tokens"
    return f"{plural(tokens, 'token')}, {estimate.grounds['prompt_tokens']}"


def _limit(limit: int | None, ground: str) -> str:
    return "none known; give --max-tokens" if limit is None else f"{plural(limit, 'token')}, {ground}"


def _why_unbounded(estimate: "Estimate") -> str:
    if estimate.prompt_tokens is None:
        return "is the prompt"
    return "the output has no limit" if estimate.price_remedy is None else "is the price"
