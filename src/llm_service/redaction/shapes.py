r"""Keys that are known by their shape: a table of prefixes, what follows each, and where that is documented.

Shapes are facts from the vendors' documentation and from the rules and detectors of two public scanners: gitleaks (MIT),
commit b58d3f1, https://github.com/gitleaks/gitleaks/blob/master/config/gitleaks.toml, and trufflehog, commit 3ab759f,
https://github.com/trufflesecurity/trufflehog/tree/main/pkg/detectors. Lengths are taken shorter than they are today:
vendors change them, and a part of a secret is one too.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple

__all__ = ["GLUED", "MOST", "SHAPES", "START", "Pattern", "Shape", "patterns_of_shapes"]

MOST: Final = 65_535
"""Characters that one match takes at most; only the end of an expression may repeat so often."""
START: Final = (
    r"(?>(?<![A-Za-z0-9])|(?<=\\[nrtbf])|(?<=%[0-9A-Fa-f]{2})|(?<=\\x[0-9A-Fa-f]{2})|(?<=\\u[0-9A-Fa-f]{4})"
    r"|(?<=\\U000[0-9A-Fa-f]{5})|(?<=\\[0-3][0-7]{2}))"
)
"""A word begins here; also behind an escape of JSON, Python, C or a URL, whose last character looks like a part of it."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One kind of secret.

    Attributes:
        name: stands in `[REDACTED:name]` and in `stats().redactions`.
        literals: the expression is tried where one of them occurs; words of names in lower case stand for any case. Of a
            pattern without literals the expression is searched itself.
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


Body = Literal["letters", "hex", "base64", "parts", "dotted"]
"""What follows a prefix.

- `letters`: letters and digits, not all of them small letters.
- `hex`: hexadecimal digits.
- `base64`: letters, digits and `+/=_-`, not all of them small letters.
- `parts`: as `letters`, with `-` and `_` between. One part has both a letter and a digit, which tells a key from a name.
- `dotted`: as `parts`, with dots.
"""

# Looks ahead are bounded and take nothing back: see the test of what a failing attempt may cost.
_NOT_SMALL: Final = r"(?=[a-z_-]{0,64}+[A-Z0-9+/=])"
_MIXED_8: Final = r"(?=[A-Za-z]{0,64}+[0-9])(?=[0-9]{0,64}+[A-Za-z])[A-Za-z0-9]{8}"
_MIXED_PART: Final = rf"(?=(?:[A-Za-z0-9]{{0,64}}+[._-]{{1,2}}+){{0,12}}?{_MIXED_8})"
_BODIES: Final[dict[Body, tuple[str, str]]] = {
    "letters": (_NOT_SMALL, "[A-Za-z0-9]"),
    "hex": ("(?=[a-fA-F]{0,64}+[0-9])", "[0-9a-fA-F]"),
    "base64": (_NOT_SMALL, "[A-Za-z0-9+/=_-]"),
    "parts": (_MIXED_PART, "[A-Za-z0-9_-]"),
    "dotted": (_MIXED_PART, "[A-Za-z0-9_.-]"),
}
# Glued to the end of another word, a prefix of two or three letters is one only before what cannot be a word.
GLUED: Final = r"(?=[a-z0-9]{0,32}+[A-Z])(?=[A-Z0-9]{0,32}+[a-z])(?=[A-Za-z]{0,32}+[0-9])(?=[A-Za-z0-9]{32})"


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
        begin = f"(?:{prefixes})" if self.anywhere else f"(?:{START}(?:{prefixes})|(?:{prefixes}){GLUED})"
        return rf"{begin}{look}{alphabet}{{{self.least},{MOST}}}+"


_UP_TO_SIGN: Final = re.compile(r".{2,}[._~-]|.+")
_GITLEAKS: Final = "gitleaks.toml, rule "
_TRUFFLEHOG: Final = "trufflehog, detector "

