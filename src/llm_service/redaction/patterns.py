r"""What secrets look like in text: anchored patterns, each behind literals of which one stands where it begins.

A pattern is tried only where one of its literals occurs, so ordinary text pays for a search of literals. Only the end
of an expression repeats without a small bound, and nothing behind it can fail: an attempt costs a bounded number of
steps, or takes what it has read. So the time is linear in the length of the text, whatever is in it.
"""

from typing import Final

from llm_service.redaction.command_lines import BEHIND_COMMAND, NAMES
from llm_service.redaction.drawn_looks import drawn
from llm_service.redaction.drawn_shapes import DRAWN_SHAPES
from llm_service.redaction.key_shapes import MOST, Pattern, patterns_of_shapes
from llm_service.redaction.name_table import (
    BARE_TOKENS,
    DRAWN,
    HEADERS,
    MORE_BEHIND,
    SECRETS,
    TOKENS,
    WORDS_OF_PASS,
    expression_of,
    literals_of,
    suffixed,
)
from llm_service.redaction.value_forms import (
    ANY_QUOTED,
    ATTRIBUTE,
    BARE,
    CODE,
    COLON,
    COOKIE_QUOTED,
    DIGIT,
    DIRECTORY,
    ENCODED,
    EQUALS,
    HEADER,
    ITEM_QUOTED,
    LISTED,
    MARKED_PAIR,
    NESTED_VALUE,
    NEXT_ITEM,
    NO_VALUE,
    NOT_A_TIME,
    NOT_AGAIN,
    NOT_IN_URL,
    OPENED,
    OPTION_QUOTED,
    PAIR,
    PATH,
    QUOTE,
    RANDOM,
    RANDOM_QUOTED,
    REST,
    SPACED,
    STRANGE,
    STRANGE_QUOTED,
    SUFFIXED_KEY,
    SUFFIXED_WORD,
    TABLED,
    TOKEN_XML,
    VALUE,
    WORD_ENDS,
    WORDS,
    XML,
    YAML_LIST,
)

__all__ = ["PATTERNS", "Pattern"]

