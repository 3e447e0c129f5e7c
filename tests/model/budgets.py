"""A model of budgets in some forty lines, and the machine that drives a real file beside it."""

import json
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.inside import core_of, engine_of
from tests.model.ledger import check_books, holds, policies

from llm_service.errors import BudgetExceeded
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.record.operations import SPANS, is_span

NANOS = 1_000_000_000
AGENTS = (None, "a1", "a2", "b")
OPERATIONS = (None, "chat", *sorted(SPANS))
LIMITS = {"all": 60, "as": 30, "each": 20}
"""In tenths of a USD: of every call, of the agents a*, of each agent by itself."""
LIMITED = policies(
    all={"scope": {"agent": "*"}, "total_budget_usd": 6},
    **{"as": {"scope": {"agent": "a*"}, "monthly_budget_usd": 3, "limits": [{"window": "7d", "calls": 1000}]}},
    each={"scope": {"agent": "*"}, "per": ["agent"], "weekly_budget_usd": 2, "timezone": "Asia/Kolkata"},
)
FOREVER = 1e6
LIFE = 8
"""Steps that a process lives at least."""


class Model:
    """Tenths of a USD: what is spent by agent, and what each hold that is not ended keeps. Nothing else."""

    def __init__(self) -> None:
        self.spent: Counter[str | None] = Counter()
        self.calls: Counter[str | None] = Counter()
        self.unpriced: Counter[str | None] = Counter()
        self.held: dict[str, tuple[str | None, int, str, str]] = {}  # id: agent, amount, state, what it is of

    def budgets(self, agent: str | None) -> list[tuple[int, Callable[[str | None], bool]]]:
        """The limits that cover an agent, and whom else they cover."""
        found: list[tuple[int, Callable[[str | None], bool]]] = [
            (LIMITS["all"], lambda _: True), (LIMITS["each"], lambda other: other == agent)
        ]  # fmt: skip
        if agent in {"a1", "a2"}:
            found.append((LIMITS["as"], lambda other: other in {"a1", "a2"}))
        return found

    def used(self, covers: Callable[[str | None], bool]) -> int:
        """What counts against a limit."""
        spent = sum(amount for agent, amount in self.spent.items() if covers(agent))
        return spent + sum(amount for agent, amount, *_ in self.held.values() if covers(agent))

    def fits(self, agent: str | None, amount: int) -> bool:
        """Whether a call has room in every limit."""
        return all(self.used(covers) + max(amount, 1) <= limit for limit, covers in self.budgets(agent))

    def log(
        self, record_id: str, agent: str | None, cost: int | None, ends: str | None = None, *, span: bool = False
    ) -> None:
        """A record is stored; the hold that it ends stays as unknown where its cost is unknown."""
        self.calls[agent] += not span
        self.spent[agent] += cost or 0
        self.unpriced[agent] += cost is None and not span
        hold = self.held.pop(ends or record_id, None)
        if hold is not None and cost is None and hold[1]:
            self.held[record_id] = (hold[0], hold[1], "unknown", "span" if span else "recorded call")


