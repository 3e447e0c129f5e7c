r"""What secrets look like in text: anchored patterns, each behind literals of which one stands where it begins.

A pattern is tried only where one of its literals occurs, so ordinary text pays for a search of literals. Only the end
of an expression repeats without a small bound, and nothing behind it can fail: an attempt costs a bounded number of
steps, or takes what it has read. So the time is linear in the length of the text, whatever is in it.
"""

from typing import Final

from llm_service.redaction.key_shapes import GLUED, MOST, START, Pattern, patterns_of_shapes
from llm_service.redaction.secret_names import SPOKEN

__all__ = ["PATTERNS", "Pattern"]

_NOT_AGAIN: Final = r"(?!\[REDACTED:)"
_VALUE: Final = r"""[^\s"'`,;<>&]"""
# Looks drawn at random rather than written: a digit, a change of case within, a sign of Base64; or it is simply long.
_RANDOM: Final = (
    rf"(?:(?=(?:(?![a-z][A-Z]){_VALUE}(?<![0-9+/=~])){{0,64}}+(?:[a-z][A-Z]|[0-9+/=~]))|(?={_VALUE}{{20}}))"
)
# Cannot be a word, the name of a variable or a number: letters between digits, or small, large and digits together.
_DIGIT: Final = rf"(?=(?:(?![0-9]){_VALUE}){{0,64}}+[0-9])"
_STRANGE: Final = (
    rf"(?:(?=(?:(?![0-9]){_VALUE}){{0,64}}+[0-9](?:(?![A-Za-z]){_VALUE}){{0,16}}+[A-Za-z](?:(?![0-9]){_VALUE}){{0,64}}+[0-9])"
    rf"|{_DIGIT}(?=(?:(?![A-Z]){_VALUE}){{0,64}}+[A-Z])(?=(?:(?![a-z]){_VALUE}){{0,64}}+[a-z])(?={_VALUE}{{16}}))"
)
# What stands behind `password:` or `api_key=` in messages, and in source code that a traceback quotes.
_WORDS: Final = (
    "none|null|nil|raise|return|else|then|secretstr|true|false|undefined|required|missing|invalid|empty|expired|incorrect|wrong|unknown|unset|not|str"
    "|string|bytes|int|must|is|was|are|has|the|a|an|no|field|value|set|provided|optional|given|denied|rejected|revoked"
    "|mismatch|failed|error|input|please|cannot|could|should|may|if|and|or|for|to|of|in|from|unauthorized|forbidden"
    "|disabled|mandatory|needed|absent|supplied|expected|got|check|your|user|password|passwd|pwd|passphrase|api_key|token|secret"
    "|name|id|key|option|flag|argument|file|redacted|masked|hidden|placeholder|changeme|include|same-origin|omit|x{2,32}"
)
# Such a word alone, not one with which a password begins.
_CLOSES: Final = r"""\\{0,3}+["'`](?![A-Za-z0-9]{3})"""  # not one within a value
_WORD_ENDS: Final = rf"""(?=[\s,;:<>(){{}}\[\]=&#]|{_CLOSES}|\\(?!\\{{0,2}}+["'`])|\.?(?:\s|\Z))"""
_MARK: Final = r"(?:quot|apos|#0{0,4}+(?:34|39)|#[xX]0{0,4}+(?:22|27));"
"""A quote as an entity of HTML; a browser takes it in decimal and in hexadecimal digits."""
_CODED: Final = r"\\{1,16}+(?:u00|x)2[27]"
_NO_VALUE: Final = (
    rf"(?!(?i:{_WORDS}){_WORD_ENDS}|(?:self|cls|os|settings|config|cfg|env|environ|args|kwargs|options|params)[.\[(]"
    r"|[A-Za-z_.]{1,80}+[(\[]|[a-z]{2,10}+://|~?\.{0,2}/(?:run|etc|var|home|usr|opt|tmp|root|mnt|app|Users)/"
    r"|\$(?:[A-Z_][A-Z0-9_]{0,63}+|[a-z_]{1,64}+|[0-9@*#?!-])(?![\w!-])|\$[({]|%(?:\([\w.]{1,64}+\))?[sdrxif](?!\w)"
    r"|\*{1,64}+(?![\w!])|\.{2,3}|(?i:your[-_])|x{4,64}+(?!\w))"
)
_BARE: Final = r"""[^\s"'`&,;<>=(){}\[\]|\\.]"""
# A sign that parts values is a part of one where no space and no next name follows.
_REST: Final = (
    rf"{_VALUE}{{0,{MOST}}}+(?:(?:[,;&](?![\w.-]{{0,64}}+[=:]|(?:quot|amp|apos|lt|gt|#[0-9x]);|[\s\"'`\\,;&<>)\]}}]|\Z)"
    rf"|[\"'`<](?=[A-Za-z0-9]{{3}})){_VALUE}{{0,{MOST}}}+){{0,64}}+"
)
_QUOTES: Final = rf"""(?>&{_MARK}|{_CODED}|(?:["'`*]|\\(?!u00|x2|[nrt])){{0,16}}+)"""
_SPACE: Final = r"(?:\s|\\[nrt]){0,32}+"
_EQUALS: Final = (
    rf"{_QUOTES}\]?+{_SPACE}(?>={{2,3}}(?={_SPACE}[\"']{{0,2}}+{_STRANGE})|=>?|->|\\u003[dD]|%3[dD]){_SPACE}"
)
_COLON: Final = (
    rf"{_QUOTES}{_SPACE}(?>:=?|%3[aA](?:%20|\+)?+|(?:(?<=\n)|(?<=  ))value[\"']?+:)\*{{0,2}}+{_SPACE}"
    r"(?:[|>][+-]?\s{1,32}+)?+"
)
_MARKED_PAIR: Final = rf"""["'\\]{{1,16}}+{_SPACE},{_SPACE}["'\\]{{0,16}}+(?i:value)["'\\]{{0,16}}+{_SPACE}:{_SPACE}"""
# Two texts side by side may as well be the names of two fields, or a value and the next key. So the second of a pair
# looks drawn, is no name of a model (`gpt-4o-2024`), and no colon follows it.
_PIECE: Final = "(?:[a-z]{1,16}+[0-9]{0,2}+|[0-9]{1,8}+[a-z]?+)"
_PAIR: Final = (
    rf"""["'\\]{{1,16}}+{_SPACE},{_SPACE}(?!["'\\]{{0,16}}+[^"'\\\n]{{0,128}}+["'\\]{{1,4}}+\s{{0,8}}+:)"""
    rf"""(?=b?+["'\\]{{1,16}}+(?!{_PIECE}(?:[-_.]{_PIECE}){{1,8}}+["'\\])(?:[A-Za-z-]{{1,24}}+:?\s)?+{_STRANGE})"""
)
_HEADER: Final = rf"""(?>{_QUOTES}{_SPACE}[:=]|{_MARKED_PAIR}|{_PAIR}){_SPACE}(?:b(?=["']))?+"""  # also a printed pair


