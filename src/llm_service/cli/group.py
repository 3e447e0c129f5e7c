"""How every command ends: exit codes, and errors as one line on stderr."""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import click

from llm_service.cli.output import clean
from llm_service.errors import ConfigErrors, QueryError, TelemetryError

__all__ = ["EXIT_INTERRUPTED", "EXIT_TERMINATED", "Commands", "Failure", "Misuse", "unwound_by_sigterm"]

EXIT_INTERRUPTED: Final = 130
"""As a shell reports a process that SIGINT ended: 128 + 2."""
EXIT_TERMINATED: Final = 143
"""As a shell reports a process that SIGTERM ended: 128 + 15."""


class Failure(click.ClickException):
    """One line on stderr, where an operation failed, or found nothing where something was named."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(clean(" ".join(message.split())))


class Misuse(Failure):
    """One line on stderr, where the command line is at fault."""

    exit_code = 2


class Commands(click.Group):
    """Where errors end: what a user can cause becomes one line; a fault of ours keeps its traceback."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Read the options that stand before the command."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            raise _in_one_line(error) from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise _in_one_line(error) from error
        except QueryError as error:  # all arguments of queries come from the command line
            raise Misuse(str(error)) from error
        except ConfigErrors as error:
            first, more = error.errors[0], len(error.errors) - 1
            raise Failure(f"{first} (and {more:,} more: llm-telemetry config check shows all)") from error
        except BrokenPipeError:
            raise  # click ends quietly: whoever reads us has seen enough
        except (TelemetryError, OSError, ValueError) as error:
            raise Failure(str(error)) from error
        except KeyboardInterrupt:
            raise click.exceptions.Exit(EXIT_INTERRUPTED) from None


def _in_one_line(error: click.UsageError) -> click.ClickException:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return error
    message = error.format_message().rstrip(".")
    where = "llm-telemetry" if error.ctx is None else error.ctx.command_path
    return Misuse(f"{message}{' See' if message.endswith('?') else '; see'} {where} --help")


@contextmanager
def unwound_by_sigterm() -> Generator[None]:
    """In this block SIGTERM ends the process by an exception, so that temporary files and connections are put away."""

    def end(*_: object) -> NoReturn:
        raise SystemExit(EXIT_TERMINATED)

    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
