"""A statement of the user's own, for a bounded time, in a process that can be killed: see `user_statement`."""

import marshal
import select
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, cast

from llm_service.errors import QueryError, StoreError
from llm_service.telemetry.stores.sqlite.user_statement import MOST_ANSWER_BYTES, READY, Reply, Request

__all__ = ["Answer", "ask"]

_PROGRAM: Final = (
    "import sys; sys.path[:] = {path!r}; from llm_service.telemetry.stores.sqlite.user_statement import main; main()"
)
_STARTING: Final = 60.0
"""Seconds for Python to start, on a machine that is very busy."""
_GRACE: Final = 0.5
"""Seconds that the process has to end its statement by itself, which also says so."""
_CHUNK: Final = 1 << 20


class Answer(NamedTuple):
    """What a statement gave.

    Attributes:
        columns: their names, as SQLite gives them; some may stand twice.
        truncated: why there are more: `rows` where the limit was reached, `bytes` where they are too large; else empty.
    """

    columns: list[str]
    rows: list[tuple[Any, ...]]
    truncated: str


def ask(path: Path, statement: str, *, limit: int, timeout: float) -> Answer:
    """Run one statement that only reads, whatever it calls; its snapshot is let go of before this returns.

    Args:
        limit: most rows that are given back, and held in memory.

    Raises:
        QueryError: (a `ValueError`) the statement is not SQL, or does more than read.
        StoreError: it took too long or too much, or the file cannot be read.
        KeyboardInterrupt: SIGINT came meanwhile.
    """
    try:
        statement.encode()
    except UnicodeEncodeError as error:
        where = f"it has bytes that are no UTF-8, at character {error.start + 1:,}"
        raise QueryError("sql", statement, f"{where}; look for such a text by CAST(x'...' AS TEXT)") from None
    request = Request(str(path), statement, limit, timeout)
    with _child() as process:
        reply = _reply_of(process, request)
    if reply.misuse:
        raise QueryError("sql", statement, reply.misuse)
    if reply.failure:
        raise StoreError(reply.failure)
    if not reply.columns:
        raise QueryError("sql", statement, "give a statement that returns rows")
    return Answer(reply.columns, reply.rows, reply.truncated)


@contextmanager
def _child() -> Generator["subprocess.Popen[bytes]"]:
    """A process of its own session, so that Ctrl-C comes to this one alone; killed at the end of the block."""
    command = [sys.executable, "-I", "-c", _PROGRAM.format(path=sys.path)]
    process = subprocess.Popen(  # noqa: S603 - our own interpreter
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()
        for pipe in _pipes(process):
            with suppress(BrokenPipeError):
                pipe.close()
        process.wait()


def _pipes(process: "subprocess.Popen[bytes]") -> tuple[IO[bytes], IO[bytes]]:
    return cast("tuple[IO[bytes], IO[bytes]]", (process.stdin, process.stdout))  # `_child` has asked for both


def _reply_of(process: "subprocess.Popen[bytes]", request: Request) -> Reply:
    given, out = _pipes(process)
    with suppress(BrokenPipeError):  # then it says nothing, which is looked at below
        marshal.dump(tuple(request), given)
        given.close()
    if _read(out, 1, time.monotonic() + _STARTING) != READY:
        raise StoreError("the process for the statement did not start; try again")
    said = _answer_of(out, time.monotonic() + request.timeout + _GRACE)
    if said is None:
        raise StoreError(f"the statement took more than {request.timeout:g} s; narrow it or give --timeout")
    try:
        return Reply(*marshal.loads(said))  # noqa: S302 - from a process that was started here
    except (EOFError, ValueError, TypeError):
        code = process.wait(_STARTING)
        what = signal.Signals(-code).name if code < 0 else f"code {code}"
        raise StoreError(f"the process for the statement has ended by {what}; narrow the statement") from None


def _answer_of(out: IO[bytes], deadline: float) -> bytes | None:
    """All that comes until the end; None where that has not come in time."""
    parts: list[bytes] = []
    size = 0
    while size <= 2 * MOST_ANSWER_BYTES:
        part = _read(out, _CHUNK, deadline)
        if part is None:
            return None
        if not part:
            break
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def _read(out: IO[bytes], size: int, deadline: float) -> bytes | None:
    """What there is, at most `size`; empty at the end, None where nothing comes before the deadline."""
    ready, _, _ = select.select([out], [], [], max(0.0, deadline - time.monotonic()))
    return out.read1(size) if ready else None  # type: ignore[attr-defined]  # a BufferedReader has it
