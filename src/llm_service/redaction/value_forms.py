r"""What stands behind a name in text: the signs between them, and values that are no words, placeholders or code.

Only the end of an expression repeats without a small bound, and nothing behind it can fail: see `patterns`.
"""

from typing import Final

from llm_service.redaction.key_shapes import MOST
from llm_service.redaction.secret_names import SPOKEN

__all__ = [
    "ANY_QUOTED",
    "ATTRIBUTE",
    "BARE",
    "COLON",
    "COOKIE_QUOTED",
    "DIGIT",
    "ENCODED",
    "EQUALS",
    "HEADER",
    "MARKED_PAIR",
    "NESTED",
    "NESTED_QUOTED",
    "NOT_AGAIN",
    "NO_VALUE",
    "PAIR",
    "RANDOM",
    "RANDOM_QUOTED",
    "REST",
    "SPACED",
    "STRANGE",
    "STRANGE_QUOTED",
    "TOKEN_XML",
    "VALUE",
    "WORDS",
    "WORD_ENDS",
    "XML",
]

NOT_AGAIN: Final = r"(?!\[REDACTED:)"
VALUE: Final = r"""[^\s"'`,;<>&]"""
# Looks drawn at random rather than written: a digit, a change of case within, a sign of Base64; or it is simply long.
RANDOM: Final = rf"(?:(?=(?:(?![a-z][A-Z]){VALUE}(?<![0-9+/=~])){{0,64}}+(?:[a-z][A-Z]|[0-9+/=~]))|(?={VALUE}{{20}}))"
# Cannot be a word, the name of a variable or a number: letters between digits, or small, large and digits together.
DIGIT: Final = rf"(?=(?:(?![0-9]){VALUE}){{0,64}}+[0-9])"
STRANGE: Final = (
    rf"(?:(?=(?:(?![0-9]){VALUE}){{0,64}}+[0-9](?:(?![A-Za-z]){VALUE}){{0,16}}+[A-Za-z](?:(?![0-9]){VALUE}){{0,64}}+[0-9])"
    rf"|{DIGIT}(?=(?:(?![A-Z]){VALUE}){{0,64}}+[A-Z])(?=(?:(?![a-z]){VALUE}){{0,64}}+[a-z])(?={VALUE}{{16}}))"
)
# What stands behind `password:` or `api_key=` in messages, and in source code that a traceback quotes.
WORDS: Final = (
    "none|null|nil|raise|return|else|then|secretstr|true|false|undefined|required|missing|invalid|empty|expired|incorrect|wrong|unknown|unset|not|str"
    "|string|bytes|int|must|is|was|are|has|the|a|an|no|field|value|set|provided|optional|given|denied|rejected|revoked"
    "|mismatch|failed|error|input|please|cannot|could|should|may|if|and|or|for|to|of|in|from|unauthorized|forbidden"
    "|disabled|mandatory|needed|absent|supplied|expected|got|check|your|user|password|passwd|pwd|passphrase|api_key|token|secret"
    "|name|id|key|option|flag|argument|file|redacted|masked|hidden|placeholder|changeme|include|same-origin|omit|x{2,32}"
)
# Such a word alone, not one with which a password begins.
CLOSES: Final = r"""\\{0,3}+["'`](?![A-Za-z0-9]{3})"""  # not one within a value
WORD_ENDS: Final = rf"""(?=[\s,;:<>(){{}}\[\]=&#]|{CLOSES}|\\(?!\\{{0,2}}+["'`])|\.?(?:\s|\Z))"""
MARK: Final = r"(?:quot|apos|#0{0,4}+(?:34|39)|#[xX]0{0,4}+(?:22|27));"
"""A quote as an entity of HTML; a browser takes it in decimal and in hexadecimal digits."""
CODED: Final = r"\\{1,16}+(?:u00|x)2[27]"
NO_VALUE: Final = (
    rf"(?!(?i:{WORDS}){WORD_ENDS}|(?:self|cls|os|settings|config|cfg|env|environ|args|kwargs|options|params)[.\[(]"
    r"|[A-Za-z_.]{1,80}+[(\[]|[a-z]{2,10}+://|~?\.{0,2}/(?:run|etc|var|home|usr|opt|tmp|root|mnt|app|Users)/"
    r"|\$(?:[A-Z_][A-Z0-9_]{0,63}+|[a-z_]{1,64}+|[0-9@*#?!-])(?![\w!-])|\$[({]|%(?:\([\w.]{1,64}+\))?[sdrxif](?!\w)"
    r"|\*{1,64}+(?![\w!])|\.{2,3}|(?i:your[-_])|x{4,64}+(?!\w))"
)
BARE: Final = r"""[^\s"'`&,;<>=(){}\[\]|\\.]"""
# A sign that parts values is a part of one where no space and no next name follows.
REST: Final = (
    rf"{VALUE}{{0,{MOST}}}+(?:(?:[,;&](?![\w.-]{{0,64}}+[=:]|(?:quot|amp|apos|lt|gt|#[0-9x]);|[\s\"'`\\,;&<>)\]}}]|\Z)"
    rf"|[\"'`<](?=[A-Za-z0-9]{{3}})){VALUE}{{0,{MOST}}}+){{0,64}}+"
)
QUOTES: Final = rf"""(?>&{MARK}|{CODED}|(?:["'`*]|\\(?!u00|x2|[nrt])){{0,16}}+)"""
SPACE: Final = r"(?:\s|\\[nrt]){0,32}+"
EQUALS: Final = rf"{QUOTES}\]?+{SPACE}(?>={{2,3}}(?={SPACE}[\"']{{0,2}}+{STRANGE})|=>?|->|\\u003[dD]|%3[dD]){SPACE}"
COLON: Final = (
    rf"{QUOTES}{SPACE}(?>:=?|%3[aA](?:%20|\+)?+|(?:(?<=\n)|(?<=  ))value[\"']?+:)\*{{0,2}}+{SPACE}"
    r"(?:[|>][+-]?\s{1,32}+)?+"
)
MARKED_PAIR: Final = rf"""["'\\]{{1,16}}+{SPACE},{SPACE}["'\\]{{0,16}}+(?i:value)["'\\]{{0,16}}+{SPACE}:{SPACE}"""
# Two texts side by side may as well be the names of two fields, or a value and the next key. So the second of a pair
# looks drawn, is no name of a model (`gpt-4o-2024`), and no colon follows it.
PIECE: Final = "(?:[a-z]{1,16}+[0-9]{0,2}+|[0-9]{1,8}+[a-z]?+)"
PAIR: Final = (
    rf"""["'\\]{{1,16}}+{SPACE},{SPACE}(?!["'\\]{{0,16}}+[^"'\\\n]{{0,128}}+["'\\]{{1,4}}+\s{{0,8}}+:)"""
    rf"""(?=b?+["'\\]{{1,16}}+(?!{PIECE}(?:[-_.]{PIECE}){{1,8}}+["'\\])(?:[A-Za-z-]{{1,24}}+:?\s)?+{STRANGE})"""
)
HEADER: Final = rf"""(?>{QUOTES}{SPACE}[:=]|{MARKED_PAIR}|{PAIR}){SPACE}(?:b(?=["']))?+"""  # also a printed pair


