"""Every name of the table, in every form: what a text hides, a key of metadata hides too, and the other way round."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from tests.slices import quick

from llm_service.redaction import PATTERNS, holds_secret, may_hold_secret, scrub
from llm_service.redaction.name_table import (
    BARE_TOKENS,
    DRAWN,
    ENDING,
    HARMLESS,
    HEADERS,
    NAMES,
    PROPERTIES,
    SECRETS,
    TOKENS,
    WORDS_OF_PASS,
    Name,
    expression_of,
    literals_of,
)
from llm_service.telemetry import InvocationRecord
from llm_service.telemetry.privacy import Redactor

VALUE: Final = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7xC0"
WORD: Final = "swordfish"
PIECE: Final = 6

# What stands before a word of a row that says so by an expression: the first that the expression takes.
BEFORE: Final = ("", "MY_VENDOR_", "MY_VENDOR", "vendor_", "vendor")
JOINTS: Final = ("_", "-", "", ".", " ")


def spellings(words: tuple[str, ...]) -> Iterator[str]:
    """A name of several words as programs spell it."""
    small = [part for word in words for part in word.replace(" ", "_").split("_")]
    yield from (joint.join(small) for joint in JOINTS)
    yield "_".join(small).upper()
    yield "-".join(part.title() for part in small)
    yield small[0] + "".join(part.title() for part in small[1:])
    yield f"x-{'-'.join(small)}"
    yield f"{'_'.join(small)}_2"


def names_of(row: Name) -> list[str]:
    """Names that the row says announce a secret, each in every spelling."""
    if row.before:
        found = re.compile(rf"{expression_of([row])}\Z")
        each = [next((text + word for text in BEFORE if found.search(text + word)), None) for word in row.words]
        assert None not in each, row
        return [name for name in each if name is not None]
    pairs = [(owner, word) for owner in row.behind or ("",) for word in row.words]
    return [name for owner, word in pairs for name in spellings((owner, word) if owner else (word,))]


ROWS: Final = [pytest.param(row, id="-".join((*row.words[:1], *row.behind[:1]))) for row in NAMES]

QUOTED: Final[dict[str, str]] = {
    "JSON": '{{"{n}": "{v}"}}', "JSON in JSON": '{{\\"{n}\\": \\"{v}\\"}}', "Python": "{{'{n}': '{v}'}}", "a list": '{{"{n}": ["{v}"]}}',
    "a list of Python": "{{'{n}': ['{v}']}}", "a pair": "('{n}', '{v}')", "a header of Go": 'map[string][]string{{"{n}":[]string{{"{v}"}}}}',
}  # fmt: skip
BARE: Final[dict[str, str]] = {
    "the environment": "export {n}={v}", "YAML": "a: 1\n{n}: {v}\nb: 2", "a header": "> {n}: {v}\r\n", "Go's map": "map[A:[b] {n}:[{v}] C:[d]]",
    "triple quotes": '{n} = """{v}"""', "Rust": 'C {{ {n}: Some("{v}") }}', "a query": "/?a=1&{n}={v}&b=2",
    "a subscript": "{n}[0] = '{v}'", "a subscript of the environment": "{n}[1]={v}", "a subscript by name": '{n}["prod"]: {v}',
    "a list of YAML": "{n}:\n  - {v}\n  - '{v}'\nother: 1", "a printed list of YAML": "{n}:\\n- {v}\\n- {v}\\nb: 1",
}  # fmt: skip
OPTIONS: Final[dict[str, str]] = {
    "a flag": "tool --{n} {v} x", "a flag that equals": "tool --{n}={v}", "an argument vector": '["tool", "--{n}", "{v}"]',
    "an argument vector of Python": "['--{n}', '{v}']", "arguments in JSON in JSON": '[\\"--{n}\\", \\"{v}\\"]',
}  # fmt: skip


def forms_of(row: Name, name: str) -> dict[str, str]:
    """In which forms a text may hold the name: two words apart only in quotes, an option where options are so called."""
    if " " in name:
        return QUOTED
    if "." in name:
        return QUOTED | {"a property": "java -D{n}={v}"}
    if row in HEADERS:
        return QUOTED | {form: BARE[form] for form in ("a header", "Go's map")}
    return QUOTED | BARE | (OPTIONS if row in SECRETS + TOKENS else {})


def is_left(text: str) -> bool:
    """Whether a part of the value stands in the text."""
    return any(VALUE[at : at + PIECE] in text for at in range(len(VALUE) - PIECE))


def stored(metadata: dict[str, Any]) -> str:
    """Metadata as it is written."""
    (after,) = Redactor().records([InvocationRecord(metadata=metadata)], Counter())
    again, *_ = Redactor().records([after], Counter())
    assert again.metadata == after.metadata
    return json.dumps(after.metadata)


@pytest.mark.parametrize("row", quick(ROWS, every=3))
def test_a_name_hides_its_value_in_every_form_of_a_text(row: Name) -> None:
    """Whatever stands around name and value; and scrubbing again changes nothing."""
    value = f"sid={VALUE}" if "cookie" in row.words else VALUE
    for name in names_of(row):
        for form, way in forms_of(row, name).items():
            text = way.format(n=name, v=value)
            cleaned, _ = scrub(text)
            assert not is_left(cleaned), f"{form}: {text}"
            assert scrub(cleaned) == (cleaned, {}), f"{form}: {text}"


@pytest.mark.parametrize("row", quick(ROWS, every=3))
def test_a_name_hides_its_value_in_metadata(row: Name) -> None:
    """As a key, with a list behind it, as an option among arguments, and as an object of a name and a value."""
    for name in names_of(row):
        assert holds_secret(name, VALUE), name
        given: dict[str, Any] = {
            "key": {name: VALUE},
            "list": {name: [VALUE]},
            "pair": [[name, VALUE]],
            "object": {"name": name, "value": VALUE},
            "subscript": {f"{name}[0]": VALUE, f'{name}["prod"]': VALUE, f"{name}[0][1]": VALUE},
        }
        if row in SECRETS + TOKENS and " " not in name:
            given["argv"] = ["tool", f"--{name}", VALUE, f"--{name}={VALUE}"]
        for form, metadata in given.items():
            assert not is_left(stored({form: metadata})), f"{form}: {name}"


@pytest.mark.parametrize("row", [row for row in ROWS if row.values[0] in SECRETS])
def test_a_word_is_a_secret_under_such_a_name_too(row: Name) -> None:
    """A password may be a word."""
    for name in names_of(row):
        assert WORD not in scrub(json.dumps({name: WORD}))[0], name
        assert WORD not in stored({name: WORD}), name


@pytest.mark.parametrize("row", ROWS)
def test_what_a_text_hides_is_hidden_under_a_key(row: Name) -> None:
    """The patterns of texts never take more than the check of keys: one name and one value have one answer."""
    values = (
        VALUE,
        WORD,
        "Abcdefghijklmnop1",
        "a1b2c3d4",
        "hello",
        "include",
        "/srv/app",
        "/S3cret7!x",
        "must be set",
        "x y z",
    )
    for name in names_of(row):
        for value in values:
            if scrub(json.dumps({name: value}))[1]:
                assert holds_secret(name, value), (name, value)


@pytest.mark.parametrize("row", ROWS)
def test_counts_flags_and_nothing_stay_under_every_name(row: Name) -> None:
    """In both forms."""
    for name in names_of(row):
        for value in (None, True, False, 0, 1, "", []):
            assert not holds_secret(name, value), (name, value)
            assert scrub(json.dumps({name: value}))[1] == {}, (name, value)


@pytest.mark.parametrize("word", HARMLESS)
def test_what_models_and_pages_call_tokens_stays(word: str) -> None:
    """`per_token`, but not `developer_token`, which ends with the same letters."""
    for name in (f"{word}_token", f"max_{word}_token", f"{word}Token", f"{word.upper()}_TOKEN"):
        assert not holds_secret(name, VALUE), name
        assert scrub(json.dumps({name: VALUE}))[1] == {}, name
    name = f"un{word}_token"
    assert holds_secret(name, VALUE), name
    assert scrub(json.dumps({name: VALUE}))[1] != {}, name


@pytest.mark.parametrize("row", [row for row in ROWS if row.values[0] in SECRETS + TOKENS])
@pytest.mark.parametrize("more", ["eastus", "team_a", "eu_2b"])
def test_more_words_behind_a_name_hide_what_looks_drawn(row: Name, more: str) -> None:
    """`API_KEY_EASTUS`, `api_key_team_a`: in a text and under a key; a word is none, for the name may mean another thing."""
    for name in names_of(row):
        joint = "-" if "-" in name else "_"
        if " " in name or "." in name or name.endswith("_2"):
            continue
        longer = f"{name}{joint}{more.replace('_', joint)}"
        longer = longer.upper() if name.isupper() else longer
        for text in (f"export {longer}={VALUE}", json.dumps({longer: VALUE}), f"{longer}: '{VALUE}'"):
            assert not is_left(scrub(text)[0]), text
        assert holds_secret(longer, VALUE), longer
        assert not holds_secret(longer, WORD), longer
        assert scrub(json.dumps({longer: WORD}))[1] == {}, longer
        assert holds_secret(longer, "hunter2") is (row in WORDS_OF_PASS), longer
        assert bool(scrub(json.dumps({longer: "hunter2"}))[1]) is (row in WORDS_OF_PASS), longer


@pytest.mark.parametrize("word", [word for word in PROPERTIES if not re.fullmatch(ENDING, f"_{word}")])
def test_a_property_of_a_secret_is_none(word: str) -> None:
    """`API_KEY_ID`, `secret_version`, `passwordPolicy`."""
    for name in (f"API_KEY_{word.upper()}", f"secret_{word}", f"password{word.title()}", f"api-key-{word}-a1"):
        assert not holds_secret(name, VALUE), name
        assert scrub(json.dumps({name: VALUE}))[1] == {}, name


def test_every_word_of_the_table_is_searched_for() -> None:
    """The literals of the patterns come from the table, and the first look lets each of them pass."""
    searched = {literal for pattern in PATTERNS for literal in pattern.literals}
    for rows in (SECRETS, TOKENS, BARE_TOKENS, DRAWN, HEADERS):
        assert searched.issuperset(literals_of(rows))
    for row in NAMES:
        for name in names_of(row):
            assert may_hold_secret(json.dumps({name: VALUE})), name
    assert len(NAMES) == len(set(NAMES))


@pytest.mark.parametrize(
    "spelled",
    [
        lambda name: "".join(chr(ord(one) + 0xFEE0) if "!" <= one <= "~" else one for one in name),  # full width
        "\u200b".join,
        lambda name: name[:1] + "\u00ad" + name[1:],
        lambda name: str((name,)),
        lambda name: str(("db", name)),
        lambda name: str(frozenset({name})),
    ],
    ids=["full width", "zero width spaces", "soft hyphen", "tuple", "path", "set"],
)
def test_a_name_in_other_letters_or_as_a_key_of_several_parts_announces_its_secret(
    spelled: Callable[[str], str],
) -> None:
    """As keys of the metadata may be; what is no secret's name stays."""
    for name in ("password", "api_key", "apiKey", "client_secret"):
        assert holds_secret(spelled(name), VALUE), spelled(name)
    for name in ("city", "max_tokens", "model"):
        assert not holds_secret(spelled(name), VALUE), spelled(name)
