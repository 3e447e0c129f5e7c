"""Ten kinds of secrets in every free field, cut and nested: nothing of them is in a file, a log line or an exception.

Every secret carries a mark each eight characters, so that any part of one that survives is found by a search for it,
as `strings FILE | grep` would.
"""

import json
import logging
import random
import re
import sqlite3
import string
import subprocess
import sys
import traceback
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from llm_service.config.load import load_config
from llm_service.config.schemas import TelemetryConfig
from llm_service.errors import DuplicateInvocationError, TelemetryError
from llm_service.redaction import shown
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
from llm_service.telemetry.record.record import CARD_FIELDS, EXTENSION_FIELDS, rebuilt

pytestmark = pytest.mark.slow

MARK: Final = re.compile(rb"zqx", re.IGNORECASE)
# Read in another process: closing a descriptor of an open database here would drop SQLite's locks.
SEARCH: Final = """
import pathlib, re, sys
found = [(path.name, match.start()) for path in sorted(pathlib.Path(sys.argv[1]).rglob("*")) if path.is_file()
         for match in re.finditer(rb"zqx", path.read_bytes(), re.IGNORECASE)]
names = [path.name for path in pathlib.Path(sys.argv[1]).rglob("*") if re.search("zqx", path.name, re.IGNORECASE)]
print(found[:5], names, len(found) + len(names))
"""
LABELS: Final = (
    *("agent_name", "tool_name", "model_name", "provider", "operation", "request_model", "response_id", "request_id"),
    *("session_id", "user_id", "trace_id", "span_id", "parent_invocation_id", "finish_reason", "error_type", "source"),
    "invocation_id",
)
ALNUM: Final = string.ascii_letters + string.digits


