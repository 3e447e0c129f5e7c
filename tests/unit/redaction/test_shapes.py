"""Every prefix of the table of vendors, in every surrounding; and names that only begin like a key stay."""

import base64
import json
import random
import re
import string
from collections.abc import Callable
from typing import Final

import pytest
from tests.slices import check_each

from llm_service.redaction import PATTERNS, may_hold_secret, scrub
from llm_service.redaction.key_shapes import SHAPES, Shape

PIECE: Final = 6
"""So many characters of a secret in a row are a part of it."""


def body(shape: Shape, rng: random.Random) -> str:
    """What stands behind a prefix: drawn from its alphabet, with a part of letters and digits where it wants one."""
    alphabet = [one for one in string.printable if re.fullmatch(shape.alphabet, one)]
    letters = [one for one in alphabet if one.isalnum()]
    drawn = "".join(rng.choices(letters, k=5)) + "a1" + "".join(rng.choices(letters, k=5)) + "7b"
    if shape.body == "paired":
        drawn = f"{drawn[:8]}:{drawn[8:]}"
    return drawn + "".join(rng.choices(alphabet, k=max(shape.least, 24))) + "E9"


AROUND: Final[dict[str, Callable[[str], str]]] = {
    "alone": lambda secret: secret,
    "in a sentence": lambda secret: f"Incorrect API key provided: {secret}. You can find it at",
    "in parentheses": lambda secret: f"({secret})",
    "in JSON": lambda secret: json.dumps({"error": f"bad {secret}"}),
    "in JSON within JSON": lambda secret: json.dumps({"error": json.dumps({"e": f"x\n{secret}"})}),
    "in a repr": lambda secret: repr({"key": secret}),
    "in bytes behind a quotation mark": lambda secret: repr(f"\u201c{secret}\u201d".encode()),
    "in ASCII behind a smiley": lambda secret: ascii(f"\U0001f600{secret}"),
    "in a query": lambda secret: f"https://example.com/v1?x=1&y={secret}&z=2",
    "in an encoded query": lambda secret: f"next=%2Fv1%3Fy%3D{secret}%26z",
    "in XML": lambda secret: f"<a>{secret}</a>",
    "in HTML": lambda secret: f"&quot;{secret}&quot;",
    "in colour": lambda secret: f"\x1b[31m{secret}\x1b[0m",
    "in bold colour of 256": lambda secret: f"\x1b[1;38;5;196m{secret}\x1b[m",
    "with a colour within": lambda secret: f"x {secret[:-9]}\x1b[33m{secret[-9:]}\x1b[0m y",
    "in printed colour": lambda secret: f"\\x1b[31m{secret}\\x1b[0m",
    "in colour without its escape": lambda secret: f"[1;31m{secret}[0m",
    "in a link of a terminal": lambda secret: f"\x1b]8;;https://example.com\x1b\\{secret}\x1b]8;;\x1b\\",
    "behind an underscore": lambda secret: f"key_{secret}",
    "after 64 KB": lambda secret: "word " * 13_200 + secret,
}


def is_left(secret: str, text: str) -> bool:
    """Whether a part of the secret stands in the text."""
    return any(secret[at : at + PIECE] in text for at in range(len(secret) - PIECE))


@pytest.mark.parametrize("around", AROUND.values(), ids=list(AROUND))
def test_a_key_of_every_vendor_is_replaced_wherever_it_stands(around: Callable[[str], str]) -> None:
    """Nothing of what follows the prefix is left, and scrubbing again changes nothing."""
    check_each(is_replaced, [(shape, around) for shape in SHAPES])


