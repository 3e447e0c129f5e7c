r"""Keys that are known by their shape: a table of prefixes, what follows each, and where that is documented.

Shapes are facts from the vendors' documentation and from the rules and detectors of two public scanners: gitleaks
(MIT), commit b58d3f1, https://github.com/gitleaks/gitleaks/blob/master/config/gitleaks.toml, and trufflehog, commit
3ab759f, https://github.com/trufflesecurity/trufflehog/tree/main/pkg/detectors. Lengths are taken shorter than they are
today: vendors change them, and a part of a secret is one too.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple, cast

from llm_service.redaction.drawn_looks import drawn
from llm_service.redaction.vendors import VENDORS

__all__ = ["GLUED", "MOST", "SHAPES", "START", "Pattern", "Shape", "patterns_of_shapes"]

MOST: Final = 65_535
"""Characters that one match takes at most; only the end of an expression may repeat so often."""
START: Final = (
    r"(?>(?<![A-Za-z0-9])|(?<=\\[nrtbf])|(?<=%[0-9A-Fa-f]{2})|(?<=\\x[0-9A-Fa-f]{2})|(?<=\\u[0-9A-Fa-f]{4})"
    r"|(?<=\\U000[0-9A-Fa-f]{5})|(?<=\\[0-3][0-7]{2}))"
)
"""A word begins here; also behind an escape of JSON, Python, C or a URL, whose last character looks like part of it."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One kind of secret.

    Attributes:
        name: stands in `[REDACTED:name]` and in `stats().redactions`.
        literals: the expression is tried where one of them occurs; words of names in lower case stand for any case. Of
            a pattern without literals the expression is searched itself.
        expression: a regular expression that begins with the literal. Where it has named groups, only the group that
            took part is replaced.
        source: where the shape is documented.
        before: the expression begins so many characters before the literal.
        by_shape: it is known by what it looks like, not by the name that stands before it.
    """

    name: str
    literals: tuple[str, ...]
    expression: str
    source: str
    before: int = 0
    by_shape: bool = False

    def match(self, text: str, position: int) -> tuple[int, int] | None:
        """Begin and end of the secret announced at this position, or None; what stands before it is looked at too."""
        start = position - self.before
        found = None if start < 0 else compiled(self.expression).match(text, start)
        return None if found is None else found.span(found.lastgroup or 0)


@lru_cache(maxsize=512)
def compiled(expression: str) -> re.Pattern[str]:
    """Compiled on first use: 0.2 to 1 ms each, and only those that are met are paid for."""
    return re.compile(expression)


Body = Literal["letters", "hex", "base64", "parts", "dotted", "numbered", "dashed", "grouped", "paired"]
"""What follows a prefix.

