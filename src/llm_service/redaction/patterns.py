r"""What secrets look like in text: anchored patterns, each behind literals of which one stands where it begins.

A pattern is tried only where one of its literals occurs, so ordinary text pays for a search of literals. None can
backtrack over more than a bounded stretch: the time is linear in the length of the text. Where a pattern has a named
group, only that part is replaced, and the name of the key or header stays readable.

Shapes are facts from the vendors' documentation and from the rules of gitleaks (MIT), commit 009e025,
https://github.com/gitleaks/gitleaks/blob/master/config/gitleaks.toml. Lengths are taken shorter than they are today:
vendors change them, and a part of a secret is one too.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

__all__ = ["PATTERNS", "Pattern"]


@dataclass(frozen=True, slots=True)
class Pattern:
    """One kind of secret.

    Attributes:
        name: stands in `[REDACTED:name]` and in `stats().redactions`.
        literals: lower case; the expression is tried where one of them occurs, whatever its case.
        expression: a regular expression that begins with the literal.
        source: where the shape is documented.
    """

    name: str
    literals: tuple[str, ...]
    expression: str
    source: str

    def match(self, text: str, position: int) -> tuple[int, int] | None:
        """Begin and end of the secret announced at this position, or None; what stands before it is looked at too."""
        found = _compiled(self.expression).match(text, position)
        return None if found is None else found.span(found.lastgroup or 0)


@lru_cache(maxsize=128)
def _compiled(expression: str) -> re.Pattern[str]:
    return re.compile(expression)  # 0.2 to 1 ms each: only those that are met are paid for


_MOST: Final = 65_535
# A word begins here; also behind an escape of JSON, of a URL or of a terminal, whose last character looks like a part.
_START: Final = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrtbf])|(?<=%[0-9A-Fa-f]{2})|(?<=\\u[0-9A-Fa-f]{4})|(?<=\[[0-9]m))"
_NOT_AGAIN: Final = r"(?!\[REDACTED:)"
# Looks drawn at random rather than written: a digit, a change of case within, a sign of Base64; or it is simply long.
_RANDOM: Final = r"""(?:(?=[^\s"'`,;<>&]{0,64}?(?:[0-9]|[a-z][A-Z]|[+/=~]))|(?=[^\s"'`,;<>&]{20}))"""
# What stands behind `password:` or `api_key=` in messages, and in source code that a traceback quotes.
_WORDS: Final = (
    "none|null|nil|true|false|undefined|required|missing|invalid|empty|expired|incorrect|wrong|unknown|unset|not|str"
    "|string|bytes|int|must|is|was|are|has|the|a|an|no|field|value|set|provided|optional|given|denied|rejected|revoked"
    "|mismatch|failed|error|input|please|cannot|could|should|may|if|and|or|for|to|of|in|from|unauthorized|forbidden"
    "|disabled|mandatory|needed|absent|supplied|expected|got|check|your|user|password|passwd|pwd|passphrase|api_key|token|secret"
)
# Such a word alone, not one with which a password begins.
_WORD_ENDS: Final = r"""(?=[\s"'`,;:<>(){}\[\]=\\]|\.?(?:\s|\Z))"""
_NO_VALUE: Final = (
    rf"(?!(?i:{_WORDS}){_WORD_ENDS}|(?:self|cls|os|settings|config|cfg|env|environ|args|kwargs|options|params)[.\[(]"
    r"|[A-Za-z_.]{1,80}[(\[]|[a-z]{2,10}://|~?\.{0,2}/(?:run|etc|var|home|usr|opt|tmp|root|mnt|app|Users)/)"
)
_BARE: Final = r"""[^\s"'`&,;<>=(){}\[\]|\\*$%.]"""
_REST: Final = r"""[^\s"'`&,;<>]"""
_EQUALS: Final = r"""["'\\]{0,6}\s{0,8}=[=>]?\s{0,8}"""
_COLON: Final = r"""["'\\]{0,6}\s{0,8}:=?\s{0,8}"""
_HEADER: Final = r"""(?:["'\\]{0,6}\s{0,8}[:=]|["'\\]{1,6}\s{0,8},)\s{0,8}(?:b(?=["']))?"""  # also a printed pair


def _quoted(test: str) -> str:
    """A value in quotes, to their end, to the end of the line, or to the end of a text that was cut."""
    return (
        rf"""(?:\\{{1,6}}["'](?P<escaped>{test}(?:[^"'\\\n]|\\{{1,6}}+[^"'\\]){{1,{_MOST}}}+)"""
        rf"""|"(?P<double>{test}(?:[^"\\\n]|\\[^\n]){{1,{_MOST}}}+)"""
        rf"""|'(?P<single>{test}(?:[^'\\\n]|\\[^\n]){{1,{_MOST}}}+))"""
    )


_ANY_QUOTED: Final = _quoted(rf"""{_NOT_AGAIN}(?!(?:(?i:{_WORDS})|\*{{1,64}}|\.{{3}}|<[^<>"']{{0,64}}>)["'\\])""")
_RANDOM_QUOTED: Final = _quoted(rf"{_NOT_AGAIN}{_RANDOM}(?={_REST}{{8}})")
_NAMES: Final = (
    r"(?i:pass(?:word|wd|phrase)s?|pwd|credentials?|secrets?(?:[_-]?(?:access[_-]?)?key)?"
    r"|(?:api|access|account|private|signing|encryption|master|subscription|sharedaccess)[_-]?keys?)[0-9]?"
)
_VENDOR: Final = "vendor documentation and gitleaks.toml, rule "


PATTERNS: Final = (
    Pattern("anthropic-key", ("sk-ant-",), rf"sk-ant-[\w-]{{8,{_MOST}}}", f"{_VENDOR}anthropic-api-key"),
    Pattern(
        "openai-key",
        ("sk-proj-", "sk-svcacct-", "sk-admin-"),
        rf"sk-(?:proj|svcacct|admin)-[\w-]{{8,{_MOST}}}",
        f"{_VENDOR}openai-api-key",
    ),
    # OpenAI's older keys, OpenRouter (sk-or-v1-), DeepSeek, Langfuse (sk-lf-), LiteLLM and others.
    Pattern(
        "sk-key",
        ("sk-",),
        rf"{_START}sk-(?=[A-Za-z_-]{{0,64}}[0-9])[\w-]{{16,{_MOST}}}",
        "https://openrouter.ai/docs/api-reference/authentication; gitleaks.toml, rule openai-api-key",
    ),
    Pattern("google-api-key", ("aiza",), r"AIza[\w-]{30,200}", f"{_VENDOR}gcp-api-key"),
    Pattern(
        "google-oauth",
        ("ya29.", "gocspx-"),
        rf"(?:ya29\.|GOCSPX-)[\w.-]{{20,{_MOST}}}",
        "https://cloud.google.com/docs/authentication/token-types",
    ),
    Pattern(
        "github-token",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        rf"(?:gh[pousr]_[A-Za-z0-9]{{20,{_MOST}}}|github_pat_\w{{20,{_MOST}}})",
        "https://github.blog/engineering/behind-githubs-new-authentication-token-formats/",
    ),
    Pattern(
        "gitlab-token",
        ("glpat-", "gldt-", "glrt-", "glcbt-", "glptt-"),
        rf"gl(?:pat|dt|rt|cbt|ptt)-[\w.-]{{16,{_MOST}}}",
        "https://docs.gitlab.com/security/tokens/#token-prefixes",
    ),
    Pattern(
        "aws-key-id",
        ("akia", "asia"),
        rf"{_START}A[KS]IA[A-Z2-7]{{16}}(?![A-Za-z0-9])",
        "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html",
    ),
    Pattern("slack-token", ("xox", "xapp-"), r"(?:xox[a-z]|xapp)-[A-Za-z0-9-]{10,500}", f"{_VENDOR}slack-bot-token"),
    Pattern(
        "webhook-url",
        ("hooks.slack.com/", "/api/webhooks/"),
        r"(?i:hooks\.slack\.com/(?:services|workflows|triggers)/|(?<=discord\.com)/api/webhooks/"
        r"|(?<=discordapp\.com)/api/webhooks/)(?P<path>[\w/-]{10,500})",
        "https://api.slack.com/messaging/webhooks; https://discord.com/developers/docs/resources/webhook",
    ),
    Pattern(
        "stripe-key",
        ("sk_live_", "rk_live_", "whsec_"),
        r"(?:[sr]k_live_|whsec_)[A-Za-z0-9]{16,500}",
        "https://docs.stripe.com/keys",
    ),
    Pattern("huggingface-token", ("hf_",), rf"{_START}hf_[A-Za-z0-9]{{20,200}}", f"{_VENDOR}huggingface-access-token"),
    Pattern("groq-key", ("gsk_",), rf"{_START}gsk_[A-Za-z0-9]{{20,200}}", "https://console.groq.com/docs/quickstart"),
    Pattern("xai-key", ("xai-",), rf"{_START}xai-[A-Za-z0-9]{{20,200}}", "https://docs.x.ai/docs/tutorial"),
    Pattern("perplexity-key", ("pplx-",), r"pplx-[A-Za-z0-9]{20,200}", f"{_VENDOR}perplexity-api-key"),
    Pattern(
        "replicate-token", ("r8_",), rf"{_START}r8_[A-Za-z0-9]{{20,200}}", "https://replicate.com/docs/topics/security"
    ),
    Pattern(
        "nvidia-key", ("nvapi-",), rf"nvapi-[\w-]{{20,{_MOST}}}", "https://docs.api.nvidia.com/nim/docs/api-quickstart"
    ),
    Pattern(
        "langsmith-key",
        ("lsv2_",),
        rf"{_START}lsv2_[a-z]{{2}}_\w{{16,500}}",
        "https://docs.langchain.com/langsmith/create-account-api-key",
    ),
    Pattern("npm-token", ("npm_",), rf"{_START}npm_[A-Za-z0-9]{{30,200}}", f"{_VENDOR}npm-access-token"),
    Pattern("pypi-token", ("pypi-ag",), rf"pypi-Ag[\w-]{{30,{_MOST}}}", "https://pypi.org/help/#apitoken"),
    Pattern("sendgrid-key", ("sg.",), rf"{_START}SG\.[\w-]{{16,64}}\.[\w-]{{16,128}}", f"{_VENDOR}sendgrid-api-token"),
    Pattern(
        "telegram-token",
        (":aa",),
        r"(?<=[0-9]{8}):AA[\w-]{30,40}",
        "https://core.telegram.org/bots/api#authorizing-your-bot",
    ),
    Pattern(
        "jwt",
        ("eyj",),
        rf"(?:{_START}|(?<=_))eyJ[\w-]{{12,{_MOST}}}+(?:\.[\w-]{{0,{_MOST}}}+){{1,4}}",
        "RFC 7519, section 3",
    ),
    Pattern(
        "private-key",
        ("-----begin ",),
        r"-----BEGIN [A-Z0-9 ]{0,64}PRIVATE KEY(?: BLOCK)?-----(?:(?!-----END )[\s\S]){0,65535}+"
        r"(?:-----END [A-Z0-9 ]{0,64}(?:-----)?)?",
        "RFC 7468, section 10",
    ),
    Pattern(
        "url-password",
        ("://",),
        r"""://(?:[^\s/?#@:"'<>\[]{0,256}:(?P<password>(?!\[REDACTED:)[^\s/"'<>]{1,512})@"""
        r"""|(?P<user>(?!\[REDACTED:)[^\s/?#@:"'<>]{20,512})@)""",
        "RFC 3986, section 3.2.1",
    ),
    Pattern(
        "url-query",
        ("key=", "sig=", "signature=", "code=", "credential="),
        rf"(?:(?:(?<=[?&;])|(?<=u0026))(?i:key|sig|code)|(?<=[?&;_-])(?i:signature|credential))=(?P<value>{_NOT_AGAIN}[^\s&#\"'<>\\]{{4,{_MOST}}})",
        "RFC 3986, section 3.4; https://learn.microsoft.com/rest/api/storageservices/create-service-sas",
    ),
    Pattern(
        "authorization",
        ("authorization",),
        rf"(?i:authorization){_HEADER}[\"'\\]{{0,6}}(?:(?i:bearer|basic|token|digest|negotiate|api-?key|key)\s{{1,8}})?"
        rf"(?P<credentials>{_NOT_AGAIN}{_NO_VALUE}{_RANDOM}[A-Za-z0-9._~+/=:-]{{6,{_MOST}}})",
        "RFC 9110, section 11.6.2; RFC 7617",
    ),
    Pattern(
        "bearer-token",
        ("bearer",),
        rf"(?i:bearer)(?:\s{{1,8}}|%20|\+)(?P<token>{_NOT_AGAIN}{_RANDOM}[A-Za-z0-9._~+/=-]{{8,{_MOST}}})",
        "RFC 6750, section 2.1",
    ),
    Pattern(
        "cookie",
        ("cookie",),
        rf"(?i:cookie2?){_HEADER}[\"'\\]{{0,6}}(?P<pairs>{_NOT_AGAIN}[\w.-]{{1,128}}=(?!\[REDACTED:)[^\n\"'\\]{{3,{_MOST}}})",
        "RFC 6265, sections 4.1 and 4.2",
    ),
    Pattern(
        "named-secret",
        (
            *("password", "passwd", "passphrase", "pwd", "secret", "credential", "api_key", "api-key", "apikey"),
            *("access_key", "access-key", "accesskey", "account_key", "account-key", "accountkey", "private_key"),
            *("private-key", "privatekey", "signing_key", "signing-key", "encryption_key", "encryption-key"),
            *("master_key", "master-key", "subscription_key", "subscription-key"),
        ),
        rf"{_NAMES}(?:(?:{_HEADER}|{_EQUALS}){_ANY_QUOTED}"
        rf"|{_EQUALS}(?P<equal>{_NOT_AGAIN}{_NO_VALUE}{_BARE}{_REST}{{0,{_MOST}}})"
        rf"|{_COLON}{_NOT_AGAIN}{_NO_VALUE}(?:(?P<random>{_RANDOM}{_BARE}{_REST}{{5,{_MOST}}})"
        rf"|(?P<last>{_BARE}[^\s\"'`,;<>(){{}}\[\]]{{3,64}}+(?=\s{{0,8}}(?:[\n,;)}}\]]|\Z)))))",
        "https://github.com/Yelp/detect-secrets (KeywordDetector); gitleaks.toml, rule generic-api-key",
    ),
    Pattern(
        "named-token",
        ("token",),
        rf"(?<!eos_)(?<!bos_)(?<!pad_)(?<!per_)(?<!page_)(?<!next_)(?<!stop_)(?<!first_)(?i:token)"
        rf"(?:(?:{_HEADER}|{_EQUALS}){_RANDOM_QUOTED}"
        rf"|(?:{_EQUALS}|{_COLON})(?P<bare>{_NOT_AGAIN}{_NO_VALUE}{_RANDOM}{_BARE}{_REST}{{7,{_MOST}}}))",
        "https://github.com/Yelp/detect-secrets (KeywordDetector); gitleaks.toml, rule generic-api-key",
    ),
)
"""In the order in which one counts that covers the same place as another."""
