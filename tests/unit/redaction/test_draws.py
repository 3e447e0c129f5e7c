"""Values drawn as each vendor draws them: how many of a thousand a text keeps is stated here, and measured.

The table holds what two public scanners and the vendors' manuals say of alphabet and length; where a draw may hit a
name of words (`parts` of short keys), so many may pass as stand behind it.
"""

import base64
import random
import re
import string
from collections.abc import Callable
from typing import Final

import pytest
from tests.slices import quick

from llm_service.redaction import PATTERNS, scrub
from llm_service.redaction.key_shapes import SHAPES, Shape

DRAWS: Final = 1000
ALPHABETS: Final = {
    "hex": "0123456789abcdef",
    "small": string.ascii_lowercase + string.digits,
    "capitals": string.ascii_uppercase + string.digits,
    "letters": string.ascii_letters,
    "alnum": string.ascii_letters + string.digits,
    "word": string.ascii_letters + string.digits + "_",
    "urlsafe": string.ascii_letters + string.digits + "_-",
    "base64": string.ascii_letters + string.digits + "+/",
    "base32": string.ascii_uppercase + "234567",
    "bech32": "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L",
    "digits": string.digits,
}
# name of the pattern, what may pass of a thousand, and the value: `{alphabet:length}` is drawn, `{id-...}` as well,
# but it says only whose the key is.
VENDORS: Final = """
anthropic-key       0  sk-ant-api03-{urlsafe:93}AA
anthropic-key       0  sk-ant-admin01-{urlsafe:93}AA
openai-key          0  sk-proj-{urlsafe:74}T3BlbkFJ{urlsafe:74}
openai-key          0  sk-svcacct-{urlsafe:58}T3BlbkFJ{urlsafe:58}
openai-key          0  sk-proj-{alnum:20}T3BlbkFJ{alnum:20}
openai-key          0  sk-admin-{urlsafe:58}T3BlbkFJ{urlsafe:58}
openai-session      0  sess-{alnum:40}
openai-ephemeral    0  ek_{hex:32}
lmstudio-token      0  sk-lm-{alnum:8}:{alnum:20}
nebius-key          0  v1.CmMKHHN0YXRpY2tleS{urlsafe:120}OkACWgNlMDA.AA{urlsafe:40}
langfuse-key        0  sk-lf-{hex:8}-{hex:4}-{hex:4}-{hex:4}-{hex:12}
google-api-key      0  AIza{urlsafe:35}
google-api-key      0  AIzaSy{urlsafe:33}
google-oauth        0  ya29.{urlsafe:150}
google-oauth        0  GOCSPX-{urlsafe:28}
bedrock-key         0  ABSK{base64:109}=
huggingface-token   0  hf_{letters:34}
huggingface-token   0  api_org_{letters:34}
groq-key            0  gsk_{alnum:52}
xai-key             0  xai-{word:80}
perplexity-key      0  pplx-{alnum:48}
replicate-token     0  r8_{urlsafe:37}
nvidia-key          0  nvapi-{urlsafe:64}
cerebras-key        0  csk-{small:48}
fireworks-key       0  fw_{alnum:24}
together-key        0  tgp_v1_{urlsafe:43}
langsmith-key       0  lsv2_pt_{hex:32}_{hex:10}
elevenlabs-key      0  sk_{hex:48}
jina-key            0  jina_{hex:32}{urlsafe:28}
friendli-token      0  flp_{alnum:46}
databricks-token    0  dapi{hex:32}
modal-token         0  ak-{alnum:22}
helicone-key        0  sk-helicone-{small:7}-{small:7}-{small:7}-{small:7}
logfire-token       0  pylf_v1_us_{alnum:43}
pinecone-key        0  pcsk_{alnum:6}_{alnum:63}
llamacloud-key      0  llx-{alnum:48}
mem0-key            0  m0-{alnum:40}
tavily-key          0  tvly-dev-{alnum:32}
tavily-key          0  tvly-{alnum:32}
firecrawl-key       0  fc-{hex:32}
e2b-key             0  e2b_{hex:40}
apify-token         0  apify_api_{alnum:36}
prefect-key         0  pnu_{alnum:36}
github-token        0  ghp_{alnum:36}
github-token        0  github_pat_{word:82}
gitlab-token        6  glpat-{urlsafe:20}
gitlab-token        0  glpat-{urlsafe:27}.01.{small:9}
gitlab-token        0  glptt-{hex:40}
gitlab-token        2  glimt-{urlsafe:25}
gitlab-token        0  glagent-{urlsafe:50}
alibaba-key-id      0  LTAI{alnum:20}
digitalocean-token  0  dop_v1_{hex:64}
heroku-key          0  HRKU-AA{urlsafe:58}
netlify-token       0  nfp_{word:36}
cloudflare-token    0  cfk_{alnum:40}{hex:8}
supabase-key        0  sbp_{hex:40}
planetscale-token   0  pscale_pw_{urlsafe:43}
fly-token           0  fm2_{base64:100}=
fly-token           0  fo1_{urlsafe:43}
doppler-token       0  dp.pt.{alnum:43}
vault-token         0  hvs.{urlsafe:90}
terraform-token     0  {id-alnum:14}.atlasv1.{alnum:67}
pulumi-token        0  pul-{hex:40}
1password-token     0  ops_eyJ{base64:250}=
age-key             0  AGE-SECRET-KEY-1{bech32:58}
openshift-token     0  sha256~{urlsafe:43}
npm-token           0  npm_{alnum:36}
pypi-token          0  pypi-AgEIcHlwaS5vcmc{urlsafe:150}
rubygems-key        0  rubygems_{hex:48}
docker-token        1  dckr_pat_{urlsafe:27}
docker-token        0  dckr_oat_{urlsafe:32}
artifactory-key     0  AKCp{alnum:69}
circleci-token      0  CCIPAT_{alnum:22}_{hex:40}
buildkite-token     0  bkua_{small:40}
sonar-token         0  squ_{hex:40}
sourcegraph-token   0  sgp_{hex:16}_{hex:40}
grafana-token       0  glsa_{alnum:32}_{hex:8}
newrelic-key        0  NRAK-{capitals:27}
newrelic-key        0  NRII-{urlsafe:25}
newrelic-key        0  NRBR-{hex:19}
sentry-token        0  sntryu_{hex:64}
posthog-key         0  phx_{word:43}
dynatrace-token     0  dt0c01.{capitals:24}.{capitals:64}
postman-key         0  PMAK-{hex:24}-{hex:34}
slack-token         0  xoxb-{digits:12}-{digits:13}-{alnum:24}
stripe-key          0  sk_live_{alnum:24}
stripe-key          0  whsec_{base64:32}
square-token        0  EAAA{urlsafe:60}
square-token        0  sq0atp-{urlsafe:22}
shopify-token       0  shpat_{hex:32}
brevo-key           0  xkeysib-{hex:64}-{alnum:16}
notion-token        0  ntn_{digits:11}{alnum:35}
notion-token        0  secret_{alnum:43}
linear-key          0  lin_api_{alnum:40}
figma-token         0  figd_{urlsafe:40}
hubspot-token       0  pat-na1-{hex:8}-{hex:4}-{hex:4}-{hex:4}-{hex:12}
facebook-token      0  EAAM{alnum:100}
typeform-token      0  tfp_{word:44}
readme-key          0  rdme_{small:70}
easypost-key        0  EZAK{alnum:54}
tencent-key-id      0  AKID{alnum:32}
brave-key           0  BSA{urlsafe:28}
clojars-token       0  CLOJARS_{small:60}
sk-key              0  sk-{alnum:20}T3BlbkFJ{alnum:20}
sk-key              0  sk-or-v1-{hex:64}
sk-key              0  sk-{hex:32}
sk-key              0  sk-{alnum:48}
sk-key              0  sk-{urlsafe:32}
sk-key              5  sk-{alnum:16}
novita-key          0  sk_{urlsafe:43}
aws-key-id          0  AKIA{base32:16}
azure-key           0  {alnum:52}JQQJ99{alnum:26}
azure-client-secret 0  {alnum:3}8Q~{alnum:34}
mailgun-key         0  key-{hex:32}
resend-key          0  re_{alnum:8}_{alnum:24}
voyage-key          0  pa-{urlsafe:43}
zhipu-key           5  {id-hex:32}.{alnum:16}
sendgrid-key        0  SG.{urlsafe:22}.{urlsafe:43}
twilio-key          0  SK{hex:32}
discord-token       0  MTIzNDU2Nzg5MDEyMzQ1Njc4.{urlsafe:6}.{urlsafe:27}
discord-token       0  {id-urlsafe:24}.{urlsafe:6}.{urlsafe:38}
telegram-token      0  {id-digits:10}:AA{urlsafe:33}
airtable-token      0  pat{alnum:14}.{hex:64}
asana-token         0  1/{id-digits:16}:{hex:32}
named-token         1  {{"token": "{alnum:24}"}}
named-token         10  {{"token": "{letters:32}"}}
named-token         0  access_token={urlsafe:30}&x=1
url-query           1  /cb?code={urlsafe:30}&state=x
named-key           0  SOME_VENDOR_KEY={urlsafe:32}
named-key           0  SOME_VENDOR_KEY={alnum:32}
"""
ROWS: Final = [
    (name, int(most), form) for name, most, form in (line.split(None, 2) for line in VENDORS.split("\n") if line)
]
AROUND: Final = ("Received {v} (HTTP 401)", '{{"error": "{v}"}}', "({v})", "\n{v}\n")


