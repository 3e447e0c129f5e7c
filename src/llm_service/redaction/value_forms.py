r"""What stands behind a name in text: the signs between them, and values that are no words, placeholders or code.

Only the end of an expression repeats without a small bound, and nothing behind it can fail: see `patterns`.
"""

from typing import Final

from llm_service.redaction.drawn_looks import MIXED_CASE
from llm_service.redaction.key_shapes import MOST

__all__ = [
    "ANY_QUOTED",
    "ATTRIBUTE",
    "BARE",
    "CODE",
    "COLON",
    "COOKIE_QUOTED",
    "DIGIT",
    "DIRECTORY",
    "DRAWN_VALUE",
    "ENCODED",
    "EQUALS",
    "ESCAPED",
    "FILE",
    "HEADER",
    "ITEM_QUOTED",
    "MARKED_PAIR",
    "NESTED_VALUE",
    "NEXT_ITEM",
    "NOT_AGAIN",
    "NOT_A_TIME",
    "NOT_IN_URL",
    "NO_VALUE",
    "OPENED",
    "OPTION_QUOTED",
    "PAIR",
    "PATH",
    "QUOTE",
    "RANDOM",
    "RANDOM_QUOTED",
    "REST",
    "SPACED",
    "SPOKEN",
    "STRANGE",
    "STRANGE_QUOTED",
    "SUFFIXED_KEY",
    "SUFFIXED_WORD",
    "TABLED",
    "TOKEN_XML",
    "VALUE",
    "WORDS",
    "WORD_ENDS",
    "XML",
    "YAML_LIST",
]

