"""All benchmarks, or some: `python -m benchmarks [--only NAME] [--quick] [--json] [--record]`."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from benchmarks import (
    budgets,
    contents,
    crash,
    disk,
    durable,
    estimates,
    hot_path,
    import_time,
    journal,
    loop_lag,
    migration,
    pricing,
    queries,
    retention,
    sdk,
    sustained,
)
from benchmarks._harness import Options, Report, as_markdown, environment, parser, show

ALL: Final[dict[str, Callable[[Options], Report]]] = {
    "hot_path": hot_path.run,
    "loop_lag": loop_lag.run,
    "sustained": sustained.run,
    "durable": durable.run,
    "disk": disk.run,
    "queries": queries.run,
    "retention": retention.run,
    "migration": migration.run,
    "import_time": import_time.run,
    "estimates": estimates.run,
    "pricing": pricing.run,
    "budgets": budgets.run,
    "contents": contents.run,
    "journal": journal.run,
    "crash": crash.run,
    "sdk": sdk.run,
}
_RESULTS: Final = Path(__file__).with_name("RESULTS.md")
_HOW_TO_READ: Final = """\
## How to read this

These numbers come from a shared machine with two noisy cores, which other work used at the same time: an absolute time
may be three times another day's. **Only ratios within one run count.** Each contender is measured in turn with its peer
(A B A B), the median of the rounds stands in the table, and every benchmark checks that the result is right (rows on
disk, ledger, daily totals, spans delivered) before it reports anything. "Ratio" is ours to the peer's; for the costs of
the hot path it is the peer's to ours: so many times cheaper. A bar on "ours" is a promise in that unit.

Each section names the command that wrote it; `python -m benchmarks --record --only NAME` writes one anew and leaves the
others.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print and, where asked, record."""
    parsing = parser("Measurements of llm_service.telemetry beside its peers.")
    parsing.add_argument("--only", choices=ALL, action="append", help="only this benchmark; may be repeated")
    parsing.add_argument("--record", action="store_true", help="write benchmarks/RESULTS.md")
    given = parsing.parse_args(arguments)
    reports: list[Report] = []
    for name in given.only or ALL:
        print(f"{name} ...", file=sys.stderr, flush=True)
        reports.append(ALL[name](Options(quick=given.quick)))
    show(reports, json_wanted=given.json)
    if given.record:
        options = "".join(f" --only {name}" for name in given.only or ()) + (" --quick" if given.quick else "")
        before = _RESULTS.read_text("utf-8") if _RESULTS.exists() else ""
        _RESULTS.write_text(results(reports, f"python -m benchmarks --record{options}", before), encoding="utf-8")
    return 0


def results(reports: Sequence[Report], line: str, before: str = "") -> str:
    """The text of RESULTS.md: what was measured now, each with its command, and the other sections as they were.

    Args:
        reports: measured now.
        line: the command that did.
        before: the text until now.
    """
    where = ", ".join(f"{name} {value}" for name, value in environment().items())
    sections = {text.partition("\n")[0].strip(): f"## {text.strip()}\n" for text in before.split("\n## ")[1:]}
    sections.pop(_HOW_TO_READ.partition("\n")[0].removeprefix("## "), None)
    for report in reports:
        heading, _, rest = as_markdown(report).partition("\n\n")
        sections[report.name] = f"{heading}\n\n`PYTHONPATH=src {line}`: {where}\n\n{rest}"
    order = [*(name for name in ALL if name in sections), *(name for name in sections if name not in ALL)]
    return "\n".join(["# Results\n", _HOW_TO_READ, *(sections[name] for name in order)])


if __name__ == "__main__":
    sys.exit(main())
