"""What does `import llm_service.telemetry` add to the start of a process?"""

import asyncio
import json
import subprocess
import sys
from time import perf_counter
from typing import Final

from benchmarks._harness import Bar, Options, Report, Row, check, command, interleave, median

__all__ = ["run"]

_MUST_STAY_OUT: Final = ("pydantic", "yaml", "click", "rich")
_BAR: Final = Bar("ours", "<", 250.0)
_LOADED: Final = "import json, sys, llm_service.telemetry; print(json.dumps(sorted(sys.modules)))"


def run(options: Options) -> Report:
    """Milliseconds that the import adds to a process, and what it must not pull in."""
    report = Report("import_time", "whole processes: `import llm_service.telemetry` beside a bare Python")
    loaded = json.loads(
        subprocess.run([sys.executable, "-c", _LOADED], capture_output=True, check=True, text=True).stdout
    )
    found = [name for name in _MUST_STAY_OUT if name in loaded]
    check(not found, f"the import pulls in no {', '.join(found)}")
    times = asyncio.run(
        interleave(
            options.count(15, 2),
            {
                "import": lambda: _process("import llm_service.telemetry"),
                "pydantic": lambda: _process("import pydantic; pydantic.BaseModel"),
                "bare": lambda: _process("pass"),
            },
        )
    )
    bare = median(times["bare"])
    ours, pydantic = median(times["import"]) - bare, median(times["pydantic"]) - bare
    report.rows.append(Row("added by the import", ours, "ms", pydantic, "import pydantic", bar=_BAR))
    report.notes.append(f"a bare process takes {bare:.0f} ms; not imported: {', '.join(_MUST_STAY_OUT)}")
    return report


async def _process(code: str) -> float:
    started = perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: ASYNC221 - nothing else runs on this loop
    return (perf_counter() - started) * 1000


if __name__ == "__main__":
    command(run)