_ENDS: Final = r"""(?![^\s"'`\\,;:)}\]])"""
DIRECTORY: Final = rf"(?:[A-Za-z]:[/\\]|~(?:/|{_ENDS})|\.{{0,2}}/(?:[\w.@~-]{{1,64}}+/|[a-z]{{0,32}}+{_ENDS}))"
"""A path as the shell's `PWD` holds it; not a password that begins with a stroke."""
# A text that speaks of a field is none that belongs into it: `{"password": "must be at least 8 characters"}`.
SPOKEN: Final = (
    r"(?>(?i:must|is|was|are|should|cannot|could|may|has|needs?|field|value|invalid|incorrect|wrong|missing|required|expired|too"
    r"|at\sleast|not|please|string|input|unknown|(?:this|the|your|no)\s(?:field|value|password|key|token|secret|api)"
    r"|boolean|whether|indicat(?:es|ing)|specif(?:y|ies)|determines|describes|denotes"
    r"|(?:an?\s)?+(?:password|passphrase|credentials|token|(?:api|access|secret|private)\skey)\s(?:of|for|to|used|that|which))\s)"
)
NOT_AGAIN: Final = r"(?!\[REDACTED:)"
VALUE: Final = r"""[^\s"'`,;<>&]"""
# Looks drawn at random rather than written: a digit, a change of case within, a sign of Base64; or it is simply long.
RANDOM: Final = rf"(?:(?=(?:(?![a-z][A-Z]){VALUE}(?<![0-9+/=~])){{0,64}}+(?:[a-z][A-Z]|[0-9+/=~]))|(?={VALUE}{{20}}))"
# Cannot be a word, the name of a variable or a number: letters between digits, or small, large and digits together; or
# letters that are no name, for a draw may lack a digit.
DIGIT: Final = rf"(?=(?:(?![0-9]){VALUE}){{0,64}}+[0-9])"
STRANGE: Final = (
    rf"(?>(?=(?:(?![0-9]){VALUE}){{0,64}}+[0-9](?:(?![A-Za-z]){VALUE}){{0,16}}+[A-Za-z](?:(?![0-9]){VALUE}){{0,64}}+[0-9])"
    rf"|{DIGIT}(?=(?:(?![A-Z]){VALUE}){{0,64}}+[A-Z])(?=(?:(?![a-z]){VALUE}){{0,64}}+[a-z])(?={VALUE}{{16}})"
    rf"|{MIXED_CASE})"
)
NOT_A_TIME: Final = (
    r"(?![0-9]{4}-[0-9]{2}-[0-9]{2}(?:[Tt_ ][0-9:.,]{2,18}+(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})?+)?+(?![\w.:+-]))"
)
"""Dates and times of ISO 8601 are no tokens."""
_EXTENSIONS: Final = (
    r"(?<=\.(?i:pem|key|crt|cer|der|p12|pfx|jks|ppk|pub|asc|gpg|txt|env|ini|cfg|yml|csv))"
    r"|(?<=\.(?i:json|yaml|toml|conf))"
)
FILE: Final = (
    rf"(?:(?=[^\s/\\]{{0,64}}+[/\\])[\w.@~+:/\\-]{{1,256}}+(?:{_EXTENSIONS}){_ENDS}"
    rf"|(?>~|\.{{1,2}})/(?!{STRANGE})[\w.@~+/-]{{1,256}}+{_ENDS})"
)
"""A path to a file of keys or settings: what is in it is the secret."""
_STEPS: Final = r"[\w.@~-]{1,64}+"
PATH: Final = (
    rf"(?:(?:~|\.{{1,2}})/[\w.@~+/-]{{0,256}}+{_ENDS}|[A-Za-z]:[/\\][\w.@~+/\\-]{{1,256}}+|{FILE}|{_STEPS}(?:(?<=\.(?:pem|crt|p12|pfx|jks))|(?<=\.json)){_ENDS}"
    rf"|(?!{STRANGE})/?(?:{_STEPS}/){{1,16}}+(?:{_STEPS})?+{_ENDS})"
)
"""Any path, where an option may as well name a file: `--key certs/server`."""
# What stands behind `password:` or `api_key=` in messages, and in source code that a traceback quotes.
WORDS: Final = (
    "none|null|nil|raise|return|else|then|secretstr|true|false|undefined|required|missing|invalid|empty|expired|incorrect|wrong|unknown|unset|not|str"
    "|string|bytes|int|must|is|was|are|has|the|a|an|no|field|value|set|provided|optional|given|denied|rejected|revoked"
    "|await|new|yield|lambda|async|function|mismatch|failed|error|input|please|cannot|could|should|may|if|and|or|for|to|of|in|from|unauthorized|forbidden"
    "|disabled|mandatory|needed|absent|supplied|expected|got|check|your|user|password|passwd|pwd|passphrase|api_key|token|secret"
    "|name|id|key|option|flag|argument|file|redacted|masked|hidden|placeholder|changeme|include|same-origin|omit|x{2,32}"
)
# Such a word alone, not one with which a password begins.
CLOSES: Final = r"""\\{0,3}+["'`](?![A-Za-z0-9]{3})"""  # not one within a value
WORD_ENDS: Final = rf"""(?=[\s,;:<>(){{}}\[\]=&#]|{CLOSES}|\\(?!\\{{0,2}}+["'`])|\.?(?:\s|\Z))"""
MARK: Final = r"(?:quot|apos|#0{0,4}+(?:34|39)|#[xX]0{0,4}+(?:22|27));"
"""A quote as an entity of HTML; a browser takes it in decimal and in hexadecimal digits."""
CODED: Final = r"\\{1,16}+(?:u00|x)2[27]"
MASKED: Final = (
    r"(?:[A-Za-z]{1,8}+[-_]){0,2}?(?:[xX]{4,24}+(?!\w)|(?i:your[-_]))"
    r"|(?:sk|[pr]k|hf|gsk|gh[a-z]|xai|pplx|nvapi|tvly|glpat)[-_](?:[a-z]{2,8}+[0-9]{0,2}+[-_]){0,2}+\.{3}(?!\w)"
)
"""Stands in the place of a key, also behind its prefix: `hf_xxxxxxxx`, `sk-your-key`, `sk-ant-...`."""
_CAPITALS: Final = "[A-Z_][A-Z0-9_]{0,32}+"
_VARIABLE: Final = rf"(?:\$(?:{_CAPITALS}|(?i:env):\w{{1,16}}+)|%{_CAPITALS}%)"
"""What a shell puts the value in the place of. In small letters (`$name`) a password may look so, too."""
_BOUND: Final = (
    rf"(?:\?[0-9]{{0,3}}+|[:@](?:[A-Za-z_]{{1,32}}+|[A-Za-z]{{1,3}}+[0-9]{{1,2}}+)|:[0-9]{{1,3}}+){_ENDS}|[#@]\{{"
)
"""Where a statement of SQL binds a value: `?`, `?1`, `:password`, `@p1`, `#{password}`."""
_PACKAGE: Final = (
    r"[0-9][\w.+~%-]{1,64}+"
    r"(?:(?<=\.(?:deb|rpm))|(?<=\.udeb)|(?<=\.(?:x86_64|noarch))|(?<=\.aarch64)|(?<=_(?:amd64|arm64)))(?![\w-])"
)
"""Version and architecture behind the epoch of a package: `passwd_1%3a4.8.1-1_amd64.deb`, `passwd-0:0.80-12.x86_64`."""
_CALL: Final = r"[A-Za-z_]\w{2,32}+\([\w\s\"'.,=\[\]*]{0,64}+\)(?![\w!@#$%^*])"
"""As `sha256(raw)`: source code."""
NO_VALUE: Final = (
    rf"(?!(?i:{WORDS}){WORD_ENDS}|(?:self|cls|os|settings|config|cfg|env|environ|args|kwargs|options|params)[.\[(]"
    r"|(?:[A-Za-z_.]|::){3,80}+[(\[]|[A-Za-z_]{1,2}+[(\[][\"']?\w{0,32}+[\"']?[)\]](?![\w!@#$%^*])|[A-Za-z_]\w{0,32}+(?:\.[A-Za-z_]\w{0,32}+){1,3}\(|[a-z]{2,10}+://|~?\.{0,2}/(?:run|etc|var|home|usr|opt|tmp|root|mnt|app|Users)/"
    rf"|(?:{_VARIABLE}|\$[a-z_]{{1,64}}+)(?![\w!-])|\$[({{]|(?:\$[0-9@*#?!-]|\*){_ENDS}"
    r"|%(?:\([\w.]{1,64}+\))?[sdrxif](?!\w)"
    rf"|\*{{2,64}}+(?![\w!])|\.{{2,3}}|{MASKED}|{_BOUND}|{FILE}|{_CALL}|{_PACKAGE})"
)
NOT_IN_URL: Final = (
    rf"(?!(?:\$?\{{{{1,2}}[^{{}}\s:@]{{0,64}}+\}}{{1,2}}|{_VARIABLE}|\*{{2,64}}+|\.{{3}}|%(?:\([\w.]{{1,64}}+\))?s)@)"
)
"""What stands between `:` and `@` of an address where the password is filled in later."""
# Source code: another name that announces a secret, a type, or what a secret is read from. Names of the environment are
# in capitals: behind them no code stands. A password of words says `my` or `super` before them.
_NOUN: Final = "(?:password|passwd|passphrase|pwd|secret|credentials?|creds|key|token|auth|pat)s?"
_NOT_MINE: Final = (
    "(?!(?i:my|your|our|the|this|some|any|super|top|very|no|not|new|old|change|default|test|admin|root)"
    "(?:_|(?-i:[A-Z])))"
)
_READ: Final = (
    "(?:process|this|import|window|app|ctx|context|request|req|event|data|body|state|props|account|conf|vars?|local)"
)
_TYPES: Final = (
    "(?:bool|boolean|float|dict|list|tuple|object|[aA]ny|callable|number|never|symbol|[bB]uffer|auth|creds|data|payload"
    "|config|parts|pair|row|line|match|request|response|body|form|conf|account|login)"
)
_NOUNS: Final = (
    *("key", "pat", "pwd", "auth", "keys", "creds", "token", "passwd", "secret", "tokens", "apikey", "password"),
    *("secrets", "passwords", "secretkey", "accesskey", "credential", "passphrase", "credentials", "privatekey"),
)


