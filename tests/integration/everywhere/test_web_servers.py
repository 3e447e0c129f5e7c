"""FastAPI under uvicorn and gunicorn, real servers and several workers on one file: what was asked is what is counted."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

FASTAPI = """
import asyncio, os
from contextlib import asynccontextmanager
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from llm_service.telemetry import AsyncTelemetryLogger

telemetry = AsyncTelemetryLogger("telemetry.db")

@asynccontextmanager
async def lifespan(app):
    async with telemetry:
        yield

app = FastAPI(lifespan=lifespan)

@app.middleware("http")
async def each_request(request: Request, call_next):
    async with telemetry.invocation("middleware"):
        return await call_next(request)

@app.get("/ask")
@telemetry.instrumented("endpoint", usage=lambda answer: {"prompt_tokens": 2, "completion_tokens": 1})
async def ask(wait: float = 0) -> dict[str, int]:
    await asyncio.sleep(wait)
    return {"pid": os.getpid()}

@app.get("/sync")
@telemetry.instrumented("threadpool")
def in_a_thread() -> dict[str, int]:
    return {"pid": os.getpid()}

@telemetry.instrumented("stream", usage=lambda chunk: {"completion_tokens": 1})
async def tokens(endless: bool):
    for n in range(3):
        yield f"{n}\\n"
    if endless:
        await asyncio.Event().wait()

@telemetry.instrumented("sync-stream")
def sync_tokens():
    yield from ("a", "b")

@app.get("/stream")
async def stream(endless: bool = False):
    return StreamingResponse(tokens(endless))

@app.get("/sync-stream")
async def sync_stream():
    return StreamingResponse(sync_tokens())
"""


async def get(url: str, paths: list[str]) -> list[Any]:
    """The answers to some requests, made at once, each on a connection of its own."""
    limits = httpx2.Limits(max_keepalive_connections=0)
    async with httpx2.AsyncClient(base_url=url, limits=limits, timeout=60, trust_env=False) as client:
        answers = await asyncio.gather(*(client.get(path) for path in paths))
    assert {answer.status_code for answer in answers} == {200}
    return list(answers)


async def break_off(url: str) -> None:
    """Read the beginning of an endless stream and go."""
    async with (
        httpx2.AsyncClient(base_url=url, timeout=60, trust_env=False) as client,
        client.stream("GET", "/stream?endless=true") as answer,
    ):
        async for line in answer.aiter_lines():
            if line == "2":
                break


@pytest.mark.slow
def test_two_workers_of_uvicorn_write_one_file_and_lose_nothing(
    tmp_path: Path, serve: Callable[..., Any], wait: Any, agents: Callable[[], Any], ask: Callable[[str], Any]
) -> None:
    """Middleware, endpoints, thread pool and streams; SIGTERM; every request is in the records and in the totals."""
    (tmp_path / "app.py").write_text(FASTAPI)
    server = serve("uvicorn", "app:app", "--port", 0, "--workers", 2, "--log-level", "info", "--no-access-log")
    url = server.url(wait, "Application startup complete", times=2)  # it binds before any worker listens
    asked: list[str] = []
    workers: set[int] = set()
    while len(workers) < 2:
        paths = ["/ask?wait=0.02", "/ask", "/sync"] * 8
        workers |= {answer.json()["pid"] for answer in asyncio.run(get(url, paths))}
        asked += paths
        assert len(asked) < 2000, "one of two workers answered all"
    streams = ["/stream", "/sync-stream"] * 5
    assert [answer.text for answer in asyncio.run(get(url, streams))] == ["0\n1\n2\n", "ab"] * 5
    asyncio.run(break_off(url))
    assert server.end() in {0, -15}, server.log
    assert "Traceback" not in server.log
    assert "telemetry" not in server.log  # no logger was forgotten, no value or record lost
    each = len(asked) // 3
    total = {
        "middleware": len(asked) + 11, "endpoint": 2 * each, "threadpool": each, "stream": 6, "sync-stream": 5,
    }  # fmt: skip
    assert agents() == total
    calls = ask("SELECT count(*) FROM invocations WHERE coalesce(operation, '') <> 'chain'")
    assert ask("SELECT SUM(invocations) FROM daily_costs") == calls
    # Each endpoint's parent is the middleware's call of the same request, across tasks and threads.
    parents = (
        "SELECT c.agent_name, p.agent_name, count(DISTINCT p.id) FROM invocations AS c"
        " JOIN invocations AS p ON p.invocation_id = c.parent_invocation_id GROUP BY 1, 2 ORDER BY 1"
    )
    found = {child: (parent, count) for child, parent, count in ask(parents)}
    assert (found["endpoint"], found["threadpool"]) == (("middleware", 2 * each), ("middleware", each))
    ends = ask("SELECT status, finish_reason, count(*) FROM invocations WHERE stream GROUP BY 1, 2 ORDER BY 3")
    assert ends == [("success", "cancelled", 1), ("success", None, 10)]
    assert [path.name for path in tmp_path.glob("telemetry.db*")] == ["telemetry.db"]


WSGI = """
import os
from llm_service.telemetry import InvocationRecord, TelemetryLogger

logger = TelemetryLogger("telemetry.db")  # by the master, before it forks
logger.log_invocation(InvocationRecord(agent_name="master"))
logger.log_invocation_nowait(InvocationRecord(agent_name="master"))

def app(environ, start_response):
    with logger.invocation("queued"):
        logger.log_invocation(InvocationRecord(agent_name="committed"))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
"""

ASGI = """
import os
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord

telemetry = AsyncTelemetryLogger("telemetry.db")  # by the master, which has no loop
telemetry.log_invocation_nowait(InvocationRecord(agent_name="master"))

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            if kind == "lifespan.shutdown":
                await telemetry.aclose()
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return
    async with telemetry.invocation("queued"):
        await telemetry.log_invocation(InvocationRecord(agent_name="committed"), durable=True)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""


@pytest.mark.slow
@pytest.mark.parametrize(("code", "worker", "of_master"), [(WSGI, "sync", 2), (ASGI, "asgi", 1)], ids=["wsgi", "asgi"])
def test_gunicorns_forked_workers_share_a_preloaded_logger_and_repeat_nothing(
    code: str, worker: str, of_master: int, tmp_path: Path, serve: Any, wait: Any, agents: Callable[[], Any]
) -> None:
    """The logger was made before the fork: each worker logs by its own engine, and the master's records stay one."""
    (tmp_path / "app.py").write_text(code)
    server = serve(
        "gunicorn", "app:app", "--preload", "-w", 2, "-k", worker, "-b", "127.0.0.1:0", "--no-control-socket"
    )
    url = server.url(wait)
    asked, workers = 0, set[str]()
    while len(workers) < 2:
        workers |= {answer.text for answer in asyncio.run(get(url, ["/"] * 20))}
        asked += 20
        assert asked < 2000, "one of two workers answered all"
    assert server.end() == 0, server.log
    assert "Traceback" not in server.log
    assert agents() == {"master": of_master, "queued": asked, "committed": asked}, server.log