class Secrets:
    """Draws secrets of ten kinds, each marked throughout, and texts around them."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.drawn = 0

    def body(self, groups: int, alphabet: str = ALNUM, mark: str = "ZqX9") -> str:
        """Marked groups of eight characters."""
        return "".join(mark + "".join(self.rng.choices(alphabet, k=4)) for _ in range(groups))

    def secret(self) -> str:
        """One of the ten kinds."""
        self.drawn += 1
        rng, body = self.rng, self.body
        kinds: tuple[Callable[[], str], ...] = (
            lambda: f"sk-ant-api03-{body(5)}",
            lambda: f"sk-proj-{body(5)}" if rng.random() < 0.5 else f"sk-{body(6)}",
            lambda: f"AIza{body(4)}abc",
            lambda: f"{rng.choice(('ghp_', 'gho_', 'ghs_', 'github_pat_11'))}{body(5)}",
            lambda: f"AKIA{body(2, string.ascii_uppercase + '234567', 'ZQX7')}",
            lambda: f"eyJ{body(2)}.eyJ{body(2)}.{body(2)}",
            lambda: f"-----BEGIN PRIVATE KEY-----\n{body(3)}\n{body(2)}\n-----END PRIVATE KEY-----",
            lambda: f"{rng.choice(('Authorization: Bearer ', 'authorization: Basic ', 'Bearer '))}{body(4)}",
            lambda: f"{rng.choice(('postgres', 'https', 'redis'))}://user:{body(2)}@host.example/db",
            lambda: rng.choice(("password={}", "api_key='{}'", '"client_secret": "{}"', "X-Api-Key: {}", "token={}")).format(
                body(3)
            ),
        )  # fmt: skip
        return kinds[self.drawn % len(kinds)]()

    def around(self, secret: str) -> str:
        """The secret in a text, in JSON, in JSON within JSON, in a repr, in parentheses."""
        ways: tuple[Callable[[], str], ...] = (
            lambda: secret,
            lambda: f"bad: {secret} (x)",
            lambda: f"line\n{secret}\nline",
            lambda: json.dumps({"e": secret}),
            lambda: json.dumps({"e": json.dumps({"f": f"x {secret}"})}),
            lambda: repr({"e": [secret, 1]}),
            lambda: f"<{secret}>,",
        )
        return self.rng.choice(ways)()

    def label(self) -> str:
        """A short text for a name or an id."""
        return self.around(self.secret())[:200]

    def error(self) -> str:
        """A message whose secret stands anywhere, or across one of the places where messages are cut."""
        secret = self.secret()
        at = self.rng.choice((0, 100, 500 - 3, 500, 65_536))
        start = max(0, at - self.rng.randint(1, len(secret)))
        filler = "".join(self.rng.choices("abc def\n", k=97))
        return (filler * (start // 97 + 1))[:start] + " " + secret + " " + filler

    def metadata(self) -> dict[str, Any]:
        """Secrets by shape and by name, as keys and values, at several depths."""
        return {
            "note": self.around(self.secret()),
            self.label(): 1,
            "outer": [{"deep": {"deeper": [self.around(self.secret()), None, 3]}}],
            self.rng.choice(("password", "apiKey", "client_secret", "Authorization", "refresh_token")): self.body(2),
            "cookie": {"raw": [self.body(1)]},
            "headers": [{"name": "X-Api-Key", "value": self.body(2)}, ["authorization", self.body(1)]],
            "max_tokens": 4000,
            "cost_usd": 0.25,
        }


def record(secrets: Secrets, level: str | None = None) -> InvocationRecord:
    """A record with a secret in every free field."""
    return InvocationRecord(
        **{label: secrets.label() for label in LABELS},
        status="error",
        error_message=secrets.error(),
        privacy_level=level,
        tags=[secrets.label(), "plain"],
        metadata=secrets.metadata(),
        prompt=f"{secrets.around(secrets.secret())} {secrets.around(secrets.secret())}",
        response="word " * secrets.rng.randint(0, 30_000) + secrets.around(secrets.secret()),
        total_tokens=4000,
    )


def search(folder: Path) -> str:
    """What a search of all files for the mark finds: the first places, and how many."""
    command = [sys.executable, "-c", SEARCH, str(folder)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


NOTHING: Final = "[] [] 0"


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    """Everything that was logged, at every level, with tracebacks."""
    caplog.set_level(logging.DEBUG)
    yield lambda: caplog.text
    assert not MARK.search(caplog.text.encode())


@pytest.mark.parametrize("level", ["metadata", "full"])
def test_nothing_of_3000_secrets_in_every_field_reaches_a_file(
    tmp_path: Path, level: str, said: Callable[[], str]
) -> None:
    """Neither the database nor its -wal holds a part of one, before and after the close; what is no secret is there."""
    secrets = Secrets(20261124 + len(level))
    folder = tmp_path / "data"
    with TelemetryLogger(folder / "t.db", privacy_level=level, commit_timeout=60.0) as logger:  # type: ignore[arg-type]
        reader = sqlite3.connect(folder / "t.db")  # its snapshot keeps the -wal from being truncated in an idle moment
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM invocations").fetchone()
        for number in range(125):
            assert logger.log_invocation_nowait(record(secrets, "metadata" if number % 10 == 0 else None))
        assert logger.flush(60.0).complete
        assert search(folder) == NOTHING
        assert (folder / "t.db-wal").stat().st_size > 100_000
        reader.close()
        rows = logger.get_invocations(limit=1000)
        stats = logger.stats()
    assert search(folder) == NOTHING
    assert secrets.drawn >= 3000
    assert len(rows) == 125 == stats.ledger.written
    assert not MARK.search(json.dumps(rows).encode())
    assert all(row["metadata"] is not None and row["metadata"]["max_tokens"] == 4000 for row in rows)
    assert all(row["metadata"] is not None and row["metadata"]["cost_usd"] == 0.25 for row in rows)
    assert sum(stats.redactions.values()) >= 2500
    assert {"anthropic-key", "github-token", "jwt", "private-key", "named-secret", "url-password"} <= set(
        stats.redactions
    )
    connection = sqlite3.connect(folder / "t.db")
    try:
        contents = connection.execute("SELECT prompt, response FROM invocation_contents").fetchall()
    finally:
        connection.close()
    assert len(contents) == (112 if level == "full" else 0)
    assert not any(MARK.search(zlib.decompress(blob)) for row in contents for blob in row)
    assert said() is not None


@pytest.mark.volume
@pytest.mark.parametrize("level", ["metadata", "full"])
def test_nothing_of_3000_secrets_reaches_the_crash_journal(tmp_path: Path, level: str, said: Callable[[], str]) -> None:
    """It holds every record before the database does, clean; then the same is stored and counted as without it."""
    found: list[Any] = []
    for journal in (True, False):
        secrets = Secrets(20261124 + len(level))
        folder = tmp_path / f"journal-{journal}"
        with TelemetryLogger(
            folder / "t.db",
            privacy_level=level,  # type: ignore[arg-type]
            journal=journal,
            flush_interval=3600.0,
            batch_size=100_000,
            commit_timeout=60.0,
        ) as logger:
            for number in range(125):
                assert logger.log_invocation_nowait(record(secrets, "metadata" if number % 10 == 0 else None))
            before = logger.stats()
            assert before.queue_records == 125
            if journal:
                assert before.journal_bytes > 100_000
                assert search(folder) == NOTHING
            assert logger.flush(60.0).complete
            assert search(folder) == NOTHING
            rows = logger.get_invocations(limit=1000)
            assert len(rows) == 125
            # Ids that held a secret end with a digest under a key of the logger's own.
            messages = [(row["error_message"], row["metadata"], row["tags"]) for row in rows]
            found.append((sorted(map(repr, messages)), logger.stats().redactions))
            assert (before.redactions == found[-1][1]) is journal
        assert search(folder) == NOTHING
    assert found[0] == found[1]
    assert sum(found[0][1].values()) >= 2500
    assert said() is not None


def test_nothing_of_a_secret_reaches_the_dead_letters(tmp_path: Path, said: Callable[[], str]) -> None:
    """A record that SQLite refuses, or that no sum can hold, is set aside clean."""
    secrets = Secrets(3)
    with TelemetryLogger(tmp_path / "t.db", privacy_level="full") as logger:
        for number in range(60):
            good = record(secrets)
            card, extensions = list(good.card), list(good.extensions or ())
            if number % 3 == 0:
                card[CARD_FIELDS.index("cost_usd")] = float("inf")
            elif number % 3 == 1:
                card[CARD_FIELDS.index("status")] = None
            else:
                extensions[EXTENSION_FIELDS.index("finish_reason")] = {"api_key": secrets.body(2)}
            logger.log_invocation_nowait(rebuilt(good, tuple(card), tuple(extensions)))
        logger.flush()
        assert logger.stats().ledger.quarantined == 60
    assert search(tmp_path) == NOTHING
    connection = sqlite3.connect(tmp_path / "t.db")
    try:
        assert connection.execute("SELECT count(*) FROM invocation_contents").fetchone() == (0,)
    finally:
        connection.close()
    assert "zqx" not in said().lower()


def attempts(secrets: Secrets, folder: Path) -> Iterator[Callable[[], object]]:
    """Calls that raise, each with a secret in what it is given; at, before and behind the place where texts are cut."""
    for length in (0, 40, 60, 76, 79, 300):
        text = "x" * length + " " + secrets.secret()
        yield lambda text=text: InvocationRecord(agent_name=text + "y" * 300)
        yield lambda text=text: InvocationRecord(status=text)  # type: ignore[arg-type]
        yield lambda text=text: InvocationRecord(prompt_tokens=text)  # type: ignore[arg-type]
        yield lambda text=text: InvocationRecord(metadata=[text])  # type: ignore[arg-type]
        yield lambda text=text: InvocationRecord(tags=text + ", 3")
        yield lambda text=text: InvocationRecord(session_id=text.encode())  # type: ignore[arg-type]
        yield lambda text=text: TelemetryLogger(folder / "x.db", overflow=text)  # type: ignore[arg-type]
        yield lambda text=text: TelemetryLogger(folder / "x.db", redact=text)  # type: ignore[arg-type]
        yield lambda text=text: TelemetryLogger(folder / "x.db", **{text: 1})  # type: ignore[arg-type]
        yield lambda text=text: TelemetryConfig(privacy_level=text)  # type: ignore[arg-type]
        yield lambda text=text: load_config(environ={"LLM_TELEMETRY_BATCH_SIZE": text})
        yield lambda text=text: load_config(environ={f"LLM_TELEMETRY_{text}": "1"})
    yield lambda: InvocationRecord(metadata=f"password={secrets.body(2)}")  # type: ignore[arg-type]


def test_no_exception_quotes_a_secret(tmp_path: Path) -> None:
    """Message, repr, arguments and the whole printed traceback, of every error that names a value."""
    secrets = Secrets(4)
    raised = 0
    for attempt in attempts(secrets, tmp_path):
        with pytest.raises((TelemetryError, TypeError, ValueError)) as caught:
            attempt()
        raised += 1
        error = caught.value
        printed = "".join(traceback.format_exception(error))
        assert not MARK.search(f"{error} {error!r} {error.args!r} {printed}".encode())
    assert raised == 6 * 12 + 1


def test_neither_a_duplicate_nor_a_question_nor_a_repr_quotes_a_secret(tmp_path: Path) -> None:
    """Ids and names are free texts too."""
    secrets = Secrets(5)
    with TelemetryLogger(tmp_path / "t.db") as logger:
        for _ in range(30):
            again = record(secrets)
            logger.log_invocation(again)
            with pytest.raises(DuplicateInvocationError) as caught:
                logger.log_invocation(again)
            assert not MARK.search(f"{caught.value} {caught.value!r} {again!r} {shown(again)}".encode())
            with pytest.raises(ValueError, match="not usable") as refused:
                logger.get_invocations(start_date=again.agent_name)
            assert not MARK.search(f"{refused.value} {refused.value!r}".encode())


async def test_no_log_line_of_a_bad_value_or_a_failing_block_quotes_a_secret(
    tmp_path: Path, said: Callable[[], str]
) -> None:
    """What `invocation()` leaves out it warns about, and what raised in it is stored without the secret."""
    secrets = Secrets(6)
    async with AsyncTelemetryLogger(tmp_path / "t.db") as telemetry:
        for _ in range(30):
            with pytest.raises(RuntimeError):  # noqa: PT012 - the block is the test
                async with telemetry.invocation(secrets.label(), **{secrets.label(): 1}) as call:
                    call.set(
                        prompt_tokens=secrets.secret(), api_key=secrets.body(2), session_id="y" * 300 + secrets.secret()
                    )
                    raise RuntimeError(secrets.error())
    assert "left out" in said()
    assert search(tmp_path) == NOTHING


def test_a_child_still_finds_its_parent_when_their_ids_held_a_secret(tmp_path: Path) -> None:
    """The same id becomes the same text, unlike any other's; the content is found by the id that was given."""
    secrets = Secrets(8)
    parents = [f"job-{secrets.secret()}" for _ in range(20)]
    with TelemetryLogger(tmp_path / "t.db", privacy_level="full") as logger:
        for parent in parents:
            logger.log_invocation(InvocationRecord(invocation_id=parent, prompt="p"))
            logger.log_invocation(InvocationRecord(agent_name="child", parent_invocation_id=parent))
        content = logger.get_content(parents[3])
        rows = logger.get_invocations(limit=100)
    stored = {row["invocation_id"] for row in rows if row["agent_name"] is None}
    assert len(stored) == 20
    assert {row["parent_invocation_id"] for row in rows if row["agent_name"] == "child"} == stored
    assert content is not None
    assert content["invocation_id"] in stored
    assert all(len(one) <= 200 for one in stored)
    assert search(tmp_path) == NOTHING
