"""The one table of names that announce a secret: the patterns of texts and the check of keys are both made of it.

A row says which words end such a name and what stands before them. Names come in any case of letters, with `_`, `-`,
`.`, a space or nothing between their words.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

__all__ = [
    "BARE_TOKENS",
    "DRAWN",
    "ENDING",
    "HARMLESS",
    "HEADERS",
    "MORE_BEHIND",
    "NAMES",
    "PROPERTIES",
    "SECRETS",
    "TOKENS",
    "WORDS_OF_PASS",
    "Name",
]
__all__ += ["expression_of", "literals_of", "suffixed"]


class Name(NamedTuple):
    """One row.

    Attributes:
        words: of which one ends the name; a space in one stands for a sign or nothing.
        behind: words of which one stands before; empty where anything or nothing may.
        before: an expression that looks at what stands before. Where `behind` is empty, the case of letters counts.
    """

    words: tuple[str, ...]
    behind: tuple[str, ...] = ()
    before: str = ""


_OWNERS: Final = (
    *("openai", "azure", "anthropic", "claude", "gemini", "google", "mistral", "cohere", "groq", "deepseek", "xai"),
    *("huggingface", "hf", "together", "fireworks", "openrouter", "perplexity", "replicate", "nvidia", "cerebras"),
    *("elevenlabs", "deepgram", "pinecone", "tavily", "serper", "langfuse", "langsmith", "wandb", "voyage", "jina"),
    *("llm", "litellm", "bedrock", "aws", "gcp", "stripe", "twilio", "sendgrid", "datadog", "exa", "brave", "deepl"),
)
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
    *("service", "hmac", "aes", "webhook", "jwt", "cipher"),
    *_OWNERS,
)
_ACCOUNTS: Final = (
    *("db", "database", "smtp", "imap", "mail", "email", "ftp", "sftp", "mysql", "postgres", "pg", "pgsql", "mongo"),
    *("user", "redis", "ldap", "ssh", "sudo", "proxy", "http", "admin", "root", "amqp", "rabbitmq"),
    *("vault", "become", "require", "store", "key", "mqtt", "kafka", "mariadb", "mssql", "oracle", "elastic"),
    *("sasl", "vpn", "vnc", "wifi", "registry", "jenkins", "bind"),
)
_NOT_KEYS: Final = ("CACHE", "PUBLIC", "PRIMARY", "FOREIGN", "SORT", "ROUTING", "PARTITION", "IDEMPOTENCY", "DEDUP")
HARMLESS: Final = (
    *("eos", "bos", "pad", "unk", "sep", "cls", "mask", "stop", "start", "end", "first", "last", "next", "previous"),
    *("per", "page", "nextpage", "continuation", "special", "pretoken", "sync", "top", "bytes", "output", "input"),
    *("prompt", "completion", "generated", "sampled", "chosen", "cursor", "unexpected", "illegal", "bad", "stray"),
    *("publickey", "cancellation", "skip", "delta", "resume", "pagination", "paging", "scroll", "idempotency"),
)
"""What a language model, a grammar, a page of results or an assembly's name calls a token is none that opens a door."""


def _by_length(expressions: Iterable[tuple[int, str]]) -> list[str]:
    """Alternatives of the same length, together: what is looked for behind a place must have one."""
    found: dict[int, list[str]] = {}
    for length, expression in expressions:
        found.setdefault(length, []).append(expression)
    return ["|".join(same) for _, same in sorted(found.items())]


def _behind(words: tuple[str, ...]) -> str:
    """One of the words stands just before, alone or with a sign after it."""
    pairs = ((len(word + sign), word + sign.replace(" ", "[_. -]")) for word in words for sign in ("", " "))
    return "(?>" + "|".join(f"(?<=(?i:{same}))" for same in _by_length(pairs)) + ")"


