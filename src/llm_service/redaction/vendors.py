"""The table of vendors' keys: `name body least where prefixes source`, one line each; see `shapes` for what they mean.

A name may have several lines. A source is a rule of gitleaks, a detector of trufflehog (both as of the commits that
`shapes` names), or the vendor's documentation (https).
"""

from typing import Final

__all__ = ["VENDORS"]

VENDORS: Final = """
anthropic-key     parts    8 anywhere sk-ant-                    gitleaks:anthropic-api-key
openai-key        parts    8 anywhere sk-proj-,sk-svcacct-,sk-service-,sk-admin- gitleaks:openai-api-key
openai-key        parts    8 anywhere sk-None-                   gitleaks:openai-api-key
openai-session    letters 40 word     sess-                      platform.openai.com/docs/api-reference/authentication
langfuse-key      parts   16 anywhere sk-lf-,pk-lf-              langfuse.com/docs
google-api-key    parts   30 anywhere AIza                       gitleaks:gcp-api-key
google-oauth      dotted  20 word     ya29.,GOCSPX-,AQ.Ab,1//0   cloud.google.com/docs/authentication/token-types
bedrock-key       base64  40 word     ABSK                       gitleaks:aws-amazon-bedrock-api-key-long-lived
bedrock-key-short base64  20 anywhere bedrock-api-key-           gitleaks:aws-amazon-bedrock-api-key-short-lived
huggingface-token letters 20 word     hf_,api_org_               gitleaks:huggingface-access-token
groq-key          letters 20 word     gsk_                       trufflehog:groq
xai-key           letters 20 word     xai-                       trufflehog:xai
perplexity-key    letters 20 word     pplx-                      gitleaks:perplexity-api-key
replicate-token   letters 20 word     r8_                        trufflehog:replicate
nvidia-key        parts   20 anywhere nvapi-                     trufflehog:nvapi
cerebras-key      letters 20 word     csk-                       inference-docs.cerebras.ai/quickstart
fireworks-key     letters 20 word     fw_,fpk_                   docs.fireworks.ai/api-reference/introduction
together-key      parts   20 anywhere tgp_v1_                    docs.together.ai/docs/quickstart
langsmith-key     parts   16 word     lsv2_pt_,lsv2_sk_,ls__     trufflehog:langsmith
elevenlabs-key    hex     32 word     sk_                        trufflehog:elevenlabs
voice-key         parts   16 anywhere sk_car_,sk_V2_hgu_         docs.cartesia.ai/get-started
voyage-key        parts   40 word     pa-,al-                    docs.voyageai.com/docs/api-key-and-installation
jina-key          parts   32 word     jina_                      jina.ai/embeddings/
friendli-token    letters 20 word     flp_                       friendli.ai/docs/guides/personal_access_tokens
databricks-token  hex     32 word     dapi                       gitleaks:databricks-api-token
baidu-key         base64  20 anywhere bce-v3/ALTAK-              cloud.baidu.com/doc/qianfan-api
modal-token       letters 20 word     ak-,as-                    modal.com/docs/reference/modal.config
anyscale-key      letters 20 anywhere esecret_                   docs.anyscale.com
helicone-key      dashed  16 anywhere sk-helicone-,pk-helicone-  docs.helicone.ai
runpod-key        letters 32 word     rpa_                       docs.runpod.io/get-started/api-keys
logfire-token     letters 32 anywhere pylf_v1_us_,pylf_v1_eu_    logfire.pydantic.dev/docs
pinecone-key      parts   20 anywhere pcsk_                      trufflehog:pinecone
wandb-key         parts   20 anywhere wandb_v1_                  docs.wandb.ai/support/find_api_key
llamacloud-key    letters 20 word     llx-                       docs.cloud.llamaindex.ai/api_key
mem0-key          letters 32 word     m0-                        docs.mem0.ai/platform/quickstart
tavily-key        parts   16 anywhere tvly-                      docs.tavily.com/documentation/quickstart
firecrawl-key     hex     32 word     fc-                        docs.firecrawl.dev/introduction
e2b-key           hex     32 word     e2b_                       e2b.dev/docs/api-key
browserbase-key   parts   16 anywhere bb_live_                   docs.browserbase.com
apify-token       letters 20 anywhere apify_api_                 trufflehog:apify
braintrust-key    letters 20 anywhere bt-st-                     www.braintrust.dev/docs
prefect-key       letters 20 word     pnu_,pnb_                  gitleaks:prefect-api-token
aws-session-token base64  40 anywhere IQoJb3JpZ2lu,FwoGZXIvYXdz    docs.aws.amazon.com/STS/latest/APIReference
aws-session-token base64  40 anywhere FQoGZXIvYXdz,AQoDYXdz      docs.aws.amazon.com/STS/latest/APIReference
github-token      parts   20 anywhere ghp_,gho_,ghu_,ghs_,ghr_,github_pat_ github.blog/engineering
gitlab-token      dotted  16 anywhere glpat-,gldt-,glrt-,glrtr-,glcbt-,glptt-,glft- docs.gitlab.com/security/tokens/
gitlab-token      dotted  16 anywhere glimt-,glagent-,gloas-,glsoat-,glffct-,glwt- docs.gitlab.com/security/tokens/
gitlab-token      dotted  16 anywhere GR1348941                  docs.gitlab.com/security/tokens/
alibaba-key-id    letters 16 word     LTAI                       gitleaks:alibaba-access-key-id
digitalocean-token hex     32 anywhere dop_v1_,doo_v1_,dor_v1_    gitleaks:digitalocean-pat
heroku-key        parts   20 word     HRKU-                      gitleaks:heroku-api-key-v2
vercel-token      letters 20 word     vck_,vcp_,vci_,vca_,vcr_   vercel.com/docs/ai-gateway
vercel-blob       parts   16 anywhere vercel_blob_rw_            vercel.com/docs/vercel-blob
netlify-token     letters 20 word     nfp_,nfc_,nfo_,nfb_        trufflehog:netlify
cloudflare-token  letters 20 word     cfut_,cfat_,cfk_           trufflehog:cloudflareapitoken
cloudflare-ca-key parts   40 word     v1.0-                      gitleaks:cloudflare-origin-ca-key
supabase-key      parts   16 word     sbp_,sb_secret_            supabase.com/docs/guides/api/api-keys
planetscale-token dotted  20 anywhere pscale_tkn_,pscale_pw_,pscale_oauth_ gitleaks:planetscale-api-token
neon-key          letters 12 word     napi_,npg_                 neon.com/docs/manage/api-keys
fly-token         base64  40 word     fm1a_,fm1r_,fm2_,fo1_      gitleaks:flyio-access-token
doppler-token     dotted  20 word     dp.pt.,dp.st.,dp.ct.,dp.sa.,dp.scim.,dp.audit. trufflehog:doppler
vault-token       base64  20 word     hvs.,hvb.,hvr.             gitleaks:vault-service-token
terraform-token   parts   20 anywhere atlasv1.                   gitleaks:hashicorp-tf-api-token
pulumi-token      hex     32 word     pul-                       gitleaks:pulumi-api-token
tailscale-key     parts   16 anywhere tskey-                     trufflehog:tailscale
1password-token   base64  40 anywhere ops_eyJ                    gitleaks:1password-service-account-token
1password-key     grouped 25 word     A3-                        gitleaks:1password-secret-key
age-key           letters 20 anywhere AGE-SECRET-KEY-1           gitleaks:age-secret-key
openshift-token   parts   32 anywhere sha256~                    gitleaks:openshift-user-token
npm-token         letters 30 word     npm_                       gitleaks:npm-access-token
pypi-token        parts   30 anywhere pypi-Ag                    pypi.org/help/#apitoken
rubygems-key      hex     32 anywhere rubygems_                  gitleaks:rubygems-api-token
docker-token      parts   16 anywhere dckr_pat_,dckr_oat_        trufflehog:docker
artifactory-key   letters 50 word     AKCp                       gitleaks:artifactory-api-key
circleci-token    parts   20 anywhere CCIPAT_,CCIPRJ_            trufflehog:circleci
buildkite-token   letters 20 word     bkua_                      trufflehog:buildkite
sonar-token       hex     32 word     squ_,sqp_,sqa_             docs.sonarsource.com/sonarqube/
sourcegraph-token parts   32 word     sgp_                       gitleaks:sourcegraph-access-token
grafana-token     base64  32 word     glsa_,glc_,eyJrIjoi        gitleaks:grafana-service-account-token
newrelic-key      letters 19 word     NRAK-,NRII-,NRIQ-,NRBR-,NRRA- trufflehog:newrelicpersonalapikey
sentry-token      base64  20 anywhere sntrys_,sntryu_            gitleaks:sentry-org-token
posthog-key       letters 20 word     phx_,phc_,phs_             trufflehog:posthog
dynatrace-token   dotted  24 anywhere dt0c01.,dt0s01.,dt0s02.,dt0s16. gitleaks:dynatrace-api-token
postman-key       parts   24 word     PMAK-                      gitleaks:postman-api-token
slack-token       numbered 10 anywhere xoxb-,xoxp-,xoxa-,xoxr-,xoxs-,xoxo-,xoxc-,xoxd- gitleaks:slack-bot-token
slack-token       numbered 10 anywhere xoxe-,xoxe.xoxb-,xoxe.xoxp-,xapp- gitleaks:slack-bot-token
stripe-key        base64  16 anywhere sk_live_,rk_live_,sk_prod_,rk_prod_,whsec_ docs.stripe.com/keys
razorpay-key      letters 12 anywhere rzp_live_                  trufflehog:razorpay
square-token      parts   22 word     sq0atp-,sq0csp-,sq0idp-,EAAA gitleaks:square-access-token
shopify-token     hex     24 anywhere shpat_,shpca_,shppa_,shpss_,shpua_,shptka_ gitleaks:shopify-access-token
mailgun-key       hex     32 word     key-,pubkey-               trufflehog:mailgun
brevo-key         parts   32 anywhere xkeysib-,xsmtpsib-         gitleaks:sendinblue-api-token
resend-key        parts   24 word     re_                        resend.com/docs/api-reference/introduction
notion-token      letters 32 word     ntn_,secret_               gitleaks:notion-api-token
linear-key        letters 20 anywhere lin_api_,lin_oauth_        gitleaks:linear-api-key
figma-token       parts   30 word     figd_,figu_,figo_,figor_,figoh_,figuh_,figur_ trufflehog:figma
figma-token       parts   30 word     figp_                      trufflehog:figma
atlassian-token   base64  24 word     ATATT3,ATCTT3,ATBB,BBDC-   trufflehog:atlassian
contentful-token  parts   32 word     CFPAT-                     trufflehog:contentfulpersonalaccesstoken
hubspot-token     parts   32 anywhere pat-na1-,pat-na2-,pat-eu1- trufflehog:hubspot
facebook-token    letters 60 word     EAAM,EAAC,EAAG,EAAB        gitleaks:facebook-page-access-token
typeform-token    parts   32 word     tfp_                       trufflehog:typeform
readme-key        letters 32 word     rdme_                      gitleaks:readme-api-token
duffel-token      parts   32 anywhere duffel_live_,duffel_test_  gitleaks:duffel-api-token
easypost-key      letters 50 word     EZAK,EZTK                  gitleaks:easypost-api-token
n8n-key           base64  20 anywhere n8n_api_                   docs.n8n.io/api/authentication/
"""
