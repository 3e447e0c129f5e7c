"""How limits and holds are shown."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from llm_service.cli.options import SCOPED
from llm_service.cli.suggestions import suggested
from llm_service.cli.tables import UNKNOWN, Column, Row, count, plural

if TYPE_CHECKING:
    from llm_service.budgets.scopes import Field

__all__ = ["HOLDS", "STATUS", "amount", "colour", "mends", "of_names", "standing"]

_R = TypeVar("_R", bound=Row)

_DAMAGED: Final = "damaged"


def mends() -> str:
    """What mends damaged sums."""
    return f"{suggested('doctor')} names it, and with --repair counts it anew"


def amount(metric: str, value: float) -> str:
    """An amount of a metric; USD to the hundredth of a cent, and further where that would show nothing."""
    if metric != "usd":
        return f"{value:,.0f}"
    digits = 4 if value == 0 or abs(value) >= 0.0001 else 9
    return f"${value:,.{digits}f}"


def _part(name: str) -> Callable[[Row], str]:
    return lambda row: amount(row["metric"], row[name])


def _budget(row: Row) -> str:
    if row["limit"] is not None:
        return f"{row['budget']}{'' if row['hard'] else ' (soft)'}"
    return ", ".join(f"{name} {'|'.join(patterns)}" for name, patterns in row["scope"].items()) or "all calls"


def _limit(row: Row) -> str:
    return "not known here" if row["limit"] is None else amount(row["metric"], row["limit"]) + _unit(row["metric"])


def _spent(row: Row) -> str:
    if row["damaged"]:
        return _DAMAGED
    if row["limit"] is None:
        return f"{_part('spent')(row)}, {plural(row['tokens'], 'token')}, {plural(row['calls'], 'call')}"
    is_unknown = row["metric"] == "usd" and row["unpriced_calls"] and row["unpriced_calls"] == row["calls"]
    return UNKNOWN if is_unknown else amount(row["metric"], row["spent"])


def _left(row: Row) -> str:
    return _DAMAGED if row["damaged"] else "-" if row["left"] is None else _part("left")(row)


def _used(row: Row) -> str:
    return _DAMAGED if row["damaged"] else "-" if row["limit"] is None else f"{row['used_percent']:.1f}%"


def _state(hold: Row) -> str:
    return "lease over" if hold["expired"] else "cost unknown" if hold["recorded"] else str(hold["state"])


def _unit(metric: str) -> str:
    return "" if metric == "usd" else f" {metric}"


STATUS: Final = (
    Column("budget", of=_budget),
    Column("window", whole=True, of=lambda row: row["window"]),
    Column("subject", rank=5, of=lambda row: ", ".join(str(value or "-") for value in row["subject"])),
    Column("limit", "right", of=_limit),
    Column("spent", "right", of=_spent),
    Column("reserved", "right", rank=2, of=_part("reserved")),
    Column("unknown", "right", rank=1, of=_part("unknown")),
    Column("unpriced", "right", rank=3, of=lambda row: count(row["unpriced_calls"])),
    Column("left", "right", of=_left),
    Column("used", "right", of=_used),
    Column("forecast", "right", rank=4, of=lambda row: "-" if row["forecast"] is None else _part("forecast")(row)),
    Column("resets", whole=True, rank=6),
)
HOLDS: Final = (
    Column("hold", whole=True, of=lambda hold: hold["hold_id"]),
    Column("state", whole=True, of=_state),
    Column("since", rank=2, moment="reserved_at"),
    Column("lease ends", rank=1, moment="expires_at"),
    Column("USD", "right", of=lambda hold: amount("usd", hold["usd"])),
    Column("tokens", "right", rank=4, of=lambda hold: count(hold["tokens"])),
    Column("for", rank=3, of=lambda hold: ", ".join(f"{name} {one}" for name, one in hold["names"].items()) or "-"),
    Column("justification", rank=5, of=lambda hold: hold["justification"] or "-"),
)


def colour(cells: Sequence[str]) -> str | None:
    """The colour of a row of `STATUS`: of a budget that is used up, or nearly."""
    used = {_DAMAGED: "100", "-": "0"}.get(cells[_USED], cells[_USED])
    percent = float(used.rstrip("%"))
    return "red" if percent >= 100 else "yellow" if percent >= 80 else None


_USED: Final = [column.name for column in STATUS].index("used")


def of_names(rows: Iterable[_R], names: Mapping[str, Any]) -> list[_R]:
    """Those that are budgets of these names, by column: one for each, or scoped to them; all where none is given."""
    from llm_service.telemetry.queries.filters import InvocationFilter

    stored = {field: InvocationFilter(**names).stored(column) for field, column in SCOPED.items()}
    given = {field: name for field, name in stored.items() if name is not None}
    return [row for row in rows if all(_is_of(row, field, name) for field, name in given.items())]


def _is_of(row: Row, field: str, name: str) -> bool:
    from llm_service.budgets.scopes import covers

    if field in row["per"]:
        return bool(dict(zip(row["per"], row["subject"], strict=False)).get(field) == name)
    return any(covers(cast("Field", field), pattern, name) for pattern in row["scope"].get(field, ()))


def standing(row: Row, asked: Mapping[str, Any]) -> str:
    """Where a limit stands, beside what was asked for."""
    metric = row["metric"]
    if row["damaged"]:
        return f"budget {row['budget']}, {row['window']}: what is stored of it is damaged; {mends()}"
    wanted, unit = asked[metric], _unit(metric)
    subject = f" of {', '.join(value or '-' for value in row['subject'])}" if row["subject"] else ""
    parts = ", ".join(f"{_part(part)(row)} {part}" for part in ("spent", "reserved", "unknown"))
    resets = "" if row["resets_at"] is None else f"; it resets at {row['resets_at'][:16]} UTC"
    more = "what the policies say of an unknown price" if wanted is None else f"{amount(metric, wanted)}{unit}"
    return (
        f"budget {row['budget']}{subject}, {row['window']}: {amount(metric, row['limit'])}{unit} limit, {parts}, "
        f"{more} asked{resets}"
    )
