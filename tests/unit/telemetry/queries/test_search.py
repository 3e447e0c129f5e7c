"""Search finds the same by the index and by reading, understands any text, and shows where it was found."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from typing import Any
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.errors import QueryError
from llm_service.telemetry.privacy import pack
from llm_service.telemetry.queries import search as searching
from llm_service.telemetry.queries.filters import InvocationFilter
from llm_service.telemetry.queries.search import FoundRow, Search, check_limit
from llm_service.telemetry.queries.search_terms import Term, Wanted
from llm_service.telemetry.queries.snippets import snippet
from llm_service.telemetry.record.words import spaced
from llm_service.telemetry.stores.base import Query
from llm_service.telemetry.stores.sqlite import migrations, search_index
from llm_service.telemetry.stores.sqlite.odd_values import rows_of

Texts = tuple[str | None, str | None, str | None]
WORDS = (
    "the",
    "cat",
    "Katze",
    "café",
    "cafe\u0301",
    "ÇA",
    "straße",
    "ca",
    "x1",
    "東京",
    "都",
    "にほん",
    "ไทย",
    "한국",
    "🎉",
    "👩‍💻",
    "२",
)
BETWEEN = (" ", " ", ", ", "-", "", "'", '"', "*", "(", "\n", "。", "_", "\u200d", "\u00ad")
SOME = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(BETWEEN)), max_size=8).map(
    lambda parts: "".join(word + between for word, between in parts)
)
ANY = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=30)
TEXT = st.one_of(st.none(), SOME, ANY)


def file_of(calls: Sequence[Texts]) -> sqlite3.Connection:
    """A database of calls with these texts, the first one with the number 1; those with an error message failed."""
    connection = migrations.empty_database()
    for prompt, response, error in calls:
        status = "success" if error is None else "error"
        cursor = connection.execute(
            "INSERT INTO invocations (invocation_id, timestamp, status, error_message) VALUES (hex(randomblob(8)), ?, ?, ?)",
            ("2026-03-01 12:00:00.000000Z", status, error),
        )
        if prompt is not None or response is not None:
            texts = [None if text is None else pack(text) for text in (prompt, response)]
            connection.execute("INSERT INTO invocation_contents VALUES (?, ?, ?)", (cursor.lastrowid, *texts))
    return connection


def found(connection: sqlite3.Connection, words: str, limit: int = 1000, **narrowed: Any) -> list[FoundRow]:
    """What a search finds."""

    def fetch(query: Query) -> list[tuple[Any, ...]]:
        return rows_of(connection, *query)

    return list(Search(fetch, Wanted.of(words), InvocationFilter(**narrowed), limit).rows())


def indexed(connection: sqlite3.Connection, rows: int = 1000) -> None:
    """Have it indexed: the newest so many."""
    search_index.make(connection)
    search_index.extend(connection, rows)


@given(st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=6), st.one_of(SOME, ANY), st.integers(0, 6))
def test_the_index_and_reading_find_the_same(calls: list[Texts], words: str, rows: int) -> None:
    """Whatever the texts, the words, and how many of the calls the index has."""
    with closing(file_of(calls)) as connection:
        try:
            read = found(connection, words)
        except QueryError:
            return
        indexed(connection, rows)
        assert found(connection, words) == read


@given(st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=4), st.data())
def test_a_part_of_a_text_is_found_in_it(calls: list[Texts], data: st.DataObject) -> None:
    """Consecutive words of a text, as a phrase, find it, by the index."""
    with closing(file_of(calls)) as connection:
        indexed(connection)
        number = data.draw(st.integers(0, len(calls) - 1))
        words = spaced(next((text for text in calls[number] if text), "")).split()
        if words:
            first = data.draw(st.integers(0, len(words) - 1))
            part = words[first : data.draw(st.integers(first + 1, len(words)))]
            assert number + 1 in [row["id"] for row in found(connection, f'"{" ".join(part)}"')]


LATIN = st.lists(st.sampled_from(["Über", "uber", "naïve", "x", "NAIVE", "señor", "1,5", "a.b"]), max_size=6).map(
    " ".join
)


@given(st.lists(LATIN, max_size=5), st.sampled_from(["uber", "ÜBER naive", "señ*", '"1 5"', '"a b" x', "b a"]))
def test_it_finds_what_unicode61_finds(texts: list[str], words: str) -> None:
    """Of scripts with spaces: FTS5's own tokenizer, without diacritics, finds the same."""
    with closing(file_of([(text, None, None) for text in texts])) as connection:
        connection.execute("CREATE VIRTUAL TABLE own USING fts5(text, tokenize = 'unicode61 remove_diacritics 2')")
        connection.executemany("INSERT INTO own (rowid, text) VALUES (?, ?)", enumerate(texts, 1))
        theirs = connection.execute("SELECT rowid FROM own WHERE own MATCH ? ORDER BY rowid DESC", (words,)).fetchall()
        assert [(row["id"],) for row in found(connection, words)] == theirs


