"""`show`: one call whole."""

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import click

from llm_service.cli.formats import Output, Rows, formatted, put_out
from llm_service.cli.group import Failure
from llm_service.cli.kinds import kinds_of, texts
from llm_service.cli.options import common, examples
from llm_service.cli.output import block, lines
from llm_service.cli.suggestions import suggested
from llm_service.cli.tables import Column, count, plural
from llm_service.cli.target import Target, read

if TYPE_CHECKING:
    from llm_service.telemetry.stores.base import Fetch

__all__ = ["show"]

_FACTS: Final = (
    Column("field", of=lambda fact: fact["name"]),
    Column("value", of=lambda fact: fact["value"]),
)


@click.command(epilog=examples("show 0193a1f2-7c1e-7b3a-9d51-2f5e8c1a4b6d", "show 0193a1f2-7c1e", "show 4711 --json"))
@click.argument("wanted", metavar="ID")
@formatted()
@common
def show(*, wanted: str, output: Output, target: Target) -> None:
    """Show one call whole, with prompt and response where they are stored.

    ID is an invocation_id, the number that `invocations` shows as id, or the beginning of an invocation_id that no
    other has. With --json: one object with all columns, prompt and response. Exit code 1 where there is no such call.
    """
    path = target.report_path()
    found = read(path, lambda fetch: _read(fetch, wanted))
    if found is None:
        raise Failure(f"{path} has no call with the id {wanted!r}; `{suggested('invocations')}` shows ids")
    from llm_service.telemetry.queries.rows import InvocationRow

    kinds = kinds_of(InvocationRow) | texts("prompt", "response")
    facts = [{"name": name, "value": _text(value)} for name, value in found.items() if value is not None]
    put_out(output, target, Rows([found], _FACTS, kinds, found, facts), lambda: _show(found))


def _read(fetch: "Fetch", wanted: str) -> dict[str, Any] | None:
    from llm_service.telemetry.queries.call_content import content, to_content
    from llm_service.telemetry.queries.pages import find_invocation

    row = find_invocation(fetch, wanted)
    if row is None:
        return None
    return {**row, "prompt": None, "response": None, **(to_content(fetch(content(row["invocation_id"]))) or {})}


def _show(call: dict[str, Any]) -> None:
    """Everything that is known of one call; what was said in it, line by line."""
    said = {name: call[name] for name in ("prompt", "response")}
    fields = {name: value for name, value in call.items() if name not in said}
    known = [(name, _text(value)) for name, value in fields.items() if value is not None]
    lines([*known, ("unknown", ", ".join(name for name, value in fields.items() if value is None) or "-")])
    for name, text in said.items():
        if text is not None:
            click.echo(f"{name} ({plural(len(text), 'character')})")
            block(text)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float):
        return f"{Decimal(str(value)):f}"  # a small cost is no 7e-06
    return count(value) if isinstance(value, int) else str(value)