def _ends_with_noun() -> str:
    """Behind a name: its last word is one of those of secrets; what is looked for behind a place has one length."""
    lengths: dict[int, list[str]] = {}
    for word in _NOUNS:
        lengths.setdefault(len(word), []).append(f"[^A-Za-z](?i:{word})|[a-z]{word.title()}")
    return "(?>" + "|".join(f"(?<={'|'.join(same)})" for same in lengths.values()) + ")"


# `user.password`, `access_key.secret_access_key`, `session->api_key`: names without a digit, the last one of a secret.
_OF_ANOTHER: Final = (
    r"(?!(?i:my|your|our|super|top|very|no|not|new|old|change|default|test|admin|root)\.)"
    r"(?:[A-Za-z_]{1,32}+(?:\[[\w\"']{1,32}+\]|\(\))?+(?:[?!]?\.|->|::)){1,6}+"
    rf"[A-Za-z_]{{1,48}}+{_ends_with_noun()}"
)
_NO_NAME: Final = (
    r"""(?!(?:(?<=[a-z\]])|(?=["'\\]{1,8}+\]))["'`\\]{0,8}+\]?+\s{0,8}+[:=]\s{0,8}+(?:(?:"""
    rf"_{{0,2}}+(?i:{_NOT_MINE}(?:[a-z]{{1,24}}+_){{0,6}}{_NOUN})"
    rf"|{_NOT_MINE}[a-z]{{1,24}}+(?:[A-Z][a-z]{{1,24}}+){{1,5}}"
    rf"(?<=(?:word|cret|tial|oken|Auth|iKey|sKey|tKey|eKey|nKey))"
    rf"|{_OF_ANOTHER}|{_TYPES}|[A-Z][A-Za-z0-9]{{0,48}}+(?<=(?:tial|ials|eStr|tStr|Type|ider|eKey|cKey|oken|ytes)))"
    rf"{WORD_ENDS}(?!\([\"'])|{_READ}\??\.[A-Za-z_]|[A-Za-z_]\w{{0,64}}+(?:\.[A-Za-z_]\w{{0,64}}+){{1,3}}\())"
)
# A statement of source code, a comment or a nested name on the next line: `class Credentials:`, `with credentials:`.
_NO_BLOCK: Final = (
    r"""(?!["'\\]{0,4}+:[ \t]{0,8}+(?:\r?\n|\\{1,4}+n)(?:[ \t]|\\{1,4}+t){1,32}+"""
    r"""(?:[bruf]{0,2}+\\{0,8}+(?:"\\{0,8}+""|'\\{0,8}+'')"""
    r"""|[#@]|[A-Za-z_][\w.\[\]]{0,64}+(?:[ \t]{0,4}+(?:\(|[-+*/|]?=(?=[ \t]))|:(?=[ \t\r\n]))"""
    r"""|(?:return|raise|yield|del|assert|import|from)\s))"""
)
CODE: Final = _NO_NAME + _NO_BLOCK
BARE: Final = r"""[^\s"'`&,;<>=(){}\[\]|\\.]"""
# A sign that parts values is a part of one where no space and no next name follows.
REST: Final = (
    rf"{VALUE}{{0,{MOST}}}+(?:(?:[,;&](?![\w.-]{{0,64}}+[=:]|(?:quot|amp|apos|lt|gt|#[0-9x]);|[\s\"'`\\,;&<>)\]}}]|\Z)"
    rf"|[\"'`<](?=[A-Za-z0-9]{{3}})){VALUE}{{0,{MOST}}}+){{0,64}}+"
)
QUOTES: Final = rf"""(?>&{MARK}|{CODED}|(?:["'`*\u2018-\u201d]|\\(?!u00|x2|[nrt])){{0,16}}+)"""
SPACE: Final = r"(?:\s|\\[nrt]){0,32}+"
EQUALS: Final = (
    rf"{QUOTES}\]?+{SPACE}(?>={{2,3}}(?={SPACE}[\"']{{0,2}}+{STRANGE})|=>?|->|\\u003[dD]|%(?:25)?+3[dD]){SPACE}"
)
COLON: Final = (
    rf"{QUOTES}{SPACE}(?>:=?|\uff1a|%(?:25)?+3[aA](?:%20|\+)?+|(?:(?<=\n)|(?<=  ))value[\"']?+:)\*{{0,2}}+{SPACE}"
    r"(?:[|>][+-]?\s{1,32}+)?+"
)
MARKED_PAIR: Final = rf"""["'\\]{{1,16}}+{SPACE},?+{SPACE}["'\\]{{0,16}}+(?i:value)["'\\]{{0,16}}+{SPACE}[:=]{SPACE}"""
# Two texts side by side may as well be the names of two fields, or a value and the next key. So the second of a pair
# looks drawn, is no name of a model (`gpt-4o-2024`), and no colon follows it.
PIECE: Final = "(?:[a-z]{1,16}+[0-9]{0,2}+|[0-9]{1,8}+[a-z]?+)"
PAIR: Final = (
    rf"""["'\\]{{1,16}}+{SPACE},{SPACE}(?!["'\\]{{0,16}}+[^"'\\\n]{{0,128}}+["'\\]{{1,4}}+\s{{0,8}}+:)"""
    rf"""(?=b?+["'\\]{{1,16}}+(?!{PIECE}(?:[-_.]{PIECE}){{1,8}}+["'\\])(?:[A-Za-z-]{{1,24}}+:?\s)?+{STRANGE})"""
)
HEADER: Final = rf"""(?>{QUOTES}{SPACE}[:=]|{MARKED_PAIR}|{PAIR}){SPACE}(?:b(?=["']))?+"""  # also a printed pair


