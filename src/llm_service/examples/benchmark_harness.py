"""A harness of your own, recorded by callbacks; two runs, compared.

Run: `python -m llm_service.examples.benchmark_harness`. For the comparison it needs the extra `examples`:
`pip install 'llm-service-telemetry[examples]'`. The price stands here.
"""

import json
from http.client import HTTPConnection
from tempfile import mkdtemp
from typing import Any, Protocol
from urllib.parse import urlsplit

from llm_service.config.schemas import ModelsConfig
from llm_service.errors import MissingPackageError
from llm_service.examples import lacking
from llm_service.examples.local_provider import local_provider
from llm_service.telemetry import TelemetryLogger
from llm_service.telemetry.callbacks import CallbackRecorder

MODELS = ModelsConfig.model_validate({"models": {"gpt-5-mini": {"cost_per_1m_tokens": {"input": 0.25, "output": 2}}}})
PROMPTS = [f"Why {number}?" + " Say more." * (number % 7) for number in range(40)]
TERSE = "Be brief."
VERBOSE = "You are an expert. Think step by step, weigh every alternative, and explain each of your choices at length."


class Listener(Protocol):
    """Whom the harness tells what it does."""

    def asked(self, case: str, model: str) -> None:
        """A request is sent."""

    def began(self, case: str) -> None:
        """The first piece of its answer has arrived."""

    def answered(self, case: str, last: dict[str, Any]) -> None:
        """It has ended; `last` is the event that tells the usage."""

    def failed(self, case: str, error: Exception) -> None:
        """It has failed."""


class Harness:
    """Stands for yours: it asks by a client of its own, and knows nothing of telemetry."""

    def __init__(self, url: str, listener: Listener) -> None:
        self._host = urlsplit(url).netloc
        self._listener = listener

    def evaluate(self, instruction: str) -> None:
        """Ask all prompts, one after another."""
        for number, prompt in enumerate(PROMPTS):
            case = f"{id(self)}/{number}"
            self._listener.asked(case, "gpt-5-mini")
            try:
                self._ask(case, [{"role": "system", "content": instruction}, {"role": "user", "content": prompt}])
            except OSError as error:
                self._listener.failed(case, error)

    def _ask(self, case: str, messages: list[dict[str, str]]) -> None:
        asked = {"model": "gpt-5-mini", "messages": messages, "stream": True, "stream_options": {"include_usage": True}}
        connection = HTTPConnection(self._host)
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(asked))
            for line in connection.getresponse():
                if line.startswith(b"data: {"):
                    event = json.loads(line.removeprefix(b"data: "))
                    if event["choices"]:
                        self._listener.began(case)
                    else:
                        self._listener.answered(case, event)
        finally:
            connection.close()


class Recorded:
    """The adapter: what the harness tells becomes one row a call. This is all that telemetry needs."""

    def __init__(self, telemetry: TelemetryLogger) -> None:
        self._recorder = CallbackRecorder(telemetry, "my-harness")

    def asked(self, case: str, model: str) -> None:
        """A request is sent: the clock starts."""
        self._recorder.begin(case, operation="chat", request_model=model, provider="openai", agent_name="harness")

    def began(self, case: str) -> None:
        """The time to the first token."""
        self._recorder.first_token(case)

    def answered(self, case: str, last: dict[str, Any]) -> None:
        """Model, id and usage are read from the provider's own event."""
        self._recorder.end(case, last, stream=True)

    def failed(self, case: str, error: Exception) -> None:
        """A failed call is a row, too."""
        self._recorder.end(case, error=error)


def main() -> None:
    """Two runs of the same prompts with different instructions, what each took, and whether they differ."""
    with local_provider() as url, TelemetryLogger(f"{mkdtemp()}/telemetry.db", models=MODELS) as telemetry:
        for name, instruction in (("terse", TERSE), ("verbose", VERBOSE)):
            with telemetry.run(name, tags={"instruction": name}) as run:
                Harness(url, Recorded(telemetry)).evaluate(instruction)
            summary = run.summary()
            totals = summary["totals"]
            print(f"{summary['run']}: {totals['invocations']} calls, {totals['success_rate']:.0%} ok")
            print(f"  {totals['total_tokens']} tokens, ${totals['total_cost_usd']:.6f}")
            for label, spread in (("latency", totals["latency_ms"]), ("ttft", totals["ttft_ms"])):
                print(f"  {label} p50 {spread['p50']:.1f} ms, p95 {spread['p95']:.1f} ms, p99 {spread['p99']:.1f} ms")
        try:
            for row in telemetry.compare_runs("terse", "verbose")["rows"]:
                terse, verbose = ("unknown" if value is None else f"{value:.6g}" for value in (row["a"], row["b"]))
                print(f"{row['metric']} ({row['unit']}): {terse} -> {verbose}, {row['verdict']}")
        except MissingPackageError as error:
            print(f"not compared: {lacking(ImportError(name=error.package), __name__)}")
        print(f"llm-telemetry compare terse verbose --db {telemetry.db_path}")
        print(f"llm-telemetry invocations --db {telemetry.db_path}")


if __name__ == "__main__":
    main()