- `letters`: letters and digits, not all of them small letters, and no name of words that each begin with a capital.
- `hex`: hexadecimal digits.
- `parts`: letters and digits with `-` and `_` anywhere. One part has both, or all of it is no name: see `drawn_looks`.
- `base64`, `dotted`: as `parts`, with `+/=`, or with dots and `=`.
- `numbered`: as `parts`, or one part is a long number.
- `dashed`: as `parts`, or four parts of seven small letters and digits.
- `grouped`: as `parts`, or five parts and more of capitals and digits, five or more of them in each.
- `paired`: letters and digits, a colon, and more of them, not all small letters.
"""

# Looks ahead are bounded and take nothing back: see the test of what a failing attempt may cost.
_NO_WORD: Final = "[A-Za-z0-9]{32}"
"""So many letters without a break are a word of no language."""
_NOT_SMALL: Final = rf"(?=[a-z_-]{{0,64}}+[A-Z0-9+/=]|{_NO_WORD})"
# `HandleIncomingDocuments`, `Llama3ModelLoader`: of 20 letters and digits drawn one in 10,000 looks so.
_NO_NAME: Final = (
    "(?!(?=[A-Za-z0-9]{16})(?:[a-z]{3,24}+[0-9]{0,2}+)?+"
    "(?:(?>(?:Of|To|In|On|By|At|Or|Id|An|No)(?![a-z])|[A-Z][a-z]{2,24}+)[0-9]{0,2}+){1,24}+(?![A-Za-z0-9]))"
)
_MIXED_8: Final = r"(?=[A-Za-z]{0,64}+[0-9])(?=[0-9]{0,64}+[A-Za-z])[A-Za-z0-9]{8}"
_MIXED_PART: Final = rf"(?=(?:[A-Za-z0-9]{{0,64}}+[._+/=-]{{1,2}}+){{0,12}}?(?:{_MIXED_8}|{_NO_WORD}))"
_NUMBER_PART: Final = r"(?=(?:[A-Za-z0-9]{0,64}+-){0,4}?[0-9]{10})"
_BODIES: Final[dict[Body, tuple[str, str]]] = {
    "letters": (_NO_NAME + _NOT_SMALL, "[A-Za-z0-9]"),
    "hex": ("(?=[a-fA-F]{0,64}+[0-9])", "[0-9a-fA-F]"),
    "base64": (f"(?:{_MIXED_PART}|{drawn('+/=_-')})", "[A-Za-z0-9+/=_-]"),
    "parts": (f"(?:{_MIXED_PART}|{drawn('_-')})", "[A-Za-z0-9_-]"),
    "dotted": (f"(?:{_MIXED_PART}|{drawn('_.=-')})", "[A-Za-z0-9_.=-]"),
    "dashed": (
        f"(?:{_MIXED_PART}|{drawn('_-')}|(?=(?:[a-z0-9]{{7}}-){{3}}[a-z0-9]{{7}}(?![a-z0-9])))",
        "[A-Za-z0-9_-]",
    ),
    "grouped": (f"(?:{_MIXED_PART}|{drawn('_-')}|(?=(?:[A-Z0-9]{{5,12}}+-){{4}}[A-Z0-9]{{5}}))", "[A-Za-z0-9_-]"),
    "paired": ("(?=[A-Za-z0-9]{6,16}+:[a-z]{0,15}+[A-Z0-9])", "[A-Za-z0-9:]"),
    "numbered": (f"(?:{_MIXED_PART}|{drawn('-')}|{_NUMBER_PART})", "[A-Za-z0-9-]"),
}
# Glued to the end of another word, a prefix of two or three letters is one only before what cannot be a word.
GLUED: Final = r"(?=[a-z0-9]{0,32}+[A-Z])(?=[A-Z0-9]{0,32}+[a-z])(?=[A-Za-z]{0,32}+[0-9])(?=[A-Za-z0-9]{32})"

# Of letters and digits alone, it also comes up by chance in what is long and in Base64, such as a public key of SSH;
# there `+` and `/` begin no word, though in a path they do.
_NO_BASE64: Final = "(?<![A-Za-z0-9+/]{12})"
_NO_LONG_BASE64: Final = "(?<!(?=[^A-Z]{0,39}+[A-Z])(?=[^0-9]{0,39}+[0-9])[A-Za-z0-9+/]{40})"


class Shape(NamedTuple):
    """Prefixes of one vendor, with at least `least` characters of a kind behind them.

    Attributes:
        anywhere: the prefix is long enough to be looked for within words too.
    """

    name: str
    prefixes: tuple[str, ...]
    body: Body
    least: int
    source: str
    anywhere: bool = False

    @property
    def alphabet(self) -> str:
        """The characters behind the prefix, as a set of a regular expression."""
        return _BODIES[self.body][1]

    @property
    def literals(self) -> tuple[str, ...]:
        """The prefixes, each up to its last sign: a text is searched for them where signs are."""
        return tuple(dict.fromkeys(_UP_TO_SIGN.match(prefix)[0] for prefix in self.prefixes))  # type: ignore[index]

    def expression(self) -> str:
        """The regular expression that finds it."""
        look, alphabet = _BODIES[self.body]
        prefixes = "|".join(map(re.escape, self.prefixes))
        begin = f"(?:{prefixes})"
        if not self.anywhere:
            begin = f"(?:{START}{_any_of(self.prefixes, _NO_LONG_BASE64)}|{_any_of(self.prefixes, _NO_BASE64)}{GLUED})"
        return rf"{begin}{look}{alphabet}{{{self.least},{MOST}}}+"


def _any_of(prefixes: tuple[str, ...], before: str) -> str:
    """One of the prefixes, and before those of letters and digits alone what `before` looks for."""
    return f"(?:{'|'.join((before if prefix.isalnum() else '') + re.escape(prefix) for prefix in prefixes)})"


_UP_TO_SIGN: Final = re.compile(r".{2,}[._~-]|.+")


def _read(table: str) -> tuple[Shape, ...]:
    shapes: dict[str, Shape] = {}
    for name, body, least, where, prefixes, source in map(str.split, table.strip().splitlines()):
        before = shapes[name].prefixes if name in shapes else ()
        shapes[name] = Shape(
            name,
            (*before, *prefixes.split(",")),
            cast("Body", body),
            int(least),
            source if ":" in source else f"https://{source}",
            where == "anywhere",
        )
    return tuple(shapes.values())


SHAPES: Final = _read(VENDORS)


def patterns_of_shapes() -> tuple[Pattern, ...]:
    """The table as patterns, in its order."""
    return tuple(
        Pattern(shape.name, shape.literals, shape.expression(), shape.source, by_shape=True) for shape in SHAPES
    )
