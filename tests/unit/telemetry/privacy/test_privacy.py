"""The redactor gives records back clean, the user's callable cannot break it, and content is packed and unpacked."""

import json
import logging
import re
import sqlite3
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from llm_service.errors import QueryError, SettingsError
from llm_service.redaction import stored_name
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
from llm_service.telemetry.privacy import MASKER_ERROR, Redactor, pack, unpack
from llm_service.telemetry.record.checks import MAX_ERROR_CHARS
from llm_service.telemetry.record.fields import KINDS
from llm_service.telemetry.record.record import CARD_FIELDS, EXTENSION_FIELDS, rebuilt
from llm_service.telemetry.stores.sqlite.batch_writer import SqliteBatchWriter

KEY: Final = "sk-ant-api03-a1B2c3D4e5F6g7H8i9J0"
GONE: Final = "[REDACTED:anthropic-key]"
FAILED: Final = "[REDACTED:masker-error]"


def cleaned(record: InvocationRecord, redactor: Redactor | None = None) -> tuple[InvocationRecord, Counter[str]]:
    """The record as it is stored, and what was counted."""
    counts: Counter[str] = Counter()
    (after,) = (redactor or Redactor()).records([record], counts)
    return after, counts


# What is clean costs nothing, and stays the object it was


def test_clean_records_come_back_as_they_are() -> None:
    """No copy is made, neither of the list nor of a record, once the names are known."""
    redactor, counts = Redactor(), Counter[str]()
    records = [
        InvocationRecord(agent_name="a", tool_name="t", model_name="gpt-4o", total_tokens=number) for number in range(9)
    ] + [
        InvocationRecord(
            agent_name="a", status="error", error_message="timed out", session_id="s-1", trace_id="0af3" * 8,
            request_id="req_1", tags=["x"], metadata={"limit": 4000, "cost": "low"}, invocation_id="job 7",
        )
    ]  # fmt: skip
    first = redactor.records(records, counts)
    assert all(one is other for one, other in zip(first, records, strict=True))
    assert redactor.records(records, counts) is records
    assert not counts


def test_a_dirty_record_leaves_its_neighbours_alone() -> None:
    """Only the record that holds a secret is made anew."""
    redactor, counts = Redactor(), Counter[str]()
    good, bad = InvocationRecord(agent_name="a"), InvocationRecord(agent_name=KEY)
    first, second, third = redactor.records([good, bad, good], counts)
    assert first is good
    assert third is good
    assert second.agent_name == stored_name(KEY) != GONE
    assert counts == {"anthropic-key": 1}
    assert second.size == bad.size


def test_the_set_of_known_names_is_bounded() -> None:
    """A program that names an agent for each request does not grow the process."""
    redactor, counts = Redactor(), Counter[str]()
    for number in range(10_000):
        redactor.records([InvocationRecord(agent_name=f"agent {number} x")], counts)
    assert len(redactor._known) <= 4096
    assert KEY not in redactor._known


def test_cleaning_twice_changes_nothing() -> None:
    """A record may be cleaned on acceptance and again by the writer."""
    redactor, counts = Redactor("full"), Counter[str]()
    record = InvocationRecord(
        invocation_id=KEY, parent_invocation_id=f"p {KEY}", agent_name=f"a {KEY}", error_message=f"x {KEY}", user_id=KEY,
        tags=[KEY], metadata={"password": "x", KEY: [KEY]}, prompt=KEY, response="ok",
    )  # fmt: skip
    once = redactor.record(record, counts)
    assert redactor.record(once, counts) is once
    assert once.prompt == GONE


# Each kind of field


