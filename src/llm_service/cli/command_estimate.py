"""`estimate`: what a call will take and cost, before it is made."""

from pathlib import Path
from typing import IO

import click

from llm_service.cli.group import Misuse
from llm_service.cli.options import MODELS, common, prices_for, report_path
from llm_service.cli.output import json_document

__all__ = ["estimate"]


@click.command(
    epilog="""\b
Examples:
  llm-telemetry estimate --model gpt-4o --prompt-file prompt.txt --max-tokens 4096
  llm-telemetry estimate --model claude-sonnet-4-5 --agent backend-dev --tool claude-code --prompt-tokens 12000
  git diff | llm-telemetry estimate --model gpt-4o --prompt-file - --json"""
)
@click.option("--model", "model_name", required=True, metavar="NAME", help="The model that is to be called.")
@click.option("--agent", "agent_name", metavar="NAME", help="The agent that will call it.")
@click.option("--tool", "tool_name", metavar="NAME", help="The tool that will call it.")
@click.option("--provider", metavar="NAME", help="Who serves the model, where prices differ by it.")
@click.option("--service-tier", metavar="NAME", help="Of a batch, flex, priority... call, instead of a standard one.")
@click.option("--prompt-file", type=click.File("rb"), metavar="FILE", help="The prompt as UTF-8 text; - reads stdin.")
@click.option("--prompt-tokens", type=int, metavar="N", help="How many tokens the prompt has, where that is known.")
@click.option("--max-tokens", type=int, metavar="N", help="The limit of the answer: with it, cost has a hard bound.")
@MODELS
@common
def estimate(
    *,
    model_name: str,
    agent_name: str | None,
    tool_name: str | None,
    provider: str | None,
    service_tier: str | None,
    prompt_file: IO[bytes] | None,
    prompt_tokens: int | None,
    max_tokens: int | None,
    models: Path | None,
    db: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Estimate tokens and cost of a call from the past of such calls and today's prices.

    Of a hundred such calls, about 50, 90 and 99 stay within p50, p90 and p99; `held` says how many did so lately. A
    price that is unknown is unknown, never 0. With --json: one object with the fields of Estimate, and hold_usd.
    """
    from llm_service.cli import estimate_views, reports  # noqa: PLC0415
    from llm_service.estimates.estimate import Question, make_estimate  # noqa: PLC0415
    from llm_service.pricing.book import NO_BUNDLED  # noqa: PLC0415
    from llm_service.telemetry.client.estimate_history import EstimateHistory  # noqa: PLC0415

    prompt = None if prompt_file is None else _text(prompt_file)
    question = Question(agent_name, tool_name, model_name, provider, prompt, prompt_tokens, max_tokens, service_tier)
    path = report_path(db, config)
    # Without a file there is no past, but there are prices; a file that was named must be there.
    learner = EstimateHistory(path if db is None else reports.existing(path))
    learner.load()
    book = prices_for(models, config)
    found = make_estimate(question, learner.history, book, learner.ratios, learner.tokenizer)
    if as_json:
        hold = found.hold_usd()
        json_document(found.to_dict() | {"hold_usd": None if hold is None else float(hold)})
    else:
        remedy = NO_BUNDLED if book.lacks_bundled else "write it into models.yaml"
        estimate_views.show_estimate(found, remedy)


def _text(file: IO[bytes]) -> str:
    try:
        return file.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise Misuse(f"--prompt-file {file.name}: byte {error.start} is not UTF-8; give a text in UTF-8") from None
