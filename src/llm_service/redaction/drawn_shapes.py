"""Secrets that are known by their shape, but by more than a prefix: a table of expressions."""

from typing import Final

from llm_service.redaction.drawn_looks import drawn
from llm_service.redaction.key_shapes import GLUED, MOST, START, Pattern

__all__ = ["DRAWN_SHAPES"]

_DRAWN: Final = drawn("_-")
# LiteLLM's are 16 bytes in Base64: 22 characters, of which the last holds two bits.
_OF_16_BYTES: Final = (
    "(?=[A-Za-z0-9_-]{21}[AQgw](?![A-Za-z0-9_-]))(?=[^A-Z]{0,21}+[A-Z])(?=[^a-z]{0,21}+[a-z])(?=[^0-9]{0,21}+[0-9])"
)
# Behind the id of a bot as Discord writes it: 17 to 19 digits in Base64, and a dot.
_THREE_DIGITS: Final = "[MNO][DTjz][AEIMQUYcgk][w-z0-5]"
_OF_DIGITS: Final = (
    "(?>"
    + "|".join(
        rf"(?<=(?:{_THREE_DIGITS}){{5}}{end}\.)"
        for end in ("[MNO][DTjz][AEIMQUYcgk]", _THREE_DIGITS, "[MNO][AQgwDTjz]")
    )
    + ")"
)
_RULE: Final = "vendor documentation and gitleaks.toml, rule "