def value(form: str, rng: random.Random) -> tuple[str, list[str]]:
    """The text, and the parts of it that were drawn."""
    drawn: list[str] = []

    def draw(found: re.Match[str]) -> str:
        part = "".join(rng.choices(ALPHABETS[found[2]], k=int(found[3])))
        if found[1] != "id-":
            drawn.append(part)
        return part

    return re.sub(r"\{(id-)?(\w+):(\d+)\}", draw, form).replace("{{", "{").replace("}}", "}"), drawn


def passed(
    make: Callable[[random.Random], tuple[str, list[str]]], seed: str, around: tuple[str, ...] = AROUND
) -> list[str]:
    """Of `DRAWS` values those of which a drawn part stands in the text afterwards, whole or its end."""
    rng = random.Random(seed)
    left: list[str] = []
    for at in range(DRAWS):
        text, drawn = make(rng)
        cleaned, _ = scrub(around[at % len(around)].format(v=text) if text[0] not in "{/" else text)
        if any(part in cleaned or (len(part) > 12 and part[-6:] in cleaned) for part in drawn if len(part) > 4):
            left.append(text)
    return left


@pytest.mark.parametrize(
    ("name", "most", "form"), quick(ROWS, every=4), ids=[f"{name}-{form[:16]}" for name, _, form in ROWS]
)
def test_a_value_as_its_vendor_draws_it_is_replaced(name: str, most: int, form: str) -> None:
    """A thousand draws, seeded; what passes is no more than the table says, and that is two in a hundred at most."""
    assert name in {pattern.name for pattern in PATTERNS}
    assert most <= DRAWS / 50
    left = passed(lambda rng: value(form, rng), form)
    assert len(left) <= most, left[:3]