def is_replaced(shape: Shape, around: Callable[[str], str]) -> None:
    """Keys of a vendor in that place."""
    rng = random.Random(shape.name)
    for prefix in shape.prefixes:
        secret = body(shape, rng)
        cleaned, counts = scrub(around(prefix + secret))
        assert not is_left(secret, re.sub(r"\x1b?\[[0-9;]*m", "", cleaned)), prefix
        assert sum(counts.values()) >= 1
        assert may_hold_secret(around(prefix + secret))
        assert scrub(cleaned) == (cleaned, {})


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_the_name_is_the_vendors(shape: Shape) -> None:
    """Also where another pattern covers the same place."""
    rng = random.Random(shape.name)
    found = [scrub(f"see {prefix}{body(shape, rng)} there") for prefix in shape.prefixes]
    assert [counts for _, counts in found] == [{shape.name: 1}] * len(found)
    assert {text for text, _ in found} == {f"see [REDACTED:{shape.name}] there"}


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_what_only_begins_like_a_key_stays(shape: Shape) -> None:
    """The prefix in a sentence, masked, and as the beginning of a name of words, versions and dates."""
    for prefix in shape.prefixes:
        for rest in (
            "",
            " is a prefix",
            "...",
            "********1a2b",
            "<your-key>",
            "my-agent-name-v2",
            "support-agent-2024-11-05",
            "short1",
        ):
            assert scrub(f"see {prefix}{rest} there")[1] == {}, prefix + rest


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape.body == "letters"], ids=lambda shape: shape.name)
def test_a_name_of_words_in_capitals_behind_a_prefix_stays(shape: Shape) -> None:
    """`hf_TextGenerationPipeline` is as long as a key."""
    for prefix in shape.prefixes:
        for name in ("HandleIncomingDocuments", "loadPartsOfDocuments", "Llama3ModelLoaderFor2Agents"):
            text = f"class {prefix}{name * -(-shape.least // len(name))} failed"
            assert scrub(text) == (text, {})


@pytest.mark.parametrize("exponent", [b"\x01\x00\x01", b"\x03"])
def test_a_public_key_of_ssh_stays(exponent: bytes) -> None:
    """Its length fields are zeros, `AAAA` in Base64, and a prefix of four letters is among them by chance."""
    rng = random.Random(4)
    for size in (129, 257, 513) * 40:
        parts = (b"ssh-rsa", exponent, b"\x00" + rng.randbytes(size - 1))
        blob = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        line = f"ssh-rsa {base64.b64encode(blob).decode()} bob@host"
        assert scrub(line) == (line, {})


@pytest.mark.parametrize("before", ["/v1/tokens/", "https://api.example.com/v1/tokens/", "this+is+", "token:", "x"])
def test_a_prefix_without_a_sign_is_one_in_a_path(before: str) -> None:
    """A stroke before it is no Base64 yet."""
    drawn = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7xC0fR"
    assert scrub(f"{before}EAAA{drawn}") == (f"{before}[REDACTED:square-token]", {"square-token": 1})


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if not shape.anywhere], ids=lambda shape: shape.name)
def test_a_key_glued_to_a_word_is_found_where_it_cannot_be_a_word(shape: Shape) -> None:
    """32 letters and digits, small and large, are no part of a word; less is, such as `shelf_life` and `disk-0af3`."""
    drawn = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7xC0fR" * 3
    for prefix in shape.prefixes:
        if re.fullmatch(shape.alphabet + "+", drawn):
            assert drawn not in scrub(f"x{prefix}{drawn}")[0]
        assert scrub(f"x{prefix}0af30af30af3")[1] == {}


def test_the_table_is_one_of_data() -> None:
    """Every shape has a source, a name of its own and prefixes that no other has."""
    prefixes = [prefix for shape in SHAPES for prefix in shape.prefixes]
    assert len(set(prefixes)) == len(prefixes) >= 150
    assert len({pattern.name for pattern in PATTERNS}) == len(PATTERNS) >= 110
    assert all(re.match(r"https://[\w.-]+|gitleaks:[\w-]+|trufflehog:\w+", shape.source) for shape in SHAPES)


def test_a_key_of_four_short_parts_is_replaced() -> None:
    """Helicone's have four parts of seven small letters and digits."""
    parts = "aizk36y-5yue2my-" + "qmy5tza-n7x3aqa"
    assert scrub(f"bad key sk-helicone-{parts}, x") == ("bad key [REDACTED:helicone-key], x", {"helicone-key": 1})


def test_a_key_of_groups_of_capitals_is_replaced() -> None:
    """1Password prints six groups, and once had four; the example is the one of its manual."""
    for groups in ("ASWWYB-798JRY-LJVD4-" + "23DC2-86TVM-H43EB", "ASWWYB-798JRYLJVD4-" + "23DC2-86TVM-H43EB"):
        found = {"1password-key": 1}
        assert scrub(f"failed for A3-{groups}, x") == ("failed for [REDACTED:1password-key], x", found)
