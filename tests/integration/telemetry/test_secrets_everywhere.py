"""A secret in every field that can hold text, at every level, on both faces: no part of it leaves the process.

The fields are those of the table, by trying: any that takes a str.
"""

import asyncio
import json
import logging
import sqlite3
import subprocess
import sys
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
from llm_service.telemetry.record.fields import CARD_FIELDS, FIELDS, KINDS
from llm_service.telemetry.record.record import rebuilt

pytestmark = pytest.mark.slow

MARK: Final = "zQx7"
# Marked each eight characters, so that any part that survives is found.
BODY: Final = "".join(f"{MARK}{pair}" for pair in ("a1B2", "c3D4", "e5F6", "g7H8", "i9J0"))
SHAPES: Final = (
    "sk-ant-" + "api03-" + BODY,
    "sk-" + BODY,
    "gh" + "p_" + BODY,
    "cs" + "k-" + BODY,
    "xox" + "b-123456789012-" + BODY,
    "eyJhbGciOiJIUzI1NiJ9." + BODY + "." + BODY,
    f"https://user:{BODY}@host.example/db",
    f"Authorization: Custom-Scheme {BODY}",
    f"password={BODY}",
    f"\x1b[31mhf_{BODY}\x1b[0m",
)


def takes_text(field: str) -> bool:
    """Whether a record takes a text in this field."""
    try:
        InvocationRecord(**{field: "some text"})
    except (ValueError, TypeError):
        return False
    return True


TEXTS: Final = tuple(field for field in FIELDS if takes_text(field))


def secrets_of(secret: str) -> dict[str, Any]:
    """Every field that can hold a text, with a secret in it."""
    nested = {"note": secret, secret: 1, "deep": [{"apiKey": BODY, "pair": ["authorization", BODY], "list": [secret]}]}
    return {field: f"{field} {secret}"[:200] for field in TEXTS} | {
        "status": "error", "error_message": f"failed: {secret}", "metadata": nested, "tags": [secret], "total_tokens": 7,
    }  # fmt: skip


def test_every_field_of_a_textual_kind_takes_text_and_no_other_does() -> None:
    """The kinds of the table, by which the redactor works, are true of the checks."""
    textual = {field for field, kind in KINDS.items() if kind in {"key", "name", "id", "error", "content"}}
    assert set(TEXTS) == textual | {"tags"}  # a single text is one tag
    assert {"service_tier", "agent_name", "prompt", "trace_id"} <= textual


def search(folder: Path) -> list[str]:
    """The files that hold a part of a secret, read in another process: closing a file here would drop SQLite's locks."""
    code = (
        "import pathlib, sys\n"
        f"print(*[one.name for one in sorted(pathlib.Path(sys.argv[1]).rglob('*')) if one.is_file() and b'{MARK}' in one.read_bytes()])"
    )
    return subprocess.run(
        [sys.executable, "-c", code, str(folder)], check=True, capture_output=True, text=True
    ).stdout.split()


def contents(path: Path) -> list[bytes]:
    """What is compressed in the file, unpacked."""
    connection = sqlite3.connect(path)
    try:
        rows = connection.execute("SELECT prompt, response FROM invocation_contents").fetchall()
    finally:
        connection.close()
    return [zlib.decompress(blob) for row in rows for blob in row if blob is not None]


def log_with_the_sync_face(path: Path, level: Any, journal: bool) -> None:
    """By the constructor and by a block, committed and not yet."""
    with TelemetryLogger(path, privacy_level=level, journal=journal, flush_interval=3600.0) as telemetry:
        for secret in SHAPES:
            fields = secrets_of(secret)
            telemetry.log_invocation_nowait(InvocationRecord(**fields))
            with pytest.raises(RuntimeError), telemetry.invocation("a") as call:  # noqa: PT012 - the block is the test
                call.set(
                    **{
                        name: value
                        for name, value in fields.items()
                        if name not in {"status", "invocation_id", "error_message"}
                    }
                )
                raise RuntimeError(f"failed: {secret}")
        assert search(path.parent) == []  # what waits is in the journal, if there is one
        telemetry.flush()
        assert search(path.parent) == []
        assert MARK not in json.dumps([telemetry.get_invocations(limit=1000), telemetry.get_daily_costs()])


