"""Each pattern finds its secrets in every surrounding, keeps what only resembles them, and costs linear time."""

import json
import random
import re
import string
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest
from tests.slices import quick

from llm_service.redaction import PATTERNS, clean, holds_secret, may_hold_secret, scrub
from llm_service.redaction.key_shapes import SHAPES

DATA: Final = Path(__file__).parents[2] / "data"
MANUAL: Final = Path(__file__).parents[3] / "src" / "llm_service" / "telemetry" / "README.md"

A40: Final = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0"
# name: texts whose secret is what stands between « and ».
POSITIVE: Final[dict[str, tuple[str, ...]]] = {
    "anthropic-key": (f"«sk-ant-api03-{A40}-_AA»", f"bad key: «sk-ant-admin01-{A40}».", f"k=«sk-ant-oat01-{A40}»"),
    "openai-key": (f"Incorrect API key provided: «sk-proj-{A40}_T3BlbkFJ-x»", f"(«sk-svcacct-{A40}»)", f"«sk-admin-{A40}»"),
    "sk-key": ("Received «sk-aOkzi4f-GhpFz-2SWSPUPw» (HTTP 401)", "«sk--_aBcDEfGHijkLMnOP-_xg»", f"«sk-{A40}»", f"«sk-or-v1-{'0af3' * 16}»", f"text\\n«sk-{A40}»", f"u%3D«sk-{A40}»", f"\\u0022«sk-{A40}»", f"\x1b[0m«sk-{A40}»"),
    "novita-key": ("«sk_aBcDEfGhIJklMNoPq-RsTUvWxYZab_CdEFghIJklMN»", f"«sk_{A40}abc»", f"k: «sk_{A40[:12]}-_{A40[:30]}».", f"\\n«sk_{A40}abcd»"),
    "google-api-key": ("«AIzaSyaBcDEfGhIJklMNoPq-RsTUvWxYZab_CdEFg»", f"https://x/?alt=json «AIzaSy{A40[:33]}»", f"x«AIzaSy{A40[:33]}»"),
    "google-oauth": (f"«ya29.{A40}-_x.y»", f"«GOCSPX-{A40[:28]}»"),
    "github-token": (f"«ghp_{A40[:36]}»", f"x:«gho_{A40}»", f"«ghu_{A40}»", f"«ghs_{A40}»", f"«ghr_{A40}»", f"«github_pat_11AAAAAAA0{A40}_{A40}»"),
    "gitlab-token": (f"«glpat-{A40[:20]}»", f"«gldt-{A40[:20]}»", f"«glpat-{A40}.01.120abc»"),
    "aws-key-id": ("«AKIAIOSFODNN7EXAMPLE»", "id=«ASIAIOSFODNN7EXAMPLE», x", "«A3TXIOSFODNN7EXAMPLE»"),
    "slack-token": ("«xoxb-123456789012-1234567890123-AbCdEfGhIjKlMnOpQrStUvWx»", "«xapp-1-A012-345-abcdef0123456789»"),
    "azure-key": (f"x «{A40}{A40[:12]}JQQJ99BCACYeBjFXJ3w3AAABACOG{A40[:6]}»", ),
    "azure-client-secret": (f"secret is «abc8Q~{A40[:34]}»",),
    "twilio-key": (f"«SK{'0af3' * 8}»", f"u:«SK{'9f8e' * 8}»", f"«SK{'9F8E' * 8}»"),
    "discord-token": ("MTIzNDU2Nzg5MDEyMzQ1Njc4«.ZnEU7A.QHBXKO1-ZPD-Md-FArOaz3IFeyq», x", "MTIzNDU2Nzg5MDEyMzQ1Njc4OQ«.GhIjKl.aBcDEfGhIJklMNoPq-RsTUvWxYZab_CdEFghIJ»", "MTk4NjIyNDgzNDcxOTI1MjQ4«.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs»",),
    "airtable-token": (f"«pat{A40[:14]}.{'0af3' * 16}»",),
    "asana-token": (f"1«/1204567890123456:{'0af3' * 8}»",),
    "webhook-url": ("https://hooks.slack.com/services/«T000/B000/XXXXabcd1234»", "https://discord.com/api/webhooks/«123456/abc-DEF_1»"),
    "stripe-key": (f"«sk_live_{A40[:24]}»", f"«rk_live_{A40[:24]}»", f"«whsec_{A40[:32]}»"),
    "huggingface-token": (f"«hf_{'AbCdEfGhIj' * 3}abcd»", f"\\n«hf_{A40}»"),
    "groq-key": (f"«gsk_{A40}»",),
    "xai-key": (f"«xai-{A40}»",),
    "perplexity-key": (f"«pplx-{A40}»",),
    "replicate-token": (f"«r8_{A40[:37]}»",),
    "nvidia-key": (f"«nvapi-{A40}_-x»",),
    "langsmith-key": (f"«lsv2_pt_{'0a1b' * 8}_{'9f8e' * 2}»", f"«lsv2_sk_{'0a1b' * 8}_ab»"),
    "npm-token": (f"«npm_{A40[:36]}»",),
    "pypi-token": (f"«pypi-AgEIcHlwaS5vcmc{A40}-_»",),
    "sendgrid-key": ("«SG.aBcDEfGhIJklMNoPq-RsTU.aBcDEfGhIJklMNoPq-RsTUvWxYZab_CdEFghIJklMNo»", f"«SG.{A40[:22]}.{A40}xyz»",),
    "telegram-token": ("123456789«:AAaBcDEfGhIJklMNoPq-RsTUvWxYZab_Cd»", "bot123456789«:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1»/getMe",),
    "jwt": ("«eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U»", "«eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0»"),
    "private-key": (
        "a «-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAK\n-----END RSA PRIVATE KEY-----» b",
        '{"k": "«-----BEGIN PRIVATE KEY-----\\nMIIEvQ\\n-----END PRIVATE KEY-----»\\n"}',
        "cut: «-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE»",
        "«-----BEGIN PGP PRIVATE KEY BLOCK-----\nlQOY\n-----END PGP PRIVATE KEY BLOCK-----»",
    ),
    "url-password": ("postgres://bob:«@s3cr3t»@db:5432/x", "redis://:«{s3cr3t»@h", "redis://:«s3cr3t}»@h", "postgres://${DB_USER}:«hunter2»@h", "postgres://u:«${PW:-hunter2}»@h", "postgres://bob:«s3cr3t»@db:5432/x", "redis://:«p@ss:w0rd»@cache/0", f"https://«{A40}:x-oauth-basic»@github.com/o/r", f"https://x-access-token:«{A40}»@github.com/o/r", "jdbc:oracle:thin:scott/«t1ger»@h:1521:x", f"https://«{A40}»@git.example.org/x", "amqp://u:«x»@h"),
    "url-query": ("oauth_signature=«tnnArxj06cWHq44gCs1OSKk%2FjLY%3D»", "&X-Goog-Signature=«0af3»", "/cb?code=«aBcDEfGhIJklMNoPq-RsTUvWxYZab_»&state=x", "GET /v1?key=«abcd1234»&x=1", "https://b.blob.core.windows.net/c?sv=1&sig=«ab%2Fcd%3D»&se=2", "?X-Amz-Signature=«0af3»", "?a=1\\u0026key=«abcd»", "/cb?code=«4/0AbC»&state=x"),
    "authorization": ("Authorization: Basic «dXNlcjpwYXNz»", "{'authorization': 'Bearer «abc123»'}", "[(b'authorization', b'Token «9f8e7d6c»')]", 'proxy-authorization="«Ab12/+=»"', "{'authorization': ['«dXNlcjpwYXNz»']}", '{"Authorization": ["Basic «dXNlcjpwYXNz»"]}', "map[Authorization:[Basic «dXNlcjpwYXNz»] X:[y]]", "curl --header=Authorization:Token\\ «9f8e7d6c5b4a» x"),
    "bearer-token": ("curl -H 'X: Bearer «abc.DEF-123_~+/=»'", "bearer  «0123456789abcdef»", "Bearer%20«aB3dE6gH»"),
    "cookie": ("Cookie: «session=abc; theme=dark»\nHost: x", f'{{"cookie": "«{A40}»"}}', f'{{"set-cookie": ["«sid={A40}; Path=/»"]}}', f"curl --cookie '«sid={A40}»'", f"curl -b '«sid={A40}»'", f"<RequestsCookieJar[<Cookie sid=«{A40}» for api.x.com/>]>", "{'set-cookie': '«sid=31d4d96e407aad42; Path=/; HttpOnly»'}"),
    "command-option": (
        "keytool -list -storepass «Tr0ub4dor&3x»", "keytool -genkey -storepass «swordfish» -keypass $PW", "redis-server --requirepass «swordfish» --port 1", f"tool --tag-key '«{A40}»'", f'tool --key "«{A40}»"',
        "curl -su bob:«hunter» https://h/x", "curl -X PUT -d '{\"a\": 1}' -sSfLu bob:«hunter» x", "curl -U bob:«hunter» x", f"curl https://h/x -u «{A40}»:", f"-u «{A40}»: x", "docker run --user bob:«hunter2» x", "http --auth bob:«hunter2» x", "tool -api-key «a1b2c3d4» x", "-my-vendor-token «a1b2c3d4e5»", f"--private-key «{A40}»",
        '["curl", "--user", "bob:«s3cret»", "x"]', "['curl', '-u', 'bob:«s3cret»']", '["--api-key", "«swordfish»"]', '{\\"argv\\": [\\"--api-key\\",\\"«swordfish»\\"]}', "curl -ubob:«s3cret7x9» https://x", "--spring.datasource.password «s3cret7»",
        "--token «a1b2c3d4»", "--password «hunter2!x» --user bob", "--client-secret '«x y z»'", "run --db-password «swordfish»", "x --resort-key «a1b2c3d4e5f6»", "curl -u bob:«s3cret» https://x", "curl --user bob:«s3cret» https://x", "curl --proxy-user=bob:«s3cret» https://x",
    ),
    "mailgun-key": (f"«key-{'0af3' * 8}»", f"u:«pubkey-{'0af3' * 8}»"),
    "resend-key": ("«re_aBcDEfGh_IJklMNoPqRsTUvWxYZabCdEF»", f"«re_{A40[:8]}_{A40[:24]}»",),
    "voyage-key": (f"«pa-{A40}-_AA»", f"«al-{A40}ABC»"),
    "cloudflare-ca-key": (f"«v1.0-{'0af3' * 6}-{'0af3' * 36}ab»",),
    "datastax-token": (f"«AstraCS:BEtaNsBuDDgmjPkexZyQlEjA:{'0af3' * 16}»",),
    "zhipu-key": (f"{'0af3' * 8}«.{A40[:16]}»", f"{'0af3' * 8}«.aBcDEfGhIJklMNoP»", f"{'0af3' * 8}«.q7w2e5r1t9y3u8i4»"),
    "sql-password": ("SET PASSWORD FOR 'bob'@'%' = '«swordfish»'", "SET PASSWORD FOR bob TO '«swordfish»'", "set password for bob@localhost = PASSWORD('«swordfish»')", "ALTER USER bob PASSWORD '«swordfish»'", "CREATE ROLE a SUPERUSER ENCRYPTED PASSWORD '«swordfish»'", "create user bob identified by '«swordf1sh»'", "create user 'bob' identified by '«swordfish»'", "CREATE USER 'app'@'%' IDENTIFIED BY '«swordfish»'", "CREATE ROLE a LOGIN PASSWORD '«swordfish»'", "alter role a with encrypted password '«swordfish»'", 'IDENTIFIED WITH mysql_native_password BY "«swordfish»"'),
    "validated-secret": ('{"detail":[{"type":"string_too_short","loc":["body","password"],"msg":"String should have at least 8 characters","input":"«swordfish»"}]}', "[{'type': 'string_too_short', 'loc': ('body', 'db_password', 0), 'msg': 'too short', 'input': '«swordfish»', 'ctx': {}}]", '{\\"loc\\": [\\"body\\", \\"api_key\\"], \\"msg\\": \\"x\\", \\"input\\": \\"«swordfish»\\"}', "1 validation error for Db\npassword\n  String should have at least 16 characters [type=string_too_short, input_value='«Tr0ub4dor&3»', input_type=str]", "openai_api_key\n  Extra inputs are not permitted [type=extra_forbidden, input_value='«9fQx7LmZ2rTk8VbN»', input_type=str]"),
    "user-password": ("machine api.example.com login bob password «hunter»", "machine h password «hunter» login bob", "machine h login bob account x password «hunter»", "default login bob password «hunter»", "auth: {user: 'bob', pass: '«hunter2-Winter»'}", '{"user": "bob@x.org", "pass": "«swordfish»"}', "machine h.example\n  login bob\n  password «correcthorse9»\n", "machine h login bob password «sw0rd-f1sh»", 'username="bob", pw="«swordfish»"', '{\\"user\\": \\"bob\\", \\"pass\\": \\"«swordfish»\\"}'),
    "command-password": ("docker login -u bob -p «swordfish1» x", "docker login -p «swordfish1»", "['docker', 'login', '-u', 'bob', '-p', '«swordfish1»']", '["mysql","-u","root","-p«swordfish1»"]', "mysql -u root -p«S3cretP4ss» db", "mysqldump -h db -u root '-p«S3cretP4ss»'", "sshpass -p '«swordfish»' ssh x", "sshpass -p«swordfish» ssh x", "redis-cli -h r -a «swordfish» ping", "mongosh -u root -p «correcthorse9» --host x", "mongodump -p «correcthorse9»", "twine upload -u bob -p «correcthorse9» dist/x", "ldapsearch -D cn=admin -w «correcthorse9» -b dc=x", "openssl rsa -passin pass:«correcthorse9» -in key.pem", "['openssl', 'enc', '-pass', 'pass:«correcthorse9»']",
        "sqlcmd -S db -U sa -P «swordfish1» -Q 'select 1'", "sqlcmd -U sa -P«swordfish1»", "/opt/mssql-tools18/bin/sqlcmd -S localhost -U sa -P \"«S3cret!P4ss»\" -C", '["sqlcmd", "-S", "db", "-P", "«swordfish1»"]', "osql -U sa -P «swordfish1»", "bcp t out f -S s -U sa -P «swordfish1»", "mssql-cli -U sa -P «swordfish1»",
        "mosquitto_pub -u bob -P «swordfish1» -t x", "ipmitool -U admin -P «swordfish1» power status", "cqlsh -u bob -p «swordfish1» host", "psexec \\\\host -u bob -p «swordfish1» cmd", "smbclient //srv/share -U bob%«swordfish1»", "cmdkey /add:host /user:bob /pass:«swordfish1»",
        "net use Z: \\\\srv\\share /user:bob «swordfish1»", "net use \\\\srv\\share «swordfish1» /user:bob", "NET USE * \\\\srv\\share /user:DOM\\bob «swordfish1»", "Net Use \\\\srv\\share /USER:bob «swordfish1»", "htpasswd -bc .htpasswd bob «swordfish1»", "rabbitmqctl add_user bob «swordfish1»", "rabbitmqctl change_password bob «swordfish1»",
        "sqlplus -s scott/«swordfish1»@orcl", "mysqladmin -u root password «swordfish1»"),
    "named-key": (
        "jwt%3A«a1b2c3d4e5f6a7b8c9d0»", "auth%3D«ab12-cd34-ef56%3Aa7b8c9d0»", f"AWS Secret Access Key [None]: «{A40}»", f"Incorrect API key\uff1a«{A40}»", f"unauthorized: api key [«{A40}»]",
        f"Incorrect API key provided: «{'0f3a9c5d' * 4}».", f"api key '«{A40}»' is invalid", f"AZURE_VENDOR_KEY=«{'0f3a9c5d' * 4}»", f"MY_VENDOR_KEY: '«{A40}»'", "MY_VENDOR_KEY=«aBcDEfGhIJklMNoPqRsTUvWx»", f"RESORT_KEY=«{A40}»", f"GITHUB_PAT=«{A40}»", f"**API key:** `«{A40}»`", f'{{"auths": {{"ghcr.io": {{"auth": "«{A40}»"}}}}}}', f"//reg/:_auth=«{A40}»", 'auth=("bob", "«swordfish»")', "requests.get(x, auth=HTTPBasicAuth('app', '«Hunt3r2xxQ»'))", 'httpx.BasicAuth("app", "«swordfish»")', f'"bearer": "«{A40}»"', f"jwt: «{A40}»",
    ),
    "suffixed-secret": (f"AZURE_OPENAI_API_KEY_EASTUS=«{A40}»", f"OPENAI_API_KEY_TEAM_A='«{A40}»'", "DB_PASSWORD_EU=«hunter2»", f'{{"api_key_eastus": "«{A40}»"}}', f"X-Api-Key-Eu: «{A40}»", f"accessTokenEu: '«{A40}»'", f"VENDOR_KEY_EU_2B=«{A40}»"),
    "named-secret": (
        "requirepass «Tr0ub4dor&3x»", "CONFIG SET requirepass «swordfish»", "masterauth «swordfish»\nport 1", "| password | «Tr0ub4dor&3x» |", "| db_password | `«P@ssw0rd»` | x |", "| **secret** | «hunter2!» |", "vault_pass=«Tr0ub4dor&3x»", "ansible_become_pass: «swordfish»", "password\t«Tr0ub4dor&3x»", "wifi connect home password «Tr0ub4dor&3x»", "the password «w0rdf1sh!» is wrong",
        "fs.s3a.secret.key: «wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY»", "spark.fs.s3a.secret.key «wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY»",
        "next=%3Fpassword%253D«hunter2»", "\u201cpassword\u201d: «\u201chunter2\u201d»",
        '<property name="password">«swordfish»</property>', f'<string name="api_key">«{A40}»</string>', '<string name="password">«hunter2»</string>', f'<setting name="ApiKey" serializeAs="String"><value>«{A40}»</value></setting>', "<property name=\"password\">\n  <value>«swordfish»</value>\n</property>", '<entry key=\\"api_key\\">«swordfish»</entry>', "&lt;property name=&quot;password&quot;&gt;«swordfish»&lt;/property&gt;", '<prop key="spring.datasource.password">«swordfish»</prop>', f'<span data-x="api_key">«{A40}»</span>', '<add key="ApiKey" lock="true" value="«swordfish»" />', '<add key=\\"ApiKey\\" value=\\"«swordfish»\\" />', "password=«@Sw0rdf1sh»", "Password:\n«hunter2»",
        "password=«$#x!9-Q»", "password=«*&hunter»", "password=«Q(x9!hunter»", "password=«top.secret»", "password=«)S3cretPassw0rd»", "password=«]x9y8z7w6»", "password=«f(x)9ab!»", "api_key=«hunter2-...»", "api_key=«sk-abcd...wxyz»", "password=«hunter2...»", '{"Password:": "«swordfish»"}', '{"API key:": "«swordfish»"}', "{'password ': '«swordfish»'}", '{"Password *": "«swordfish»"}', '{"Password :":"«swordfish»"}', 'accesskey="«swordfish»"',
        "password=«$S3cretPassw0rd»", 'form-data; name="password"\r\n\r\n«correct horse»\r\n--b', 'name=\\"api_key\\"\\r\\n\\r\\n«k1b2c3d4e5»\\r\\n--b', '["api_key"]=>\n  string(10) "«k1b2c3d4e5»"',
        '{"password": "«a\\"6ebNUhdkSsQrX»"}', 'password=«a"6ebNUhdkSsQrX»', "password=«*S3cretPassw0rd»", "password=«ab,S3cretPassw0rd», c", "password=«ab;S3cretPassw0rd»;Database=x", "password=«(S3cretPassw0rd»",
        "_Metadatum(key='api-key', value='«9fQx7LmZ2rTk8VbN»')", 'metadata { key: "x-goog-api-key" value: "«9fQx7LmZ2rTk8VbN»" }', "user_pass: «swordfish»", "REDISCLI_AUTH=«swordfish»", "password: «letmein»\n  port: 1", "api_key: «mysecretkey»\\nmodel: x", "password_confirmation=«hunter2-Winter» 422", "{'SecretString': '«hunter2-Winter»'}", 'api_key=SecretStr("«0f1e2d3c4b5a6978»")', 'api_key=str("«0f1e2d3c4b5a6978»")', "password is «hunter2abc3def4»", "https://x/?password=«a1b2»&x=1", "DB_PASS=«hunter2»", "the password «a1b2c3d4e5f6» is wrong",
        "password=«hunter2», next", "PASSWORD: «swordfish»", 'api_key: "«abc def»"', "{'client_secret': '«x y»'}",
        "x-api-key: «abcd1234efgh»", '{\\"password\\": \\"«hun\\\\\\\\ter2»\\", \\"u\\": 1}', "aws_secret_access_key = «wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY»",
        "AccountName=a;AccountKey=«abc+/def==»;EndpointSuffix=x", "Server=x;Pwd=«p@$$w0rd!»;", 'password="«never closed', "db_passwd='«it\\'s»' x",
        "password = «1»", "password=«not-so-secret-42»", "pwd=«none_of-it» x", "api_key=«the.best»,", "secret: «no!way7»", "Ocp-Apim-Subscription-Key: «0af30af3»", "[('x-api-key', '«k1b2c3d4»')]",
        'api_key = """«S3cret7x9»"""', 'Config { api_key: Some("«S3cret7x9»") }', "SecretStr(api_key='«S3cret7x9»')", "java -Dapi.key=«S3cret7x9»", "password\uff1a«S3cret7x9»", '{"API Key": "«x y»"}', 'Header{"X-Api-Key":[]string{"«k1b2c3d4e5»"}}', "map[X-Api-Key:[«k1b2c3d4e5»] A:[b]]", "creds=«swordfish»", "db_pass: «swordfish»", "password=«my_secret_password»", "pwd=«/S3cret7x9!»",
    ),
    "named-token": (f'<string name="access_token">«{A40}»</string>', '{"token": "«aBcDEfGhIJklMNoPqRsTUvWx»"}', "access_token=«9-UAWOOG9FfDXTbcv8UsYnDMKvhzG1»&x=1", "access_token=«abcdefgh12345678»&x=1", '"refresh_token": "«1//0gAbCdEf-123456»"', '{"access_tokens": ["«a1B2c3D4e5»"]}', "access_token=«a\"a1B2c3D4e5F6»", "developer_token=«a1b2c3d4e5»", "backend_token: «a1b2c3d4e5»", "token: «9f8e7d6c5b4a»", "{'csrf_token': '«AbCdEfGh12»'}"),
}  # fmt: skip