DRAWN_SHAPES: Final = (
    # OpenAI's older keys, OpenRouter (sk-or-v1-), DeepSeek, LiteLLM and others; `sk-` also begins names.
    Pattern(
        "sk-key",
        ("sk-",),
        rf"(?:{START}|(?=sk-{GLUED}))sk-(?:(?![a-z]{{3,64}}+[_-])(?=(?:[A-Za-z0-9]{{0,64}}+[_-]{{1,2}}+){{0,8}}?"
        r"(?=[A-Za-z]{0,64}+[0-9][0-9]{0,64}+[A-Za-z]{1,64}+[0-9]|[A-Za-z0-9]{16})(?=[A-Za-z]{0,64}+[0-9])(?=[0-9]{0,64}+[A-Za-z])[A-Za-z0-9]{10})"
        rf"|(?=(?:[A-Za-z0-9]{{1,16}}+-){{1,4}}(?=[A-Za-z]{{0,64}}+[0-9])(?=[0-9]{{0,64}}+[A-Za-z])[A-Za-z0-9]{{20}})"
        rf"|(?=(?:[A-Za-z0-9]{{1,16}}+-){{0,4}}[A-Za-z0-9]{{32}})|{_OF_16_BYTES}|{_DRAWN})[A-Za-z0-9_-]{{16,{MOST}}}+",
        "https://openrouter.ai/docs/api-reference/authentication; gitleaks.toml, rule openai-api-key",
        by_shape=True,
    ),
    # `sk_test_` is for tests.
    Pattern(
        "novita-key",
        ("sk_",),
        rf"{START}sk_(?!test_)(?:(?=(?:[A-Za-z0-9]{{0,64}}+[_-]{{1,2}}+){{0,8}}?(?=[A-Za-z]{{0,64}}+[0-9])(?=[0-9]{{0,64}}+[A-Za-z])"
        rf"[A-Za-z0-9]{{12}})|{_DRAWN})[A-Za-z0-9_-]{{40,{MOST}}}+",
        "https://novita.ai/docs/api-reference/basic-authentication",
        by_shape=True,
    ),
    Pattern(
        "aws-key-id",
        ("AKIA", "ASIA", "ABIA", "ACCA", "A3T"),
        rf"{START}A(?:[KS]IA|BIA|CCA|3T[A-Z0-9])[A-Z2-7]{{16}}(?![A-Za-z0-9])",
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
        f"{_RULE}azure-ad-client-secret",
        before=4,
        by_shape=True,
    ),
    # These begin as names do: `key-`, `re_`, `pa-` and `v1.0-` alone say little.
    Pattern(
        "mailgun-key",
        ("key-", "pubkey-"),
        rf"{START}(?<![_-])(?:pub)?key-[0-9a-f]{{32,64}}+(?![A-Za-z0-9])",
        "trufflehog, detector mailgun",
        by_shape=True,
    ),
    Pattern(
        "resend-key",
        ("re_",),
        rf"{START}re_{drawn('_')}[A-Za-z0-9]{{8}}_[A-Za-z0-9]{{16,64}}+",
        "https://resend.com/docs/api-reference/introduction",
        by_shape=True,
    ),
    Pattern(
        "voyage-key",
        ("pa-", "al-"),
        rf"{START}(?<![_-])(?:pa|al)-(?:(?=[a-z0-9_-]{{0,64}}+[A-Z])(?=[A-Za-z_-]{{0,64}}+[0-9])|{_DRAWN})[A-Za-z0-9_-]{{40,128}}+",
        "https://docs.voyageai.com/docs/api-key-and-installation",
        by_shape=True,
    ),
    Pattern(
        "cloudflare-ca-key",
        ("v1.0-",),
        rf"{START}v1\.0-[0-9a-f]{{24}}-[0-9a-f]{{100,200}}+",
        f"{_RULE}cloudflare-origin-ca-key",
        by_shape=True,
    ),
    Pattern(
        "datastax-token",
        ("AstraCS:",),
        rf"{START}AstraCS:[A-Za-z0-9]{{16,64}}+:[0-9a-f]{{32,128}}+",
        "https://docs.datastax.com/en/astra-db-serverless/administration/manage-application-tokens.html",
        by_shape=True,
    ),
    Pattern(
        "zhipu-key",
        (),
        r"\.(?<=[0-9a-f]{32}\.)(?:(?=[A-Za-z0-9]{0,15}?[0-9])(?=[A-Za-z0-9]{0,15}?[A-Z])"
        rf"|(?=[a-z0-9]{{16}})(?=[a-f0-9]{{0,15}}+[g-z])(?=[a-z]{{0,15}}+[0-9])|{drawn('')})[A-Za-z0-9]{{16}}(?![A-Za-z0-9.])",
        "https://docs.z.ai/api-reference/introduction",
        by_shape=True,
    ),
    Pattern(
        "sendgrid-key",
        ("SG.",),
        rf"{START}SG\.(?:{_DRAWN}|(?=[\w-]{{16,64}}+\.{_DRAWN}))[\w-]{{16,64}}+\.[\w-]{{16,128}}+",
        f"{_RULE}sendgrid-api-token",
        by_shape=True,
    ),
    Pattern(
        "twilio-key",
        (),
        r"SK(?<![A-Za-z0-9]SK)(?:[0-9a-f]{32}|[0-9A-F]{32})(?![A-Za-z0-9])",
        f"{_RULE}twilio-api-key",
        by_shape=True,
    ),
    Pattern(
        "telegram-token",
        (":AA",),
        rf"(?<=[0-9]{{8}}):AA{_DRAWN}[\w-]{{30,40}}+",
        "https://core.telegram.org/bots/api#authorizing-your-bot",
        by_shape=True,
    ),
    Pattern(
        "discord-token",
        (),
        rf"\.(?<=[A-Za-z0-9_-]{{23}}\.)(?:{_OF_DIGITS}|(?=[A-Za-z0-9_-]{{6,7}}+\.{_DRAWN}))"
        r"[A-Za-z0-9_-]{6,7}+\.[A-Za-z0-9_-]{27,45}+(?![A-Za-z0-9_-])",
        "https://discord.com/developers/docs/reference#authentication",
        by_shape=True,
    ),
    Pattern(
        "airtable-token",
        (),
        r"pat(?=[a-z]{0,13}+[A-Z0-9])[A-Za-z0-9]{14}\.[0-9a-f]{32,64}+",
        f"{_RULE}airtable-personnal-access-token",
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
        rf"|[\w-]{{12,1024}}+\.(?=[\w-]{{4}})[\w-]{{0,{MOST}}}+(?:\.[\w-]{{0,{MOST}}}+){{0,3}}+)",
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
