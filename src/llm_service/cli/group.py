"""How every command ends: exit codes, errors as one line on stderr, and signals by an exception that tidies up."""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from threading import current_thread, main_thread
from time import monotonic
from typing import Any, Final

import click

from llm_service.cli.output import clean
from llm_service.errors import ConfigErrors, QueryError, TelemetryError

__all__ = ["EXIT_INTERRUPTED", "Commands", "Failure", "Misuse"]

EXIT_INTERRUPTED: Final = 130
"""As a shell reports a process that SIGINT ended: 128 + 2."""
_ENDED_BY_SIGNAL: Final = 128
"""And the signal's number: as a shell reports such a process."""
_ENDING: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""What a container stop, `timeout` and a closed terminal send."""
_RENAMED: Final = {"replay": "demo --replay FILE.csv"}
_ON_THE_COMMAND_LINE: Final = {
    "from": "since", "days_ago": "since", "out": "path", "outfile": "path", "output_file": "path", "file": "db",
    "database": "db", "path": "db", "json_output": "as_json", "type": "form", "output_format": "form",
}  # fmt: skip
"""By another name of an option: the argument it is."""
_REPEATED: Final = 1.0
"""Seconds in which the same signal is the same wish: `timeout` sends it to a process and to its group."""


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

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find the command that was named; of one that has another name now, say that name."""
        if args and args[0] in _RENAMED:
            raise click.UsageError(f"there is no command {args[0]!r}; give: llm-telemetry {_RENAMED[args[0]]}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named."""
        try:
            with _unwound_by_signals():
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
            raise Failure(_reason(error)) from error
        except KeyboardInterrupt:
            raise click.exceptions.Exit(EXIT_INTERRUPTED) from None


def _in_one_line(error: click.UsageError) -> click.ClickException:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return error
    meant = _meant_option(error) if isinstance(error, click.NoSuchOption) else None
    message = f"{error.message.rstrip('.')}; did you mean {meant}?" if meant else error.format_message().rstrip(".")
    where = "llm-telemetry" if error.ctx is None else error.ctx.command_path
    return Misuse(f"{message}{' See' if message.endswith('?') else '; see'} {where} --help")


def _meant_option(error: click.NoSuchOption) -> str | None:
    """The option that has another name in other tools."""
    from llm_service.telemetry.queries.field_names import ARGUMENTS

    name = error.option_name.lstrip("-").replace("-", "_")
    options = [] if error.ctx is None else [one for one in error.ctx.command.params if isinstance(one, click.Option)]
    wanted = (ARGUMENTS.get(name), _ON_THE_COMMAND_LINE.get(name))
    return next((max(one.opts, key=len) for one in options if one.name in wanted), None)


def _reason(error: Exception) -> str:
    """What went wrong; of the system's own errors without their number."""
    if isinstance(error, OSError) and not isinstance(error, TelemetryError) and error.filename and error.strerror:
        return f"{click.format_filename(error.filename)}: {error.strerror}"
    return str(error)


@contextmanager
def _unwound_by_signals() -> Generator[None]:
    """In this block a signal that ends the process does so by an exception, so that temporary files are put away.

    What is ignored (`nohup`) stays ignored, and what was not installed from Python is left alone. Once a signal has
    ended the command, the repeat that `timeout` sends must not kill a process that is about to report it: the default
    comes back only to a program that goes on.
    """
    ended_at = -_REPEATED

    def end(number: int, _frame: object) -> None:
        nonlocal ended_at
        if monotonic() - ended_at >= _REPEATED:
            ended_at = monotonic()
            raise SystemExit(_ENDED_BY_SIGNAL + number)

    previous: dict[int, Any] = {}
    if current_thread() is main_thread():  # no other may set them
        previous = {number: signal.getsignal(number) for number in _ENDING}
    replaced = {number: handler for number, handler in previous.items() if handler not in {signal.SIG_IGN, None}}
    for number in replaced:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in replaced.items():
            if ended_at < 0 or handler is not signal.SIG_DFL:
                signal.signal(number, handler)