NEGATIVE: Final[dict[str, tuple[str, ...]]] = {
    "anthropic-key": ("sk-ant-", "sk-ant-***", "risk-anticipation"),
    "openai-key": ("sk-proj-", "task-projection-2024"),
    "sk-key": ("sk-agent-research", "sk-learn-agent", "sk-Research-Agent-V2-Claude35Sonnet", "sk-SupportAgentForBratislava", "sk-HTTPServerAgent-8B", "sk-QA-Bot-V3-RC1-Build42-x86_64-AVX2", "sk-LaTeX-Math-OCR-Agent", "sk-C3PO-R2D2-BB8-agents", "sk-A1B2-C3D4-Agent-Test", "sk-iOS-AppReview_GPT4o-mini", "sk-JIRA-1234-fixUI-DeepSeek-R1", "task-0123456789abcdef0123", "disk-a1b2c3d4e5f6a7b8c9d0", "sk-learn-compatible-estimator", "sk-abc***xyz"),
    "novita-key": ("sk_learn_PipelineWithGradientBoosting_Classifier_Europe", "sk_test_4eC39HqLyjWDarjtT1zdp7dcaB3dE6gH9jK2mN5pQ8sT1vW4", "sk_learn_pipeline_with_gradient_boosting_classifier_v2", f"task_{A40}abc"),
    "google-api-key": ("AIza is a prefix", "aizawa"),
    "google-oauth": ("ya29. is a prefix", "GOCSPX- too"),
    "github-token": ("ghp_ is a prefix", "ghs_short1", "right_hand"),
    "gitlab-token": ("glpat-short",),
    "aws-key-id": ("AKIA123", "AKIAIOSFODNN7EXAMPLETOOLONG", "xAKIAIOSFODNN7EXAMPLE", "Asia and Africa"),
    "slack-token": ("xoxo-love", "foxxox"),
    "azure-key": ("JQQJ99 is a mark", "task JQQJ99A"),
    "azure-client-secret": ("Q~ is a mark", "8Q~x"),
    "twilio-key": ("SKU0af30af3", "SKILL", f"TASK{'0af3' * 8}"),
    "discord-token": ("customer-support-agents.router.escalation-policy-evaluator-step", "my-long-service-name-here.invoke.retrieval-augmented-generation", "summarize_quarterly_docs.worker.handle_incoming_document_batch", "CustomerSupportAgents_V2.Router.EscalationPolicyEvaluatorStep2", "www.example.com", "a.module.function_of_the_package_x"),
    "airtable-token": ("patientregistries.d41d8cd98f00b204e9800998ecf8427e.js", "path.to.something", "pattern.0af3"),
    "asana-token": ("/1204567890123456:8080",),
    "webhook-url": ("https://hooks.slack.com/docs", "https://example.com/api/webhooks/123"),
    "stripe-key": ("sk_test_4eC39HqLyjWDarjtT1zdp7dc is for tests", "ask_live_chat", "sk_live_MyPaymentAgentForEurope"),
    "huggingface-token": ("hf_hub_download failed", "hf_transfer", "shelf_AbCdEfGhIjAbCdEfGhIjAbCd"),
    "groq-key": ("gsk_ is a prefix",),
    "xai-key": ("xai-org/grok-1", "xai-"),
    "perplexity-key": ("pplx-api", "pplx-70b-online"),
    "replicate-token": ("r8_ is a prefix", "ver8_AbCdEfGhIjAbCdEfGhIj12"),
    "nvidia-key": ("nvapi-short",),
    "langsmith-key": ("lsv2_pt_ is a prefix",),
    "npm-token": ("npm_config_registry=https://r", "npm_package_version"),
    "pypi-token": ("pypi-attestations", "pypi-AgE is short"),
    "sendgrid-key": ("SG.handle_incoming_documents.worker_step_evaluator", "MSG.send.mail", "SG.com.example"),
    "telegram-token": ("20241105:AA-meeting-notes-for-the-team-members", "at 12:AA", "00:00:AA:BB:CC:DD"),
    "jwt": ("eyJ", "Invalid page cursor eyJsYXN0X2lkIjoxMjM0NX0.", "keyJson.value", "heyJude.mp3"),
    "private-key": ("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", "-----BEGIN PUBLIC KEY-----\nMIIB"),
    "url-password": ("docker://alpine:3.18@sha256:0f3a9c5d7e1b", "docker://ghcr.io/acme/app:v2@sha512:0f3a9c5d7e1b", "docker%3A%2F%2Falpine%3A3.18%40sha256%3A0f3a9c5d7e1b", "https://example.com:8443/a@b", "mailto://user@example.com", "http://[::1]:80/", "see https://x/y: a@b.c", "postgresql://${DB_USER}:${DB_PASSWORD}@host/db", "redis://default:{password}@host:6379", "redis://:{self.password!r}@h", "postgres://{u}:{p}@{h}/{d}", "mysql://%s:%s@%s/db", "postgres://u:***@h", "postgres://$U:$DB_PASSWORD@h", "https://{{ user }}:{{pw}}@h"),
    "url-query": ("tool error: function_signature=process_items(items: list[int], limit=3)", "method_signature=foo2Bar3(x)", "type-signature=List<String>", "?keyboard=us", "monkey=banana", "?page=2&sort=key", "design=flat", "exit code=1", "--query 'Reservations[].Instances[].Tags[?Key==`Name`].Value'", "/cb?code=INVALID_REQUEST_ERROR", "?code=authorization-pending"),
    "authorization": ("Authorization: required", "missing Authorization header", "authorization = None", "Authorization: Bearer YOUR_KEY"),
    "bearer-token": ("Bearer authentication is required", "bearer of news", 'Bearer realm="x"', "Bearer {token}"),
    "cookie": ("Cookie: missing", "cookies are disabled", "cookie header too large", "seek(self, cookie, whence=0)"),
    "command-option": (
        """aws dynamodb get-item --table-name t --key '{"Id": {"N": "102"}}'""", "aws lakeformation get-lf-tag --tag-key 'usergroup'", "sort --key '2' file", "jq-tool --key 'name' in.json", "tool --key 'certs/server.key.pem'", "a first-pass filter -x", "make --bypass checks -x",
        "a low-key iPhone release", "a two-pass GraphColoring allocator", "model uses next-token predictionHead", "kept secret--token Ctrl+C", "ssh --private-key ~/.ssh/id_ed25519 failed", "--key path/to/server.key.pem not found", "--credentials ./creds/sa.json", "--private-key certs/server", "docker run --user appuser:appgroup img", "rsync -u server:/backup/data2", "docker run -u 1000:docker2 x", "git push -u origin:feature/two", 'curl -u "$USER:$PW" x', "curl --user ${U}:${P} x",
        '--password "$DB_PASSWORD"', "--password '$DB_PASSWORD'", '--token "$token" x', '--api-key "$(cat /run/secrets/key)"', '--password "%DB_PASSWORD%"', "--token $env:GITHUB_TOKEN", '--secret "${S:-x}"',
        "error: --api-key is required", "use --api-key or set OPENAI_API_KEY", "--max-tokens 4096", "--token option", "--sort-key created_at_2024",
    ),
    "mailgun-key": (f"cache-key-{'0af3' * 8}", "key-value", f"sort_key-{'0af3' * 8}"),
    "resend-key": ("re_validate_representationlayer", "re_1Nispe2eZvKYlo2Cd31jOCgZ", "re_compile_pattern_of_the_2024_release"),
    "voyage-key": ("pa-invoice-extraction-worker-7d9f8c6b5d-x2v4z", f"my-pa-{A40}-_AA"),
    "cloudflare-ca-key": ("agent:v1.0-3f9c2ab1d4e5f6a7b8c9d0e1f2a3b4c5d6e7f8a9", "v1.0-feature-billing-refactor-20241105-3f9c2ab1"),
    "datastax-token": ("AstraCS: is a prefix", "AstraCS:token"),
    "zhipu-key": (f"{'0af3' * 8}.json", f"{'0af3' * 8}.abcdefghijklmnop", f"a.{A40[:16]}", f"{'0af3' * 8}.{'9f8e' * 4}", f"{'0af3' * 8}.MyReportForToday"),
    "sql-password": ("SET PASSWORD FOR 'bob'@'%' = 'required'", "set password for the user = x", "the password 'required' is no good", "The object is identified by `user_id`.", "a record identified by 'order_no'", "IDENTIFIED BY `name`", "identified by its name", "IDENTIFIED BY 'required'", "login password 'must be set'"),
    "validated-secret": ('{"loc":["body","password"],"msg":"Field required","input":null}', '{"loc":["body","user"],"msg":"x","input":"swordfish"}', '{"loc":["body","password"],"msg":"Field required","input":{}}, {"loc":["body"],"input":"x"}', "max_retries\n  Input should be a valid integer [type=int_parsing, input_value='many', input_type=str]", "password\n  Field required [type=missing, input_value={}, input_type=dict]"),
    "user-password": ("the machine login needs a password again", "machine h login bob password required", "user: 'bob', passed: 'yes'", "user: 'bob', pass: 'required'", "user 'bob' may pass", "the machine needs a login and a password", "login with password authentication", "login bob\n  password must change", "machine h login bob password $PW"),
    "command-password": ("login -p", "login failed -p x", "mysql -u root -p db", "mysql -u root -p\n", "mysqldump --port 3306 db > x", "mysql -P 3306 -p$PW", "sshpass -e ssh x", "redis-cli -a $REDIS_PW", "twine upload -p $PW", "ldapsearch -W -D cn=admin", "mongosh --port 27017", "openssl rsa -passin env:PW", "openssl rsa -passin pass:$PW", "a -pass through",
        "sqlcmd -S db -E -Q 'select 1'", "sqlcmd -U sa -P $SA_PASSWORD", "sqlcmd -P", "bcp -P 1433", "mkdir -P swordfish1", "wget -P downloads9 x", "mosquitto_sub -t x -p 1883", "ipmitool -I lanplus -H host1234 power", "psexec -u bob cmd", "smbclient //srv/share -U bob", "cmdkey /list:target99",
        "net use Z: /delete", "net use Z: \\\\srv\\share9 /persistent:yes", "net use Z: \\\\srv\\share /user:bob /savecred", "net use Z: \\\\srv\\share /user:bob *", "of the net user accounts", "htpasswd -c file9 bob", "rabbitmqctl list_users user_name9", "sqlplus /nolog", "sqlplus scripts/setup9", "curl -P swordfish1"),
    "named-key": ("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer", "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer", "urn%3aietf%3aparams%3aoauth%3agrant-type%3asaml2-bearer", "urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aid_token", "Preparing to unpack .../103-xauth_1%3a1.1.2-1_amd64.deb ...", "API key 12 of 30", "MY_VENDOR_KEY=OrdersByCustomerName", "CACHE_KEY=9f8e7d6c5b4a39281706f5e4d3c2b1a0", "KEY_COUNT=12", "the API key is invalid"),
    "suffixed-secret": ("API_KEY_FILE=/x/a1b2c3d4e5f6a7b8c9", "SECRET_VERSION_ID=0192f0c1-7c3a-7b1d-8e4f-5a6b7c8d9e0f", "PASSWORD_MIN_LENGTH=a12345", "DB_PASSWORD_EU=$DB_PASSWORD", "PASSWORD_MANAGER=onepassword", "API_KEY_EU=europe-west-1", "passwordResetUrl=https://x/a1b2c3d4e5f6", "API_KEY_EU=https://x/a1B2c3D4e5f6"),
    "named-secret": (
        "Get:1 passwd_1%3a4.8.1-1ubuntu5_amd64.deb", "passwd-0:0.80-12.el9.x86_64", "requirepass is not set", "see the requirepass directive", "| password | varchar(255) |", "| password | utf8mb4 | x", "| secret | user1@example.com |", "| password | 8-64 | yes |", "echo $password | sha256sum | cut -c1", '"AllowCredentials": "Boolean indicating whether request is allowed to contain credentials."', '{"password": "Password of the database user."}', '{"password": "A password that is shared."}', "password v1beta1",
        "UPDATE users SET password = ? WHERE id = ?", "UPDATE users SET password = :password WHERE id = :id", "set api_key=@p1, secret = ?2", "password = #{password}", "private_key=~/.ssh/id_ed25519", "GOOGLE_APPLICATION_CREDENTIALS=/secrets/sa.json", '"credentials": "/secrets/gcp/sa.json"', "password = sha256(raw)", "lambda password: md5(password)", 'url = "https://x/?api_key=" + key2 + "&x=1"', "Pass `password=` to `connect()`.", "Set `password:` to `x1`.", 'class Credentials:\n    """Stored credentials of a user2."""\n', "with credentials:\n    connect2(x)\n", "if password:\n    client2 = connect(x)\n", "class Secret:\n    # of 2\n", "credentials:\n    user1: bob\n", '<label for="password">Enter password</label>', '<string name="password">Passwort</string>', '<property name="password">${db.password}</property>', '<property name="password" ref="x"/>\n</bean>',
        "password=user.password,", "api_key=client.api_key,", "client_secret=self.session.client.client_secret)", "self._secret_access_key = access_key.secret_access_key", "os.environ['AWS_SECRET_ACCESS_KEY'] = credentials.secret_key", "password: user.password",
        "api_key=Config.OPENAI_API_KEY", "ANTHROPIC_API_KEY=sk-ant-api03-...", "apiKey: options?.apiKey,", "password = form->password;", "secret=app.clientSecret", "api_key=accounts[0].api_key", "OPENAI_API_KEY=sk-...", "OPENAI_API_KEY=sk-xxxxxxxx", "OPENAI_API_KEY=sk-your-key", 'api_key="sk-ant-xxxxxxxx"', "api_key='sk-your-key-here'",
        '<a accesskey="n" href="next.html">', '<a accessKey="s 0">', "password=*", "password=$1", "password=f(x)", "secret=k[0]", "password=h('x')",
        "metadata { key: 'user-agent' value: 'grpc-python/1.0' }", "arn:aws:secretsmanager:us-east-1:123456789012:secret:prod/openai-AbCdEf", "secret = hashlib.sha256(data).hexdigest()", "api_key = uuid.uuid4().hex", "const secret = await client.getSecret(name);", "password: field required", "KeyError: 'password'", "api_key=self.api_key,", "OpenAI(api_key=os.environ['X'])", "password=None", "secret_name: x", "PWD=/home/agent",
        "password=%s", "password={password}", "'api_key': None", "api_key=get_key()", '"password": "***"', "the key: iterate", "password=getpass(", "self.password = user, password", "open(member, pwd=pwd)", "(user, password, host)", "$PASSWORD", 'secret=""',
    ),
    "named-token": (
        "Version=13.0.0.0, Culture=neutral, PublicKeyToken=30ad4fe6b2a6aeed", "https://h/x?$skiptoken=X2a3b4c5d6e7f", '{"token": "\\u4e2d\\u6587", "logprob": -0.3}', '{"token": "bytes:\\\\xf0\\\\x9f\\\\x98"}', '{"token": "na\\u00efve2"}',
        '{"token": "2026-11-30T12:00:00Z"}', "token: 2026-11-30 12:00:00.123+01:00", "sync_token=2026-11-30T12:00:00", "fail_on_invalid_token=fail_on_invalid_token,", "access_token=session.access_token,", '{"token": "getElementsByClassName"}', '{"token": "parseJSONResponse"}',
        "max_tokens: 4000", "prompt_tokens=12", "Unexpected token: }", "token_count: 5", "next_page_token=CAUQAA12345", "token='<'", "Invalid token: 'abc' at 5", "tokens=1234567890123",
        "total_cost=0.0375, cost_usd: 0.0125", "token: must not be empty", "eos_token=</s>", "time_to_first_token: 0.1234567",
    ),
}  # fmt: skip