@pytest.mark.parametrize("field", [field for field, kind in KINDS.items() if kind in {"name", "id", "key", "error"}])
def test_every_text_field_is_cleaned(field: str) -> None:
    """The rest of the text stays; a name or an id gets a digest, so that two of them stay two."""
    after, counts = cleaned(InvocationRecord(**{field: f"see {KEY}."}))
    other, _ = cleaned(InvocationRecord(**{field: f"see {KEY}x."}))
    text = getattr(after, field)
    if KINDS[field] == "error":
        assert text == getattr(other, field) == f"see {GONE}."
    else:
        assert re.fullmatch(rf"see {re.escape(GONE)}\.~[0-9a-f]{{12,32}}", text)
        assert text != getattr(other, field)
    assert counts == {"anthropic-key": 1}


def test_what_holds_no_text_is_no_kind_of_text() -> None:
    """A field of another kind takes no text that it was not made for."""
    for field, kind in KINDS.items():
        if kind in {"number", "moment", "word"}:
            with pytest.raises((ValueError, TypeError)):
                InvocationRecord(**{field: f"see {KEY}."})


def test_tokens_of_a_model_and_counts_in_metadata_stay() -> None:
    """A log of probabilities names each token, and a count may stand under any name."""
    given = {
        "logprobs": {"content": [{"token": "Hello", "logprob": -0.3, "top_logprobs": [{"token": " Base64"}, {"token": "</s>"}]}]},
        "spans": [["token", "The"], ["token", "cat"]], "cookies": 3, "secrets": 0, "api_keys": 2, "token_count": 17, "token": "<|eot|>",
        "errors": {"password": "must be at least 8 characters", "api_key": "Field required"}, "next_page_token": "CAUQAA12345abc",
    }  # fmt: skip
    record = InvocationRecord(metadata=given)
    after, counts = cleaned(record)
    assert after is record
    assert not counts


def test_metadata_nested_beyond_what_python_recurses_is_cleaned_as_a_text() -> None:
    """A file of another release may hold it."""
    good = InvocationRecord(metadata={"a": 1})
    values = list(good.extensions or ())
    deep = "[" * 900 + f'"{KEY}"' + "]" * 900
    values[EXTENSION_FIELDS.index("metadata")] = deep
    after, counts = cleaned(rebuilt(good, good.card, tuple(values)))
    assert (after.extensions or ())[EXTENSION_FIELDS.index("metadata")] == deep.replace(KEY, GONE)
    assert counts == {"anthropic-key": 1}


def test_a_number_that_a_key_already_bears_is_passed_over() -> None:
    """No value is lost where another key looks like what redaction would have made."""
    after, _ = cleaned(InvocationRecord(metadata={f"{GONE}#2": 0, KEY: 1, f"{KEY}x": 2, f"{KEY}y": 3}))
    assert after.metadata == {f"{GONE}#2": 0, GONE: 1, f"{GONE}#3": 2, f"{GONE}#4": 3}


def test_tags_and_metadata_are_cleaned_at_every_depth() -> None:
    """By shape in every text, by name for whole values; counts, costs and numbers stay."""
    after, counts = cleaned(
        InvocationRecord(
            tags=["a", KEY],
            metadata={
                "note": f"x {KEY}", KEY: 1, "deep": [{"apiKey": {"any": "thing"}, "n": 1.5}], "max_tokens": 4000, "token": 17,
                "cost_usd": 0.5, "secret": None, "headers": [{"name": "Cookie", "value": "a=b"}, ["Authorization", "x"], ["a", "b"]],
            },
        )
    )  # fmt: skip
    hidden = "[REDACTED:named-secret]"
    assert after.tags == ["a", GONE]
    assert after.metadata == {
        "note": f"x {GONE}", GONE: 1, "deep": [{"apiKey": hidden, "n": 1.5}], "max_tokens": 4000, "token": 17, "cost_usd": 0.5,
        "secret": None, "headers": [{"name": "Cookie", "value": hidden}, ["Authorization", hidden], ["a", "b"]],
    }  # fmt: skip
    assert counts == {"anthropic-key": 3, "named-secret": 3}


PASSWORD: Final = "hunter2" + "!Xy"