def test_keys_of_litellm_are_replaced() -> None:
    """`sk-` and `secrets.token_urlsafe(16)`: the last of 22 characters is one of four."""

    def make(rng: random.Random) -> tuple[str, list[str]]:
        drawn = base64.urlsafe_b64encode(rng.randbytes(16)).rstrip(b"=").decode()
        return f"sk-{drawn}", [drawn]

    assert len(passed(make, "litellm")) <= 1


PARTS_AT_LEAST: Final = {8: 190, 10: 90, 16: 50, 19: 10, 20: 25, 22: 5, 24: 2, 25: 2, 30: 1, 32: 1}
"""Of a thousand values of the shortest length that a shape takes, by that length. Vendors draw more: see above."""


@pytest.mark.parametrize("shape", quick(SHAPES, every=4), ids=lambda shape: shape.name)
def test_the_shortest_value_of_a_shape_is_seldom_taken_for_a_name(shape: Shape) -> None:
    """Derived from the table of shapes: its alphabet, its least length."""
    alphabet = [one for one in string.printable if re.fullmatch(shape.alphabet, one)]

    def make(rng: random.Random) -> tuple[str, list[str]]:
        drawn = "".join(rng.choices(alphabet, k=shape.least))
        if shape.body == "paired":
            drawn = f"{drawn[:6].replace(':', 'x')}:{drawn[7:].replace(':', 'x')}"
        return rng.choice(shape.prefixes) + drawn, [drawn]

    strict = shape.body in ("letters", "hex", "paired")
    assert len(passed(make, shape.name)) <= (1 if strict else PARTS_AT_LEAST.get(shape.least, 0))


def test_the_table_of_draws_knows_most_shapes() -> None:
    """A shape that is not in it has no length that its vendor or a scanner states."""
    known = {name for name, _, _ in ROWS}
    assert len(known & {shape.name for shape in SHAPES}) >= 75
