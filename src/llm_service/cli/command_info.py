"""`info`: the database file as a whole."""

from datetime import tzinfo
from typing import Any, Final

import click

from llm_service import __version__
from llm_service.cli.formats import Output, Rows, formatted, put_out
from llm_service.cli.kinds import Kind
from llm_service.cli.options import common, examples, zoned
from llm_service.cli.output import lines
from llm_service.cli.suggestions import suggested
from llm_service.cli.tables import Column, count
from llm_service.cli.target import Target, read
from llm_service.cli.times import shown_time
from llm_service.config.time_zones import zone_name

__all__ = ["info"]

_COLUMNS: Final = (
    Column("fact", of=lambda fact: fact["name"]),
    Column("value", of=lambda fact: fact["value"]),
)


@click.command(epilog=examples("info", "info --db ./telemetry.db --json"))
@zoned
@formatted()
@common
def info(*, output: Output, target: Target) -> None:
    """Show the database file: sizes, rows, range of time, versions.

    With --json: one object; sizes in bytes.
    """
    from llm_service.telemetry.queries.file_facts import file_sizes, read_contents
    from llm_service.telemetry.stores.sqlite.migrations import VERSION

    path = target.path()
    contents = read(path, read_contents)._asdict()
    found: dict[str, Any] = {
        "db_path": str(path),
        **{f"{name}_bytes": size for name, size in file_sizes(path)._asdict().items()},
        "records": contents["tables"].get("invocations", 0),
        **{name: contents[name] for name in ("first_timestamp", "last_timestamp", "schema_version")},
        "known_schema_version": VERSION,
        "rollups_complete": contents["rollups_complete"],
        **{name: contents[name] for name in ("journal_mode", "page_size", "page_count", "free_pages", "auto_vacuum")},
        "tables": contents["tables"],
        "libraries": {"llm-service-telemetry": __version__} | contents["libraries"],
    }
    zone = target.zone()
    facts = [{"name": name, "value": value} for name, value in _facts(found, zone)]
    put_out(output, target, Rows([found], _COLUMNS, _kinds(found), found, facts), lambda: lines(_facts(found, zone)))


def _kinds(found: dict[str, Any]) -> dict[str, Kind]:
    numbers = {"records", "schema_version", "known_schema_version", "page_size", "page_count", "free_pages"}

    def kind(name: str) -> Kind:
        if name in numbers or name.endswith("_bytes"):
            return "integer"
        others: dict[str, Kind] = {"rollups_complete": "number", "tables": "json", "libraries": "json"}
        return others.get(name, "moment" if name.endswith("_timestamp") else "text")

    return {name: kind(name) for name in found}


def _facts(info: dict[str, Any], zone: tzinfo) -> list[tuple[str, str]]:
    """One fact a line."""
    first, last = info["first_timestamp"], info["last_timestamp"]
    times = f"{shown_time(first, zone)} to {shown_time(last, zone)}"
    newer = "" if info["schema_version"] <= info["known_schema_version"] else " (newer than this release knows)"
    sizes = ", ".join(
        f"{name} {_bytes(size)}"
        for name, size in (("database", info["database_bytes"]), ("wal", info["wal_bytes"]), ("shm", info["shm_bytes"]))
    )
    pages = f"{count(info['page_count'])} of {_bytes(info['page_size'])}, {count(info['free_pages'])} free"
    modes = f"auto_vacuum {info['auto_vacuum']}, journal_mode {info['journal_mode']}"
    return [
        ("database", info["db_path"]),
        ("sizes", sizes),
        ("records", _rows(info["records"])),
        ("from", "-" if first is None or last is None else f"{times} ({zone_name(zone)})"),
        ("schema", f"version {info['schema_version']}{newer}{_rollups(info['rollups_complete'])}"),
        ("pages", f"{pages}; {modes}"),
        ("tables", ", ".join(f"{name} {_rows(rows)}" for name, rows in info["tables"].items())),
        ("libraries", ", ".join(f"{name} {version}" for name, version in info["libraries"].items())),
    ]


def _rows(number: int | None) -> str:
    return f"(damaged: see `{suggested('doctor')}`)" if number is None else count(number)


def _rollups(share: float | None) -> str:
    return "" if share in (None, 1) else f", {share:.0%} of the older records are in its roll-ups"


def _bytes(number: int) -> str:
    size, unit = float(number), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
