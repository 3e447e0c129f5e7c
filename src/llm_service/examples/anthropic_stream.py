"""A stream of Anthropic, recorded by one line. Run: `python -m llm_service.examples.anthropic_stream`.

Needs the extra `examples`: `pip install 'llm-service-telemetry[examples]'`.
"""

import asyncio
from tempfile import mkdtemp

from llm_service.examples import lacking
from llm_service.examples.local_provider import local_provider
from llm_service.telemetry import AsyncTelemetryLogger

try:
    from anthropic import AsyncAnthropic
except ImportError as missing:
    raise lacking(missing, __name__) from None


async def main() -> None:
    """Read one stream to its end, and leave another early."""
    with local_provider() as url:
        async with (
            AsyncTelemetryLogger(f"{mkdtemp()}/telemetry.db").instrument() as telemetry,
            AsyncAnthropic(base_url=url, api_key="none") as client,  # AsyncAnthropic() calls the provider itself
        ):
            question = {"role": "user", "content": "Why 42?"}

            async with client.messages.stream(
                model="claude-sonnet-4-5",
                max_tokens=100,
                messages=[question],  # type: ignore[list-item]
            ) as stream:
                async for text in stream.text_stream:
                    print(text, end="", flush=True)
            print()

            async with client.messages.stream(
                model="claude-sonnet-4-5",
                max_tokens=100,
                messages=[question],  # type: ignore[list-item]
            ) as stream:
                async for _ in stream.text_stream:
                    break  # the reader had enough

            for row in reversed(await telemetry.get_invocations()):
                print(row["model_name"], row["status"], row["finish_reason"], row["usage_source"])
            print(f"llm-telemetry invocations --db {telemetry.db_path}")


if __name__ == "__main__":
    asyncio.run(main())
