"""Records as a fleet of agents makes them: 50 agents, 4 tools, 5 models, a long tail of latencies, 5 % errors."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from llm_service.telemetry import InvocationRecord

__all__ = ["AGENTS", "MODELS", "PROVIDERS", "RARE", "SELDOM", "TAGS", "TOOLS", "records"]

AGENTS: Final = tuple(f"agent-{number:02d}" for number in range(50))
TOOLS: Final = ("claude-code", "cursor", "aider", "continue")
MODELS: Final = ("claude-3.5-sonnet", "claude-3-haiku", "gpt-4o", "gpt-4o-mini", "gemini-1.5-pro")
PROVIDERS: Final = ("anthropic", "openai", "gemini", "azure", "bedrock")
TAGS: Final = (["nightly"], ["web", "beta"], ["web"], ["batch"], ["batch", "nightly"], ["canary"])
RARE: Final = "rare"
SELDOM: Final = "seldom"


def records(
    count: int,
    *,
    seed: int = 1,
    start: datetime | None = None,
    span: timedelta = timedelta(minutes=10),
    mixed: bool = False,
    every_column: bool = False,
    random_ids: bool = False,
    agents: int = len(AGENTS),
    grouped: bool = False,
) -> Iterator[InvocationRecord]:
    """Make `count` records in the order of their time.

    Args:
        count: how many.
        seed: the same seed makes the same records, but for their ids.
        start: the first one's time; default so that the last one is now.
        span: how long they take from first to last.
        mixed: False gives each agent one tool and two models, four calls of five to the first: 100 daily totals.
            True draws tool and model anew for each call: 1,000 daily totals, the worst case of the roll-ups.
        every_column: fill all 39 columns instead of the card's 13.
        random_ids: UUIDv4 instead of the default UUIDv7.
        agents: how many of them there are.
        grouped: fill what calls are grouped by: provider, user, session, run, tags, a key of the metadata; and give
            some records an agent, tool, model, provider or tag that is `RARE`: one record of all, in the middle, or
            `SELDOM`: one record in each 90th part.
    """
    draw = random.Random(seed)
    start = datetime.now(UTC) - span if start is None else start
    step = span / max(1, count)
    for number in range(count):
        agent = draw.randrange(agents)
        if mixed:
            tool, model = draw.randrange(len(TOOLS)), draw.randrange(len(MODELS))
        else:
            tool, model = agent % len(TOOLS), (agent + (draw.random() < 0.2)) % len(MODELS)
        prompt, completion = int(draw.lognormvariate(7, 1)), int(draw.lognormvariate(5.5, 1))
        fate = draw.random()
        fields: dict[str, Any] = {
            "timestamp": start + number * step,
            "agent_name": AGENTS[agent],
            "tool_name": TOOLS[tool],
            "model_name": MODELS[model],
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "cost_usd": round(prompt * 3e-6 + completion * 15e-6, 6),
            "latency_ms": round(draw.lognormvariate(7.3, 0.8)),
            "status": "success" if fate >= 0.05 else "timeout" if fate < 0.01 else "error",
            "error_message": "upstream said 529: overloaded, try again later" if fate < 0.05 else None,
        }
        if random_ids:
            fields["invocation_id"] = _uuid4(draw)
        if every_column:
            fields |= _extensions(draw, number)
        if grouped:
            fields |= _groups(fields["model_name"], number, max(1, count // 90), count // 2)
        yield InvocationRecord(**fields)


def _groups(model: str, number: int, each: int, once: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "provider": PROVIDERS[MODELS.index(model) % len(PROVIDERS)],
        "session_id": f"session-{number // 200}",
        "user_id": f"user-{number // 200 % 3_000}",
        "run": f"run-{number // 20}",
        "tags": TAGS[number // 50 % len(TAGS)],
        "metadata": {"team": f"team-{number // 30 % 12}"},
    }
    if number == once or number % each == each // 2:
        name = RARE if number == once else SELDOM
        found |= {"agent_name": name, "tool_name": name, "model_name": name, "provider": name, "tags": [name]}
    return found


def _uuid4(draw: random.Random) -> str:
    text = f"{draw.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def _extensions(draw: random.Random, number: int) -> dict[str, Any]:
    session = number // 40
    written = draw.randrange(200)
    return {
        "provider": "anthropic",
        "operation": "chat",
        "request_model": "claude-3.5-sonnet",
        "response_id": f"msg_{draw.getrandbits(64):016x}",
        "request_id": f"req_{draw.getrandbits(64):016x}",
        "session_id": f"session-{session}",
        "user_id": f"user-{session % 97}",
        "trace_id": f"{draw.getrandbits(128):032x}",
        "span_id": f"{draw.getrandbits(64):016x}",
        "parent_invocation_id": _uuid4(draw),
        "cache_read_tokens": draw.randrange(2000),
        "cache_write_tokens": written,
        "reasoning_tokens": draw.randrange(100),
        "usage_source": "reported",
        "cost_source": "computed",
        "ttft_ms": round(draw.lognormvariate(6, 0.5), 1),
        "stream": True,
        "finish_reason": "stop",
        "attempts": 1,
        "http_status": 200,
        "error_type": "overloaded_error",
        "source": "sdk:anthropic",
        "tags": ["nightly"],
        "metadata": {"branch": "main"},
        "cache_write_1h_tokens": written // 2,
        "service_tier": "default",
        "unpriced_usage": "server_tool_use.web_search_requests: 2",
    }