@pytest.mark.parametrize(
    "given",
    [
        {"argv": ["x", "--password", PASSWORD]}, {"argv": ["--api-key", PASSWORD]}, {"argv": ["curl", "--user", f"bob:{PASSWORD}"]}, {"argv": ["-u", f"bob:{PASSWORD}"]},
        {"basic_auth": ["bob", PASSWORD]}, {"auth": ["bob", PASSWORD]}, {"db_pass": PASSWORD}, {"creds": PASSWORD}, {"password_2": PASSWORD}, {"api.key": PASSWORD},
        {"argv": ["x", "--my-key", "hunter2" + "aB3dE6gH9j"]}, {"argv": ["x", f"--cookie={PASSWORD}", "y"]},
        {"env": [{"Name": "x-api-key", "Value": PASSWORD}]}, {"env": [{"NAME": "x-api-key", "VALUE": PASSWORD}]},
        {"\x1b[31mpassword\x1b[0m": PASSWORD}, {"a": [["x-api-key", PASSWORD]]}, {"a": ["x-api-key", PASSWORD]},
        {"argv": ["mysql", "-phunter2x"]}, {"argv": [["mysql", "-phunter2x"]]}, {"argv": ["sshpass", "-phunter2x"]}, {"argv": ["mysql", "-u", "root", "-phunter2x"]},
        {"costco_api_key": PASSWORD}, {"cost_center": {"cost_center_db_password": PASSWORD}}, {"costExplorerPassword": PASSWORD},
        {"Password:": PASSWORD}, {"API key:": PASSWORD}, {"password ": PASSWORD}, {"a": [["Password:", PASSWORD]]}, {"name": "Password:", "value": PASSWORD},
    ],
)  # fmt: skip
def test_a_value_is_hidden_by_the_name_before_it(given: dict[str, Any]) -> None:
    """Arguments of a command, pairs, objects of a name and a value, in any case of letters and in colours."""
    (after,) = Redactor().records([InvocationRecord(metadata=given)], Counter())
    assert "hunter2" not in repr(after.metadata)
    assert Redactor().records([after], Counter())[0].metadata == after.metadata


@pytest.mark.parametrize(
    "given",
    [
        {"pwd": "/home/x"}, {"OLDPWD": "/"}, {"argv": ["docker", "run", "--user", "1000:1000"]}, {"auth": "bearer"}, {"jwt": "expired"}, {"argv": ["-u", "bob"]}, {"has_api_key": 0}, {"has_api_key": True}, {"cookies": [1, 2]}, {"required": ["api_key", "model"]},
        {"fetch": {"credentials": "include"}}, {"argv": ["--api-key", "--model"]}, {"name": "api_keys", "value": 3},
        {"cost_by_api_key": {"a": 1.5}}, {"cost_per_access_token": "unknown"}, {"cost_api_key": 0.25}, {"token": "2026-11-30T12:00:00Z"}, {"argv": ["mysql", "-p3306"]}, {"argv": ["ls", "-l"]},
    ],
)  # fmt: skip
def test_what_only_has_the_name_of_a_secret_stays(given: dict[str, Any]) -> None:
    """Paths, flags, counts, modes, and the names of fields."""
    (after,) = Redactor().records([InvocationRecord(metadata=given)], Counter())
    assert after.metadata == given


@pytest.mark.parametrize("place", [["body", "password"], ["body", "users", 0, "db_password", 1]])
def test_what_a_validation_error_of_a_secret_was_given_is_hidden(place: list[str | int]) -> None:
    """`ValidationError.errors()` has the name in `loc` and the value in `input`; those of other fields stay."""
    errors = [{"loc": place, "input": "swordfish"}, {"loc": ["body", "city"], "input": "Bratislava"}]
    after, counts = cleaned(InvocationRecord(metadata={"errors": errors}))
    assert [error["input"] for error in after.metadata["errors"]] == ["[REDACTED:named-secret]", "Bratislava"]
    assert counts == {"named-secret": 1}


