"""Tables of text, and single values in them; what is not known is never a zero.

A table is fitted to a width by cutting and leaving out, one line for each row; without a width it is whole, and a cell
that is wider than two names does not widen the rows of others. Widths are
those of a terminal's cells: an ideograph takes two, a combining mark none.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple

__all__ = [
    "UNKNOWN", "Column", "Layout", "Row", "bar", "cell_width", "count", "fit", "named", "percent", "plural", "rounded",
    "row_text", "shortened", "sparkline", "status_colour", "sum_usd", "usd",
]  # fmt: skip

UNKNOWN: Final = "unknown"
_GAP: Final = 2
_READABLE: Final = 9
"""Cells that a text column keeps, if not told otherwise, while others can be left out."""
_NARROWEST: Final = 3
_WIDEST: Final = 400
"""Cells that a column is aligned to, at most: two of the longest names. A longer text would pad each of many rows."""
_CUT: Final = "…"

Row = Mapping[str, Any]
"""What a row shows."""


@dataclass(frozen=True, slots=True)
class Column:
    """How a column is shown.

    Attributes:
        justify: numbers stand on the right.
        whole: its cells are never cut; those of a column on the right never are either.
        rank: where the width does not suffice, columns are left out from the highest rank down; 0 stays.
        least: cells that it keeps while others can be left out.
        both_ends: what is cut of its cells is their middle, as names differ at either end: `claude…haiku`.
        typical: cells to reserve where the rows are not known yet.
        moment: the key of a UTC time that its cell shows; `times.in_zone` makes the cell.
        of: the text of its cell, from what a row shows.
    """

    name: str
    justify: Literal["left", "right"] = "left"
    whole: bool = False
    rank: int = 0
    least: int = _READABLE
    both_ends: bool = False
    typical: int = 0
    moment: str = ""
    of: Callable[[Row], str] = str

    @property
    def rigid(self) -> bool:
        """Whether its cells are shown whole or not at all."""
        return self.whole or self.justify == "right"


class Layout(NamedTuple):
    """Which columns are shown, and how wide; `cut` is False where cells may be longer than their column."""

    places: tuple[int, ...]
    widths: tuple[int, ...]
    cut: bool


def cell_width(text: str) -> int:
    """How many cells of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def fit(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None) -> Layout:
    """Decide what fits into so many cells of a line; None for as many as it takes."""
    natural = [
        max([cell_width(column.name), column.typical, *(cell_width(row[place]) for row in rows)])
        for place, column in enumerate(columns)
    ]
    places = list(range(len(columns)))
    if width is None:
        return Layout(tuple(places), tuple(min(full, _WIDEST) for full in natural), cut=False)
    readable = [
        full if column.rigid else min(full, column.least) for column, full in zip(columns, natural, strict=True)
    ]
    while _line(readable, places) > width and any(columns[place].rank for place in places):
        places.remove(max(places, key=lambda place: columns[place].rank))
    widths = list(natural)
    soft = [place for place in places if not columns[place].rigid]
    rigid = _line(widths, places) - sum(natural[place] for place in soft)
    cuts = _kept([natural[place] for place in soft], [readable[place] for place in soft], width - rigid)
    for place, cut in zip(soft, cuts, strict=True):
        widths[place] = cut
    return Layout(tuple(places), tuple(widths[place] for place in places), cut=True)


