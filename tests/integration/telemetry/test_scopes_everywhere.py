"""Scopes and blocks nested at random over tasks, threads and generators; and around calls of a hooked client."""

import asyncio
import contextlib
import contextvars
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.provider_server import ProviderServer

from llm_service.telemetry import AsyncTelemetryLogger, TelemetryLogger

IDS = ("session_id", "user_id", "run")
NAMES = ("agent_name", *IDS)


@dataclass
class Node:
    """Something that is entered, and what is done within."""

    kind: str
    said: dict[str, str]
    within: list["Node"] = field(default_factory=list["Node"])


SAID = st.dictionaries(st.sampled_from([*NAMES, "tags"]), st.sampled_from("abc"), max_size=3)
KINDS = st.sampled_from(["scope", "block", "task", "thread", "generator", "other logger"])
TREES = st.recursive(
    st.builds(Node, KINDS, SAID),
    lambda inner: st.builds(Node, KINDS, SAID, st.lists(inner, max_size=3)),
    max_leaves=12,
)


def expected(node: Node, around: dict[str, Any], parent: int | None, made: list[dict[str, Any]]) -> None:
    """What each block's row must say: what is said nearer wins, tags add up."""
    if node.kind == "scope":
        tags = dict.fromkeys([*around.get("tags", []), *node.said.get("tags", "")])
        around = around | node.said | ({"tags": list(tags)} if tags else {})
    elif node.kind == "block":
        own = {name: node.said.get(name, around.get(name)) for name in NAMES}
        tags = list(dict.fromkeys([*around.get("tags", []), *node.said.get("tags", "")]))
        made.append(own | {"tags": tags or None, "parent": parent, "number": len(made)})
        parent = made[-1]["number"]
        around = around | {
            name: value for name, value in node.said.items() if name in IDS or (name in around and name != "tags")
        }
    for inner in node.within:
        expected(inner, around, parent, made)


async def perform(telemetry: AsyncTelemetryLogger, other: AsyncTelemetryLogger, node: Node, ids: list[str]) -> None:
    """Do it; the blocks of one logger leave their ids in the order in which they are entered."""

    async def inner() -> None:
        for one in node.within:
            await perform(telemetry, other, one, ids)

    if node.kind == "scope":
        async with telemetry.scope(**node.said):
            await inner()
    elif node.kind == "block":
        async with telemetry.invocation(**node.said) as call:  # type: ignore[arg-type]
            ids.append(call.invocation_id)
            await inner()
    elif node.kind == "task":
        await asyncio.create_task(inner())
    elif node.kind == "thread":
        await asyncio.to_thread(asyncio.run, inner())
    elif node.kind == "generator":

        @telemetry.instrumented("of the generator", operation="tool")
        async def steps() -> Any:
            scope = telemetry.scope(run="of the generator", session_id="x", user_id="x", agent_name="x")
            with contextlib.suppress(GeneratorExit), scope:
                yield 1

        stream = steps()
        await anext(stream)
        await inner()  # its consumer is not within it
        await asyncio.create_task(stream.aclose())
    else:
        async with other.scope(**node.said), other.invocation(session_id="other", run="other"):
            await inner()


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.lists(TREES, min_size=1, max_size=3))
def test_any_nesting_gives_each_call_what_is_around_it(trees: list[Node]) -> None:
    """Over tasks, threads, generators that are closed elsewhere, and another logger's scopes and blocks."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.db"
        made: list[dict[str, Any]] = []
        for tree in trees:
            expected(tree, {}, None, made)

        async def run() -> list[Any]:
            ids: list[str] = []
            async with AsyncTelemetryLogger(path) as telemetry, AsyncTelemetryLogger(Path(folder) / "o.db") as other:
                for tree in trees:
                    await perform(telemetry, other, tree, ids)
                rows = {row["invocation_id"]: row for row in await telemetry.get_invocations(limit=1000)}
                assert all(row["session_id"] == "other" for row in await other.get_invocations())
            numbers = {one: number for number, one in enumerate(ids)}
            return [
                {name: rows[one][name] for name in (*NAMES, "tags")}  # type: ignore[literal-required]
                | {"parent": numbers.get(str(rows[one]["parent_invocation_id"])), "number": numbers[one]}
                for one in ids
            ]

        assert contextvars.Context().run(asyncio.run, run()) == made


openai = pytest.importorskip("openai")
CHAT: dict[str, Any] = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Why 42?"}]}


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    """The server of this module."""
    with ProviderServer() as started:
        yield started


@pytest.mark.parametrize("stream", [False, True])
def test_calls_of_a_hooked_client_take_what_is_around_them(
    tmp_path: Path, server: ProviderServer, stream: bool
) -> None:
    """Alone, as the one call of a block, and as one of two; of the block, too, and only its trace is minted."""

    def ask(client: Any) -> None:
        answer = client.chat.completions.create(**CHAT, **({"stream": True} if stream else {}))
        if stream:
            list(answer)

    with (
        openai.OpenAI(base_url=f"{server.url('ok')}/v1", api_key="none") as client,
        TelemetryLogger(tmp_path / "t.db").instrument("openai") as logger,
        logger.scope(agent_name="a", run="r", tags=["scope"], metadata={"m": 1}),
    ):
        ask(client)
        with logger.invocation(session_id="one", tags=["own"]):
            ask(client)
        with logger.invocation("agent", operation="agent", session_id="two", tags=["own"]) as agent:
            ask(client)
            with logger.scope(session_id="three", tags=["inner"]):
                ask(client)
        alone, one, first, second, block = sorted(logger.get_invocations(), key=lambda row: row["id"])
    said = [
        (row["agent_name"], row["run"], row["session_id"], row["tags"]) for row in (alone, one, first, second, block)
    ]
    assert said == [
        ("a", "r", None, ["scope"]),
        ("a", "r", "one", ["scope", "own"]),
        ("agent", "r", "two", ["scope", "own"]),
        ("agent", "r", "three", ["scope", "inner", "own"]),
        ("agent", "r", "two", ["scope", "own"]),
    ]
    assert all(row["metadata"] == {"m": 1} and row["source"] in {"sdk:openai", None} for row in (alone, one, first))
    assert [row["trace_id"] for row in (alone, one)] == [None, None]
    assert {row["trace_id"] for row in (first, second, block)} == {agent.invocation_id.replace("-", "")}
    assert {row["parent_invocation_id"] for row in (first, second)} == {agent.invocation_id}