def _not_behind(words: tuple[str, ...]) -> str:
    """None of the words stands just before, as a word of its own: `per_token`, but not `developer_token`."""
    pairs = (
        (len(word + sign), rf"(?:(?<![A-Za-z])(?i:{word})|(?<=[a-z]){word.title()})" + sign.replace(" ", "[_. -]"))
        for word in words
        for sign in ("", " ")
    )
    none = "".join(f"(?<!{same})" for same in _by_length(pairs))
    return rf"(?:(?<![A-Za-z_. -])|(?<=[^A-Za-z][_. -])|{none})"  # where no word stands before, none is looked for


_DOOR: Final = _not_behind(HARMLESS)

SECRETS: Final = (
    Name(("password", "passwd", "passphrase", "passcode", "passwords", "passwds", "passphrases", "passcodes")),
    Name(("pwd",)),
    Name(("credential", "credentials", "creds")),
    Name(("secret", "secrets")),
    Name(("secret string", "secret binary")),
    Name(("pass",), _ACCOUNTS),
    Name(("PASS",), before=r"(?<=[A-Z]_)"),
    Name(("key", "keys"), _KEYS),
    Name(("auth",), ("basic", "http", "proxy", "rediscli", "master")),
)
"""The value is a secret, unless it is a placeholder, a word of a message or source code."""

WORDS_OF_PASS: Final = tuple(row for row in SECRETS if row.words[0].lower().startswith(("pass", "pwd")))
TOKENS: Final = (
    Name(("tokens",), ("auth", "access", "refresh", "api", "session", "bearer", "security", "id")),
    Name(("token", "Token", "TOKEN"), before=rf"(?<=[A-Za-z0-9][_-]){_DOOR}"),
    Name(("Token",), before=rf"(?<=[a-z]){_DOOR}"),
    Name(("token",), ("auth", "access", "refresh", "api", "session", "bearer", "security", "csrf")),
)
"""In a text the value must look drawn, or be long; under a key, where no sentence stands, it may be any."""

BARE_TOKENS: Final = (Name(("token", "Token", "TOKEN"), before=_DOOR),)
DRAWN: Final = (
    Name(("auth",)),
    Name(("jwt",)),
    Name(("bearer",)),
    Name(("KEY",), before="(?<=[A-Z0-9]_)" + "".join(f"(?<!(?<![A-Z]){word}_)" for word in _NOT_KEYS)),
    Name(("_PAT",), before="(?<=[A-Z])"),
)
"""Here and where a `token` is just called so, the value must look drawn wherever it stands."""

HEADERS: Final = (Name(("authorization",)), Name(("cookie", "cookies", "cookiejar")))
"""In a text these have patterns of their own, for what they hold has a syntax."""

NAMES: Final = (*SECRETS, *TOKENS, *BARE_TOKENS, *DRAWN, *HEADERS)

_LABEL: Final = r"""(?:\s{0,2}+[:*?]?+\s{0,2}+(?=\\{0,8}+["']\s{0,4}+[:,=]))"""
"""Between a name and the quotes that close it, where it is the label of a form: `{"Password:": "..."}`."""

ENDING: Final = (
    r"(?:[_-]?[0-9]{1,3}+|[_-](?i:prod|production|dev|staging|stage|test|live|old|new|primary|secondary|backup|base"
    r"|default|main|value)|[_-]?(?i:confirmation|confirm|again|repeat|hash))?+(?:\[[\"'\\]{0,4}+[\w.-]{0,24}+[\"'\\]{0,4}+\](?=[\s\[\"'\\]{0,4}+[=:])){0,2}+"
    rf"{_LABEL}?+"
)
"""What may stand behind a name's last word: `password_2`, `API_KEY_PROD`, `api_keys[0] =`."""