_OPENING: Final = rf"""(?>\\{{1,16}}+["']|["'`]|&{MARK}|{CODED})"""


def _quoted(test: str, mark: str = "") -> str:
    """A value in quotes, to their end, to the end of the line, or to the end of a text that was cut."""
    return (
        rf"""(?:[bruf]{{1,2}}+(?=["']))?+(?:""(?=")|''(?='))?+(?={_OPENING}{test})(?:\\{{1,16}}+["'](?P<escaped{mark}>(?:[^"'\\\n]|\\{{1,16}}+[^"'\\]){{1,{MOST}}}+)"""
        rf"""|"(?P<double{mark}>(?:[^"\\\n]|\\[^\n]){{1,{MOST}}}+)"""
        rf"""|'(?P<single{mark}>(?:[^'\\\n]|\\[^\n]){{1,{MOST}}}+)"""
        rf"""|`(?P<tick{mark}>[^`\n]{{1,{MOST}}}+)"""
        rf"""|&{MARK}(?P<entity{mark}>(?:[^&\n]|&(?!{MARK})){{1,{MOST}}}+)"""
        rf"""|{CODED}(?P<coded{mark}>(?:[^\\\n]|\\(?!\\{{0,15}}+(?:u00|x)2[27])){{1,{MOST}}}+))"""
    )


