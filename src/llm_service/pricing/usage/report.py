"""A usage report before it becomes fields, so that the reports of one stream can be combined."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from llm_service.pricing.usage.around import INSIDE, Around, unwrapped
from llm_service.pricing.usage.leaves import UNREAD, Leaf, is_container, leaves, snake
from llm_service.pricing.usage.parts import ENTRIES, ITERATIONS, add_iterations, add_requests, split
from llm_service.pricing.usage.provider_tools import AMOUNT, Billed, billed_text
from llm_service.pricing.usage.rules import fields_of, nothing
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
    found = [] if source is None else in_usual_spelling(leaves(source, KNOWN, COUNTS))
    if around.estimated:
        found = told_once([leaf for leaf in found if leaf.path.partition(".")[0] != "cost"])
    found += [Leaf(path, path, value) for path, value in around.charged.items()]
    if around.others:
        billed |= _contradicting(source, around.others, home)
    if all(leaf.name == UNREAD for leaf in found):
        if not words and not billed:
            return None
        found = []
    return Report(found, home, words, billed)


def _contradicting(usage: object, others: Iterable[object], home: Shape) -> Billed:
    """The counts of other usages in one answer where they differ from those that are taken."""
    first = read(usage, home)
    told = [read(other, home) for other in others]
    return frozenset(
        (f"{field}, elsewhere in the answer", f"{AMOUNT}{one[field]}")
        for one in told
        for field in ("prompt_tokens", "completion_tokens")
        if one[field] is not None and one[field] != first[field]
    )


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
