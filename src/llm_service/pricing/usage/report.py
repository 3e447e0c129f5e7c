"""A usage report before it becomes fields, so that the reports of one stream can be combined."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from llm_service.pricing.usage.around import INSIDE, Around, unwrapped
from llm_service.pricing.usage.leaves import UNREAD, Leaf, is_container, leaves, snake
from llm_service.pricing.usage.parts import ENTRIES, ITERATIONS, add_iterations, add_requests, split
from llm_service.pricing.usage.provider_tools import AMOUNT, Billed, billed_text
from llm_service.pricing.usage.rules import FIELDS, fields_of, nothing
from llm_service.pricing.usage.said import Said, role_of, said_in
from llm_service.pricing.usage.shapes import ANTHROPIC, COUNTS, KNOWN, OPENAI, SHAPES, Role, Shape
from llm_service.pricing.usage.spelled import in_usual_spelling
from llm_service.pricing.usage.tiered import with_tier
from llm_service.pricing.usage.twice import told_once

__all__ = ["REPORTED", "Fields", "Report", "fields_by", "read", "report_in", "report_of", "said_by"]

REPORTED: Final = frozenset(path.partition(".")[0] for shape in SHAPES for path in shape.roles) | set(
    map(snake, INSIDE)
)
"""Top-level names of providers' reports, in snake case."""
_COUNTED: Final = tuple(field for field in FIELDS if field not in {"total_tokens", "service_tier"})
_NONE: Final[Mapping[Any, str]] = MappingProxyType({})


class Report(NamedTuple):
    """The content of one report.

    Attributes:
        leaves: its values.
        home: the default family for a report without typical names.
        words: tier and speed, from the answer around it.
        billed: what the answer tells that was billed in addition to tokens.
    """

    leaves: list[Leaf]
    home: Shape
    words: Mapping[Role, str] = _NONE
    billed: Billed = frozenset()


class Fields(dict[str, Any]):
    """Fields of a record, with their report; changes of the fields do not change it.

    Attributes:
        report: the source of the fields; None if there was none.
        made: the original fields.
        given: the identity of the object that was read.
    """

    __slots__ = ("given", "made", "report")

    def __init__(self, fields: Mapping[str, Any], report: Report | None, given: int = 0) -> None:
        super().__init__(fields)
        self.report = report
        self.made = dict(fields)
        self.given = given

    def __reduce__(self) -> Any:
        return dict, (dict(self),)  # a pickled copy is a plain dict


def read(usage: object, home: Shape) -> dict[str, Any]:
    """The fields of a report; `nothing()` without one."""
    report = report_of(usage, home)
    if report is None:
        return Fields(nothing(), None, id(usage))
    fields = fields_by(report)
    fields.given = id(usage)
    return fields


def report_of(usage: object, home: Shape) -> Report | None:
    """The report in a mapping or an object, or in an answer or event; None if there is none."""
    return report_in(unwrapped(usage), home) if is_container(usage) else None


def report_in(around: Around, home: Shape) -> Report | None:
    """The report that was found; None if there was none, and nothing beside it."""
    source, words, billed = around.usage, around.words, around.billed
    if around.others or around.made is not None:
        source, more = _fullest(around, home)
        billed |= more
    found = [] if source is None else in_usual_spelling(leaves(source, KNOWN, COUNTS))
    if around.estimated:
        found = told_once([leaf for leaf in found if leaf.path.partition(".")[0] != "cost"])
    found += [Leaf(path, path, value) for path, value in around.charged.items()]
    if all(leaf.name == UNREAD for leaf in found):
        if not words and not billed:
            return None
        found = []
    return Report(found, home, words, billed)


def _fullest(around: Around, home: Shape) -> tuple[object, Billed]:
    """The usage of an answer that holds several, the first that counts anything; and what the others tell otherwise."""
    told = [(one, report_of(one, home)) for one in (around.usage, *around.others)]
    told += [] if around.made is None else [(around.made, report_of(around.made, OPENAI))]
    read_of = [(one, *_told_by(report)) for one, report in told]
    usage, first, unpriced = next((one for one in read_of if _counts(one[1])), read_of[0])
    found: set[tuple[str, str]] = set()
    for _, other, more in read_of:
        differing = [name for name in _COUNTED if other[name] and other[name] != first[name]]
        found.update((f"{name}, elsewhere in the answer", f"{AMOUNT}{other[name]}") for name in differing)
        found.update((name, f"{AMOUNT}{value}") for name, value in more.items() if name not in unpriced)
    return usage, frozenset(found)


def _told_by(report: Report | None) -> tuple[dict[str, Any], dict[str, str]]:
    if report is None:
        return nothing(), {}
    said, shape = said_by(report)
    return fields_of(said, shape), said.unpriced


def _counts(fields: Mapping[str, Any]) -> bool:
    return bool(fields["prompt_tokens"] or fields["completion_tokens"])


def fields_by(report: Report) -> Fields:
    """The fields of a report."""
    return Fields(fields_of(*said_by(report)), report)


def said_by(report: Report) -> tuple[Said, Shape]:
    """The values of a report by role, and its family."""
    found = with_tier(report.leaves)
    shape = _recognised(found, report.home)
    if shape is ANTHROPIC:
        found, iterations = split(found, ITERATIONS)
        said = said_in(found, shape)
        add_iterations(said, iterations, shape)
    elif shape is OPENAI:
        found, entries = split(found, ENTRIES)
        said = said_in(found, shape)
        add_requests(said, entries, shape)
    else:
        said = said_in(found, shape)
    said.words = {**report.words, **said.words}
    said.unpriced |= billed_text(report.billed)
    return said, shape


def _recognised(found: list[Leaf], home: Shape) -> Shape:
    """The family of a report: by names that only it has, else the default if it knows any name, else another."""
    tops = {leaf.path.partition(".")[0] for leaf in found}
    for shape in SHAPES:
        if not tops.isdisjoint(shape.signs):
            return shape
    knowing = (shape for shape in (home, *SHAPES) if any(role_of(leaf.path, shape.roles) for leaf in found))
    return next(knowing, home)
