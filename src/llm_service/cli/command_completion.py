"""`completion`: how the shell helps."""

import click

from llm_service.cli.options import examples

__all__ = ["completion"]


@click.command(
    epilog=examples(
        'eval "$(llm-telemetry completion bash)"',
        "completion zsh > ~/.zfunc/_llm-telemetry",
        "completion fish > ~/.config/fish/completions/llm-telemetry.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, *, shell: str) -> None:
    """Print the script that lets a shell complete commands and options.

    Put the first example into ~/.bashrc, or write the script where the shell looks for such; bash 4.4 or newer.
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:  # pragma: no cover - click has had these three since 8.0
        raise click.UsageError(f"this click knows no completion for {shell}")
    click.echo(kind(context.find_root().command, {}, "llm-telemetry", "_LLM_TELEMETRY_COMPLETE").source())