def _kept(wanted: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Widths that fit into the room together, none below its least as long as that is possible."""
    shares = _shared(wanted, room)
    if sum(least) > room or all(share >= floor for share, floor in zip(shares, least, strict=True)):
        return shares
    short = [share < floor for share, floor in zip(shares, least, strict=True)]
    left = room - sum(floor for floor, is_short in zip(least, short, strict=True) if is_short)
    others = [place for place, is_short in enumerate(short) if not is_short]
    rest = iter(_kept([wanted[place] for place in others], [least[place] for place in others], left))
    return [floor if is_short else next(rest) for floor, is_short in zip(least, short, strict=True)]


def _shared(wanted: Sequence[int], room: int) -> list[int]:
    """Widths that fit into the room together: the widest give way first, and of equal ones those on the left.

    None is cut below `_NARROWEST`, whatever the room.
    """
    if sum(wanted) <= room:
        return list(wanted)
    left, level = room, _NARROWEST
    for rank, width in enumerate(sorted(wanted)):  # each in turn may have its whole width, or its share of what is left
        level = left // (len(wanted) - rank)
        if width > level:
            break
        left -= width
    if level < _NARROWEST:
        return [min(width, _NARROWEST) for width in wanted]
    cut = [min(width, level) for width in wanted]
    capped = [place for place, width in enumerate(wanted) if width > level]
    for place in capped[len(capped) - (room - sum(cut)) :]:
        cut[place] += 1
    return cut


def _line(widths: Sequence[int], places: Sequence[int]) -> int:
    return sum(widths[place] for place in places) + _GAP * (len(places) - 1)


def row_text(columns: Sequence[Column], layout: Layout, cells: Sequence[str]) -> Iterator[str]:
    """The cells of a row as they are shown: cut, padded, and with the gap before them."""
    last = layout.places[-1]
    for place, width in zip(layout.places, layout.widths, strict=True):
        text = cells[place]
        missing = width - cell_width(text)
        if missing < 0 and layout.cut:
            text = (_without_middle if columns[place].both_ends else shortened)(text, width)
            missing = width - cell_width(text)
        padding = " " * max(0, missing)
        gap = "" if place == layout.places[0] else " " * _GAP
        if columns[place].justify == "right":
            yield f"{gap}{padding}{text}"
        else:
            yield f"{gap}{text}" if place == last else f"{gap}{text}{padding}"


def shortened(text: str, width: int) -> str:
    """A text in so many cells of a terminal: what is cut off leaves a mark."""
    if cell_width(text) <= width:
        return text
    if text.isascii():
        return text[: width - 1] + _CUT
    from rich.cells import set_cell_size

    return set_cell_size(text, width - 1) + _CUT


def _without_middle(text: str, width: int) -> str:
    if not text.isascii() or width < _NARROWEST:
        return shortened(text, width)
    end = (width - 1) // 2
    return f"{text[: width - 1 - end]}{_CUT}{text[len(text) - end :]}"


def count(number: int) -> str:
    """A whole number."""
    return f"{number:,}"


def plural(number: int, what: str) -> str:
    """A whole number of things: `1 call`, `2 more rows`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def usd(amount: float | Decimal | None, digits: int = 4) -> str:
    """An amount in USD; what is not nothing never looks like nothing: `<0.0001`."""
    if amount is None:
        return "-"
    least = 10.0**-digits
    if amount and abs(float(amount)) < least / 2:
        return f"<{least:.{digits}f}" if amount > 0 else f">-{least:.{digits}f}"
    return f"{amount:,.{digits}f}"


def sum_usd(sums: Row) -> str:
    """The sum of what calls cost: `unknown` where there are calls, and none of them has a known cost."""
    known = sums["invocations"] > sums["unpriced"] or not sums["invocations"]
    return usd(sums["cost_nanos"] / 1e9) if known else UNKNOWN


def rounded(number: float | None) -> str:
    """A number without decimals, or a dash where there is none."""
    return "-" if number is None else f"{number:,.0f}"


def status_colour(cells: Sequence[str]) -> str | None:
    """The colour of a row whose last cell is a status."""
    return None if cells[-1] == "success" else "yellow" if cells[-1].startswith("timeout") else "red"


def percent(share: float | None) -> str:
    """A share of 1 as per cent."""
    return "-" if share is None else f"{share:.1%}"


def named(text: str | None) -> str:
    """A name, or a dash where there is none."""
    return "-" if text is None else text


def bar(value: float | None, most: float, width: int = 20) -> str:
    """A bar as long as the value is of the greatest one; what is not nothing has an eighth of a cell at least."""
    if not value or most <= 0:
        return ""
    full, rest = divmod(max(1, round(8 * width * value / most)), 8)
    return "█" * full + " ▏▎▍▌▋▊▉"[rest].strip()


def sparkline(values: Sequence[float]) -> str:
    """A cell for each value, as high as it is of the greatest one; a dot for nothing."""
    most = max(values, default=0)
    return "".join("▁▂▃▄▅▆▇█"[min(7, int(8 * value / most))] if value else "·" for value in values)
