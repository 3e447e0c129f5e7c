"""An agent that uses a tool, and a limit that stops it. Run: `python -m llm_service.examples.agent_with_budget`.

Needs the extra `examples`: `pip install 'llm-service-telemetry[examples]'`. The price stands here.
"""

import asyncio
from tempfile import mkdtemp
from typing import Any

from llm_service.config.schemas import ModelsConfig, PoliciesConfig
from llm_service.examples import lacking
from llm_service.examples.local_provider import local_provider
from llm_service.telemetry import AsyncTelemetryLogger, BudgetExceeded

try:
    from openai import AsyncOpenAI
except ImportError as missing:
    raise lacking(missing, __name__) from None

MODELS = ModelsConfig.model_validate({"models": {"gpt-5-mini": {"cost_per_1m_tokens": {"input": 0.25, "output": 2}}}})
LIMIT = {"daily_budget_usd": 0.0012, "limit": {"threshold_percent": 100}}  # or policies="policies.yaml"
TOOL: Any = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}


async def ask(client: Any, telemetry: AsyncTelemetryLogger, messages: list[Any]) -> Any:
    """One call. What it may cost is reserved before it is made, so no number of agents crosses the limit."""
    request: Any = {"messages": messages, "max_tokens": 100}
    async with telemetry.invocation("researcher", model_name="gpt-5-mini", budget=True, **request):
        answer = await client.chat.completions.create(model="gpt-5-mini", tools=[TOOL], **request)
    return answer.choices[0].message


async def research(client: AsyncOpenAI, telemetry: AsyncTelemetryLogger) -> str:
    """Ask, run the tool that the model asks for, and ask again."""
    messages: list[Any] = [{"role": "user", "content": "What is the answer?"}]
    message = await ask(client, telemetry, messages)
    while message.tool_calls:
        messages.append(message)
        messages += [{"role": "tool", "tool_call_id": call.id, "content": "42"} for call in message.tool_calls]
        message = await ask(client, telemetry, messages)
    return str(message.content)


async def main() -> None:
    """Research again and again, until the day's money is spent."""
    policies = PoliciesConfig.model_validate({"policies": {"default": LIMIT}})
    with local_provider() as url:
        async with (
            AsyncTelemetryLogger(f"{mkdtemp()}/telemetry.db", models=MODELS, policies=policies) as telemetry,
            AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client,  # AsyncOpenAI() calls the provider itself
        ):
            telemetry.instrument()
            try:
                while True:
                    print(await research(client, telemetry))
            except BudgetExceeded as error:
                print(f"stopped: {error}")
            for row in await telemetry.get_daily_costs():
                print(f"{row['agent_name']}: {row['invocations']} calls, ${row['total_cost_usd']:.6f}")
            print(f"llm-telemetry invocations --db {telemetry.db_path}")


if __name__ == "__main__":
    asyncio.run(main())