SHAPES: Final = (
    # Models and what stands around them
    Shape("anthropic-key", ("sk-ant-",), "parts", 8, f"{_GITLEAKS}anthropic-api-key", anywhere=True),
    Shape(
        "openai-key",
        ("sk-proj-", "sk-svcacct-", "sk-service-", "sk-admin-", "sk-None-"),
        "parts",
        8,
        f"{_GITLEAKS}openai-api-key; {_TRUFFLEHOG}openai",
        anywhere=True,
    ),
    Shape("openai-session", ("sess-",), "letters", 40, "https://platform.openai.com/docs/api-reference/authentication"),
    Shape(
        "langfuse-key", ("sk-lf-", "pk-lf-"), "parts", 16, f"{_TRUFFLEHOG}langfuse; https://langfuse.com/docs", anywhere=True
    ),
    Shape("google-api-key", ("AIza",), "parts", 30, f"{_GITLEAKS}gcp-api-key", anywhere=True),
    Shape(
        "google-oauth",
        ("ya29.", "GOCSPX-", "AQ.Ab", "1//0"),
        "dotted",
        20,
        "https://cloud.google.com/docs/authentication/token-types",
    ),
    Shape("bedrock-key", ("ABSK",), "base64", 40, f"{_GITLEAKS}aws-amazon-bedrock-api-key-long-lived"),
    Shape(
        "bedrock-key-short",
        ("bedrock-api-key-",),
        "base64",
        20,
        f"{_GITLEAKS}aws-amazon-bedrock-api-key-short-lived",
        anywhere=True,
    ),
    Shape("huggingface-token", ("hf_", "api_org_"), "letters", 20, f"{_GITLEAKS}huggingface-access-token"),
    Shape("groq-key", ("gsk_",), "letters", 20, f"{_TRUFFLEHOG}groq"),
    Shape("xai-key", ("xai-",), "letters", 20, f"{_TRUFFLEHOG}xai"),
    Shape("perplexity-key", ("pplx-",), "letters", 20, f"{_GITLEAKS}perplexity-api-key"),
    Shape("replicate-token", ("r8_",), "letters", 20, f"{_TRUFFLEHOG}replicate"),
    Shape("nvidia-key", ("nvapi-",), "parts", 20, f"{_TRUFFLEHOG}nvapi", anywhere=True),
    Shape("cerebras-key", ("csk-",), "letters", 20, "https://inference-docs.cerebras.ai/quickstart"),
    Shape("fireworks-key", ("fw_", "fpk_"), "letters", 20, "https://docs.fireworks.ai/api-reference/introduction"),
    Shape("together-key", ("tgp_v1_",), "parts", 20, "https://docs.together.ai/docs/quickstart", anywhere=True),
    Shape("langsmith-key", ("lsv2_pt_", "lsv2_sk_", "ls__"), "parts", 16, f"{_TRUFFLEHOG}langsmith"),
    Shape("elevenlabs-key", ("sk_",), "hex", 32, f"{_TRUFFLEHOG}elevenlabs"),
    Shape("voice-key", ("sk_car_", "sk_V2_hgu_"), "parts", 16, "https://docs.cartesia.ai/get-started", anywhere=True),
    Shape("voyage-key", ("pa-", "al-"), "parts", 40, "https://docs.voyageai.com/docs/api-key-and-installation"),
    Shape("jina-key", ("jina_",), "parts", 32, "https://jina.ai/embeddings/"),
    Shape("friendli-token", ("flp_",), "letters", 20, "https://friendli.ai/docs/guides/personal_access_tokens"),
    Shape("databricks-token", ("dapi",), "hex", 32, f"{_GITLEAKS}databricks-api-token"),
    Shape("baidu-key", ("bce-v3/ALTAK-",), "base64", 20, "https://cloud.baidu.com/doc/qianfan-api", anywhere=True),
    Shape("modal-token", ("ak-", "as-"), "letters", 20, "https://modal.com/docs/reference/modal.config"),
    Shape("anyscale-key", ("esecret_",), "letters", 20, "https://docs.anyscale.com", anywhere=True),
    Shape("helicone-key", ("sk-helicone-", "pk-helicone-"), "parts", 16, "https://docs.helicone.ai", anywhere=True),
    Shape("pinecone-key", ("pcsk_",), "parts", 20, f"{_TRUFFLEHOG}pinecone", anywhere=True),
    Shape("wandb-key", ("wandb_v1_",), "parts", 20, "https://docs.wandb.ai/support/find_api_key", anywhere=True),
    Shape("llamacloud-key", ("llx-",), "letters", 20, "https://docs.cloud.llamaindex.ai/api_key"),
    Shape("mem0-key", ("m0-",), "letters", 32, "https://docs.mem0.ai/platform/quickstart"),
    Shape("tavily-key", ("tvly-",), "parts", 16, "https://docs.tavily.com/documentation/quickstart", anywhere=True),
    Shape("firecrawl-key", ("fc-",), "hex", 32, "https://docs.firecrawl.dev/introduction"),
    Shape("e2b-key", ("e2b_",), "hex", 32, "https://e2b.dev/docs/api-key"),
    Shape("browserbase-key", ("bb_live_",), "parts", 16, "https://docs.browserbase.com", anywhere=True),
    Shape("apify-token", ("apify_api_",), "letters", 20, f"{_TRUFFLEHOG}apify", anywhere=True),
    Shape("braintrust-key", ("bt-st-",), "letters", 20, "https://www.braintrust.dev/docs", anywhere=True),
    Shape("prefect-key", ("pnu_", "pnb_"), "letters", 20, f"{_GITLEAKS}prefect-api-token"),
    # Clouds and their code
    Shape(
        "aws-session-token",
        ("IQoJb3JpZ2lu", "FwoGZXIvYXdz", "FQoGZXIvYXdz", "AQoDYXdz"),
        "base64",
        40,
        "https://docs.aws.amazon.com/STS/latest/APIReference/API_Credentials.html",
        anywhere=True,
    ),
    Shape(
        "github-token",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        "parts",
        20,
        "https://github.blog/engineering/behind-githubs-new-authentication-token-formats/",
        anywhere=True,
    ),
    Shape(
        "gitlab-token",
        (
            *("glpat-", "gldt-", "glrt-", "glrtr-", "glcbt-", "glptt-", "glft-", "glimt-", "glagent-", "gloas-"),
            *("glsoat-", "glffct-", "glwt-", "GR1348941"),
        ),
        "dotted",
        16,
        "https://docs.gitlab.com/security/tokens/#token-prefixes",
        anywhere=True,
    ),
    Shape("alibaba-key-id", ("LTAI",), "letters", 16, f"{_GITLEAKS}alibaba-access-key-id"),
    Shape("digitalocean-token", ("dop_v1_", "doo_v1_", "dor_v1_"), "hex", 32, f"{_GITLEAKS}digitalocean-pat", anywhere=True),
    Shape("heroku-key", ("HRKU-",), "parts", 20, f"{_GITLEAKS}heroku-api-key-v2"),
    Shape("vercel-token", ("vck_", "vcp_", "vci_", "vca_", "vcr_"), "letters", 20, "https://vercel.com/docs/ai-gateway"),
    Shape("vercel-blob", ("vercel_blob_rw_",), "parts", 16, "https://vercel.com/docs/vercel-blob", anywhere=True),
    Shape("netlify-token", ("nfp_", "nfc_", "nfo_", "nfb_"), "letters", 20, f"{_TRUFFLEHOG}netlify"),
    Shape("cloudflare-token", ("cfut_", "cfat_", "cfk_"), "letters", 20, f"{_TRUFFLEHOG}cloudflareapitoken"),
    Shape("cloudflare-ca-key", ("v1.0-",), "parts", 40, f"{_GITLEAKS}cloudflare-origin-ca-key"),
    Shape(
        "supabase-key", ("sbp_", "sb_secret_"), "parts", 16, "https://supabase.com/docs/guides/api/api-keys; trufflehog"
    ),
    Shape(
        "planetscale-token",
        ("pscale_tkn_", "pscale_pw_", "pscale_oauth_"),
        "dotted",
        20,
        f"{_GITLEAKS}planetscale-api-token",
        anywhere=True,
    ),
    Shape("neon-key", ("napi_", "npg_"), "letters", 12, "https://neon.com/docs/manage/api-keys"),
    Shape("fly-token", ("fm1a_", "fm1r_", "fm2_", "fo1_"), "base64", 40, f"{_GITLEAKS}flyio-access-token"),
    Shape("doppler-token", ("dp.pt.", "dp.st.", "dp.ct.", "dp.sa.", "dp.scim.", "dp.audit."), "dotted", 20, f"{_TRUFFLEHOG}doppler"),
    Shape("vault-token", ("hvs.", "hvb.", "hvr."), "base64", 20, f"{_GITLEAKS}vault-service-token"),
    Shape("terraform-token", ("atlasv1.",), "parts", 20, f"{_GITLEAKS}hashicorp-tf-api-token", anywhere=True),
    Shape("pulumi-token", ("pul-",), "hex", 32, f"{_GITLEAKS}pulumi-api-token"),
    Shape("tailscale-key", ("tskey-",), "parts", 16, f"{_TRUFFLEHOG}tailscale", anywhere=True),
    Shape("1password-token", ("ops_eyJ",), "base64", 40, f"{_GITLEAKS}1password-service-account-token", anywhere=True),
    Shape("1password-key", ("A3-",), "parts", 25, f"{_GITLEAKS}1password-secret-key"),
    Shape("age-key", ("AGE-SECRET-KEY-1",), "letters", 20, f"{_GITLEAKS}age-secret-key", anywhere=True),
    Shape("openshift-token", ("sha256~",), "parts", 32, f"{_GITLEAKS}openshift-user-token", anywhere=True),
    # Packages, builds, watching
    Shape("npm-token", ("npm_",), "letters", 30, f"{_GITLEAKS}npm-access-token"),
    Shape("pypi-token", ("pypi-Ag",), "parts", 30, "https://pypi.org/help/#apitoken", anywhere=True),
    Shape("rubygems-key", ("rubygems_",), "hex", 32, f"{_GITLEAKS}rubygems-api-token", anywhere=True),
    Shape("docker-token", ("dckr_pat_", "dckr_oat_"), "parts", 16, f"{_TRUFFLEHOG}docker", anywhere=True),
    Shape("artifactory-key", ("AKCp",), "letters", 50, f"{_GITLEAKS}artifactory-api-key"),
    Shape("circleci-token", ("CCIPAT_", "CCIPRJ_"), "parts", 20, f"{_TRUFFLEHOG}circleci", anywhere=True),
    Shape("buildkite-token", ("bkua_",), "letters", 20, f"{_TRUFFLEHOG}buildkite"),
    Shape("sonar-token", ("squ_", "sqp_", "sqa_"), "hex", 32, "https://docs.sonarsource.com/sonarqube/"),
    Shape("sourcegraph-token", ("sgp_",), "parts", 32, f"{_GITLEAKS}sourcegraph-access-token"),
    Shape("grafana-token", ("glsa_", "glc_", "eyJrIjoi"), "base64", 32, f"{_GITLEAKS}grafana-service-account-token"),
    Shape("newrelic-key", ("NRAK-", "NRII-", "NRIQ-", "NRBR-", "NRRA-"), "letters", 19, f"{_TRUFFLEHOG}newrelicpersonalapikey"),
    Shape("sentry-token", ("sntrys_", "sntryu_"), "base64", 20, f"{_GITLEAKS}sentry-org-token", anywhere=True),
    Shape("posthog-key", ("phx_", "phc_", "phs_"), "letters", 20, f"{_TRUFFLEHOG}posthog"),
    Shape("dynatrace-token", ("dt0c01.", "dt0s01.", "dt0s02.", "dt0s16."), "dotted", 24, f"{_GITLEAKS}dynatrace-api-token", anywhere=True),
    Shape("postman-key", ("PMAK-",), "parts", 24, f"{_GITLEAKS}postman-api-token"),
    # What agents talk to
    Shape("slack-token", ("xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxo-", "xoxc-", "xoxd-", "xoxe-", "xoxe.xoxb-", "xoxe.xoxp-", "xapp-"), "base64", 10, f"{_GITLEAKS}slack-bot-token", anywhere=True),
    Shape("stripe-key", ("sk_live_", "rk_live_", "sk_prod_", "rk_prod_", "whsec_"), "base64", 16, "https://docs.stripe.com/keys", anywhere=True),
    Shape("razorpay-key", ("rzp_live_",), "letters", 12, f"{_TRUFFLEHOG}razorpay", anywhere=True),
    Shape("square-token", ("sq0atp-", "sq0csp-", "sq0idp-", "EAAA"), "parts", 22, f"{_GITLEAKS}square-access-token"),
    Shape("shopify-token", ("shpat_", "shpca_", "shppa_", "shpss_", "shpua_", "shptka_"), "hex", 24, f"{_GITLEAKS}shopify-access-token", anywhere=True),
    Shape("mailgun-key", ("key-", "pubkey-"), "hex", 32, f"{_TRUFFLEHOG}mailgun"),
    Shape("brevo-key", ("xkeysib-", "xsmtpsib-"), "parts", 32, f"{_GITLEAKS}sendinblue-api-token", anywhere=True),
    Shape("resend-key", ("re_",), "parts", 24, "https://resend.com/docs/api-reference/introduction"),
    Shape("notion-token", ("ntn_", "secret_"), "letters", 32, f"{_GITLEAKS}notion-api-token"),
    Shape("linear-key", ("lin_api_", "lin_oauth_"), "letters", 20, f"{_GITLEAKS}linear-api-key", anywhere=True),
    Shape("figma-token", ("figd_", "figu_", "figo_", "figor_", "figoh_", "figuh_", "figur_", "figp_"), "parts", 30, f"{_TRUFFLEHOG}figmapersonalaccesstoken"),
    Shape("atlassian-token", ("ATATT3", "ATCTT3", "ATBB", "BBDC-"), "base64", 24, f"{_TRUFFLEHOG}atlassian"),
    Shape("contentful-token", ("CFPAT-",), "parts", 32, f"{_TRUFFLEHOG}contentfulpersonalaccesstoken"),
    Shape("hubspot-token", ("pat-na1-", "pat-na2-", "pat-eu1-"), "parts", 32, f"{_TRUFFLEHOG}hubspot", anywhere=True),
    Shape("facebook-token", ("EAAM", "EAAC", "EAAG", "EAAB"), "letters", 60, f"{_GITLEAKS}facebook-page-access-token"),
    Shape("typeform-token", ("tfp_",), "parts", 32, f"{_TRUFFLEHOG}typeform"),
    Shape("readme-key", ("rdme_",), "letters", 32, f"{_GITLEAKS}readme-api-token"),
    Shape("duffel-token", ("duffel_live_", "duffel_test_"), "parts", 32, f"{_GITLEAKS}duffel-api-token", anywhere=True),
    Shape("easypost-key", ("EZAK", "EZTK"), "letters", 50, f"{_GITLEAKS}easypost-api-token"),
    Shape("n8n-key", ("n8n_api_",), "base64", 20, "https://docs.n8n.io/api/authentication/", anywhere=True),
)  # fmt: skip


def patterns_of_shapes() -> tuple[Pattern, ...]:
    """The table as patterns, in its order."""
    return tuple(
        Pattern(shape.name, shape.literals, shape.expression(), shape.source, by_shape=True) for shape in SHAPES
    )