# A quote just behind a sign, and a space behind it: it ends what began before the name, as in `"?key=" + key`.
_ENDED: Final = rf"""(?:(?<=[^"'\\][=:]["'`])|(?<=[^"'\\][=:]\\["']))(?=\s(?!\s{{0,8}}+{DIGIT}))"""
NO_QUOTED: Final = (
    rf"(?!{_ENDED}|{FILE})"
    r"""(?![\s}\]),:;]{1,16}+(?:["'`\\]|\Z)|[)\]},;:]{1,4}+\s)"""  # the quotes close what the name stands in
    rf"""(?!(?:(?i:{WORDS})|\*{{1,64}}+|[\w-]{{0,16}}+\.{{3}}|(?:[A-Za-z]{{1,8}}+[-_]){{0,2}}?(?:[xX]{{4,24}}+|(?i:your[-_][a-z_-]{{1,16}}+))|{SPOKEN}[^"'`\\]{{0,200}}+|<[^<>"']{{0,64}}+>"""
    rf"""|\{{{{0,2}}[^{{}}"']{{0,64}}+\}}{{1,2}}|\$\{{[^{{}}"']{{0,64}}+\}}|\$\([^()"'\n]{{1,32}}+\)"""
    rf"""|{_VARIABLE}|\$[0-9@*#?!-]|(?<=")\$[a-z_]{{1,24}}+)(?:{CLOSES}|\\(?!\\{{0,2}}+["'`])))"""
)
ANY_QUOTED: Final = _quoted(rf"{NOT_AGAIN}{NO_QUOTED}")
ESCAPED: Final = (
    r"(?:bytes:)?+[^\"'\\\n]{0,16}+(?:\\{1,8}+(?:u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2})[^\"'\\\n]{0,2}+){1,64}+[^\"'\\\n]{0,16}+"
    r"(?:\\{0,8}+[\"']|\Z)"
)
"""Letters of another script as JSON prints them, and the bytes of a token that is a part of one: none is drawn."""
DRAWN_VALUE: Final = rf"{NOT_AGAIN}{NOT_A_TIME}(?!{ESCAPED}){STRANGE}(?={VALUE}{{8}})"
RANDOM_QUOTED: Final = _quoted(rf"{NOT_AGAIN}{NOT_A_TIME}(?!{ESCAPED}){RANDOM}(?={VALUE}{{8}})")
SUFFIXED_WORD: Final = (
    rf"{NOT_AGAIN}{NO_VALUE}(?=[A-Za-z]{{0,64}}+[0-9!#$%^&*])(?=[^\sA-Za-z]{{0,64}}+[A-Za-z]{{3}})"
    r"(?=[^\s\"'`,;<>\\-]{6})"
)
OPTION_QUOTED: Final = _quoted(
    rf"{NOT_AGAIN}{NO_QUOTED}(?!{PATH}){NOT_A_TIME}(?!{ESCAPED}){RANDOM}(?={VALUE}{{6}})", "_option"
)
"""As behind a flag that may mean anything without quotes: `--key '{"Id": 1}'` is none."""
SUFFIXED_KEY: Final = rf"{NOT_AGAIN}{NO_VALUE}{NOT_A_TIME}{STRANGE}(?={VALUE}{{16}})"
"""Under a name with more words behind that of a secret: a password with a digit or a sign, a key that looks drawn."""
STRANGE_QUOTED: Final = _quoted(DRAWN_VALUE, "_strange")
CONTENT: Final = r"(?:(?!\]\]>)[^\s<>&]|&(?!lt;))"
WITHIN: Final = rf"{CONTENT}{{1,512}}+(?:[ \t\n]{{1,32}}+{CONTENT}{{1,512}}+){{0,8}}+"
# `[`, `{`, `Some(`, `SecretStr(`, also several, and a key of an object within.
NESTED: Final = (
    rf"""(?>{EQUALS}|{COLON})(?:(?:[A-Za-z][A-Za-z]{{0,24}}+|\[\][a-z]{{1,16}}+)?+[\[{{(](?!REDACTED:)\s{{0,32}}+){{1,4}}+"""
    r"""(?:["'\\]{1,16}+[\w-]{1,32}+["'\\]{1,16}+\s{0,8}+:\s{0,8}+)?+"""
)
OPENED: Final = r"""(?:["'\\]|\[\][a-z]{1,16}+\{|[\[(](?!REDACTED:)\s{0,4}+){0,16}+"""
"""Between a header and its value: quotes, and the brackets of a list."""
NEXT_ITEM: Final = r"""["'\\]{1,16}+,\s{0,4}+(?=["'\\]{1,16}+(?!-))"""
"""Between an option and its value, where both are items of a list: `["--api-key", "..."]`."""
ITEM_QUOTED: Final = _quoted(rf"""{NOT_AGAIN}(?=[^\s"'`\\]{{2}})""", "_item")
LISTED: Final = (
    rf"""(?>{EQUALS}|{COLON})[\[(]\s{{0,8}}+(?P<items>\\{{0,8}}+["'][^"'\n]{{0,128}}+["']\s{{0,8}}+,"""
    r"""[^\[\]()\n]{1,4000}+)"""
)
"""Several quoted values in a list: all of them."""
_NEW_LINE: Final = r"(?:\r?\n|\\{1,8}+n)"
_ITEM: Final = rf"{_NEW_LINE}[ \t]{{0,32}}+-[ \t]{{1,4}}+"
YAML_LIST: Final = (
    rf"""["']?+:[ \t]{{0,8}}+{_ITEM}(?P<entries>["']?+{DRAWN_VALUE}(?:[^\s\\]|\\(?!n)|{_ITEM}(?=\S)){{8,{MOST}}}+)"""
)
"""The items of a YAML list, all of them where the first looks drawn."""
# The last: without quotes, as Go prints a map of lists, `map[X-Api-Key:[...]]`.
NESTED_VALUE: Final = (
    rf"""{NESTED}(?:{_quoted(DRAWN_VALUE, "_nested")}|(?P<listed>{DRAWN_VALUE}[^\s"'`,;<>&\])}}]{{8,{MOST}}}+))"""
)
COOKIE_QUOTED: Final = _quoted(rf"{DRAWN_VALUE}(?={VALUE}{{16}})")
QUOTE: Final = rf"(?>\\{{0,8}}+[\"']|&{MARK}|{CODED})"
_TAG_ENDS: Final = r"(?<!/)(?>>|&gt;|\\u003[eE])"
_CLOSING: Final = r"\s{0,32}+(?>\]\]>)?+(?></|&lt;/|\\u003[cC]/)"
_MORE_OF_TAG: Final = r"(?:\s(?:[^<>&\\]|&(?!gt;)|\\(?!u003)){0,256}+)?+"
_VALUE_TAG: Final = r"(?:(?><|&lt;|\\u003[cC])(?i:value|string)(?>>|&gt;|\\u003[eE])\s{0,32}+)?+"
_SETTING: Final = (
    r"(?:\w{1,24}+:)?+(?i:prop(?:erty)?|entry|param(?:eter)?|setting|attribute|variable|env(?:-entry)?|arg|constructor-arg"
    r"|value|config|key|secret)(?!\w)"
)
# The name in an attribute of the tag. In a page it may be a label's: there the value looks drawn, or has a digit.
_NAMED_TAG: Final = (
    rf"{QUOTE}{_MORE_OF_TAG}{_TAG_ENDS}\s{{0,32}}+{_VALUE_TAG}(?:<!\[CDATA\[)?+"
    rf"(?P<tagged>{NOT_AGAIN}{NO_VALUE}(?:{WITHIN}(?={_CLOSING}{_SETTING})|{DIGIT}{CONTENT}{{6,512}}+(?={_CLOSING}(?i:string|data|item|field)(?!\w))"
    rf"|{DRAWN_VALUE}{CONTENT}{{8,512}}+(?={_CLOSING})))"
)
XML: Final = (
    r"(?:(?:</(?i:key|name)>\s{0,32}+<(?i:string|value)|\s[^<>]{0,256}+)?+(?>>|&gt;|\\u003[eE])\s{0,32}+(?:<!\[CDATA\[)?+"
    rf"(?:(?P<element>{NOT_AGAIN}{NO_VALUE}(?![\"'`}}\])=,;]){WITHIN})(?=\s{{0,32}}+(?:</|&lt;/|\\u003[cC]|\]\]>))"
    rf"|(?P<cut>{NOT_AGAIN}(?>{STRANGE}){CONTENT}{{1,512}}+)(?=\s{{0,32}}+\Z))|{_NAMED_TAG})"
)
TOKEN_XML: Final = rf"(?:>|&gt;)\s{{0,32}}+(?P<content>{NOT_AGAIN}{STRANGE}(?={VALUE}{{8}}){VALUE}{{8,{MOST}}}+)"
_LONG: Final = r"(?>(?=[^\s\"'`,;<>]{12})|(?=[^\s\"'`,;<>|]{8})(?=[^\s!$%^&]{1,64}+[!$%^&]))"
SPACED: Final = (
    r"(?:\s{0,4}+\|\s{0,4}+|\s{1,4}+(?:is\s{1,4}+|was\s{1,4}+)?+)[\"'`]?+"
    rf"(?P<spaced>{NOT_AGAIN}{NO_VALUE}{STRANGE}{_LONG}{BARE}{REST})"
)
"""Without a sign between: long, or with a sign of passwords."""
_CELL: Final = r"[^\s|\"'`\u2502]"
TABLED: Final = (
    r"[*`]{0,2}+[ \t]{0,64}+[|\u2502][ \t]{0,8}+[*`\"']{0,2}+"
    rf"(?P<cell>{NOT_AGAIN}{NO_VALUE}{NOT_A_TIME}(?={BARE})(?={_CELL}{{6,128}}+[*`\"']{{0,2}}+[ \t]{{0,64}}+[|\u2502])"
    rf"(?:{STRANGE}(?={_CELL}{{8}})|(?![\w.+-]{{1,64}}+@[\w-]{{1,64}}+\.)(?=[^\s|0-9]{{0,64}}+[0-9])"
    rf"(?=[^\s|A-Za-z]{{0,64}}+[A-Za-z])(?=[^\s|!@#$%^&*+]{{0,64}}+[!@#$%^&*+])){_CELL}{{6,128}}+)"
)
"""The next cell of a table's row: `| password | P4ssw0rd! |`."""
ATTRIBUTE: Final = (
    rf"{QUOTE}\s{{1,32}}+(?:(?!(?i:value)\s{{0,8}}+=)[\w:.-]{{1,32}}+\s{{0,2}}+=\s{{0,2}}+{QUOTE}[^\"'<>&\\]{{0,64}}+{QUOTE}\s{{1,8}}+){{0,4}}+"
    rf"(?i:value)\s{{0,8}}+=\s{{0,8}}+(?={QUOTE})"
)
"""The value in another attribute of the same tag."""
ENCODED: Final = (
    r"(?:%5[cC]){0,8}+(?:%2[27])?+(?:%20|\+)?+%3[aAdD](?:%20|\+)?+(?:%5[cC]){0,8}+(?:%2[27])?+"
    rf"(?P<encoded>{NOT_AGAIN}{NO_VALUE}(?:[^\s\"'`,;<>&%]|%(?!2[267cC]|5[cC]|7[dD]|0[aA])[0-9A-Fa-f]{{2}}){{1,{MOST}}}+)"
)