@given(st.text(max_size=40))
def test_no_text_is_an_error_of_the_index(words: str) -> None:
    """Quotes, brackets, stars, operators: it is words, or there is nothing to look for."""
    with closing(file_of([("NOT a OR b", None, None)])) as connection:
        indexed(connection)
        with suppress(QueryError):
            found(connection, words)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("one Two", Wanted((Term(("one",)), Term(("two",))))),
        ('"one two" three', Wanted((Term(("one", "two")), Term(("three",))))),
        ("one-two", Wanted((Term(("one", "two")),))),
        ("one -two", Wanted((Term(("one",)),), (Term(("two",)),))),
        ('one -"two three"', Wanted((Term(("one",)),), (Term(("two", "three")),))),
        ("begin* x", Wanted((Term(("begin",), is_prefix=True), Term(("x",))))),
        ('"in a phra"*', Wanted((Term(("in", "a", "phra"), is_prefix=True),))),
        ('"not closed', Wanted((Term(("not", "closed")),))),
        ("one - one", Wanted((Term(("one",)),))),
        ("世界", Wanted((Term(("世", "界")),))),
    ],
)
def test_what_is_read_of_words(words: str, wanted: Wanted) -> None:
    """Words, phrases, beginnings, and what must not occur."""
    assert Wanted.of(words) == wanted


@pytest.mark.parametrize("words", ["", "  ", "!!!", "-only", '""', "*", "x" * 10_001, None, 3])
def test_nothing_to_look_for_is_an_error_with_a_remedy(words: Any) -> None:
    """It is no list of all calls."""
    with pytest.raises(QueryError, match=r"^words: "):
        Wanted.of(words)


@pytest.mark.parametrize("limit", [0, -1, 1_000_001, 1.0, True, "5"])
def test_a_limit_is_a_number_of_rows(limit: Any) -> None:
    """As for get_invocations."""
    with pytest.raises(QueryError, match=r"^limit: "):
        check_limit(limit)


CALLS: list[Texts] = [
    ("the cat sat", "on the mat", None),
    ("a dog", None, "Connection timed out"),
    (None, None, "rate limit: the cat"),
    ("concatenation", "cat cat", None),
]


@pytest.mark.parametrize("index", [False, True])
@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ("cat", [4, 3, 1]),
        ("cat mat", [1]),
        ("cat -mat", [4, 3]),
        ('"the cat"', [3, 1]),
        ("c*", [4, 3, 2, 1]),
        ("dog timed", [2]),
        ("nothing", []),
    ],
)
def test_words_may_stand_in_any_of_the_texts_of_a_call(words: str, numbers: list[int], *, index: bool) -> None:
    """All must occur in the call, the last call first; also where it has no content at all."""
    with closing(file_of(CALLS)) as connection:
        if index:
            indexed(connection)
        assert [row["id"] for row in found(connection, words)] == numbers
        assert [row["id"] for row in found(connection, words, limit=1)] == numbers[:1]


def test_a_row_says_where_and_how_often() -> None:
    """`where` is the text with most of the words, `rank` counts them in all, marks are places of the snippet."""
    with closing(file_of(CALLS)) as connection:
        last, error, first = found(connection, "cat")
        assert (last["where"], last["rank"], last["snippet"], last["marks"]) == (
            "response",
            2,
            "cat cat",
            [(0, 3), (4, 7)],
        )
        assert (error["where"], error["snippet"], error["marks"]) == (
            "error_message",
            "rate limit: the cat",
            [(16, 19)],
        )
        assert (first["where"], first["rank"], first["status"]) == ("prompt", 1, "success")


def test_an_error_message_counts_where_the_call_failed() -> None:
    """With and without content alike."""
    with closing(file_of(CALLS)) as connection:
        connection.execute("UPDATE invocations SET status = 'success', error_message = 'odd cat' WHERE id IN (2, 3)")
        assert [row["id"] for row in found(connection, "odd")] == []
        indexed(connection)
        assert [row["id"] for row in found(connection, "odd")] == []


def test_filters_narrow_it() -> None:
    """Names and times, by the index and without."""
    with closing(file_of([("cat", None, None)] * 4)) as connection:
        connection.execute("UPDATE invocations SET timestamp = '2026-03-0' || id || substr(timestamp, 11)")
        connection.execute("UPDATE invocations SET agent_name = 'a' WHERE id <> 2")
        for _ in range(2):
            assert [row["id"] for row in found(connection, "cat", agent_name="a")] == [4, 3, 1]
            assert [
                row["id"] for row in found(connection, "cat", since="2026-03-02T00:00:00Z", end_date="2026-03-03")
            ] == [3, 2]
            assert found(connection, "cat", since="2027-01-01T00:00:00Z") == []
            assert [row["id"] for row in found(connection, "cat", filters="agent!=a")] == [2]
            indexed(connection)