def log_with_the_async_face(path: Path, level: Any, journal: bool) -> None:
    """The same, awaited."""

    async def log() -> None:
        async with AsyncTelemetryLogger(path, privacy_level=level, journal=journal, flush_interval=3600.0) as telemetry:
            for secret in SHAPES:
                fields = secrets_of(secret)
                await telemetry.log_invocation(InvocationRecord(**fields))
                with pytest.raises(RuntimeError):  # noqa: PT012 - the block is the test
                    async with telemetry.invocation("a") as call:
                        call.set(
                            **{
                                name: value
                                for name, value in fields.items()
                                if name not in {"status", "invocation_id", "error_message"}
                            }
                        )
                        raise RuntimeError(f"failed: {secret}")
            assert search(path.parent) == []
            await telemetry.flush()
            assert search(path.parent) == []
            assert MARK not in json.dumps(await telemetry.get_invocations(limit=1000))

    asyncio.run(log())


@pytest.mark.costly
@pytest.mark.parametrize("log", [log_with_the_sync_face, log_with_the_async_face])
@pytest.mark.parametrize("level", ["metadata", "full"])
@pytest.mark.parametrize("journal", [False, True])
def test_no_part_of_a_secret_in_any_field_reaches_a_file_or_a_log_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, log: Callable[[Path, Any, bool], None], level: str, journal: bool
) -> None:
    """Neither the database, its -wal and the journal, nor what was logged, nor an export of it."""
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "data" / "t.db"
    log(path, level, journal)
    assert search(tmp_path) == []
    assert MARK not in caplog.text
    unpacked = contents(path)
    assert len(unpacked) == (4 * len(SHAPES) if level == "full" else 0)
    assert not any(MARK.encode() in text for text in unpacked)
    for form in ("csv", "jsonl"):
        command = [sys.executable, "-m", "llm_service", "export", "--db", str(path), "--format", form]
        exported = subprocess.run(command, check=True, capture_output=True, text=True)
        assert exported.stdout.count("REDACTED") > len(SHAPES)
        assert MARK not in exported.stdout + exported.stderr


@pytest.mark.parametrize("field", [*TEXTS, "metadata", "tags"])
def test_a_damaged_record_is_set_aside_without_its_secret(tmp_path: Path, field: str) -> None:
    """A dead letter holds every field, clean."""
    fields = {field: secrets_of(SHAPES[0])[field]}
    with TelemetryLogger(tmp_path / "t.db", privacy_level="full") as telemetry:
        good = InvocationRecord(**fields)
        card = list(good.card)
        card[CARD_FIELDS.index("cost_usd")] = float("inf")
        telemetry.log_invocation_nowait(rebuilt(good, tuple(card), good.extensions))
        telemetry.flush()
        assert telemetry.stats().ledger.quarantined == 1
    assert search(tmp_path) == []


def refusal_of(field: str, value: object) -> str:
    """All that a refusal tells: message, repr, arguments and traceback; nothing where the value is taken."""
    try:
        InvocationRecord(**{field: value})
    except (ValueError, TypeError) as error:
        return f"{error} {error!r} {error.args!r} {''.join(traceback.format_exception(error))}"
    return ""


@pytest.mark.parametrize("secret", SHAPES)
def test_no_exception_quotes_a_secret_in_any_field(secret: str) -> None:
    """Too long, of another type, or with a character that no text has: the field is named, the secret is not."""
    for field in FIELDS:
        for value in (f"{secret}{'y' * 300}", [secret], secret.encode(), {"x": secret}, f"{secret}\0"):
            told = refusal_of(field, value)
            assert MARK not in told, (field, value)
