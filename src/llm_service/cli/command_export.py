"""`export`: stored calls as CSV, JSON lines or Parquet, written page by page, in place only when complete."""

from typing import TYPE_CHECKING, Any

import click

from llm_service.cli.formats import Output, Rows, formatted, written
from llm_service.cli.kinds import kinds_of, texts
from llm_service.cli.options import common, examples, narrowing
from llm_service.cli.tables import plural
from llm_service.cli.target import Names, Target, existing, reading, say_unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from llm_service.telemetry.queries.rows import InvocationRow
    from llm_service.telemetry.stores.base import Fetch

__all__ = ["export"]


@click.command(
    epilog=examples(
        "export > calls.csv",
        "export --format jsonl --since 30d --output calls.jsonl",
        "export -o calls.parquet",
        "export --errors --safe-csv --output errors.csv --force",
        "export --content --format jsonl --session 4711 > session.jsonl",
    )
)
@click.option("--content", is_flag=True, help="Prompts and responses, too, where they are stored (level full).")
@narrowing
@formatted("csv", "jsonl", "parquet")
@common
def export(
    *,
    content: bool,
    names: Names,
    calls: dict[str, Any],
    since: str | None,
    until: str | None,
    output: Output,
    target: Target,
) -> None:
    """Write stored calls as CSV, JSON lines or Parquet, oldest first, in constant memory.

    What was stored when it began is written, page by page, so that the writer is not held up. CSV holds the values as
    they are: open it in a spreadsheet only with --safe-csv, because texts may begin with =, +, - or @. --json is
    --format jsonl. With --content, prompt and response are the last two columns.
    """
    from llm_service.telemetry.queries.filters import InvocationFilter
    from llm_service.telemetry.queries.pages import read_pages
    from llm_service.telemetry.queries.retention_coverage import records_since
    from llm_service.telemetry.queries.rows import InvocationRow

    path, asked = existing(target.report_path()), target.range(since, until)
    chosen = InvocationFilter(**calls, since=asked.start, until=asked.end)
    say_unknown(path, names)
    kinds = kinds_of(InvocationRow) | (texts("prompt", "response") if content else {})
    with reading(path) as fetch:
        pages = read_pages(fetch, chosen)
        rows = _with_contents(fetch, pages) if content else pages
        since_day = records_since(fetch)
        count = written(output, path, Rows((), (), kinds, None), rows)
    target.say_kept(since_day, asked)
    if output.path is None:
        target.say_range(asked)
    else:
        click.echo(f"{plural(count, 'call')} written to {click.format_filename(output.path)}; range: {asked}", err=True)


def _with_contents(
    fetch: "Fetch", pages: "Iterable[list[InvocationRow]]"
) -> "Iterator[Iterator[Mapping[str, object]]]":
    from llm_service.telemetry.queries.call_content import read_contents

    for page in pages:
        contents = read_contents(fetch, [row["id"] for row in page])
        yield (
            {**row, "prompt": prompt, "response": response}
            for row, (prompt, response) in zip(page, contents, strict=True)
        )