def test_more_calls_than_a_page_are_found_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures with content are found once, whichever way comes upon them."""
    for name in ("_PAGE", "_MANY"):
        monkeypatch.setattr(searching, name, 3)
    monkeypatch.setattr(searching, "_MOST_BYTES", 20)
    calls: list[Texts] = [("cat", None, None if n % 3 else "no cat") for n in range(20)]
    with closing(file_of(calls)) as connection:
        for rows in (0, 7, 20):
            indexed(connection, rows)
            assert [row["id"] for row in found(connection, "cat")] == list(range(20, 0, -1))


def test_it_tells_how_far_it_is_and_can_be_stopped() -> None:
    """Progress rises to the calls that had to be read."""
    with closing(file_of([("cat", None, None)] * 600)) as connection:
        work = Search(lambda query: rows_of(connection, *query), Wanted.of("dog"), InvocationFilter(), 5)
        told: list[int] = []
        assert list(work.rows(told.append)) == []
        assert work.scans == 600
        assert told == sorted(told)
        assert told[-1] == 600
        assert list(work.rows(stopped=lambda: True)) == []


@pytest.fixture
def damaged() -> Iterator[Callable[[str], sqlite3.Connection]]:
    """A file whose index is at fault."""
    with closing(file_of(CALLS)) as connection:
        indexed(connection)

        def by(statement: str) -> sqlite3.Connection:
            connection.execute(statement)
            return connection

        yield by


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM invocation_words_data WHERE id > 10",
        "DELETE FROM invocation_words_docsize",
        "DROP TABLE invocation_words",
    ],
)
def test_an_index_at_fault_costs_time_alone(damaged: Callable[[str], sqlite3.Connection], statement: str) -> None:
    """The texts are read then."""
    assert [row["id"] for row in found(damaged(statement), "cat")] == [4, 3, 1]


def test_a_damaged_text_does_not_stop_it() -> None:
    """The other texts of the call are looked at."""
    with closing(file_of(CALLS)) as connection:
        connection.execute("UPDATE invocation_contents SET prompt = x'00ff'")
        indexed(connection)
        assert [row["id"] for row in found(connection, "mat")] == [1]


@pytest.mark.parametrize(
    ("text", "words", "shown", "marks"),
    [
        ("short cat", "cat", "short cat", [(6, 9)]),
        ("concatenation " * 500 + "cat", "cat", None, [(157, 160)]),
        ("x" * 5000 + " Caf\u0301e " + "y" * 5000, "cafe", None, None),
        ("Stra\u00dfe", "strasse", "Stra\u00dfe", [(0, 6)]),
        ("世界世", "世", "世界世", [(0, 1), (2, 3)]),
        ("a a a", '"a a" a', "a a a", [(0, 5)]),
    ],
)
def test_a_snippet_is_the_part_around_the_first_word(text: str, words: str, shown: str | None, marks: Any) -> None:
    """At most 160 characters; words within words are not marked."""
    made = snippet(text, Wanted.of(words).terms)
    assert len(made.text) <= 160
    assert made.text in normalize("NFC", text)
    assert shown is None or made.text == shown
    assert marks is None or made.marks == marks
    assert made.marks


@given(SOME, SOME)
def test_marks_are_what_was_looked_for(text: str, words: str) -> None:
    """Each mark is in the snippet, and has a word of what was looked for."""
    try:
        terms = Wanted.of(words).terms
    except QueryError:
        return
    if any(term.needle in spaced(text) for term in terms):
        made = snippet(text, terms)
        assert made.marks
        for start, stop in made.marks:
            assert 0 <= start < stop <= len(made.text)
            assert any(term.needle.rstrip() in spaced(made.text[start:stop]) for term in terms)


def test_no_question_goes_through_all_calls() -> None:
    """Failures come from their index, times from theirs, texts by number: at a million calls it matters."""
    with closing(file_of(CALLS)) as connection:
        indexed(connection)
        asked: list[Query] = []

        def fetch(query: Query) -> list[tuple[Any, ...]]:
            asked.append(query)
            return rows_of(connection, *query)

        list(Search(fetch, Wanted.of("cat"), InvocationFilter(agent_name="a", since="2026-03-01T00:00:00Z"), 5).rows())
        list(Search(fetch, Wanted.of("cat"), InvocationFilter(), 5).rows())
        plans = {
            step[3]
            for sql, parameters in asked
            if "invocations" in sql and not sql.startswith(("SELECT min(id)", "SELECT max(id)"))
            for step in connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)
        }
        scans = {plan for plan in plans if plan.startswith("SCAN")}
        assert scans == {"SCAN invocations USING COVERING INDEX idx_invocations_status"}
        assert any("COVERING INDEX idx_invocations_timestamp" in plan for plan in plans)
