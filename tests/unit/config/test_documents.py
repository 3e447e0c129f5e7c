"""The promises of `read_document`: plain exact values with their lines, or one ConfigError, whatever is in the file."""

import os
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from llm_service.config.documents import parse_document, read_document
from llm_service.config.key_paths import path_text
from llm_service.errors import ConfigError

Write = Callable[..., Path]
FILE = Path("some.yaml")


def refused(text: str) -> ConfigError:
    """The error that a text is refused with as a whole."""
    with pytest.raises(ConfigError) as caught:
        parse_document(FILE, text)
    return caught.value


def value_of(text: str) -> Any:
    """What a single value is read as."""
    return parse_document(FILE, f"a: {text}").values["a"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.0035", Decimal("0.0035")),
        ("0.10", Decimal("0.10")),
        ("3e-6", Decimal("0.000003")),
        ("-1.5E+2", Decimal("-1.5E+2")),
        (".5", Decimal("0.5")),
        ("1e30", Decimal("1e30")),
        ("3", 3),
        ("010", 10),
        ("1_000", 1000),
        ("-2", -2),
        ("true", True),
        ("off", False),
        ("null", None),
        ("~", None),
        ("2025-06-10", "2025-06-10"),
        ("1:30", "1:30"),
        ("0x1F", "0x1F"),
        (".nan", ".nan"),
        ("-.inf", "-.inf"),
        ("1e31", "1e31"),
        ("1e999999999", "1e999999999"),
        ("1e-99999", "1e-99999"),
        ("0." + "1" * 50, "0." + "1" * 50),
        ("9" * 9000, "9" * 9000),
        ("'3'", "3"),
        ('""', ""),
        ("[1, [2.5], {b: c}]", [1, [Decimal("2.5")], {"b": "c"}]),
        ("{true: 1, 4: 2, 0.5: 3}", {"true": 1, "4": 2, "0.5": 3}),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_values_are_plain_and_numbers_exact(text: str, value: object) -> None:
    """Digits stay as they are written, keys are text, and a number of no sensible size is none."""
    found = value_of(text)
    assert found == value
    assert type(found) is type(value)
    assert not isinstance(value, Decimal) or str(found) == str(value)


def test_each_value_has_the_line_of_its_key() -> None:
    """Items of lists have their own; what has none has that of the nearest above it."""
    document = parse_document(FILE, "# comment\na:\n  b: [1,\n   2]\n  c:\n    - x\n    - d: 4\ne: 1\n")
    assert document.lines == {
        ("a",): 2,
        ("a", "b"): 3,
        ("a", "b", 0): 3,
        ("a", "b", 1): 4,
        ("a", "c"): 5,
        ("a", "c", 0): 6,
        ("a", "c", 1): 7,
        ("a", "c", 1, "d"): 7,
        ("e",): 8,
    }
    assert [document.line(path) for path in (("a", "c", 1, "z", 3), ("a", "z"), ("z",), ())] == [7, 2, None, None]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "---\n...\n", "{}", '""'])
def test_an_empty_file_is_an_empty_mapping(text: str) -> None:
    """Every key may be left out."""
    assert parse_document(FILE, text).values == {}


