"""No text costs more than its length: what a failing attempt may cost is computed from each expression, calls are counted.

An attempt at one place costs a bounded number of steps, or it takes what it read, and nothing is taken twice. So the
whole costs the length times a constant. Times are not compared: steps are.
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any, Final

import pytest

from llm_service.redaction import PATTERNS, clean, holds_secret, may_hold_secret, scrub, scrubbing, stored_name
from llm_service.redaction import secret_names as redaction_keys
from llm_service.redaction.key_shapes import MOST
from llm_service.telemetry import InvocationRecord
from llm_service.telemetry.privacy import Redactor
from llm_service.telemetry.privacy.nested import clean_json

OP: Final[Any] = _constants
REPEATS: Final = (OP.MAX_REPEAT, OP.MIN_REPEAT, OP.POSSESSIVE_REPEAT)
SINGLE: Final = (OP.LITERAL, OP.NOT_LITERAL, OP.ANY, OP.IN, OP.AT, OP.GROUPREF)
SMALL: Final = 2048
"""A repeat of no more is a part of the constant."""
MOST_STEPS: Final = 600_000
"""Counted as if every branch and every repeat were tried to its end at one place, which no text does."""


def can_fail(op: Any, value: Any) -> bool:
    """Whether this part of an expression may not match."""
    if op in REPEATS:
        return bool(value[0] > 0)
    if op is OP.SUBPATTERN:
        return any(can_fail(*part) for part in value[3])
    if op is OP.ATOMIC_GROUP:
        return any(can_fail(*part) for part in value)
    if op is OP.BRANCH:
        return all(any(can_fail(*part) for part in branch) for branch in value[1])
    return True


def cost(parts: Iterable[Any], *, last: bool) -> tuple[int, int]:
    """At most so many steps to try these parts at one place, and in so many ways they may match there.

    Args:
        parts: as the parser of `re` gives them.
        last: whether nothing behind them can fail. Only there may a repeat go without a small bound: it takes what it
            reads, so its steps are those of the text that no other attempt looks at again.
    """
    steps, ways = 1, 1
    listed = list(parts)
    for at, (op, value) in enumerate(listed):
        is_last = last and not any(can_fail(*part) for part in listed[at + 1 :])
        own, own_ways = cost_of(op, value, last=is_last)
        steps += ways * own
        ways *= own_ways
    return steps, ways


def cost_of(op: Any, value: Any, *, last: bool) -> tuple[int, int]:
    """As `cost`, of one part."""
    if op in SINGLE:
        return 1, 1
    if op is OP.SUBPATTERN:
        return cost(value[3], last=last)
    if op in (OP.ATOMIC_GROUP, OP.ASSERT, OP.ASSERT_NOT):
        within, is_last = (value, last) if op is OP.ATOMIC_GROUP else (value[1], False)
        return cost(within, last=is_last)[0], 1
    if op is OP.BRANCH:
        each = [cost(branch, last=last) for branch in value[1]]
        return sum(steps for steps, _ in each), sum(ways for _, ways in each)
    assert op in REPEATS, op
    least, most, body = value
    possessive = op is OP.POSSESSIVE_REPEAT
    steps, ways = cost(body, last=last and possessive)
    if most > SMALL:
        assert last, "a repeat without a small bound stands where something behind it can fail"
        assert possessive, "a repeat without a small bound gives back what it took"
        most = least
    if possessive:
        return most * steps, 1
    return most * steps * ways ** min(most, 32), (most - least + 1) * ways ** min(most, 32)


def expressions() -> list[tuple[str, str]]:
    """Every expression of the package: of the patterns, and of the functions around them."""
    found = [(pattern.name, pattern.expression) for pattern in PATTERNS]
    for module in (scrubbing, redaction_keys):
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern):
                found.append((name, value.pattern))
            elif isinstance(value, str) and name.isupper() and "{0," in value:
                found.append((name, value))
    return found


@pytest.mark.parametrize(("name", "expression"), expressions(), ids=[name for name, _ in expressions()])
def test_an_attempt_costs_bounded_steps_or_takes_what_it_reads(name: str, expression: str) -> None:
    """A repeat without a small bound stands at the end only, and never gives back."""
    steps, _ = cost(_parser.parse(expression), last=True)
    assert steps <= MOST_STEPS, name


@pytest.mark.parametrize(
    ("expression", "why"),
    [(r"eyJ[\w-]{12,65535}+\.", "behind it can fail"), (r"a(?=b{0,65535}+c)", "behind it can fail"), (r"ab{1,65535}", "gives back")],
)  # fmt: skip
def test_the_measure_finds_what_is_quadratic(expression: str, why: str) -> None:
    """Each of these reads the rest of a text again wherever its beginning stands."""
    with pytest.raises(AssertionError, match=why):
        cost(_parser.parse(expression), last=True)
    assert cost(_parser.parse("(?:a{1,30}b{1,30}){1,3}c"), last=True)[0] > MOST_STEPS


class Attempts:
    """Counts what an attempt of a pattern takes, and how often one is made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made = self.taken = 0
        real = PATTERNS[0].__class__.match

        def match(pattern: Any, text: str, position: int) -> tuple[int, int] | None:
            found = real(pattern, text, position)
            self.made += 1
            self.taken += 0 if found is None else found[1] - position
            return found

        monkeypatch.setattr(PATTERNS[0].__class__, "match", match)

    def of(self, text: str) -> tuple[int, int]:
        """Attempts, and characters they took, of one text."""
        self.made = self.taken = 0
        scrub(text)
        return self.made, self.taken


