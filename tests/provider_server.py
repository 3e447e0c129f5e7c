"""A server on this machine that speaks the protocols of providers, for their real clients.

The first part of the path is the scenario: `http://127.0.0.1:PORT/SCENARIO/v1`, or an HTTP status to fail with. What it
answers is in `tests/provider_answers/`, a module for each provider.
"""

import json
import re
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.provider_answers import anthropic, bedrock, gemini, mistral, ollama, openai
from tests.provider_answers.routes import SECRET, Asked, Route

__all__ = ["SECRET", "ProviderServer"]

ROUTES = [route for module in (openai, anthropic, gemini, mistral, bedrock, ollama) for route in module.ROUTES]
ERRORS = {
    "secret": (401, f"Incorrect API key provided: {SECRET}"),
    "rate-limited": (429, "slow down"),
    "broken-server": (500, "no luck"),
    "bad-request": (400, "no such parameter"),
}
BITS = {"gzip": 31, "deflate": 15}
"""Scenarios that are nothing but encodings."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server: Any = self.server
        _, scenario, path = self.path.partition("?")[0].split("/", 2)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        route = next(route for route in ROUTES if re.fullmatch(route.path, path))
        asked = Asked(path, body, scenario)
        server.asked[scenario] += 1
        if scenario == "slow" or (scenario == "slow-then-ok" and server.asked[scenario] % 2):
            server.released.wait(10)
        if scenario in ERRORS:
            self._refuse(route, asked, *ERRORS[scenario])
        elif scenario.replace("-", "").isdecimal():
            statuses = scenario.split("-")  # one after the other
            self._refuse(route, asked, int(statuses[(server.asked[scenario] - 1) % len(statuses)]), "no")
        elif scenario == "429-then-ok" and server.asked[scenario] % 3:
            self._refuse(route, asked, 429, "slow down")
        elif scenario == "not-json":
            self._send(200, b"<html>welcome</html>", {"Content-Type": "text/html", **route.headers(asked)})
        elif route.events is not None and route.streams(asked):
            self._stream(route, route.events(asked), asked)
        else:
            self._send(200, json.dumps(route.answer(asked)).encode(), route.headers(asked))

    def _refuse(self, route: Route, asked: Asked, status: int, text: str) -> None:
        body = json.dumps(route.error(status, text)).encode()
        self._send(status, body, {"retry-after-ms": "1", **route.headers(asked)})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        encoder = self._encoder()
        if encoder is not None:
            body = encoder.compress(body) + encoder.flush()
        self.send_response(status)
        self._headers({"Content-Type": "application/json", "Content-Length": str(len(body)), **headers})
        self.wfile.write(body)

    def _encoder(self) -> Any:
        """What a scenario compresses an answer with; None for nothing."""
        bits = BITS.get(self.path.split("/", 2)[1])
        return None if bits is None else zlib.compressobj(wbits=bits)

    def _headers(self, headers: dict[str, str]) -> None:
        if self._encoder() is not None:
            self.send_header("Content-Encoding", self.path.split("/", 2)[1])
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _stream(self, route: Route, events: Iterator[Any], asked: Asked) -> None:
        self.send_response(200)
        self._headers({"Content-Type": route.kind, "Transfer-Encoding": "chunked", **route.headers(asked)})
        encoder = self._encoder()
        try:
            for number, event in enumerate(events):
                if asked.scenario == "breaks-off" and number == 3:
                    self.close_connection = True
                    return
                if asked.scenario == "slow-stream" and number == 3:
                    self.server.released.wait(10)  # type: ignore[attr-defined]
                data = route.frame(event)
                self._chunk(data if encoder is None else encoder.compress(data) + encoder.flush(zlib.Z_SYNC_FLUSH))
            if encoder is not None:
                self._chunk(encoder.flush())
            self._chunk(b"")
        except OSError:  # the client went away, as some tests want it to
            self.close_connection = True

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base class
        pass


class _Server(ThreadingHTTPServer):
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone away is what some tests are about."""


class ProviderServer:
    """The server, in a thread of its own: a context manager.

    Attributes:
        asked: how many requests each scenario got.
    """

    def __enter__(self) -> Self:
        self._server: Any = _Server(("127.0.0.1", 0), _Handler)
        self.asked: Counter[str] = Counter()
        self.released = threading.Event()
        self._server.asked, self._server.released = self.asked, self.released
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, scenario: str) -> str:
        """Where a scenario is played, without what the provider has below it."""
        return f"http://127.0.0.1:{self._server.server_port}/{scenario}"
