"""Every command that takes a database, as the command line has them: with arguments that let each one run."""

from collections.abc import Iterator
from pathlib import Path

import click

from llm_service.cli.commands import cli

ARGUMENTS = {
    "MODEL": "gpt-4o",
    "ID": "1",
    "STATEMENT": "SELECT * FROM invocations",
    "RUN_A": "night",
    "RUN_B": "night",
    "HOLD_ID": "01a216b9-c88d-7e9e-8987-7f8541e0e322",
    "HOLD_ID...": "01a216b9-c88d-7e9e-8987-7f8541e0e322",
}
"""By the name that `--help` shows, what needs no file."""
OPTIONS = {"--older-than": "1d", "--usd": "1", "--model": "gpt-4o"}
VARIANTS = {
    "demo": [["--replay", "{trace}"]],
    "doctor": [["--full"], ["--repair"], ["--repair", "--dry-run"], ["--salvage", "{new}"], ["--format", "md"]],
    "purge": [["--dry-run"]],
    "reprice": [["--dry-run"]],
    "export": [["-o", "{new}"], ["--format", "jsonl"], ["--content"]],
    "costs": [["--coverage"], ["--by", "day"], ["--by", "agent,model"]],
    "query": [["--by", "session,day"], ["--by", "tag,hour", "--measure", "cost,p95,ttft"], ["--format", "md"]],
    "top": [["calls"], ["sessions", "--format", "csv", "-o", "{new}"]],
    "errors": [["--format", "jsonl"]],
    "report month": [["--by", "agent,tool,model"], ["--format", "csv"]],
    "report units": [["--by", "agent,tool,model"]],
    "invocations": [["--errors"], ["--agent", "agent"]],
    "compare": [["--by", "model"]],
    "estimate": [["--format", "csv"]],
    "info": [["--format", "csv"]],
    "sql": [["--format", "csv"]],
    "trace": [["--format", "md"]],
    "stats": [["--agent", "agent"], ["--days", "36500"]],
}
"""Further ways to call some of them."""
ALONE = {"search": [["--index"], ["--drop-index"]]}
"""Ways that stand without what is made by hand."""
MADE_BY_HAND = {
    "search": ["word"],
    "dead-letters retry": ["--all"],
    "dead-letters drop": ["--all", "--yes"],
    "estimate": ["--prompt-tokens", "10"],
    "budgets release": ["--all"],
}
"""What they need besides: one of several options."""


def commands(group: click.Group = cli, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """All commands, by the words that call them; a group that does something by itself, too."""
    for name, command in sorted(group.commands.items()):
        words = f"{path} {name}".strip()
        if isinstance(command, click.Group):
            yield from commands(command, words)
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield words, command


def command_lines(folder: Path) -> list[list[str]]:
    """For each command that takes `--db`, the ways to call it; new files go into the folder, which is made ready."""
    trace, policies = folder / "trace.csv", folder / "policies.yaml"
    trace.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,10,5\n", "utf-8")
    policies.write_text("policies:\n  default:\n    limits:\n      - {window: day, usd: 1000}\n", "utf-8")
    lines: list[list[str]] = []
    for words, command in commands():
        options = [parameter.opts for parameter in command.params]
        if not any("--db" in names for names in options):
            continue
        line = words.split()
        for parameter in command.params:
            shown = parameter.make_metavar(click.Context(command)) if isinstance(parameter, click.Argument) else ""
            if shown == "DEST":
                line.append("{new}")
            elif isinstance(parameter, click.Argument) and parameter.required:
                line.append(ARGUMENTS[shown])
            elif parameter.required:
                name = next(name for name in parameter.opts if name in OPTIONS)
                line += [name, OPTIONS[name]]
        if ["--policies"] in options and words.startswith("budgets"):
            line += ["--policies", str(policies)]
        lines += [[*line, *more] for more in ALONE.get(words, [])]
        line += MADE_BY_HAND.get(words, [])
        lines += [line, *(line + more for more in VARIANTS.get(words, []))]
        if any("--json" in names for names in options):
            lines += [[*line, "--json"], *([*line, *more, "--json"] for more in VARIANTS.get(words, []))]
    made = (
        part.replace("{trace}", str(trace)).replace("{new}", str(folder / f"new-{number}"))
        for number, line in enumerate(lines)
        for part in line
    )
    return [[next(made) for _ in line] for line in lines]