class BudgetsBesideModel(RuleBasedStateMachine):
    """Rules reserve, end, log, expire, crash and open again; after each, file and model must agree.

    Attributes:
        seen: what happened in all lives together.
    """

    seen: ClassVar[Counter[str]] = Counter()

    @initialize()
    def begin(self) -> None:
        """A new file."""
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.db = Path(self.folder.name) / "telemetry.db"
        self.model = Model()
        self.open: dict[str, Any] = {}
        self.numbers = 0
        self.loggers: list[TelemetryLogger] = []
        self.open_logger(limited=True)

    def open_logger(self, *, limited: bool) -> None:
        """A logger of this file; one without policies counts as well."""
        given = LIMITED if limited else None
        self.steps = 0
        self.loggers.append(TelemetryLogger(self.db, policies=given, retention_days=None, close_timeout=2))

    def record(self, agent: str | None, cost: int | None, **fields: Any) -> InvocationRecord:
        """With an id of its own, unless it is given one."""
        self.numbers += 1
        fields.setdefault("invocation_id", f"r{self.numbers}")
        return InvocationRecord(agent_name=agent, cost_usd=None if cost is None else cost / 10, **fields)

    @rule(agent=st.sampled_from(AGENTS), amount=st.integers(0, 9), lease=st.sampled_from([1e-6, FOREVER, FOREVER]))
    def reserve(self, agent: str | None, amount: int, lease: float) -> None:
        """It is refused exactly where the model has no room."""
        fits = self.model.fits(agent, amount)
        try:
            hold = self.loggers[0].budgets.reserve(usd=amount / 10, agent_name=agent, lease=lease)
        except BudgetExceeded:
            assert not fits
            self.seen["refused"] += 1
            return
        assert fits
        self.seen["reserved"] += 1
        self.model.held[hold.hold_id] = (agent, amount, "held" if lease == FOREVER else "over", "call")
        self.open[hold.hold_id] = hold

    @precondition(lambda self: self.open)
    @rule(
        which=st.integers(0, 30),
        cost=st.sampled_from([None, 0, 1, 4, 15]),
        own_id=st.booleans(),
        twice=st.booleans(),
        operation=st.sampled_from(OPERATIONS),
    )
    def settle(self, which: int, cost: int | None, own_id: bool, twice: bool, operation: str | None) -> None:
        """With a record of the hold's id or of another; a second time does nothing, or logs another call."""
        hold_id, hold = self.pick(which)
        agent = core_of(hold).request.agent_name
        record = self.record(agent, cost, operation=operation, **({"invocation_id": hold_id} if own_id else {}))
        assert hold.settle(record) is True
        self.model.log(record.invocation_id, agent, cost, ends=hold_id, span=is_span(operation))
        if twice:
            assert hold.settle(record) is False
            further = self.record(agent, 1)
            assert hold.settle(further) is False
            self.loggers[0].flush()
            self.model.log(further.invocation_id, agent, 1)
        self.seen["settled"] += 1

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 30))
    def release(self, which: int) -> None:
        """Nothing was sent."""
        hold_id, hold = self.pick(which)
        hold.release()
        self.model.held.pop(hold_id)

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 30))
    def give_up(self, which: int) -> None:
        """Nobody knows."""
        hold_id, hold = self.pick(which)
        hold.give_up()
        agent, amount, _, of = self.model.held[hold_id]
        self.model.held[hold_id] = (agent, amount, "unknown", of)

    def pick(self, which: int) -> tuple[str, Any]:
        """One of the open holds, which is open no more."""
        hold_id = sorted(self.open)[which % len(self.open)]
        return hold_id, self.open.pop(hold_id)

    @precondition(lambda self: self.model.held)
    @rule(which=st.integers(0, 30), cost=st.sampled_from([None, 2]))
    def end_by_name(self, which: int, cost: int | None) -> None:
        """As the command line does: free it, or say what it has cost."""
        hold_id = sorted(self.model.held)[which % len(self.model.held)]
        agent, _, state, of = self.model.held[hold_id]
        if cost is None or state == "held":
            assert self.loggers[-1].budgets.release(hold_id) is True
            self.model.held.pop(hold_id)
        else:
            assert self.loggers[-1].budgets.reconcile(hold_id, cost / 10) is True
            self.model.held.pop(hold_id)
            self.model.spent[agent] += cost
            self.model.calls[agent] += of == "call"
            self.model.unpriced[agent] -= of == "recorded call"
            self.expired()  # `reconcile` looks for leases that are over
        self.open.pop(hold_id, None)
        self.seen["ended by name"] += 1

    @rule(
        agent=st.sampled_from(AGENTS),
        cost=st.sampled_from([None, 0, 3]),
        nowait=st.booleans(),
        which=st.booleans(),
        operation=st.sampled_from(OPERATIONS),
    )
    def log(self, agent: str | None, cost: int | None, nowait: bool, which: bool, operation: str | None) -> None:
        """By any logger of the file."""
        logger, record = self.loggers[-which], self.record(agent, cost, operation=operation)
        if nowait:
            logger.log_invocation_nowait(record)
            logger.flush()
        else:
            logger.log_invocation(record)
        self.model.log(record.invocation_id, agent, cost, span=is_span(operation))

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 30), cost=st.sampled_from([None, 3]))
    def log_under_the_id_of_a_hold(self, which: int, cost: int | None) -> None:
        """In another process, say: that ends it."""
        hold_id, hold = self.pick(which)
        agent = core_of(hold).request.agent_name
        self.loggers[-1].log_invocation(self.record(agent, cost, invocation_id=hold_id))
        self.model.log(hold_id, agent, cost)

    @rule()
    def expire(self) -> None:
        """Leases that are over become unknown spend."""
        self.loggers[-1].budgets.expire()
        self.expired()

    def expired(self) -> None:
        """The same in the model."""
        for hold_id, (agent, amount, state, of) in self.model.held.items():
            if state == "over":
                self.model.held[hold_id] = (agent, amount, "unknown", of)

    @rule(limited=st.booleans())
    def another_logger(self, limited: bool) -> None:
        """The file is open twice."""
        if len(self.loggers) < 3:
            self.open_logger(limited=limited)

    @precondition(lambda self: self.steps >= LIFE)
    @rule()
    def close_and_open(self) -> None:
        """An orderly end: open holds stay as they are, and can be settled by nobody but by their names."""
        for logger in self.loggers:
            logger.close()
        self.loggers, self.open = [], {}
        self.open_logger(limited=True)
        self.seen["opened again"] += 1

    @precondition(lambda self: self.steps >= LIFE)
    @rule()
    def crash(self) -> None:
        """The process is gone: nothing is closed, nothing is ended; a new one opens the file."""
        for logger in self.loggers:
            with engine_of(logger).commit_lock:
                engine_of(logger).inline.let_go()
                engine_of(logger).executor.let_go()
            shutdown = engine_of(logger).shutdown
            shutdown.closing = shutdown.closed = True
        self.loggers, self.open = [], {}
        self.open_logger(limited=True)
        self.seen["crashes"] += 1

    @invariant()
    def the_file_is_as_the_model_says(self) -> None:
        """Windows, holds and status; and what was spent is the sum of the records."""
        if not hasattr(self, "db"):
            return
        self.steps += 1
        model, windows = self.model, check_books(self.db)
        status = {
            (row["budget"], row["metric"], *row["subject"]): row for row in self.loggers[0].budgets.status(fresh=False)
        }
        for name, covers in (("all", lambda _: True), ("as", lambda agent: agent in {"a1", "a2"})):
            self.compare(status[name, "usd"], covers)
        for agent in AGENTS:
            row = status.get(("each", "usd", agent or ""))
            if row is not None:
                self.compare(row, lambda other, agent=agent: other == agent)  # type: ignore[misc]
            else:
                assert not model.calls[agent]
        kept = {hold_id: state for hold_id, state, *_ in holds(self.db)}
        assert set(kept) == set(model.held)
        for hold_id, state in kept.items():
            wanted = model.held[hold_id][2]
            assert wanted in {state, "over"}
        assert all(json.loads(key[1]) is not None for key in windows)

    def compare(self, row: Any, covers: Callable[[str | None], bool]) -> None:
        """One limit."""
        model = self.model
        held = [hold for hold in model.held.values() if covers(hold[0])]

        def total(counts: Counter[str | None]) -> int:
            return sum(amount for agent, amount in counts.items() if covers(agent))

        assert row["spent"] == total(model.spent) / 10
        assert (row["calls"], row["unpriced_calls"]) == (total(model.calls), total(model.unpriced))
        assert row["reserved"] == sum(hold[1] for hold in held if hold[2] == "held") / 10
        assert row["unknown"] == sum(hold[1] for hold in held if hold[2] != "held") / 10

    def teardown(self) -> None:
        """Everything is let go of."""
        for logger in getattr(self, "loggers", []):
            logger.close()
        if hasattr(self, "folder"):
            self.folder.cleanup()