def _quoted(test: str, mark: str = "") -> str:
    """A value in quotes, to their end, to the end of the line, or to the end of a text that was cut."""
    return (
        rf"""(?:[bruf]{{1,2}}+(?=["']))?+(?:\\{{1,16}}+["'](?P<escaped{mark}>{test}(?:[^"'\\\n]|\\{{1,16}}+[^"'\\]){{1,{MOST}}}+)"""
        rf"""|"(?P<double{mark}>{test}(?:[^"\\\n]|\\[^\n]){{1,{MOST}}}+)"""
        rf"""|'(?P<single{mark}>{test}(?:[^'\\\n]|\\[^\n]){{1,{MOST}}}+)"""
        rf"""|`(?P<tick{mark}>{test}[^`\n]{{1,{MOST}}}+)"""
        rf"""|&{MARK}(?P<entity{mark}>{test}(?:[^&\n]|&(?!{MARK})){{1,{MOST}}}+)"""
        rf"""|{CODED}(?P<coded{mark}>{test}(?:[^\\\n]|\\(?!\\{{0,15}}+(?:u00|x)2[27])){{1,{MOST}}}+))"""
    )


NO_QUOTED: Final = (
    r"""(?![\s}\]),:;]{1,16}+(?:["'`\\]|\Z))"""  # the quotes close what the name stands in
    rf"""(?!(?:(?i:{WORDS})|\*{{1,64}}+|[\w-]{{0,16}}+\.{{3}}|{SPOKEN}[^"'`\\]{{0,256}}+|<[^<>"']{{0,64}}+>"""
    rf"""|\{{{{0,2}}[^{{}}"']{{0,64}}+\}}{{1,2}}|\$\{{[^{{}}"']{{0,64}}+\}})(?:{CLOSES}|\\(?!\\{{0,2}}+["'`])))"""
)
ANY_QUOTED: Final = _quoted(rf"{NOT_AGAIN}{NO_QUOTED}")
RANDOM_QUOTED: Final = _quoted(rf"{NOT_AGAIN}{RANDOM}(?={VALUE}{{8}})")
DRAWN: Final = rf"{NOT_AGAIN}{STRANGE}(?={VALUE}{{8}})"
STRANGE_QUOTED: Final = _quoted(DRAWN, "_strange")
CONTENT: Final = r"(?:(?!\]\]>)[^\s<>&]|&(?!lt;))"
WITHIN: Final = rf"{CONTENT}{{1,512}}+(?:[ \t\n]{{1,32}}+{CONTENT}{{1,512}}+){{0,8}}+"
NESTED: Final = (
    rf"""{COLON}(?:[\[{{]\s{{0,32}}+){{1,4}}+(?:["'\\]{{1,16}}+[\w-]{{1,32}}+["'\\]{{1,16}}+\s{{0,8}}+:\s{{0,8}}+)?+"""
)
NESTED_QUOTED: Final = _quoted(DRAWN, "_nested")
COOKIE_QUOTED: Final = _quoted(rf"{DRAWN}(?={VALUE}{{16}})")
XML: Final = (
    r"(?:</(?i:key|name)>\s{0,32}+<(?i:string|value)|\s[^<>]{0,256}+)?+(?>>|&gt;|\\u003[eE])\s{0,32}+(?:<!\[CDATA\[)?+"
    rf"(?:(?P<element>{NOT_AGAIN}{NO_VALUE}(?![\"'`}}\])=,;]){WITHIN})(?=\s{{0,32}}+(?:</|&lt;/|\\u003[cC]|\]\]>))"
    rf"|(?P<cut>{NOT_AGAIN}(?>{STRANGE}){CONTENT}{{1,512}}+)(?=\s{{0,32}}+\Z))"
)
TOKEN_XML: Final = rf"(?:>|&gt;)\s{{0,32}}+(?P<content>{NOT_AGAIN}{STRANGE}(?={VALUE}{{8}}){VALUE}{{8,{MOST}}}+)"
SPACED: Final = (
    r"(?:\s{0,4}+\|\s{0,4}+|\s{1,4}+(?:is\s{1,4}+|was\s{1,4}+)?+)[\"'`]?+"
    rf"(?P<spaced>{NOT_AGAIN}{NO_VALUE}{STRANGE}(?={VALUE}{{12}}){BARE}{REST})"
)
ATTRIBUTE: Final = r"""["']\s{1,32}+(?i:value)\s{0,8}+=\s{0,8}+(?=["'])"""
ENCODED: Final = (
    r"(?:%5[cC]){0,8}+(?:%2[27])?+(?:%20|\+)?+%3[aAdD](?:%20|\+)?+(?:%5[cC]){0,8}+(?:%2[27])?+"
    rf"(?P<encoded>{NOT_AGAIN}{NO_VALUE}(?:[^\s\"'`,;<>&%]|%(?!2[267cC]|5[cC]|7[dD]|0[aA])[0-9A-Fa-f]{{2}}){{1,{MOST}}}+)"
)
