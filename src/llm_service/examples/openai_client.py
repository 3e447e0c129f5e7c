"""One line records every call of an OpenAI client. Run: `python -m llm_service.examples.openai_client`.

Needs the extra `examples`: `pip install 'llm-service-telemetry[examples]'`.
"""

from tempfile import mkdtemp

from llm_service.examples import lacking
from llm_service.examples.local_provider import local_provider
from llm_service.telemetry import TelemetryLogger

try:
    from openai import OpenAI
except ImportError as missing:
    raise lacking(missing, __name__) from None


def main() -> None:
    """Ask once, once as a stream, and look at the two rows."""
    with (
        local_provider() as url,
        TelemetryLogger(f"{mkdtemp()}/telemetry.db").instrument() as telemetry,
        OpenAI(base_url=f"{url}/v1", api_key="none") as client,  # OpenAI() calls the provider itself
    ):
        client.chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": "Why 42?"}])

        stream = client.chat.completions.create(
            model="gpt-5-mini",
            messages=[{"role": "user", "content": "Why 42, word by word?"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        for chunk in stream:
            print(chunk.choices[0].delta.content or "" if chunk.choices else "\n", end="")

        for row in reversed(telemetry.get_invocations()):
            kind = "stream" if row["stream"] else "whole"
            print(kind, row["model_name"], row["prompt_tokens"], row["completion_tokens"], row["status"])
        print(f"llm-telemetry invocations --db {telemetry.db_path}")


if __name__ == "__main__":
    main()