# HTML's `accesskey` is one character of a keyboard, or several with spaces between.
_NO_ACCESS_KEY: Final = (
    r"(?!(?i:key)(?<=(?i:accesskey))(?<![\w-](?i:accesskey))"
    r"(?:=|\\{0,3}+[\"']:)\s?+\\{0,3}+[\"']?+\w(?:\s\w){0,3}(?![^\s\"'>\\]))"
)
# A number behind a name in the plural is a count, and a path behind the shell's `PWD` a folder.
_SECRET_NAMES: Final = (
    r"(?!\w{1,24}+(?<=s)(?<!ss)[\"'\\]{0,4}+\s{0,8}+[:=]\s{0,8}+[0-9]{1,9}+(?![\w.]))"
    r"(?!(?i:pwd)(?:(?<![\w-]...)|(?<=(?i:oldpwd)))[\"'\\]{0,8}+\s{0,8}+[:=]\s{0,8}+(?:\\{0,8}+[\"'`])?+"
    rf"{DIRECTORY})(?<![0-9]{{12}}:){_NO_ACCESS_KEY}{expression_of(SECRETS)}{CODE}"
)
_TOKEN_NAMES: Final = rf"{expression_of(TOKENS)}{CODE}"
_BARE_TOKEN: Final = expression_of((*TOKENS[:1], *BARE_TOKENS))  # the plural stands first
# Most tokens that texts speak of go on with a word. To look there first costs less than to look at all before them.
_GOES_ON: Final = (
    r"(?=(?i:tokens?)[\w-]{0,16}+(?:\s{0,32}+(?:[^\sA-Za-z]|(?i:value))|\s{1,8}+(?:is\s{1,4}+|was\s{1,4}+)?+\S{0,64}?[0-9]"
    r"|[^<>]{0,256}+[<>]))"
)
_DRAWN_NAMES: Final = expression_of(DRAWN)
_BEGINS: Final = r"(?:(?<![\w-])|(?<=\\[nrt]))"
"""Of an option: a word's own dash; `low-key` is a word of prose."""
_NO_OPTIONS: Final = ("sort", "cache", "partition", "primary", "public", "foreign", "page", "stop", "eos")
"""Before `-key` and `-token`, words whose option is no secret: `--sort-key name`."""
_LONGEST_OPTION: Final = 40
# What is looked for behind a place has one length: there is one for each that an option may have.
_IN_OPTION: Final = "|".join(rf"(?<={_BEGINS}-[\w.-]{{{length}}})" for length in range(_LONGEST_OPTION))
_OPTION: Final = (
    rf"(?>(?<=[\w.-])(?=(?i:key|token|pass|pwd|secret|cred|auth)[\w-]{{0,16}}+[\s\"'\\])(?>{_IN_OPTION})"
    rf"(?:{expression_of((*SECRETS, *TOKENS, *BARE_TOKENS))}(?=[\s\"'\\])|(?<=-)(?i:pass|secret)(?=\s)))"
)
# Any key or token: behind `--key` and `--tag-key` stands a secret only where it looks drawn, in quotes as without.
_ANY_KEY: Final = (
    rf"(?>(?<=-)(?=(?i:key|token)\s)(?>{_IN_OPTION})"
    + "".join(f"(?<!(?<![a-z]){word}-)" for word in _NO_OPTIONS)
    + r"(?i:key|token)(?=\s))"
)
_OF_PASS: Final = r"(?>(?<=[Ww][Oo][Rr][Dd] )|(?<=[A-Za-z][Pp][Aa][Ss][Ss] ))"  # noqa: S105 - an expression
"""Behind `--password` and `-storepass` any word may stand."""
_WHO: Final = r"[\w.@+-]{1,64}+"
_USER_FLAG: Final = r"[\s\"'](?>-[A-TV-Za-tv-z]{0,6}+[uU]|--(?:proxy-)?user)(?=[\s\"'=\\]|\w{1,32}+:)"
_TO_USER: Final = rf"[ =]{{1,4}}+[\"']?+|{NEXT_ITEM}[\"'\\]{{1,16}}+"
_CURL: Final = (
    rf"(?>curl(?=[\s\"'\\])(?:(?!{_USER_FLAG}|\s[|;&])(?:[^\n]|(?<=\\)\n)){{0,400}}+"
    rf"{_USER_FLAG}(?:{_TO_USER}|(?<=-[uU])))"
)
"""Up to what says who calls: of this command it is a user and a password, also with other flags before: `-su`."""
_AS_USER: Final = rf"(?>(?:(?<![\w-])-u|-user|auth(?<={_BEGINS}--auth))(?:{_TO_USER}|(?<=-u)(?={_WHO}:{STRANGE})))"
# Of another command it may be a user and a group of a system, a host and a path, or a branch and another.
_NO_GROUP: Final = (
    rf"(?<![\s\"'=][0-9]:)(?<![\s\"'=][0-9]{{4}}:)(?![0-9]{{1,10}}+(?![^\s\"'\\])|{PATH})"
    r"(?=(?:(?![a-z][A-Z])[^\s\"'](?<![0-9!#$%^&*+=~@])){0,64}+(?:[a-z][A-Z]|[0-9!#$%^&*+=~@]))"
)
_DRAWN_USER: Final = rf"{NOT_AGAIN}{STRANGE}(?={VALUE}{{16}})[\w.~+/=-]{{16,512}}+"
_NO_NUMBER: Final = r"(?![0-9.,_]{1,64}+(?![\w-]))"
_AT: Final = "(?=@(?!sha[0-9]{3}:))"
"""Not before the digest of an image, whose tag may stand where a password does."""
_PART: Final = r"""[^\s/"'<>@\\]"""
_JAR: Final = "[^{}:=\\n]"
_XML_OPEN: Final = r"(?:>|&gt;|\\u003[eE])\s{0,32}+"
_CODED_COLON: Final = r"(?:%2[27])?+%3[aAdD](?:%20|%22|%27|\+){0,3}+"
_FORM_PART: Final = (
    rf"\\{{0,3}}+\"(?:\r?\n|(?:\\{{1,4}}+r)?+\\{{1,4}}+n){{2}}(?P<part>{NOT_AGAIN}[^\r\n\\]{{1,{MOST}}}+)"
)
"""A field of a form, as multipart/form-data has it."""
_NETRC: Final = (
    r"(?:machine[ \t]{1,8}+\S{1,128}+"
    r"(?=\s{1,32}+(?:(?:login|account)\s|password\s{1,32}+\S{1,256}+\s{1,32}+(?:login|account)\s))|(?<=default\s)(?=login))"
    r"(?:\s{0,32}+(?:login|account)[ \t]{1,8}+\S{1,128}+){0,2}+\s{1,32}+password[ \t]{1,8}+"
)
"""The words of one entry in any order, on one line or more."""
_DUMPED: Final = (
    rf"\\{{0,3}}+\"\]=>\s{{0,8}}+string\([0-9]{{1,8}}+\)\s\\{{0,3}}+\"(?P<dumped>{NOT_AGAIN}[^\"\n\\]{{1,{MOST}}}+)"
)
"""As var_dump of PHP prints it."""
_IDENTIFIED: Final = (
    r"(?i:identified)\s{1,8}+(?:(?i:with)\s{1,8}+\S{1,64}+\s{1,8}+)?+(?i:by)(?:\s{1,8}+(?i:password))?+\s{1,8}+"
)
_DIRECTIVE: Final = (
    r"(?>(?<=(?i:requirepass))|(?<=(?i:masterauth)))[ \t]{1,8}+[\"']?+"
    rf"(?P<directive>{NOT_AGAIN}{NO_VALUE}(?!(?i:directive|setting|parameter|config))(?:{SUFFIXED_WORD}"
    rf"|(?=[^\s\"'\\]{{4,128}}+[\"']?+[ \t]{{0,8}}+(?:[\r\n]|\\{{1,8}}+[nr]|\Z)))[^\s\"'\\]{{4,{MOST}}}+)"
)
"""A line of a server's settings, without a sign between: `requirepass VALUE`."""
_NO_URN: Final = (
    r"(?!(?=[a-z0-9_.+-]{1,64}+%)[a-z]{1,32}+[0-9]{0,2}+(?:(?>[_.+-]|%3[aA]|%2[fF])[a-z]{1,32}+[0-9]{0,2}+){1,24}+"
    r"(?![\w%~/=-]))"
)
"""Words encoded for a URL, whose `%3A` looks drawn: `urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer`."""
_IS: Final = rf"(?>{EQUALS}|{COLON}|{MARKED_PAIR}|{PAIR})(?:[bruf]{{1,2}}+(?=[\"']))?+[\"'`\\]{{0,16}}+"
_BY_NAME: Final = "https://github.com/Yelp/detect-secrets (KeywordDetector); gitleaks.toml, rule generic-api-key"
_SIGNED: Final = r"[\w.~%+/=-]{16,512}+(?![^\s&#\"'<>\\,;)}\]])"
"""Of any other name in `_signature`: what a digest or a key wrote; `function_signature=f(x)` is source code."""
_CREDENTIALS: Final = "[A-Za-z0-9._~+/=:|%$-]"

