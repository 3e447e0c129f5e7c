"""How small do prompts and responses get, and at what cost? Ways to compress them, and the index that search asks.

Both are measured on conversations made of real texts.

A conversation is JSON of messages as an agent sends them: a system prompt, passages of the licences, readmes and change
logs of installed packages, passages of the standard library's source, and results of tools as JSON. Every passage is
drawn with a fixed seed; the texts differ with what is installed, so only ratios within one run count.
"""

import bz2
import json
import lzma
import random
import sysconfig
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Final

from benchmarks._harness import Options, Report, Row, check, command, median, scratch
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.privacy import pack, unpack

__all__ = ["run"]

_SYSTEM: Final = "You are a careful senior engineer. Answer in Markdown. Never invent file names. " * 5
_SIZES: Final = (
    ("1 KB answer", 600, 100),
    ("4 KB prompt", 3_000, 100),
    ("30 KB prompt", 30_000, 30),
    ("300 KB", 300_000, 4),
)


def run(options: Options) -> Report:
    """Bytes and time of each way to compress, beside zlib's level 6."""
    report = Report("contents", "compressing prompts and responses; what is chosen is zlib 6")
    rng = random.Random(5)
    prose = _texts("purelib", ("*.md", "METADATA", "*.txt"), 100)
    code = _texts("stdlib", ("*.py",), 100)
    dictionary = "".join(_conversation(rng, prose, code, 4_000) for _ in range(10)).encode()[-32_768:]
    ways = _ways(dictionary)
    for what, size, many in _SIZES:
        blobs = [_conversation(rng, prose, code, size).encode() for _ in range(options.count(many, 2))]
        check(all(unpack(pack(blob.decode())) == blob.decode() for blob in blobs), "what is packed is unpacked")
        timed = {name: [_timed(way, blob) for blob in blobs] for name, way in ways.items()}
        whole = sum(map(len, blobs))
        chosen = median([seconds for seconds, _ in timed["zlib 6"]]) * 1e6
        for name, results in timed.items():
            share = sum(length for _, length in results) / whole
            microseconds = median([seconds for seconds, _ in results]) * 1e6
            report.rows.append(Row(f"{what}, {name}: {share:.2f} of the bytes", microseconds, "us", chosen, "zlib 6"))
    _index(report, [_conversation(rng, prose, code, 3_000) for _ in range(options.count(4_000, 40))])
    return report


def _index(report: Report, prompts: Sequence[str]) -> None:
    """What `search: true` costs each record, in bytes of the file and CPU of the process; how long a search takes."""
    with scratch() as folder:
        measured = {search: _written(folder / f"{search}.db", prompts, search=search) for search in (False, True)}
        (plain_bytes, plain_cpu, _), (bytes_, cpu, _) = measured[False], measured[True]
        report.rows += [
            Row("4 KB prompt stored, search: true", bytes_, "B/record", plain_bytes, "search: false"),
            Row("4 KB prompt stored, search: true", cpu, "us CPU/record", plain_cpu, "search: false"),
            Row("a search that finds nothing, by the index", measured[True][2], "ms", measured[False][2], "by reading"),
        ]


def _written(path: Path, prompts: Sequence[str], *, search: bool) -> tuple[float, float, float]:
    """Bytes and CPU microseconds a record, and the milliseconds of a search that finds nothing."""
    with TelemetryLogger(
        path, privacy_level="full", retention_days=None, redact_content=False, policies=False, models=False,
        search=search, close_timeout=600.0, commit_timeout=600.0,
    ) as telemetry:  # fmt: skip
        started = process_time()
        for prompt in prompts:
            telemetry.log_invocation_nowait(InvocationRecord(model_name="m", prompt=prompt))
        check(telemetry.flush().complete, "all is stored")
        cpu = (process_time() - started) / len(prompts) * 1e6
        check(len(telemetry.search("careful engineer", limit=len(prompts))) == len(prompts), "all is found")
        seconds: list[float] = []
        for _ in range(3):
            begun = perf_counter()
            check(telemetry.search("nothinghasthisword") == [], "nothing is found")
            seconds.append(perf_counter() - begun)
    return path.stat().st_size / len(prompts), cpu, min(seconds) * 1000


def _ways(dictionary: bytes) -> dict[str, Callable[[bytes], bytes]]:
    def with_dictionary(blob: bytes) -> bytes:
        compressing = zlib.compressobj(6, zdict=dictionary)
        return compressing.compress(blob) + compressing.flush()

    return {
        "zlib 1": lambda blob: zlib.compress(blob, 1),
        "zlib 6": lambda blob: zlib.compress(blob, 6),
        "zlib 9": lambda blob: zlib.compress(blob, 9),
        "zlib 6 with a dictionary": with_dictionary,
        "bz2": bz2.compress,
        "lzma 0": lambda blob: lzma.compress(blob, format=lzma.FORMAT_ALONE, preset=0),
        "lzma 6": lambda blob: lzma.compress(blob, format=lzma.FORMAT_ALONE, preset=6),
    }


def _timed(way: Callable[[bytes], bytes], blob: bytes) -> tuple[float, int]:
    seconds: list[float] = []
    length = 0
    for _ in range(2):
        started = perf_counter()
        length = len(way(blob))
        seconds.append(perf_counter() - started)
    return min(seconds), length


def _texts(place: str, patterns: Sequence[str], most: int) -> list[str]:
    folder = Path(sysconfig.get_paths()[place])
    files = sorted(
        path for pattern in patterns for path in folder.rglob(pattern) if 2_000 < path.stat().st_size < 200_000
    )
    return [path.read_text("utf-8", "ignore") for path in files[:: max(1, len(files) // most)]]


def _conversation(rng: random.Random, prose: Sequence[str], code: Sequence[str], size: int) -> str:
    messages = [{"role": "system", "content": _SYSTEM}]
    while (length := sum(len(message["content"]) for message in messages)) < size + len(_SYSTEM):
        kind = rng.random()
        if kind < 0.4:
            messages.append({"role": "user", "content": _passage(rng, prose, rng.randint(100, 1200))})
        elif kind < 0.75:
            passage = _passage(rng, code, rng.randint(200, 2500))
            messages.append({"role": "assistant", "content": f"```python\n{passage}\n```"})
        else:
            found = [{"path": f"src/{rng.randrange(99)}.py", "score": rng.random()} for _ in range(rng.randint(3, 20))]
            messages.append({"role": "tool", "content": json.dumps(found)})
    text = json.dumps(messages, ensure_ascii=False)
    return text if length > 2 * len(_SYSTEM) + 1_000 else text[-1_000:]


def _passage(rng: random.Random, texts: Sequence[str], size: int) -> str:
    text = rng.choice(texts)
    start = rng.randrange(max(1, len(text) - size))
    return text[start : start + size]


if __name__ == "__main__":
    command(run)