def _quoted(test: str, mark: str = "") -> str:
    """A value in quotes, to their end, to the end of the line, or to the end of a text that was cut."""
    return (
        rf"""(?:[bruf]{{1,2}}+(?=["']))?+(?:\\{{1,16}}+["'](?P<escaped{mark}>{test}(?:[^"'\\\n]|\\{{1,16}}+[^"'\\]){{1,{MOST}}}+)"""
        rf"""|"(?P<double{mark}>{test}(?:[^"\\\n]|\\[^\n]){{1,{MOST}}}+)"""
        rf"""|'(?P<single{mark}>{test}(?:[^'\\\n]|\\[^\n]){{1,{MOST}}}+)"""
        rf"""|`(?P<tick{mark}>{test}[^`\n]{{1,{MOST}}}+)"""
        rf"""|&{_MARK}(?P<entity{mark}>{test}(?:[^&\n]|&(?!{_MARK})){{1,{MOST}}}+)"""
        rf"""|{_CODED}(?P<coded{mark}>{test}(?:[^\\\n]|\\(?!\\{{0,15}}+(?:u00|x)2[27])){{1,{MOST}}}+))"""
    )


_NO_QUOTED: Final = (
    r"""(?![\s}\]),:;]{1,16}+(?:["'`\\]|\Z))"""  # the quotes close what the name stands in
    rf"""(?!(?:(?i:{_WORDS})|\*{{1,64}}+|[\w-]{{0,16}}+\.{{3}}|{SPOKEN}[^"'`\\]{{0,256}}+|<[^<>"']{{0,64}}+>"""
    rf"""|\{{{{0,2}}[^{{}}"']{{0,64}}+\}}{{1,2}}|\$\{{[^{{}}"']{{0,64}}+\}})(?:{_CLOSES}|\\(?!\\{{0,2}}+["'`])))"""
)
_ANY_QUOTED: Final = _quoted(rf"{_NOT_AGAIN}{_NO_QUOTED}")
_RANDOM_QUOTED: Final = _quoted(rf"{_NOT_AGAIN}{_RANDOM}(?={_VALUE}{{8}})")
_DRAWN: Final = rf"{_NOT_AGAIN}{_STRANGE}(?={_VALUE}{{8}})"
_STRANGE_QUOTED: Final = _quoted(_DRAWN, "_strange")
_CONTENT: Final = r"(?:(?!\]\]>)[^\s<>&]|&(?!lt;))"
_WITHIN: Final = rf"{_CONTENT}{{1,512}}+(?:[ \t\n]{{1,32}}+{_CONTENT}{{1,512}}+){{0,8}}+"
_NESTED: Final = (
    rf"""{_COLON}(?:[\[{{]\s{{0,32}}+){{1,4}}+(?:["'\\]{{1,16}}+[\w-]{{1,32}}+["'\\]{{1,16}}+\s{{0,8}}+:\s{{0,8}}+)?+"""
)
_NESTED_QUOTED: Final = _quoted(_DRAWN, "_nested")
_COOKIE_QUOTED: Final = _quoted(rf"{_DRAWN}(?={_VALUE}{{16}})")
_XML: Final = (
    r"(?:</(?i:key|name)>\s{0,32}+<(?i:string|value)|\s[^<>]{0,256}+)?+(?>>|&gt;|\\u003[eE])\s{0,32}+(?:<!\[CDATA\[)?+"
    rf"(?:(?P<element>{_NOT_AGAIN}{_NO_VALUE}(?![\"'`}}\])=,;]){_WITHIN})(?=\s{{0,32}}+(?:</|&lt;/|\\u003[cC]|\]\]>))"
    rf"|(?P<cut>{_NOT_AGAIN}(?>{_STRANGE}){_CONTENT}{{1,512}}+)(?=\s{{0,32}}+\Z))"
)
_TOKEN_XML: Final = rf"(?:>|&gt;)\s{{0,32}}+(?P<content>{_NOT_AGAIN}{_STRANGE}(?={_VALUE}{{8}}){_VALUE}{{8,{MOST}}}+)"
_SPACED: Final = (
    r"(?:\s{0,4}+\|\s{0,4}+|\s{1,4}+(?:is\s{1,4}+|was\s{1,4}+)?+)[\"'`]?+"
    rf"(?P<spaced>{_NOT_AGAIN}{_NO_VALUE}{_STRANGE}(?={_VALUE}{{12}}){_BARE}{_REST})"
)
_ATTRIBUTE: Final = r"""["']\s{1,32}+(?i:value)\s{0,8}+=\s{0,8}+(?=["'])"""
_ENCODED: Final = (
    r"(?:%5[cC]){0,8}+(?:%2[27])?+(?:%20|\+)?+%3[aAdD](?:%20|\+)?+(?:%5[cC]){0,8}+(?:%2[27])?+"
    rf"(?P<encoded>{_NOT_AGAIN}{_NO_VALUE}(?:[^\s\"'`,;<>&%]|%(?!2[267cC]|5[cC]|7[dD]|0[aA])[0-9A-Fa-f]{{2}}){{1,{MOST}}}+)"
)
# What stands before `key`; each is looked for behind the place where `key` stands.
_KEYS: Final = (
    *("api", "app", "access", "account", "private", "signing", "encryption", "master", "subscription", "secret"),
    *(
        "sharedaccess",
        "shared_access",
        "application",
        "auth",
        "functions",
        "client",
        "license",
        "admin",
        "root",
        "goog",
    ),
    *("openai", "azure", "anthropic", "claude", "gemini", "google", "mistral", "cohere", "groq", "deepseek", "xai"),
    *("huggingface", "hf", "together", "fireworks", "openrouter", "perplexity", "replicate", "nvidia", "cerebras"),
    *("elevenlabs", "deepgram", "pinecone", "tavily", "serper", "langfuse", "langsmith", "wandb", "voyage", "jina"),
    *("llm", "litellm", "bedrock", "aws", "gcp", "stripe", "twilio", "sendgrid", "datadog", "exa", "brave", "deepl"),
)