# Secrets that are known by what stands before them.
_NAMED: Final = (
    Pattern(
        "url-password",
        ("://", ":\\", "%3A%2F%2F", "%3a%2f%2f", "jdbc:oracle"),
        rf"(?:jdbc:oracle:[a-z]{{2,8}}+:[\w$#-]{{1,64}}+/(?P<thin>{NOT_AGAIN}[^\s/\"'<>@\\]{{1,256}}+)(?=@)|:\\{{0,8}}+/\\{{0,8}}+/(?P<token>(?=[\w.~-]{{20,256}}+:[\w.-]{{0,32}}+@){NOT_AGAIN}{STRANGE}[\w.~-]{{20,256}}+:[\w.-]{{0,32}}+){_AT}"
        rf"|:\\{{0,8}}+/\\{{0,8}}+/[^\s/?#@:\"'<>\[\\]{{0,256}}+(?::(?![0-9]{{1,5}}+(?:[/,?#\s]|\Z)){NOT_IN_URL}"
        rf"(?:(?P<password>{NOT_AGAIN}(?:@{{0,2}}+{_PART}{{1,256}}+(?:@{_PART}{{0,256}}+(?=@)){{0,8}}+)){_AT}"
        rf"|(?P<slashed>{NOT_AGAIN}[^\s\"'<>@\\]{{1,256}}+){_AT})"
        r")"
        rf"|:\\{{0,8}}+/\\{{0,8}}+/(?P<user>{NOT_AGAIN}{NOT_IN_URL}(?=[^0-9@]{{0,64}}+[0-9])[^\s/?#@:.\"'<>\\]{{20,512}}+){_AT}"
        r"|%3[aA]%2[fF]%2[fF][\w.~-]{0,64}+%3[aA](?P<encoded>(?:[\w.~!*()+-]|%(?!40)[0-9A-Fa-f]{2}){1,256}+)(?=%40(?!sha[0-9]{3}%3[aA])))",
        "RFC 3986, section 3.2.1",
    ),
    Pattern(
        "url-query",
        ("key=", "sig=", "signature=", "Signature=", "code=", "credential="),
        r"(?:(?:(?:(?<=[?&;])|(?<=u0026))(?i:key|sig|signature|credential)|(?:(?<=(?i:x-amz-))|(?<=(?i:x-goog-)))(?i:signature|credential)"
        rf"|(?<=[_-])(?i:signature)(?==(?:%22|[\"'])?+{STRANGE}{_SIGNED}))=(?!=)"
        rf"(?P<value>{NOT_AGAIN}(?!(?i:{WORDS}|[a-z]{{2,64}}+(?:[_-][a-z]{{1,64}}+){{1,8}}+){WORD_ENDS})[^\s&#\"'<>\\]{{4,{MOST}}}+)"
        r"|(?:(?<=[?&;])|(?<=u0026))(?i:code)="
        rf"(?P<code>{NOT_AGAIN}(?:(?=[^\s&A-Z]{{0,64}}+[A-Z])(?=[^\s&a-z]{{0,64}}+[a-z])(?=[^\s&0-9]{{0,64}}+[0-9])"
        rf"|(?=[a-z]{{0,64}}+[0-9])(?=[0-9]{{0,64}}+[a-z])(?=[a-z0-9]{{16}})|(?=[A-Za-z_-]{{16}}){drawn('_-')})[^\s&#\"'<>\\]{{4,{MOST}}}+))",
        "RFC 3986, section 3.4; https://learn.microsoft.com/rest/api/storageservices/create-service-sas",
    ),
    Pattern(
        "authorization",
        ("authorization",),
        rf"{expression_of(HEADERS[:1])}(?>{HEADER}|{_XML_OPEN}|{_CODED_COLON}){OPENED}"
        rf"(?:(?!(?=[A-Za-z]{{0,64}}+[0-9])[A-Za-z0-9]{{12}})[A-Za-z][A-Za-z0-9]{{0,23}}+(?:-[A-Za-z0-9]{{1,24}}+){{0,4}}+:?(?:\\{{0,4}}+\s{{1,8}}+|%20|\+))?"
        rf"(?:(?P<parameters>(?:[\w-]{{1,32}}+=(?:\\{{0,8}}+\"[^\"\n\\]{{0,512}}+\\{{0,8}}+\"|[^\s,\"\\]{{1,512}}+),?\s{{0,8}}+){{2,16}}+)"
        rf"|(?P<credentials>{NOT_AGAIN}{NO_VALUE}{RANDOM}{_CREDENTIALS}{{6,{MOST}}}+))",
        "RFC 9110, section 11.6.2; RFC 7617; RFC 7616",
    ),
    Pattern(
        "bearer-token",
        ("bearer",),
        rf"(?i:bearer)(?:\\{{0,4}}+\s{{1,8}}+|:\s{{0,8}}+|%20|\+)(?P<token>{NOT_AGAIN}{NO_VALUE}{RANDOM}[A-Za-z0-9._~+/=-]{{8,{MOST}}}+)",
        "RFC 6750, section 2.1",
    ),
    Pattern(
        "cookie",
        ("cookie", "-b "),
        rf"(?:{expression_of(HEADERS[1:])}(?:(?>{HEADER}{OPENED}|(?<=--cookie)[ ]{{1,8}}+[\"']?+)"
        rf"(?P<pairs>{NOT_AGAIN}[\w.-]{{1,128}}+=(?!\[REDACTED:)"
        rf"(?=[^\n]{{3}})(?:[^\n\"'\\]|(?<==)\\{{0,8}}+\"[^\"\n\\]{{0,512}}+\\{{0,8}}+\"){{1,{MOST}}}+)"
        rf"|(?<=[sSrR]){HEADER}\{{(?={_JAR}{{0,128}}+[:=])(?P<jar>{NOT_AGAIN}[^{{}}\n]{{3,{MOST}}}+)"
        rf"|{COLON}{COOKIE_QUOTED}"
        # as `requests` prints a jar: <Cookie sid=... for api.example.com/>
        rf"|(?<=<Cookie)\s[\w.-]{{1,128}}+=(?P<crumb>{NOT_AGAIN}[^\s<>]{{3,{MOST}}}+))"
        rf"|(?<![\w-])-b[ ]{{1,4}}+[\"']?+"
        rf"(?P<sent>[\w.-]{{1,128}}+={STRANGE}(?={VALUE}{{16}})[^\n\"'\\]{{1,{MOST}}}+))",
        "RFC 6265, sections 4.1 and 4.2",
    ),
    Pattern(
        "command-option",
        ("key", "token", "pass", "pwd", "secret", "credential", "creds", "auth", "-u", "curl"),
        rf"(?:{_OPTION}(?:{NEXT_ITEM}{ITEM_QUOTED}|\s{{1,8}}+(?:{ANY_QUOTED}"
        rf"|(?P<option>{NOT_AGAIN}{NO_VALUE}(?!-)(?:(?:{_OF_PASS}|(?!{PATH})){RANDOM}(?={VALUE}{{6}}){REST}"
        rf"|{_OF_PASS}{VALUE}{{4,64}}+(?=\s{{0,8}}+(?:\Z|[\n;|&)]|-))))))"
        rf"|{_ANY_KEY}\s{{1,8}}+(?:{OPTION_QUOTED}|(?P<any>{NOT_AGAIN}{NO_VALUE}(?!-)(?!{PATH}){RANDOM}(?={VALUE}{{6}}){REST}))"
        rf"|{_CURL}(?:{_WHO}:(?P<login>{NOT_AGAIN}{NO_VALUE}[^\s\"'\\]{{3,{MOST}}}+)|(?P<keyed>{_DRAWN_USER})(?=:?(?:[\s\"'\\]|\Z)))"
        rf"|{_AS_USER}(?:{_WHO}:(?P<user>{NOT_AGAIN}{NO_VALUE}{_NO_GROUP}[^\s\"'\\]{{3,{MOST}}}+)|(?P<lone>{_DRAWN_USER})(?=:(?:[\s\"'\\]|\Z))))",
        "https://clig.dev/#arguments-and-flags; https://curl.se/docs/manpage.html#-u",
    ),
    Pattern(
        "command-password",
        NAMES,
        BEHIND_COMMAND
        + rf"(?P<secret>{NOT_AGAIN}{NO_VALUE}(?![0-9]{{1,5}}+(?![^\s\"'\\,]))[^\s\"'\\|;&]{{4,{MOST}}}+)",
        "see `command_lines`",
    ),
    Pattern(
        "sql-password",
        ("identified", "with password", "with encrypted password", "login password", "set password for", "password '"),
        # in a sentence something is identified by a name, in backticks by a column: in small letters the value is drawn
        rf"(?>(?<=[\"'`]\s){_IDENTIFIED}|{_IDENTIFIED}(?:(?<=[A-Z]\s)|(?=(?:\\{{1,8}}+)?[\"']{DIGIT})|(?=[\"']?{RANDOM}{BARE}))(?!`)"
        r"|(?i:with\s(?:encrypted\s)?+|login\s)(?i:password)\s{1,8}+|(?<=[\w\"] )PASSWORD\s(?=')"
        rf"|(?i:set\spassword\sfor)\s{{1,8}}+[^\s=]{{1,128}}+(?:\s?@\s?[^\s=]{{1,128}}+)?+\s{{0,8}}+(?:=|(?i:to))\s{{0,8}}+(?i:(?:old_)?+password\()?+){ANY_QUOTED}",
        "https://dev.mysql.com/doc/refman/8.4/en/create-user.html; "
        "https://dev.mysql.com/doc/refman/8.4/en/set-password.html; https://www.postgresql.org/docs/current/sql-createrole.html",
    ),
    Pattern(
        "user-password",
        ("user", "login", "machine "),
        rf"(?>{_NETRC})(?P<machine>{NOT_AGAIN}{NO_VALUE}\S{{1,{MOST}}}+)"
        rf"|(?i:login)[ \t]{{1,8}}+\S{{1,128}}+(?:[ \t]{{0,8}}+\n[ \t]{{0,32}}+(?i:password)[ \t]{{1,8}}+"
        rf"(?P<netrc>{NOT_AGAIN}{NO_VALUE}\S{{1,{MOST}}}+)"
        rf"|[ \t]{{1,8}}+(?i:password)[ \t]{{1,8}}+(?P<line>{NOT_AGAIN}{NO_VALUE}{STRANGE}\S{{1,{MOST}}}+))"
        r"|(?i:user)(?:_?+(?i:name))?+[\"'\\]{0,4}+\s{0,4}+[:=]\s{0,4}+[\"'\\]{1,4}+[^\"'\\\n]{1,128}+[\"'\\]{1,4}+,\s{0,32}+"
        rf"[\"'\\]{{0,4}}+(?i:pass|pw)[\"'\\]{{0,4}}+\s{{0,4}}+[:=]\s{{0,4}}+{ANY_QUOTED}",
        "https://nodemailer.com/smtp/#authentication; netrc(5)",
    ),
    Pattern(
        "validated-secret",
        literals_of((*SECRETS, *TOKENS)),
        rf"(?=[\w-]{{3,16}}+(?:\r?\n  |\\{{1,4}}+n  |{QUOTE}[\s,\])])){expression_of((*SECRETS, *TOKENS))}"
        rf"(?:(?>\r?\n|\\{{1,4}}+n)  [^\n\[]{{1,96}}+"
        rf"\[type=[a-z_]{{1,40}}+, input_value="
        rf"(?:'(?P<value>{NOT_AGAIN}[^'\\\n]{{1,{MOST}}}+)|\"(?P<valued>{NOT_AGAIN}[^\"\\\n]{{1,{MOST}}}+))"
        # as a list of errors, which FastAPI answers with: {"loc": ["body", "password"], "msg": "...", "input": "..."}
        rf"|{QUOTE}(?:,\s{{0,32}}+{QUOTE}?+[\w.-]{{1,32}}+{QUOTE}?+){{0,3}}+,?+\s{{0,32}}+[\])]"
        rf"(?:(?!{QUOTE}input{QUOTE})[^{{}}]){{0,600}}+{QUOTE}input{QUOTE}\s{{0,4}}+:\s{{0,4}}+{ANY_QUOTED})",
        "https://docs.pydantic.dev/latest/errors/errors/; https://fastapi.tiangolo.com/tutorial/handling-errors/",
    ),
    Pattern(
        "named-secret",
        literals_of(SECRETS),
        rf"{_SECRET_NAMES}(?:(?>{EQUALS}|{COLON}|{ATTRIBUTE}|{MARKED_PAIR}|{PAIR}){ANY_QUOTED}"
        rf"|{EQUALS}(?P<equal>{NOT_AGAIN}{NO_VALUE}(?:{BARE}|[({{\[)}}\].|<\\]{{1,2}}+{STRANGE}){REST})"
        rf"|{COLON}{NOT_AGAIN}{NO_VALUE}(?:(?P<random>{RANDOM}{BARE}(?={VALUE}{{5}}){REST})"
        rf"|(?P<last>{BARE}(?:[^\s\"'`,;<>(){{}}\[\]\\]|\\(?![nr])){{3,64}}+"
        r"(?=[ \t]{0,8}+(?:[\r\n,;)}\]]|\\{1,8}+[nr]|\Z))))"
        rf"|{LISTED}|{YAML_LIST}|{NESTED_VALUE}|{XML}|{ENCODED}|{SPACED}|{TABLED}|{_FORM_PART}|{_DUMPED}|{_DIRECTIVE})",
        _BY_NAME,
    ),
    Pattern(
        "named-key",
        literals_of((*DRAWN, *SECRETS[-2:])),
        r"(?:(?:(?:(?<=(?i:api ))|(?<=(?i:access ))|(?<=(?i:secret ))|(?<=(?i:license )))(?i:key)"
        r"(?:\s(?i:provided|used|given|is|was|value)){0,2}+\*{0,2}+\s{0,4}+(?:\[[^\[\]\n]{0,24}+\]:\s)?+[:=\uff1a]?+\*{0,2}+\s{0,4}+"
        rf"|(?<=(?i:basic))(?i:auth)(?=\()|{_DRAWN_NAMES}(?>{EQUALS}|{COLON}|{MARKED_PAIR}|{PAIR}))"
        rf"(?:(?:\[(?!REDACTED:))?+[\"'`\\]{{0,16}}+(?P<key>{NOT_AGAIN}{NO_VALUE}{_NO_URN}{STRANGE}{_CREDENTIALS}{{16,{MOST}}}+)"
        # a user and a password: auth=("bob", "...")
        rf"|[\[(]\s{{0,8}}+[\"'\\]{{1,16}}+[^\"'\\\n]{{1,128}}+[\"'\\]{{1,16}}+,\s{{0,8}}+{ITEM_QUOTED})"
        rf"|{_DRAWN_NAMES}(?:{NESTED_VALUE}|{YAML_LIST}))",
        _BY_NAME,
    ),
    Pattern(
        "suffixed-secret",
        literals_of((*SECRETS, *TOKENS, *DRAWN)),
        rf"{MORE_BEHIND}(?:{suffixed((*SECRETS, *TOKENS, *DRAWN))}{_IS}"
        rf"(?P<key>{SUFFIXED_KEY}[^\s\"'`,;<>&\\]{{16,{MOST}}}+)"
        rf"|{suffixed(WORDS_OF_PASS)}{_IS}(?P<phrase>{SUFFIXED_WORD}[^\s\"'`,;<>\\]{{6,{MOST}}}+))",
        _BY_NAME,
    ),
    Pattern(
        "named-token",
        literals_of(TOKENS),
        rf"{_GOES_ON}(?:{_TOKEN_NAMES}"
        rf"(?:(?>{EQUALS}|{COLON}|{ATTRIBUTE}|{MARKED_PAIR}|{PAIR}){RANDOM_QUOTED}"
        rf"|(?>{EQUALS}|{COLON})(?P<compound>{NOT_AGAIN}{NO_VALUE}{NOT_A_TIME}{_NO_NUMBER}"
        rf"(?:{RANDOM}{BARE}(?={VALUE}{{7}})|[A-Za-z0-9]{{1,8}}+[\"'](?={STRANGE})(?={VALUE}{{12}})){REST})"
        rf"|{XML}|{ENCODED})"
        rf"|{_BARE_TOKEN}(?:{NESTED_VALUE}|{YAML_LIST}|{SPACED}|{TOKEN_XML}|(?>{EQUALS}|{COLON}|{MARKED_PAIR}|{PAIR}){STRANGE_QUOTED}"
        rf"|(?>{EQUALS}(?={_NO_NUMBER}{DIGIT})|{COLON}(?={STRANGE}))"
        rf"(?P<bare>{NOT_AGAIN}{NO_VALUE}{NOT_A_TIME}{BARE}(?={VALUE}{{7}}){REST})))",
        _BY_NAME,
    ),
)  # fmt: skip

PATTERNS: Final = (*patterns_of_shapes(), *DRAWN_SHAPES, *_NAMED)
"""In the order in which one counts that covers the same place as another."""