def hostile() -> list[str]:
    """Pieces that announce a secret again and again: each literal, alone and with what goes on with it."""
    literals = sorted({literal for pattern in PATTERNS for literal in pattern.literals})
    return [literal + rest for literal in literals for rest in ("", "=a1B2c3D4", "_", ': "')]


@pytest.mark.slow
def test_every_literal_repeated_is_tried_as_often_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the text is at most twice the attempts, and what they take overlaps by a bounded stretch only."""
    attempts = Attempts(monkeypatch)
    for piece in hostile():
        once, twice = (piece * (size // len(piece)) for size in (1024, 2048))
        made, _ = attempts.of(once)
        again, taken = attempts.of(twice)
        assert again <= 2 * made + 64, piece
        # each pattern may take all of the text, and what was glued to its end once more
        assert taken <= 8 * len(twice) + 64 * MOST, piece


def calls(function: Callable[[], object]) -> int:
    """Calls of Python and of C that a function makes."""
    counted = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
    return counted


def colliding(size: int) -> dict[str, Any]:
    """Keys that redaction makes the same."""
    return {f"sk-ant-api03-a1B2c3D4{number:06d}": 1 for number in range(size)}


GROWING: Final[dict[str, Callable[[int], Callable[[], object]]]] = {
    "keys that become the same": lambda size: lambda: Redactor().records([InvocationRecord(metadata=colliding(size))], Counter()),
    "keys that look like those made of them": lambda size: lambda: clean_json(
        json.dumps({f"[REDACTED:anthropic-key]#{number}": 1 for number in range(size)} | colliding(size)), lambda text, _: scrub(text)[0], Counter()
    ),
    "texts in a list": lambda size: lambda: clean_json(json.dumps(["password=a1"] * size), lambda text, _: scrub(text)[0], Counter()),
    "pairs of headers": lambda size: lambda: clean_json(json.dumps([["Authorization", "x"]] * size), lambda text, _: text, Counter()),
    "secrets in a text": lambda size: lambda: scrub("password=a1B2c3 " * size),
    "secrets in colours": lambda size: lambda: scrub("\x1b[31mpassword=\x1b[0ma1B2c3 " * size),
    "escapes alone": lambda size: lambda: scrub("\x1b[" * size * 8),
    "signs alone": lambda size: lambda: may_hold_secret("a-b_c.d=" * size),
    "a long word": lambda size: lambda: clean("a" * size * 64),
    "a name of separators": lambda size: lambda: holds_secret("_-. " * size + "password"),
    "a name of names": lambda size: lambda: holds_secret("token_" * size, "x1"),
    "a name for a filter": lambda size: lambda: stored_name("sk-ant-api03-a1B2c3D4 " * size),
    "a nested value": lambda size: lambda: clean_json("[" * size + '"password=a1"' + "]" * size, lambda text, _: scrub(text)[0], Counter()),
    "prompts": lambda size: lambda: Redactor("full").content(
        InvocationRecord(prompt="token=a1b2c3d4e5 " * size, response="x-api-key: a1b2c3 " * size), Counter()
    ),
}  # fmt: skip


@pytest.mark.parametrize("grown", GROWING.values(), ids=list(GROWING))
def test_twice_the_input_takes_at_most_twice_the_calls(grown: Callable[[int], Callable[[], object]]) -> None:
    """Whatever models or users write: keys, values, names, contents."""
    small, large = grown(400), grown(800)
    small(), large()  # what is compiled on first use is
    assert calls(large) <= 2.2 * calls(small) + 200