def _behind(words: tuple[str, ...]) -> str:
    """One of the words stands just before, alone or with a sign after it."""
    by_length: dict[int, list[str]] = {}
    for word in words:
        for sign in ("", "_", "-"):
            by_length.setdefault(len(word + sign), []).append(word + sign)
    return "(?>" + "|".join(f"(?<=(?i:{'|'.join(same)}))" for _, same in sorted(by_length.items())) + ")"


_ENDING: Final = (
    r"(?:[_-]?[0-9]{1,3}+|[_-](?i:prod|production|dev|staging|stage|test|live|old|new|primary|secondary|backup|base"
    r"|default|main|value))?+"
)
# A number behind a name in the plural is a count.
_NAMES: Final = (
    r"(?!\w{1,24}s[\"'\\]{0,4}+\s{0,8}+[:=]\s{0,8}+[0-9]{1,9}+(?![\w.]))"
    rf"(?>(?i:pass(?:word|wd|phrase|code)s?|pwd|credentials?|secrets?)|(?<=[A-Z]_)PASS|{_behind(_KEYS)}(?i:keys?)){_ENDING}"
)
_OPTIONS: Final = (
    r"(?>(?<=-)(?<!sort-)(?<!cache-)(?<!partition-)(?<!primary-)(?<!public-)(?<!foreign-)"
    r"(?i:key|token|password|passwd|passphrase|pass|secret|credentials?))\s{1,8}+"
)
_HARMLESS_TOKENS: Final = (
    *("eos_", "bos_", "pad_", "unk_", "sep_", "cls_", "mask_", "per_", "page_", "next_", "stop_", "first_", "last_"),
    *("sync_", "nextpage", "page", "next_page_", "unexpected ", "illegal ", "bad ", "next ", "stray ", "special "),
)
_NO_SECRET_KEYS: Final = "".join(
    f"(?<!{word}_)"
    for word in ("CACHE", "PUBLIC", "PRIMARY", "FOREIGN", "SORT", "ROUTING", "PARTITION", "IDEMPOTENCY", "DEDUP")
)
_NOT_HARMLESS: Final = "".join(f"(?<!(?i:{word}))" for word in _HARMLESS_TOKENS)
_NO_NUMBER: Final = r"(?![0-9.,_]{1,64}+(?!\w))"
_PART: Final = r"""[^\s/"'<>@\\]"""
_JAR: Final = "[^{}:=\\n]"
_XML_OPEN: Final = r"(?:>|&gt;|\\u003[eE])\s{0,32}+"
_CODED_COLON: Final = r"(?:%2[27])?+%3[aAdD](?:%20|%22|%27|\+){0,3}+"
_BY_NAME: Final = "https://github.com/Yelp/detect-secrets (KeywordDetector); gitleaks.toml, rule generic-api-key"
_VENDOR: Final = "vendor documentation and gitleaks.toml, rule "
_TAIL_20: Final = rf"[A-Za-z0-9]{{20,{MOST}}}+"
_CREDENTIALS: Final = "[A-Za-z0-9._~+/=:|%$-]"