def test_two_keys_that_become_the_same_keep_both_values() -> None:
    """Nothing is lost where two keys of metadata held secrets."""
    after, _ = cleaned(InvocationRecord(metadata={KEY: 1, f"{KEY}x": 2, f"{KEY}y": 3}))
    assert after.metadata == {GONE: 1, f"{GONE}#2": 2, f"{GONE}#3": 3}


def test_metadata_that_is_no_json_is_cleaned_as_a_text() -> None:
    """A damaged record is not trusted to be what it says."""
    good = InvocationRecord(metadata={"a": 1})
    values = list(good.extensions or ())
    values[EXTENSION_FIELDS.index("metadata")] = f"{{{KEY}"
    after, _ = cleaned(rebuilt(good, good.card, tuple(values)))
    assert (after.extensions or ())[EXTENSION_FIELDS.index("metadata")] == f"{{{GONE}"


def test_ids_stay_apart_and_find_each_other() -> None:
    """Equal ids give equal texts, others others; whether another process gives the same, `test_names.py` says."""
    redactor = Redactor()
    one, same, other = (redactor.invocation_id(text) for text in (f"a {KEY}", f"a {KEY}", f"a {KEY}z"))
    assert one == same != other
    assert one.startswith(f"a {GONE}~")
    assert Redactor().invocation_id(f"a {KEY}") == one
    assert redactor.invocation_id(f"{'x' * 150} {KEY}{'k' * 20}").startswith("x" * 150)
    assert len(redactor.invocation_id(f"{'x' * 140} password=a")) <= 200
    assert redactor.invocation_id("0192f0c1-7c3a-7b1d-8e4f-5a6b7c8d9e0f") == "0192f0c1-7c3a-7b1d-8e4f-5a6b7c8d9e0f"
    assert redactor.invocation_id(17) == 17


@pytest.mark.parametrize("left", range(4, 40, 5))
def test_half_a_secret_at_the_place_of_the_first_cut_is_left_out(left: int) -> None:
    """A record's message is cut at 65,536 characters before the patterns see it."""
    message = "word " * 13_107
    message = message[: MAX_ERROR_CHARS - left] + KEY + " end"
    record = InvocationRecord(error_message=message, error_type=f"{'E' * 10} {'x' * (188 - left)} {KEY}"[:200])
    after, _ = cleaned(record, Redactor("full"))
    assert after.error_message is not None
    assert "sk-" not in after.error_message
    assert after.error_message.startswith("word word")
    assert "sk-" not in (after.error_type or "")


# Levels and content


@pytest.mark.parametrize(
    ("ceiling", "asked", "stored"),
    [("full", None, True), ("full", "full", True), ("full", "metadata", False), ("metadata", "full", False), ("metadata", None, False)],
)  # fmt: skip
@pytest.mark.parametrize("face", [AsyncTelemetryLogger, TelemetryLogger])
async def test_a_records_level_may_only_lower_the_loggers(
    tmp_path: Path, face: type, ceiling: str, asked: Any, stored: bool
) -> None:
    """Content is stored at `full` only, and `get_content` finds it on both faces."""
    record = InvocationRecord(prompt=f"who? {KEY}", response="me \u2713", privacy_level=asked)
    if face is AsyncTelemetryLogger:
        async with AsyncTelemetryLogger(tmp_path / "t.db", privacy_level=ceiling) as telemetry:  # type: ignore[arg-type]
            await telemetry.log_invocation(record)
            content = await telemetry.get_content(record.invocation_id)
            (row,) = await telemetry.get_invocations()
    else:
        with TelemetryLogger(tmp_path / "t.db", privacy_level=ceiling) as logger:  # type: ignore[arg-type]
            logger.log_invocation(record)
            content = logger.get_content(record.invocation_id)
            (row,) = logger.get_invocations()
    expected = {"invocation_id": record.invocation_id, "prompt": f"who? {GONE}", "response": "me \u2713"}
    assert content == (expected if stored else None)
    assert row["privacy_level"] == ("full" if stored else "metadata")