def test_keys_that_stand_twice_and_keys_without_a_value_are_all_told() -> None:
    """They do not hinder reading on; the first of two counts, with its own lines."""
    document = parse_document(FILE, "a: {x: 1}\nb:\na:\n  x: 2\n  y:\n  y: 5\nc: 1\nc: 2\n")
    assert [str(problem) for problem in document.problems] == [
        "some.yaml:2: b: has no value; give one or remove the line",
        "some.yaml:5: a.y: has no value; give one or remove the line",
        "some.yaml:6: a.y: is set in line 5 already; keep one",
        "some.yaml:3: a: is set in line 1 already; keep one",
        "some.yaml:8: c: is set in line 7 already; keep one",
    ]
    assert document.values == {"a": {"x": 1}, "b": None, "c": 1}
    assert document.line(("a", "x")) == 1
    assert document.empty == {("b",), ("a", "y")}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("- a", 1, "is not a mapping; write one `name: value` a line"),
        ("\nnull", 2, "is not a mapping"),
        ("a: 1\n---\nb: 1", 2, "has a second YAML document; keep one"),
        ("a: 1\nb: !!python/object/apply:os.system [ls]", 2, "YAML tag or anchor 'tag:yaml.org,2002:python"),
        ("a: !!float 1", 1, "is refused; drop it"),
        ("a: &x 1", 1, "YAML tag or anchor 'x' is refused"),
        ("a: 1\nb: *x", 2, "YAML tag or anchor 'x' is refused"),
        ("a:\n  <<: {b: 1}", 2, "a merge key is refused; write the keys out"),
        ("a:\n  ? [b]\n  : 1", 2, "a list or a mapping cannot be a key"),
        ("a:\n  b: '1", 2, "is not YAML"),
        ("a: \x00", 1, "has a control character; remove it"),
        ("a: " + "[" * 17 + "]" * 17, 1, "is nested deeper than 16 levels"),
        ("a: " + "[" * 100_000, 1, "is nested deeper than 16 levels"),
        ("a: " + "{b: " * 100_000, 1, "is nested deeper than 16 levels"),
        ("a:\n" + "- 1\n" * 20_001, 20_002, "has more than 20,000 values"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_what_is_no_plain_yaml_is_refused_where_it_stands(text: str, line: int, words: str) -> None:
    """Before anything is built from it, and in no time."""
    started = time.process_time()
    error = refused(text)
    assert time.process_time() - started < 20  # the scanner alone takes minutes for 100,000 levels
    assert (error.file, error.line, error.errors) == (FILE, line, (error,))
    assert words in str(error)
    assert len(str(error)) < 300


def test_quoted_signs_are_no_merge_key() -> None:
    """Only YAML's own `<<` means more than itself."""
    assert parse_document(FILE, "'<<': 1").values == {"<<": 1}


def test_billions_of_laughs_are_refused_at_the_first() -> None:
    """Aliases are never followed."""
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30))]
    assert refused("\n".join(lines)).line == 1


def test_16_levels_are_read() -> None:
    """The bound itself is allowed."""
    assert isinstance(value_of("[" * 15 + "1" + "]" * 15), list)


def test_a_missing_file_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    """Without waiting for somebody to write into the pipe."""
    os.mkfifo(tmp_path / "pipe")
    for name, words in (("none.yaml", "there is no such file"), (".", "it is a folder"), ("pipe", "a pipe")):
        with pytest.raises(ConfigError, match=words):
            read_document(tmp_path / name)


def test_bytes_that_are_no_utf8_and_files_that_are_too_large_are_refused(yaml_file: Write) -> None:
    """A byte-order mark is no part of the text."""
    assert read_document(str(yaml_file(b"\xef\xbb\xbfa: 1"))).values == {"a": 1}
    with pytest.raises(ConfigError, match="is not UTF-8"):
        read_document(yaml_file(b"a: 1\n# caf\xe9"))
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        read_document(yaml_file(b"#" * (1024 * 1024 + 1)))


def test_paths_read_as_they_are_written() -> None:
    """Places in lists stand in brackets."""
    assert path_text(("models", "gpt-4o", "aliases", 1)) == "models.gpt-4o.aliases[1]"
    assert path_text(()) == ""


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc~:#-", max_size=4), inner, max_size=3),
    max_leaves=12,
)


@settings(deadline=None)
@given(value=st.dictionaries(st.text("abcd", min_size=1, max_size=4), PLAIN, max_size=4))
def test_what_yaml_writes_is_read_back(value: dict[str, object]) -> None:
    """Text, numbers, words and nesting survive, however they are quoted; each value has a line of the text."""
    text = yaml.safe_dump(value, width=60)
    document = parse_document(FILE, text)
    assert document.values == value
    assert list(document.problems) == []
    assert all(1 <= line <= text.count("\n") + 1 for line in document.lines.values())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=200) | st.text("ab:{}[]-?&*!|>'\"#%<,\n\t 0.e", max_size=60).map(str.encode))
@example(content=b"? ? ? a")
@example(content=b'"\\UFFFFFFFF": 1')
@example(content=b"a: 0b_\nb: ._\nc: +_")
@example(content=b"%YAML 9.9\n---\n")
def test_arbitrary_bytes_give_a_document_or_a_config_error(tmp_path: Path, content: bytes) -> None:
    """No file, however broken, raises anything else."""
    path = tmp_path / "fuzz.yaml"
    path.write_bytes(content)
    try:
        document = read_document(path)
    except ConfigError as error:
        assert error.file == path  # noqa: PT017 - either outcome is fine, and this one has a promise of its own
    else:
        assert isinstance(document.values, dict)