def _shaped() -> tuple[Pattern, ...]:
    """Secrets that are known by their shape, but by more than a prefix."""
    return (
        # OpenAI's older keys, OpenRouter (sk-or-v1-), DeepSeek, LiteLLM and others; `sk-` also begins names.
        Pattern(
            "sk-key",
            ("sk-",),
            rf"(?:{START}|(?=sk-{GLUED}))sk-(?:(?![a-z]{{3,64}}+[_-])(?=(?:[A-Za-z0-9]{{0,64}}+[_-]{{1,2}}+){{0,8}}?"
            r"(?=[A-Za-z]{0,64}+[0-9][0-9]{0,64}+[A-Za-z]{1,64}+[0-9]|[A-Za-z0-9]{16})(?=[A-Za-z]{0,64}+[0-9])(?=[0-9]{0,64}+[A-Za-z])[A-Za-z0-9]{10})"
            rf"|(?=(?:[A-Za-z0-9]{{1,16}}+-){{1,4}}(?=[A-Za-z]{{0,64}}+[0-9])(?=[0-9]{{0,64}}+[A-Za-z])[A-Za-z0-9]{{20}})"
            rf"|(?=(?:[A-Za-z0-9]{{1,16}}+-){{0,4}}[A-Za-z0-9]{{32}}))[A-Za-z0-9_-]{{16,{MOST}}}+",
            "https://openrouter.ai/docs/api-reference/authentication; gitleaks.toml, rule openai-api-key",
            by_shape=True,
        ),
        Pattern(
            "aws-key-id",
            ("AKIA", "ASIA", "ABIA", "ACCA"),
            rf"{START}A(?:[KS]I|BI|CC)A[A-Z2-7]{{16}}(?![A-Za-z0-9])",
            "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html",
            by_shape=True,
        ),
        Pattern(
            "azure-key",
            ("JQQJ99",),
            r"(?<![A-Za-z0-9])[A-Za-z0-9]{52}JQQJ99[A-Za-z0-9]{20,40}+",
            "https://learn.microsoft.com/azure/ai-services/authentication",
            before=52,
            by_shape=True,
        ),
        Pattern(
            "azure-client-secret",
            ("Q~",),
            r"(?<![A-Za-z0-9_~.])[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{24,48}+",
            f"{_VENDOR}azure-ad-client-secret",
            before=4,
            by_shape=True,
        ),
        Pattern(
            "sendgrid-key",
            ("SG.",),
            rf"{START}SG\.[\w-]{{16,64}}+\.[\w-]{{16,128}}+",
            f"{_VENDOR}sendgrid-api-token",
            by_shape=True,
        ),
        Pattern(
            "twilio-key",
            (),
            r"SK(?<![A-Za-z0-9]SK)[0-9a-f]{32}(?![A-Za-z0-9])",
            f"{_VENDOR}twilio-api-key",
            by_shape=True,
        ),
        Pattern(
            "telegram-token",
            (":AA",),
            r"(?<=[0-9]{8}):AA[\w-]{30,40}+",
            "https://core.telegram.org/bots/api#authorizing-your-bot",
            by_shape=True,
        ),
        Pattern(
            "discord-token",
            (),
            r"\.(?<=[A-Za-z0-9_-]{23}\.)[A-Za-z0-9_-]{6,7}+\.[A-Za-z0-9_-]{27,45}+(?![A-Za-z0-9_-])",
            "https://discord.com/developers/docs/reference#authentication",
            by_shape=True,
        ),
        Pattern(
            "airtable-token",
            (),
            r"pat[A-Za-z0-9]{14}\.[0-9a-f]{32,64}+",
            f"{_VENDOR}airtable-personnal-access-token",
            by_shape=True,
        ),
        Pattern(
            "asana-token",
            (),
            r"/[0-9]{16}:[0-9a-f]{32}(?![0-9a-zA-Z])",
            "https://developers.asana.com/docs/personal-access-token; trufflehog, detector asanapersonalaccesstoken",
            by_shape=True,
        ),
        Pattern(
            "webhook-url",
            ("hooks.", "discord.", "discordapp.", "office."),
            r"(?i:hooks\.slack\.com/(?:services|workflows|triggers)/|discord(?:app)?\.com/api/webhooks/|office\.com/webhookb2/"
            r"|hooks\.zapier\.com/hooks/catch/)(?P<path>[\w/@-]{10,500}+)",
            "https://api.slack.com/messaging/webhooks; https://discord.com/developers/docs/resources/webhook",
            by_shape=True,
        ),
        # The header of a JSON Web Token, alone where the text was cut; or any JSON in Base64 that dots go on with.
        Pattern(
            "jwt",
            ("eyJ",),
            rf"(?:{START}|(?<=_))eyJ(?:(?:hbGci|0eXAi|raWQi|lbmMi|jdHki|4NXQi|ub25jZSI)[\w-]{{8,{MOST}}}+(?:\.[\w-]{{0,{MOST}}}+){{0,4}}+"
            rf"|[\w-]{{12,1024}}+\.[\w-]{{0,{MOST}}}+(?:\.[\w-]{{0,{MOST}}}+){{0,3}}+)",
            "RFC 7519, section 3; RFC 7515, section 4.1",
            by_shape=True,
        ),
        Pattern(
            "private-key",
            ("-----BEGIN ",),
            r"-----BEGIN [A-Z0-9 ]{0,64}PRIVATE KEY(?: BLOCK)?-----"
            r"(?=\s{0,16}+\Z|(?:\\{0,8}[\"']|[ \t]){0,8}+(?:[\r\n]|\\{1,8}+[nr])|\s{1,8}+[A-Za-z0-9+/=]{16})"
            rf"(?:(?!-----END )[\s\S]){{0,{MOST}}}+(?:-----END [A-Z0-9 ]{{0,64}}+(?:-----)?+)?+",
            "RFC 7468, section 10",
            by_shape=True,
        ),
    )  # fmt: skip