def test_content_is_stored_as_it_is_where_the_setting_says_so(tmp_path: Path) -> None:
    """`redact_content=False` spares content and nothing else."""
    with TelemetryLogger(tmp_path / "t.db", privacy_level="full", redact_content=False, redact=str.upper) as logger:
        record = InvocationRecord(prompt=KEY, error_message=KEY)
        logger.log_invocation(record)
        content = logger.get_content(record.invocation_id)
        (row,) = logger.get_invocations()
    assert content == {"invocation_id": record.invocation_id, "prompt": KEY, "response": None}
    assert row["error_message"] == GONE.upper()


def test_content_of_an_unknown_call_is_none_and_of_no_id_an_error(tmp_path: Path) -> None:
    """A question about nothing has an answer; one that is none names its argument."""
    with TelemetryLogger(tmp_path / "t.db", privacy_level="full") as logger:
        logger.log_invocation(InvocationRecord(invocation_id="plain"))
        assert logger.get_content("unknown") is None
        assert logger.get_content("plain") is None
        with pytest.raises(QueryError, match="invocation_id"):
            logger.get_content(7.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "a", "\u2713 " * 200_000, "x" * 262_144, "x" * 262_145, "\U0001f600" * 262_145])
def test_what_is_packed_is_unpacked(text: str) -> None:
    """Also in pieces, and also by zlib alone."""
    assert unpack(pack(text)) == text
    assert zlib.decompress(pack(text)).decode() == text


def test_a_record_cleaned_whole_keeps_no_content_below_full() -> None:
    """What a journal would hold is what the store would."""
    record = InvocationRecord(agent_name="a", prompt=KEY, response=KEY)
    below = Redactor("metadata").record(record, Counter())
    assert (below.prompt, below.response, below.agent_name) == (None, None, "a")
    assert Redactor("full", redact_content=False).record(record, Counter()) is record
    plain = InvocationRecord(agent_name="a", provider="p")
    assert Redactor().record(plain, Counter()) is plain


def test_level_none_creates_nothing(tmp_path: Path) -> None:
    """Neither a file nor a folder, whatever is logged."""
    with TelemetryLogger(tmp_path / "deep" / "t.db", privacy_level="none", redact=lambda text: text) as logger:
        assert not logger.log_invocation(InvocationRecord(prompt=KEY))
        assert logger.get_content("x") is None
    assert list(tmp_path.iterdir()) == []


# In one transaction with the record


def stored(path: Path, records: list[InvocationRecord], level: Any = "full") -> tuple[int, int, Any]:
    """Rows, contents and the result of writing one batch."""
    from llm_service.telemetry.stores.sqlite.opening import open_for_writing

    connection = open_for_writing(path, 0)
    try:
        writer = SqliteBatchWriter("w", level)
        result = writer.write(connection, records, batch_no=1, durable=False, slice_rows=3)
        rows, contents = (
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("invocations", "invocation_contents")
        )
    finally:
        connection.close()
    return rows, contents, result


def test_a_duplicate_stores_no_content(tmp_path: Path) -> None:
    """The content of the record that is there stays, and is the first one's."""
    records = [InvocationRecord(invocation_id=f"job {number % 5}", prompt=f"p{number}") for number in range(10)]
    rows, contents, result = stored(tmp_path / "t.db", records)
    assert (rows, contents, len(result.duplicates)) == (5, 5, 5)
    with TelemetryLogger(tmp_path / "t.db") as logger:
        assert [(logger.get_content(f"job {n}") or {}).get("prompt") for n in range(5)] == [f"p{n}" for n in range(5)]


