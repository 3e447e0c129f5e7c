"""Where the process starts: it checks that the extra `cli` is installed, and gives back an exit code."""

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from io import TextIOWrapper

__all__ = ["main"]

_NEEDED = ("click", "rich")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `llm-telemetry`.

    Returns:
        The exit code: 0 done, 1 failed, 2 used wrongly or not installed, 130 interrupted.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        from llm_service.extras import install

        sys.stderr.write(f"llm-telemetry needs {' and '.join(missing)}: {install('cli')}\n")
        return 2
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who started us
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123 - open to the end of the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a character shows `?`, not a traceback
    try:
        from llm_service.cli.commands import cli

        cli.main(arguments, prog_name="llm-telemetry")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt:  # while modules were still being imported
        return 130
    raise AssertionError("click ends by SystemExit")  # pragma: no cover - its contract in standalone mode