def _named() -> tuple[Pattern, ...]:
    """Secrets that are known by what stands before them."""
    return (
        Pattern(
            "url-password",
            ("://", ":\\", "%3A%2F%2F", "%3a%2f%2f"),
            rf"(?::\\{{0,8}}+/\\{{0,8}}+/[^\s/?#@:\"'<>\[\\]{{0,256}}+(?::(?![0-9]{{1,5}}+(?:[/,?#\s]|\Z))"
            rf"(?:(?P<password>{_NOT_AGAIN}(?:{_PART}{{1,256}}+(?:@{_PART}{{0,256}}+(?=@)){{0,8}}+))(?=@)"
            rf"|(?P<slashed>{_NOT_AGAIN}[^\s\"'<>@\\]{{1,256}}+)(?=@(?!sha[0-9])))"
            r")"
            rf"|:\\{{0,8}}+/\\{{0,8}}+/(?P<user>{_NOT_AGAIN}(?=[^0-9@]{{0,64}}+[0-9])[^\s/?#@:.\"'<>\\]{{20,512}}+)(?=@(?!sha[0-9]))"
            r"|%3[aA]%2[fF]%2[fF][\w.~-]{0,64}+%3[aA](?P<encoded>(?:[\w.~!*()+-]|%(?!40)[0-9A-Fa-f]{2}){1,256}+)(?=%40))",
            "RFC 3986, section 3.2.1",
        ),
        Pattern(
            "url-query",
            ("key=", "sig=", "signature=", "Signature=", "code=", "credential="),
            r"(?:(?:(?:(?<=[?&;])|(?<=u0026))(?i:key|sig)|(?<=[?&;_-])(?i:signature|credential))="
            rf"(?P<value>{_NOT_AGAIN}(?!(?i:{_WORDS}|[a-z]{{2,64}}+(?:[_-][a-z]{{1,64}}+){{1,8}}+){_WORD_ENDS})[^\s&#\"'<>\\]{{4,{MOST}}}+)"
            r"|(?:(?<=[?&;])|(?<=u0026))(?i:code)="
            rf"(?P<code>{_NOT_AGAIN}(?:(?=[^\s&A-Z]{{0,64}}+[A-Z])(?=[^\s&a-z]{{0,64}}+[a-z])(?=[^\s&0-9]{{0,64}}+[0-9])"
            rf"|(?=[a-z]{{0,64}}+[0-9])(?=[0-9]{{0,64}}+[a-z])(?=[a-z0-9]{{16}}))[^\s&#\"'<>\\]{{4,{MOST}}}+))",
            "RFC 3986, section 3.4; https://learn.microsoft.com/rest/api/storageservices/create-service-sas",
        ),
        Pattern(
            "authorization",
            ("authorization",),
            rf"(?i:authorization)(?>{_HEADER}|{_XML_OPEN}|{_CODED_COLON})[\"'\\]{{0,16}}+"
            rf"(?:(?!(?=[A-Za-z]{{0,64}}+[0-9])[A-Za-z0-9]{{12}})[A-Za-z][A-Za-z0-9]{{0,23}}+(?:-[A-Za-z0-9]{{1,24}}+){{0,4}}+:?(?:\s{{1,8}}+|%20|\+))?"
            rf"(?:(?P<parameters>(?:[\w-]{{1,32}}+=(?:\\{{0,8}}+\"[^\"\n\\]{{0,512}}+\\{{0,8}}+\"|[^\s,\"\\]{{1,512}}+),?\s{{0,8}}+){{2,16}}+)"
            rf"|(?P<credentials>{_NOT_AGAIN}{_NO_VALUE}{_RANDOM}{_CREDENTIALS}{{6,{MOST}}}+))",
            "RFC 9110, section 11.6.2; RFC 7617; RFC 7616",
        ),
        Pattern(
            "bearer-token",
            ("bearer",),
            rf"(?i:bearer)(?:\s{{1,8}}+|:\s{{0,8}}+|%20|\+)(?P<token>{_NOT_AGAIN}{_NO_VALUE}{_RANDOM}[A-Za-z0-9._~+/=-]{{8,{MOST}}}+)",
            "RFC 6750, section 2.1",
        ),
        Pattern(
            "cookie",
            ("cookie",),
            rf"(?i:cookie2?)(?:{_HEADER}[\"'\\]{{0,16}}+(?P<pairs>{_NOT_AGAIN}[\w.-]{{1,128}}+=(?!\[REDACTED:)"
            rf"(?=[^\n]{{3}})(?:[^\n\"'\\]|(?<==)\\{{0,8}}+\"[^\"\n\\]{{0,512}}+\\{{0,8}}+\"){{1,{MOST}}}+)"
            rf"|(?i:s){_HEADER}\{{(?={_JAR}{{0,128}}+[:=])(?P<jar>{_NOT_AGAIN}[^{{}}\n]{{3,{MOST}}}+)"
            rf"|{_COLON}{_COOKIE_QUOTED})",
            "RFC 6265, sections 4.1 and 4.2",
        ),
        Pattern(
            "command-option",
            ("key", "token", "pass", "secret", "credential", " -u ", "-user", "login "),
            rf"(?:{_OPTIONS}(?:{_ANY_QUOTED}|(?P<option>{_NOT_AGAIN}{_NO_VALUE}(?!-)(?:{_RANDOM}(?={_VALUE}{{6}}){_REST}"
            rf"|(?<=[Ww][Oo][Rr][Dd] ){_VALUE}{{4,64}}+(?=\s{{0,8}}+(?:\Z|[\n;|&)]|-)))))"
            rf"|login (?:[^\s|;&]{{1,64}}+ ){{0,6}}?-p[ =]"
            rf"(?P<login>{_NOT_AGAIN}{_NO_VALUE}(?![0-9]{{1,5}}+(?![^\s\"']))[^\s\"']{{4,{MOST}}}+)"
            # `-u root:root` and `-u 1000:1000` are users and groups of a system
            rf"|(?:[ ]-u|-user)[ =]{{1,4}}+[\"']?+(?P<who>[\w.@+-]{{1,64}}+):"
            rf"(?![0-9]{{1,10}}+(?!\S)|(?P=who)(?![^\s\"']))"
            rf"(?P<user>{_NOT_AGAIN}{_NO_VALUE}(?!(?:root|wheel|staff|users|nogroup|www-data)(?![^\s\"']))(?=[^\s\"']{{3}})[^\s\"']{{3,{MOST}}}+))",
            "https://clig.dev/#arguments-and-flags; https://curl.se/docs/manpage.html#-u",
        ),
        Pattern(
            "named-secret",
            ("pass", "pwd", "secret", "credential", "key"),
            rf"{_NAMES}(?:(?>{_EQUALS}|{_COLON}|{_ATTRIBUTE}|{_MARKED_PAIR}|{_PAIR}){_ANY_QUOTED}"
            rf"|{_EQUALS}(?P<equal>{_NOT_AGAIN}{_NO_VALUE}(?:{_BARE}|[({{\[.|<\\]{{1,2}}+{_STRANGE}){_REST})"
            rf"|{_COLON}{_NOT_AGAIN}{_NO_VALUE}(?:(?P<random>{_RANDOM}{_BARE}(?={_VALUE}{{5}}){_REST})"
            rf"|(?P<last>{_BARE}[^\s\"'`,;<>(){{}}\[\]]{{3,64}}+(?=\s{{0,8}}+(?:[\n,;)}}\]]|\Z))))"
            rf"|{_NESTED}{_NESTED_QUOTED}|{_XML}|{_ENCODED}|{_SPACED})",
            _BY_NAME,
        ),
        Pattern(
            "named-key",
            ("key", "_PAT"),
            r"(?:(?:(?<=(?i:api ))|(?<=(?i:access ))|(?<=(?i:secret ))|(?<=(?i:license )))(?i:key)"
            r"(?:\s(?i:provided|used|given|is|was|value)){0,2}+\*{0,2}+\s{0,4}+[:=]?+\*{0,2}+\s{0,4}+"
            rf"|(?<=[A-Z0-9]_){_NO_SECRET_KEYS}KEY{_ENDING}(?>{_EQUALS}|{_COLON})|(?<=[A-Z])_PAT{_ENDING}(?>{_EQUALS}|{_COLON}))"
            rf"[\"'`\\]{{0,16}}+(?P<key>{_NOT_AGAIN}{_NO_VALUE}{_STRANGE}{_CREDENTIALS}{{16,{MOST}}}+)",
            _BY_NAME,
        ),
        Pattern(
            "named-token",
            ("token",),
            rf"{_NOT_HARMLESS}(?:(?>(?<=[A-Za-z0-9][_-])(?i:token)|(?<=[a-z])Token|(?:(?<=(?i:auth))|(?<=(?i:access))|(?<=(?i:refresh)))token){_ENDING}"
            rf"(?:(?>{_EQUALS}|{_COLON}|{_ATTRIBUTE}|{_MARKED_PAIR}|{_PAIR}){_RANDOM_QUOTED}"
            rf"|(?>{_EQUALS}|{_COLON})(?P<compound>{_NOT_AGAIN}{_NO_VALUE}{_NO_NUMBER}{_RANDOM}{_BARE}(?={_VALUE}{{7}}){_REST})|{_NESTED}{_NESTED_QUOTED}|{_XML}|{_ENCODED})"
            rf"|(?i:token)(?:{_SPACED}|{_TOKEN_XML}|(?>{_EQUALS}|{_COLON}|{_MARKED_PAIR}|{_PAIR}){_STRANGE_QUOTED}"
            rf"|(?>{_EQUALS}(?={_NO_NUMBER}{_DIGIT})|{_COLON}(?={_STRANGE}))"
            rf"(?P<bare>{_NOT_AGAIN}{_NO_VALUE}{_BARE}(?={_VALUE}{{7}}){_REST})))",
            _BY_NAME,
        ),
    )  # fmt: skip


PATTERNS: Final = (*patterns_of_shapes(), *_shaped(), *_named())
"""In the order in which one counts that covers the same place as another."""