def cases(table: dict[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    """Name and text, one by one."""
    return [(name, text) for name, texts in table.items() for text in texts]


def test_every_pattern_has_cases_of_both_kinds() -> None:
    """A pattern without cases could as well not be there."""
    shapes = {shape.name for shape in SHAPES}  # theirs are derived from their table: test_shapes.py
    assert {pattern.name for pattern in PATTERNS} == set(POSITIVE) | shapes == set(NEGATIVE) | shapes
    assert len({pattern.name for pattern in PATTERNS}) == len(PATTERNS) >= 110
    assert all(pattern.source for pattern in PATTERNS)


@pytest.mark.parametrize(("name", "text"), cases(POSITIVE))
def test_a_secret_is_replaced_and_what_surrounds_it_stays(name: str, text: str) -> None:
    """The replacement names the pattern; the name of a key or header stays readable."""
    before, _, rest = text.partition("«")
    secret, _, after = rest.partition("»")
    cleaned, counts = scrub(before + secret + after)
    assert counts == {name: 1}
    assert cleaned.startswith(before)
    assert cleaned[len(before) :].startswith(f"[REDACTED:{name}]")
    assert after.startswith(cleaned[len(before) + len(f"[REDACTED:{name}]") :][:1])
    assert secret not in cleaned[len(before) :]


@pytest.mark.parametrize(("name", "text"), cases(NEGATIVE))
def test_what_only_resembles_a_secret_stays(name: str, text: str) -> None:
    """Prefixes, counts, placeholders, source code and plain words are no secrets."""
    assert scrub(text) == (text, {}), f"resembles {name}"


@pytest.mark.parametrize(("name", "text"), cases(POSITIVE))
def test_scrubbing_again_changes_nothing(name: str, text: str) -> None:
    """A record that was cleaned on acceptance passes the writer unchanged."""
    cleaned, counts = scrub(text.replace("«", "").replace("»", ""))
    assert list(counts) == [name]
    assert scrub(cleaned) == (cleaned, {})


@pytest.mark.parametrize(("name", "text"), cases(POSITIVE))
def test_every_secret_is_found_by_the_first_look(name: str, text: str) -> None:
    """The filter may send a text on in vain, but it never holds one back; words of names in any case of letters."""
    assert may_hold_secret(text.replace("«", "").replace("»", "")), name
    for pattern in PATTERNS:
        for literal in pattern.literals:
            if literal.isalpha() and not pattern.by_shape:
                assert literal == literal.lower()
                assert may_hold_secret(f'{literal.upper()}: "x"')


def test_ids_in_hexadecimal_are_no_reason_to_look() -> None:
    """Thousands of them pass without a closer look: no prefix is taken for one within a UUID."""
    rng = random.Random(3)
    ids = [str(UUID(int=rng.getrandbits(128))) for _ in range(20_000)]
    assert not may_hold_secret("\n".join(ids))


def test_no_ordinary_error_text_is_changed() -> None:
    """Messages of providers, Python, HTTP and databases, with ids, hashes, counts, paths and source lines."""
    lines = (DATA / "ordinary_errors.txt").read_text("utf-8").splitlines()
    assert len(set(lines)) == len(lines) >= 200
    assert [line for line in lines if scrub(line)[1]] == []


def test_no_ordinary_text_is_changed() -> None:
    """Counts, names that begin like keys, digests, tokens of models and grammars, placeholders, source code, options."""
    lines = (DATA / "ordinary_texts.txt").read_text("utf-8").splitlines()
    assert len(set(lines)) == len(lines) >= 250
    assert [line for line in lines if scrub(line)[1]] == []
    assert [line for line in lines if scrub(json.dumps({"message": line}))[1]] == []


# Names that announce a secret, and ways to write a name and its value: each of the one with each of the other.
NAMES: Final = (
    *("api_key", "apiKey", "API-KEY", "x-api-key", "password", "client_secret", "secret", "SECRET_KEY", "secretAccessKey"),
    *("aws_secret_access_key", "private_key", "passwd", "db_password", "OPENAI_API_KEY", "openai_key", "DD-APPLICATION-KEY"),
    *("xi-api-key", "Ocp-Apim-Subscription-Key", "AccountKey", "credentials", "passphrase", "access_token", "refreshToken"),
    *("X-Auth-Token", "GITHUB_TOKEN", "csrf_token", "X-Vault-Token", "PRIVATE-TOKEN", "x-goog-api-key", "API_KEY_PROD", "api_key_2"),
)  # fmt: skip
WAYS: Final = (
    *("{n}={v}", "{n}: {v}", "{n} = {v}", "{n} : {v}", "{n}\t:\t{v}", "{n}:\n    {v}", '"{n}": "{v}"', "'{n}': '{v}'", "{n}='{v}'"),
    *('{n}="{v}"', r"\"{n}\": \"{v}\"", r"\\\"{n}\\\": \\\"{v}\\\"", "<{n}>{v}</{n}>", '<{n} type="x">{v}</{n}>', "&lt;{n}&gt;{v}&lt;/{n}&gt;"),
    *("{n}%3D{v}", "%22{n}%22%3A%22{v}%22", "{n}: |\n  {v}", "{n} => {v}", "('{n}', '{v}')", '["{n}", "{v}"]', "&quot;{n}&quot;:&quot;{v}&quot;"),
    *('{{"name": "{n}", "value": "{v}"}}', '<add key="{n}" value="{v}"/>', "--{n} {v}", "--{n}={v}", '--{n} "{v}"', "{n}:     {v}", '"{n}" : "{v}"'),
    *("\x1b[33m{n}\x1b[0m: \x1b[31m{v}\x1b[0m", "{n}\x1b[1;31m=\x1b[0m{v}", "{n}: b'{v}'", "{n}: `{v}`", "{n}\\n: {v}", "export {n}={v};", "{n}->{v}"),
    *("{n}:={v}", "{n}\\u003d{v}", "https://example.com/?a=1&{n}={v}&b=2", "{n} {v}"),
    *("{{&#x22;{n}&#x22;: &#x22;{v}&#x22;}}", "{{&#34;{n}&#34;: &#34;{v}&#34;}}", r"{{\u0022{n}\u0022: \u0022{v}\u0022}}", r"{{\x27{n}\x27: \x27{v}\x27}}"),
    *('os.environ["{n}"] = "{v}"', "config['{n}'] = '{v}'", '{{"{n}": ["{v}"]}}', '{{"{n}": {{"value": "{v}"}}}}', "- name: {n}\n  value: {v}"),
    *("<key>{n}</key>\n  <string>{v}</string>", "| {n} | {v} |", "**{n}:** `{v}`", "**{n}**: {v}", "<{n}><![CDATA[{v}]]></{n}>"),
    "<{n}>Zx9&amp;{v}</{n}>",
)  # fmt: skip
VALUE: Final = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7xC0"


@pytest.mark.parametrize("name", NAMES)
def test_a_value_of_a_secrets_name_is_replaced_however_they_are_written(name: str) -> None:
    """As JSON in JSON, as YAML, XML, a query, an option, an assignment, a pair, printed, encoded, coloured."""
    for way in WAYS:
        text = way.format(n=name, v=VALUE)
        cleaned, _ = scrub(text)
        assert not any(VALUE[at : at + 6] in cleaned for at in range(24)), text
        assert scrub(cleaned) == (cleaned, {}), text


SCHEMES: Final = (
    *("Bearer", "Basic", "Token", "ApiKey", "OAuth", "Key", "SSWS", "Splunk", "NTLM", "Negotiate", "GenieKey", "Api-Token"),
    *("DeepL-Auth-Key", "apikey", "X-Custom-Scheme", "SAPISIDHASH", "Bot", "AWS4-HMAC-SHA256", "PVEAPIToken", "token", "S"),
)  # fmt: skip
HEADERS: Final = (
    *("Authorization: {s} {v}", "authorization={s} {v}", "Authorization:{s} {v}", "Authorization\t:\t{s}\t{v}", "Authorization:\n  {s} {v}"),
    *("-H 'Authorization: {s} {v}'", "{{'Authorization': '{s} {v}'}}", '{{"Authorization": "{s} {v}"}}', '"{{\\"Authorization\\": \\"{s} {v}\\"}}"'),
    *("Authorization%3A%20{s}%20{v}", "<Authorization>{s} {v}</Authorization>", "[(b'authorization', b'{s} {v}')]", "Proxy-Authorization: {s} {v}"),
)  # fmt: skip


@pytest.mark.parametrize("scheme", SCHEMES)
def test_credentials_of_any_scheme_are_replaced(scheme: str) -> None:
    """Schemes are anybody's to invent: RFC 9110, section 16.4."""
    for header in HEADERS:
        text = header.format(s=scheme, v=VALUE)
        assert VALUE not in scrub(text)[0], text


def test_parameters_of_an_authorization_are_replaced() -> None:
    """RFC 7616, OAuth 1.0 and AWS's signature have several, of which some are quoted."""
    for text in (
        f'Authorization: Digest username="bob", realm="x", nonce="{A40}", uri="/", response="{VALUE}"',
        f'Authorization: OAuth oauth_consumer_key="a", oauth_nonce="b", oauth_signature="{VALUE}"',
        f"Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20250101/us-east-1/s3/aws4_request, SignedHeaders=host;range, Signature={VALUE}",
        f"Authorization: SharedAccessSignature sr=x&sig={VALUE}&se=1",
        f'Authorization: Token token="{VALUE}"',
    ):  # fmt: skip
        assert VALUE not in scrub(text)[0], text


HOSTILE: Final = [
    "sk-", "sk-a", "eyJ", "eyJabcdefghijkl.", "://", "://a:", "password=", 'password="', "password:", "password: aaaa ", "authorization: ",
    "authorization: bearer ", "token=", "-----BEGIN PRIVATE KEY-----", "-----BEGIN ", "Bearer ", "bearer a", "cookie: a=", "AKIA", "SG.",
    "SG.aaaaaaaaaaaaaaaaa", "?key=", "a", "\\", 'password=\\"', "password=\\'\\\\", "lsv2_pt_", "123456789:AA", "token: 'a", "x@y://", "\u0130key",
]  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", quick(HOSTILE, every=10))
def test_hostile_text_costs_linear_time(piece: str) -> None:
    """Half a megabyte takes seconds at most: a pattern that backtracks over all of it would run into the timeout."""
    cleaned, _ = scrub(piece * (2**19 // len(piece)))
    assert len(cleaned) > 0


@pytest.mark.parametrize("offset", [*range(16_330, 16_390), 65_530, 131_071])
def test_a_secret_at_the_border_of_two_blocks_is_found(offset: int) -> None:
    """Long texts are searched block by block."""
    secret = f"sk-ant-api03-{A40}"
    text = ("word " * 40_000)[: offset - 1] + " " + secret + " end" * 20_000
    cleaned, counts = scrub(text)
    assert counts == {"anthropic-key": 1}
    assert cleaned == text.replace(secret, "[REDACTED:anthropic-key]")


@pytest.mark.parametrize("one", [f"X-Api-Key: {A40}", f"ghs_{A40}", f"Bearer {A40}", f"token: {A40}"])
def test_secrets_without_a_space_between_them_are_all_found(one: str) -> None:
    """The value of one may seem to go on with the name of the next."""
    assert A40[8:] not in scrub(one * 5)[0]


def test_letters_that_grow_in_lower_case_move_nothing() -> None:
    """`\u0130` is two characters in lower case: positions must not shift."""
    text = "\u0130" * 50 + f" sk-ant-api03-{A40} \u0130"
    assert scrub(text) == ("\u0130" * 50 + " [REDACTED:anthropic-key] \u0130", {"anthropic-key": 1})


def test_several_secrets_are_counted_by_name() -> None:
    """Each place counts once, under the name that says most."""
    text = f"api_key=sk-ant-api03-{A40} password=x1 and password=y2 at https://u:p@h/"
    cleaned, counts = scrub(text)
    assert counts == {"anthropic-key": 1, "named-secret": 2, "url-password": 1}
    assert cleaned == (
        "api_key=[REDACTED:anthropic-key] password=[REDACTED:named-secret] and password=[REDACTED:named-secret] "
        "at https://u:[REDACTED:url-password]@h/"
    )


def test_any_text_is_taken() -> None:
    """Random texts of the characters that matter raise nothing and stay clean when scrubbed again."""
    rng = random.Random(7)
    pieces = [
        *(literal for pattern in PATTERNS for literal in pattern.literals),
        *"=:\"'\\ @/&?\n.-_",
        "[REDACTED:",
        "]",
        "AKIA",
    ]
    for _ in range(3000):
        parts = (
            rng.choice(pieces) if rng.random() < 0.6 else rng.choice(string.printable) * rng.randint(1, 24)
            for _ in range(12)
        )
        cleaned, _ = scrub("".join(parts))
        again, _ = scrub(cleaned)
        assert scrub(again)[0] == again


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("password", "x", True), ("DB_PASSWORD", "x", True), ("apiKey", "x", True), ("X-Api-Key", "x", True), ("client_secret", "x", True),
        ("refresh_token", "x", True), ("token", "x", False), ("token", VALUE, True), ("token", "</s>", False), ("token", "Base64Encoder", False), ("token", {"text": "a"}, False), ("Authorization", "x", True), ("set-cookie", "x", True), ("private key", "x", True),
        ("credentials", {"a": 1}, True), ("password", 1234, True), ("access_tokens", ["x"], True), ("aws.secretAccessKey", "x", True),
        ("costco_api_key", "x", True), ("acosta_password", "x", True), ("cost_center_db_password", "x", True), ("costExplorerPassword", "x", True), ("Password:", "x", True), ("API key:", "x", True), ("password ", "x", True), ("API key *", "x", True), ("password?", "x", True),
        ("cost_by_api_key", {"a": 1.5}, False), ("costPerAccessToken", "x", False), ("costs_of_password", "x", False), ("cost_api_key", 1.5, False), ("cost_api_key", [1.5, 2], False), ("token", "2026-11-30T12:00:00Z", False),
        ("max_tokens", "4000", False), ("prompt_tokens", 12, False), ("token", 12, False), ("total_cost", 1.5, False), ("cost_per_token", "x", False),
        ("cookies", 3, False), ("secrets", 0, False), ("api_keys", 2, False), ("access_tokens", 4, False), ("credentials", {}, False),
        ("password", "must be at least 8 characters", False), ("password", "correct horse battery staple", True), ("openai_key", "x", True),
        ("password", None, False), ("pwd", "/home/x", False), ("pwd", "C:\\x", False), ("pwd", "swordfish", True), ("has_api_key", 0, False), ("cookies", [1, 2], False), ("credentials", "include", False), ("credentials", ["x"], True), ("password", "", False), ("secret", True, False), ("eos_token", "</s>", False), ("nextPageToken", "x", False),
        ("key", "x", False), ("keyboard", "x", False), ("tokenizer", "x", False), ("author", "x", False), ("password_hint", "x", False),
    ],
)  # fmt: skip
def test_names_that_announce_a_secret(name: str, value: object, secret: bool) -> None:
    """However it is spelt; counts, costs and what can be no secret stay."""
    assert holds_secret(name, value) is secret


def test_the_manual_lists_exactly_the_patterns() -> None:
    """Nobody relies on a pattern that is not there."""
    section = MANUAL.read_text("utf-8").split("## Privacy\n", 1)[1].split("\n## ", 1)[0]
    listed = re.findall(r"^\| `([a-z0-9-]+)` \| .*[A-Za-z]", section, re.MULTILINE)
    assert [name for name in listed if name not in {"none", "metadata", "full"}] == [
        *(pattern.name for pattern in PATTERNS),
        "masker-error",
    ]


@pytest.mark.parametrize("dashes", range(8))
def test_what_begins_within_the_beginning_of_another_is_found(dashes: int) -> None:
    """Two dashes may begin an option of a command, and the third one a key."""
    key = "-----BEGIN PRIVATE KEY-----\nZqX9ScPVZqX9Gj6E\n-----END PRIVATE KEY-----"
    assert "ZqX9" not in clean(f"job{'-' * dashes}{key}")


@pytest.mark.parametrize("opened", ["[]", "()"])
@pytest.mark.parametrize("quote", ["'", '"', '\\"'])
@pytest.mark.parametrize("parted", [" = ", ": ", '": '])
def test_each_item_of_a_list_under_the_name_of_a_secret_goes(opened: str, quote: str, parted: str) -> None:
    """Not the first one alone; and a list that was scrubbed stays as it is."""
    items = [f"ZqX9{place}Lw9Xr4Vt6Nb" for place in range(30)]
    text = f"api_keys{parted}{opened[0]}{', '.join(f'{quote}{item}{quote}' for item in items)}{opened[1]}"
    cleaned = clean(text)
    assert "ZqX9" not in cleaned
    assert clean(cleaned) == cleaned