def test_content_of_a_poisoned_record_goes_with_it(tmp_path: Path) -> None:
    """What SQLite took and no sum can hold is taken back whole; a content that cannot be packed sets its record aside."""
    good = [InvocationRecord(prompt="p", response="r") for _ in range(6)]
    card = list(good[1].card)
    card[CARD_FIELDS.index("cost_usd")] = float("inf")
    bad_sum = rebuilt(good[1], tuple(card), good[1].extensions)
    bad_text = rebuilt(good[2], good[2].card, (*(good[2].extensions or ())[:-1], "\ud800"))
    short = rebuilt(good[3], good[3].card, ("too", "short"))
    rows, contents, result = stored(tmp_path / "t.db", [good[0], bad_sum, bad_text, short, good[4], good[5]])
    assert (rows, contents) == (3, 3)
    assert result.quarantined == {1, 2, 3}


def test_a_failed_batch_is_prepared_once_and_counted_once(tmp_path: Path) -> None:
    """Content is not compressed again for each try, and a retry counts no secret twice."""
    from llm_service.telemetry.stores.sqlite.opening import open_for_writing

    asked: list[str] = []
    redactor = Redactor("full", redact=lambda text: asked.append(text) or text)  # type: ignore[func-returns-value]
    writer = SqliteBatchWriter("w", "full", redactor=redactor)
    records = [InvocationRecord(agent_name=f"a {KEY}", prompt=f"b {KEY}")]
    connection, blocker = open_for_writing(tmp_path / "t.db", 0), open_for_writing(tmp_path / "t.db", 0)
    try:
        blocker.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            with pytest.raises(sqlite3.OperationalError):
                writer.write(connection, records, batch_no=1, durable=False, slice_rows=25)
        blocker.execute("ROLLBACK")
        result = writer.write(connection, records, batch_no=1, durable=False, slice_rows=25)
    finally:
        connection.close()
        blocker.close()
    assert asked.count(f"b {GONE}") == 1
    assert result.redactions == {"anthropic-key": 2}


# The user's callable


class Marked(str):
    """A text as templates mark it."""

    __slots__ = ()


@pytest.mark.parametrize("journal", [False, True])
def test_what_the_callable_returns_is_stored_as_plain_text(journal: bool, tmp_path: Path) -> None:
    """A subclass of str, also where the crash journal takes it before the database does."""
    record = InvocationRecord(agent_name="a b", metadata={"k": "v w"})
    after, _ = cleaned(record, Redactor(redact=Marked))
    assert {type(value) for value in (*after.card, *(after.extensions or ()))} <= {str, int, float, type(None)}
    with TelemetryLogger(tmp_path / "t.db", journal=journal, redact=Marked) as logger:
        logger.log_invocation_nowait(record)
        (row,) = logger.get_invocations()
    assert (row["agent_name"], row["metadata"]) == ("a b", {"k": "v w"})


def test_the_callable_runs_after_the_patterns_on_every_free_text(tmp_path: Path) -> None:
    """Names only once where it leaves them, UUIDs never, content too."""
    seen: list[str] = []

    def redact(text: str) -> str:
        seen.append(text)
        return text.replace("Alice", "someone")

    with TelemetryLogger(tmp_path / "t.db", privacy_level="full", redact=redact) as logger:
        for number in range(3):
            logger.log_invocation(
                InvocationRecord(
                    agent_name="agent", user_id="Alice", error_message=f"Alice has {KEY}", metadata={"Alice": ["is Alice"]}, tags=["of Alice"],
                    invocation_id=f"Alice {number}", prompt="I am Alice", session_id="0192f0c1-7c3a-7b1d-8e4f-5a6b7c8d9e0f",
                )
            )  # fmt: skip
        (row, *_) = logger.get_invocations()
        content = logger.get_content("Alice 2")
    assert seen.count("agent") == 1
    assert seen.count(f"Alice has {GONE}") == 3
    assert not any("0192f0c1" in text for text in seen)
    assert "Alice" not in json.dumps([row, content])
    assert row["metadata"] == {"someone": ["is someone"]}
    assert row["invocation_id"].startswith("someone 2~")