PROPERTIES: Final = (
    *("file", "files", "path", "dir", "folder", "name", "names", "id", "ids", "arn", "uri", "url"),
    *("endpoint", "host", "port", "count", "len", "length", "size", "min", "max", "limit", "budget"),
    *("usage", "used", "cost", "costs", "price", "quota", "hint", "policy", "rule", "rules", "regex"),
    *("pattern", "format", "type", "kind", "mode", "algorithm", "alg", "version", "ttl", "age", "expiry"),
    *("expires", "expiration", "expired", "created", "updated", "rotated", "rotation", "at", "on", "date"),
    *("enabled", "disabled", "required", "optional", "valid", "invalid", "missing", "field", "header"),
    *("param", "column", "prefix", "suffix", "env", "var", "variable", "ref", "reference", "source"),
    *("store", "vault", "manager", "provider", "scope", "scopes", "reset", "error", "errors", "status"),
    *("label", "title", "description", "placeholder", "help", "message", "fingerprint", "checksum"),
    *("digest", "hash", "salt", "rounds", "metadata", "index", "pair", "spec", "schema", "class"),
    *("encoder", "hasher", "hashers", "validator", "validators", "for", "by", "per", "and", "or", "is"),
    *("of", "from", "in", "to", "word", "words"),
)
"""What stands behind the word of a secret where not the secret is meant, but something of it: `API_KEY_ID`."""
_PROPERTY: Final = rf"(?i:{'|'.join(PROPERTIES)})(?![a-z0-9])"
_SUFFIX: Final = (
    rf"(?>(?:[_-](?!{_PROPERTY})[A-Za-z0-9]{{1,16}}+){{1,4}}+"
    rf"|(?<=[a-z])(?:(?!{_PROPERTY})[A-Z][a-z0-9]{{1,16}}+){{1,3}}+)(?![\w-])"
)
MORE_BEHIND: Final = "(?=[A-Za-z]{3,12}+[_-][A-Za-z0-9]|[A-Za-z][a-z]{2,11}+[A-Z])"
"""A look ahead that costs less than the names: most words have nothing behind them."""

_CLOSES: Final = rf"""[0-9_-]{{0,4}}+(?:["'`\\*]|&[#a-z]|{_LABEL})"""
_ASSIGNS: Final = rf"(?:{_CLOSES}|[0-9_-]{{0,4}}+(?:\s{{0,4}}+=|</|:?+\s{{1,8}}+(?=[A-Za-z0-9/+]{{20}})))"


def expression_of(rows: Iterable[Name]) -> str:
    """The last word of a name of these rows, what stands before it looked at, and what may end it."""
    return f"{_any_of(rows)}{ENDING}"


def suffixed(rows: Iterable[Name]) -> str:
    """A name of these rows with more words behind it, none a property: `API_KEY_EASTUS`, but not `API_KEY_FILE`."""
    return f"{_any_of(rows)}{_SUFFIX}"


def literals_of(rows: Iterable[Name]) -> tuple[str, ...]:
    """What the last words begin with, as short as the shortest: a text is searched for these."""
    words = {
        word.partition(" ")[0] if " " in word else word.lower() if word.isalpha() else word
        for row in rows
        for word in row.words
    }
    return tuple(sorted(word for word in words if not any(word != other and word.startswith(other) for other in words)))


def _any_of(rows: Iterable[Name]) -> str:
    longest_first = sorted(rows, key=lambda row: -max(map(len, row.words)))  # `authorization` before `auth`
    return f"(?>{'|'.join(map(_expression, longest_first))})"


def _expression(row: Name) -> str:
    words = "|".join(map(re.escape, sorted(row.words, reverse=True))).replace("\\ ", "[_. -]?")
    if not row.behind:
        return f"{row.before}(?:{words})" if row.before else f"(?i:{words})"
    # In a sentence two words with a space or a dot between them may be anything: there the name stands in quotes, or
    # behind a dot before an equals sign.
    any_case = f"(?i:{words})"
    apart = rf"(?:(?<![ .])|(?<= )(?={any_case}{_CLOSES})|(?<=\.)(?={any_case}{_ASSIGNS}))"
    return f"{apart}{_behind(row.behind)}{any_case}"  # what costs less is looked at first