def _raise(error: BaseException) -> Callable[[str], str]:
    def redact(_text: str) -> str:
        raise error

    return redact


@pytest.mark.parametrize(
    "redact",
    [_raise(ValueError(KEY)), _raise(SystemExit(3)), _raise(GeneratorExit()), lambda _: None, lambda text: text.encode(),
     lambda text: text + "\0", lambda text: text + "\ud800"],
    ids=["raises", "exits", "generator exit", "None", "bytes", "NUL", "surrogate"],
)  # fmt: skip
def test_a_callable_that_fails_lets_no_text_through(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, redact: Any
) -> None:
    """Its failures are counted, and logged once without the text; the records are stored."""
    with caplog.at_level(logging.DEBUG), TelemetryLogger(tmp_path / "t.db", redact=redact) as logger:
        for number in range(3):
            logger.log_invocation(InvocationRecord(agent_name=f"private {number}", tags=["private"]))
        rows = logger.get_invocations()
        stats = logger.stats()
    assert [(row["agent_name"], row["tags"]) for row in rows] == [(FAILED, [FAILED])] * 3
    assert stats.redactions == {MASKER_ERROR: 6}
    assert stats.ledger.written == 3
    said = [entry for entry in caplog.records if "redact callable" in entry.getMessage()]
    assert len(said) == 1
    assert "private" not in caplog.text
    assert KEY not in caplog.text


def test_ctrl_c_within_the_callable_is_the_users(tmp_path: Path) -> None:
    """It is not swallowed, and the record is written afterwards."""
    presses = [KeyboardInterrupt()]

    def redact(text: str) -> str:
        if presses:
            raise presses.pop()
        return text

    with TelemetryLogger(tmp_path / "t.db", redact=redact) as logger:
        with pytest.raises(KeyboardInterrupt):
            logger.log_invocation(InvocationRecord(agent_name="a"))
        logger.flush()
        assert [row["agent_name"] for row in logger.get_invocations()] == ["a"]


def test_a_name_of_which_nothing_is_left_is_unknown() -> None:
    """An empty name is none; a long one is cut to what a name may be."""
    assert (
        cleaned(InvocationRecord(agent_name="a b", user_id="c d"), Redactor(redact=lambda _: ""))[0].agent_name is None
    )
    assert (
        len(cleaned(InvocationRecord(agent_name="a b"), Redactor(redact=lambda _: "x" * 999))[0].agent_name or "")
        == 200
    )


def test_what_is_not_callable_is_refused(tmp_path: Path) -> None:
    """With the argument's name and a remedy."""
    with pytest.raises(SettingsError, match="redact: 'x' is not usable; give a callable"):
        TelemetryLogger(tmp_path / "t.db", redact="x")  # type: ignore[arg-type]


def test_a_callable_and_content_come_with_a_configuration_too(tmp_path: Path) -> None:
    """`from_config` takes the callable; the YAML key takes the rest."""
    file = tmp_path / "telemetry.yaml"
    file.write_text("db_path: t.db\nprivacy_level: full\nredact_content: false\n", encoding="utf-8")
    with TelemetryLogger.from_config(file, redact=str.upper) as logger:
        logger.log_invocation(InvocationRecord(invocation_id="0-1", agent_name="a b", prompt="quiet"))
        assert logger.settings.redact_content is False
        assert (logger.get_content("0-1") or {}).get("prompt") == "quiet"
        assert logger.get_invocations()[0]["agent_name"] == "A B"


def test_damaged_names_are_left_to_whoever_binds_them() -> None:
    """What is no text holds no secret that a pattern knows, and SQLite refuses it."""
    good = InvocationRecord(agent_name="a", provider="p", error_message="m")
    card = (*good.card[:2], ["unhashable"], 7, *good.card[4:])
    damaged = rebuilt(good, card, good.extensions)
    after, counts = cleaned(damaged)
    assert after.card == damaged.card
    assert not counts
