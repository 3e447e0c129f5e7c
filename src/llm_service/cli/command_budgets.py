"""`budgets`: how limits stand, what is held, whether a call would fit; and holds freed or reconciled by hand."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import click

from llm_service.cli.budget_views import HOLDS, STATUS, colour, mends, of_names, standing
from llm_service.cli.formats import Output, Rows, formatted, put_out
from llm_service.cli.group import Failure
from llm_service.cli.kinds import Kind, kinds_of
from llm_service.cli.options import POLICIES, USD, common, examples, scoped, seller, zoned
from llm_service.cli.output import clean, listing
from llm_service.cli.suggestions import suggested
from llm_service.cli.tables import Column, Row, plural
from llm_service.cli.target import Target, read, reading
from llm_service.cli.times import in_zone, shown_time, zone_label

if TYPE_CHECKING:
    from llm_service.budgets.limits import Policy
    from llm_service.budgets.policies import Policies
    from llm_service.errors import BudgetError
    from llm_service.pricing.book import PriceBook
    from llm_service.telemetry import TelemetryLogger
    from llm_service.telemetry.client.reservation_requests import ReservationRequest
    from llm_service.telemetry.queries.budget_status import BudgetStatus, CounterStatus
    from llm_service.telemetry.stores.base import Fetch

__all__ = ["budgets", "known_policies"]

_T = TypeVar("_T")

_EXIT_DOES_NOT_FIT: Final = 3
_NO_POLICIES: Final = (
    "there is no policies.yaml to read limits from; write `policies: {default: {daily_budget_usd: 10}}` into "
    "config/policies.yaml, or name a file with --policies PATH or LLM_TELEMETRY_POLICIES"
)


_OTHERS: Final = (
    "{} of limits that are not known here: name the policies.yaml that has them with --policies FILE; of limits that "
    "programs gave in Python (policies=), telemetry.budgets.status() there, or a policies.yaml with the same limits"
)

_policy = click.option(
    "--policy", metavar="NAME", help="The policy without a scope that is in force; default: default, or the only one."
)


@click.group(
    invoke_without_command=True,
    epilog=examples(
        "budgets",
        "budgets --policies ./policies.yaml --policy production --json",
        "budgets check --estimate 0.40 --agent backend-dev",
        "budgets holds",
        "budgets reconcile HOLD_ID --usd 0.17",
    ),
)
@POLICIES
@_policy
@scoped("Only budgets of this {}: one each, or scoped to it.")
@zoned
@formatted()
@common
@click.pass_context
def budgets(
    context: click.Context,
    *,
    policies: Path | None,
    policy: str | None,
    names: Mapping[str, str | None],
    output: Output,
    target: Target,
) -> None:
    """Every limit beside what is spent, reserved and of unknown outcome, with a forecast to the window's end.

    All three count against a limit. Calls without a known cost are counted as unpriced, never as $0. What a limit is
    new for is counted from the records of its present window. What the file counts for limits that stand in no policy
    here, as programs give them in Python, is shown behind them. Only reads: a draft of policies leaves no trace. With
    --json: an array of objects, whose `limit` is null where it is not known here.
    """
    if context.invoked_subcommand is not None:
        if policies or policy or any(target) or any(names.values()) or output != Output():
            command = f"budgets {context.invoked_subcommand}"
            raise click.UsageError(f"give options after the command they are for: {command} ...")
        return
    from llm_service.budgets.policies import Policies
    from llm_service.telemetry.queries.budget_status import BudgetStatus, read_others, read_status

    now = datetime.now(UTC)
    known = known_policies(target, policies)
    if known is None and policy:
        raise Failure(_NO_POLICIES)
    limits, path = Policies(known or {}, policy), target.report_path()
    named = {limit.counter for one in (known or {}).values() for limit in one.limits}

    def question(fetch: "Fetch") -> "list[BudgetStatus | CounterStatus]":
        return [*read_status(fetch, limits, now), *read_others(fetch, named, now)]

    rows = of_names(_ask(path, question), names) if known is not None or path.exists() else []
    if known is None and not rows and not any(names.values()):
        raise Failure(_NO_POLICIES)
    columns = _columns(target.zone())
    tokens: dict[str, Kind] = {"tokens": "integer"}  # of limits that are not known here
    each = [{**row, "tokens": row.get("tokens")} for row in rows]
    what = Rows(each, columns, kinds_of(BudgetStatus) | tokens, rows)
    put_out(output, target, what, lambda: _show_status(rows, columns))


def _columns(zone: tzinfo) -> list[Column]:
    def resets(row: Row) -> str:
        if row["resets_at"] is not None:
            return shown_time(row["resets_at"], zone, "minutes")
        return "never" if row["window"] == "total" else "rolling"

    return [*STATUS[:-1], replace(STATUS[-1], name=f"resets ({zone_label(zone)})", of=resets)]


def _show_status(rows: "Sequence[BudgetStatus | CounterStatus]", columns: Sequence[Column]) -> None:
    listing(columns, rows, marked=colour, empty="no limits, or nothing was counted for any subject of theirs yet")
    damaged = sum(row["damaged"] for row in rows)
    if damaged:
        click.echo(f"{damaged:,} damaged: what is stored of it cannot be read, so calls are refused; {mends()}")
    others = sum(row["limit"] is None for row in rows)
    if others:
        click.echo(_OTHERS.format(plural(others, "row")))


@budgets.command(
    epilog="""\b
Examples:
  llm-telemetry budgets check --estimate 0.40 --agent backend-dev --model claude-sonnet-4-5
  llm-telemetry budgets check --estimate 0.40 --tokens 20000 --user ada && ./run-agent

\b
Exit codes:
  0    it fits into all hard limits
  3    it does not fit, or would not be let through: its price is unknown"""
)
@click.option("--estimate", "usd", type=USD, metavar="USD", help="What the call would cost at most.")
@click.option("--tokens", type=click.IntRange(0), default=0, metavar="N", help="How many tokens it would use at most.")
@scoped("The {} of the call.")
@seller
@POLICIES
@_policy
@formatted()
@common
def check(
    *,
    usd: Decimal | None,
    tokens: int,
    policies: Path | None,
    policy: str | None,
    names: Mapping[str, str | None],
    output: Output,
    target: Target,
    **place: str | None,
) -> None:
    """Say whether a call would fit now into every budget that covers it. Nothing is reserved.

    Without --estimate it is taken to cost what the policies say of calls whose price is unknown.
    """
    from llm_service.errors import BudgetError
    from llm_service.telemetry.client.reservation_requests import ReservationRequest
    from llm_service.telemetry.queries.budget_status import BudgetStatus

    refused: str | None = None
    rows: list[BudgetStatus] = []
    limits, path = _limits(target, policies, policy), target.report_path()
    request = ReservationRequest(
        usd=usd, tokens=tokens, justification="only looking", **cast("Any", {**names, **place})
    )
    try:
        rows = _check(limits, path, request, target.prices(None))
    except BudgetError as error:
        refused = refusal(error)
    fits = refused is None and all(row["fits"] or not row["hard"] for row in rows)
    asked = {"usd": None if usd is None else float(usd), "tokens": tokens, "calls": 1}
    found = {"fits": fits, "asked": asked, "error": refused, "limits": rows}
    what = Rows(rows, STATUS[:-1], kinds_of(BudgetStatus), found)
    put_out(output, target, what, lambda: _show_check(found))
    if not fits:
        raise click.exceptions.Exit(_EXIT_DOES_NOT_FIT)


def refusal(error: "BudgetError") -> str:
    """Why a call would not be let through, and what can be done about it here."""
    from llm_service.errors import BudgetError, BudgetUnreadableError, UnknownPriceError, UnknownTokensError

    remedies: dict[type[BudgetError], str] = {
        UnknownPriceError: "give --estimate USD, or set unknown_price_usd or unknown_price in policies.yaml",
        UnknownTokensError: "give --tokens N, or set max_output_tokens in models.yaml",
        BudgetUnreadableError: f"recount it: {suggested('doctor')} --repair",
    }
    remedy = remedies.get(type(error))
    return error.problem if remedy is None else f"{error.problem}; {remedy}"


def _check(
    policies: "Policies", path: Path, request: "ReservationRequest", prices: "PriceBook"
) -> "list[BudgetStatus]":
    """As `Budgets.check`, without a logger: nothing is written. A BudgetError would not let it through."""
    from llm_service.budgets.limits import Amounts
    from llm_service.estimates.estimate import make_estimate
    from llm_service.telemetry import InvocationRecord
    from llm_service.telemetry.client import reservation_requests as requests
    from llm_service.telemetry.client.estimate_history import EstimateHistory
    from llm_service.telemetry.privacy import Redactor
    from llm_service.telemetry.queries.budget_status import read_check
    from llm_service.telemetry.stores.budget_requests import call_of

    record = InvocationRecord(invocation_id=request.hold_id, **cast("Any", request.names))
    (redacted,) = Redactor("metadata").records([record], Counter())
    call = call_of(redacted)
    applying = policies.applying(call)
    if request.wants_estimate(applying):
        learner = EstimateHistory(partial(reading, path))
        learner.load()
        question = request.question()
        estimate = make_estimate(question, learner.history, prices, learner.ratios, learner.tokenizer)
        request = request.with_estimate(estimate, is_priced=question.rates(prices) is not None)
    amounts, now = Amounts(requests.nanos(request, applying), requests.tokens(request), 1), datetime.now(UTC)
    return list(_ask(path, lambda fetch: read_check(fetch, applying, call, amounts, now)))


def _ask(path: Path, question: "Callable[[Fetch], _T]") -> _T:
    """Ask the file; one of an older version counts nothing yet, and has no holds."""
    from llm_service.telemetry.queries.budget_status import counting

    return read(path, lambda fetch: question(counting(fetch)))


def _show_check(found: Mapping[str, Any]) -> None:
    """A line for each limit that the call does not fit into; else one that it fits."""
    rows = found["limits"]
    if found["error"] is not None:
        click.echo(clean(f"would not be let through: {found['error']}"))
        return
    for row in rows:
        if not row["fits"]:
            verdict = "does not fit" if row["hard"] else "over a soft limit"
            click.echo(clean(f"{verdict}: {standing(row, found['asked'])}"))
    if found["fits"]:
        hard = sum(row["hard"] for row in rows)
        limits = plural(hard, "hard limit") if rows else "no budget covers it"
        click.echo(f"fits: {limits}")


@budgets.command(epilog=examples("budgets holds", "budgets holds --json"))
@zoned
@formatted()
@common
def holds(*, output: Output, target: Target) -> None:
    """List what is held for calls under way, and for those whose outcome nobody knows; oldest first.

    With --json: an array of objects.
    """
    from llm_service.telemetry.queries.budget_status import BudgetHold, read_holds

    now = datetime.now(UTC)
    found = _ask(target.report_path(), lambda fetch: read_holds(fetch, now))
    columns = in_zone(HOLDS, target.zone())
    what = Rows(found, columns, kinds_of(BudgetHold), found)
    put_out(output, target, what, lambda: listing(columns, found, empty="nothing is held"))


@budgets.command(epilog=examples("budgets release 01a216b9-c88d-7e9e-8987-7f8541e0e322", "budgets release --all"))
@click.argument("hold_ids", metavar="[HOLD_ID...]", nargs=-1)
@click.option("--all", "of_all", is_flag=True, help="All of unknown outcome; what is under way stays.")
@common
def release(*, hold_ids: tuple[str, ...], of_all: bool, target: Target) -> None:
    """Free holds, open or of unknown outcome, for which nothing was spent.

    With --all: those that `budgets holds` shows as unknown, cost unknown or lease over, as a provider that was down for
    an hour leaves them. Exit code 1 where there is no such hold; the others are freed all the same.
    """
    if bool(hold_ids) == of_all:
        raise click.UsageError(f"name the holds (see: {suggested('budgets holds')}), or give --all")
    with _opened(target) as telemetry:
        if of_all:
            telemetry.budgets.expire()
            hold_ids = tuple(hold["hold_id"] for hold in telemetry.budgets.holds() if hold["state"] == "unknown")
        freed = {hold_id: telemetry.budgets.release(hold_id) for hold_id in hold_ids}
    released = [hold_id for hold_id, done in freed.items() if done]
    target.show({"released": released}, lambda _: click.echo(f"released {len(released):,}"))
    missing = [hold_id for hold_id, done in freed.items() if not done]
    if missing and not of_all:  # else they were settled meanwhile
        raise Failure(f"there is no hold {', '.join(missing)}; see: {suggested('budgets holds')}")


@budgets.command(epilog=examples("budgets reconcile 01a216b9-c88d-7e9e-8987-7f8541e0e322 --usd 0.17"))
@click.argument("hold_id", metavar="HOLD_ID")
@click.option("--usd", type=USD, required=True, metavar="USD", help="What the call has cost, as the bill says.")
@common
def reconcile(*, hold_id: str, usd: Decimal, target: Target) -> None:
    """Say what a call of unknown outcome, or of unknown cost, has cost; that ends its hold.

    A call without a record gets one, of error type outcome_unknown. Exit code 1 where there is no such hold, or its
    call is under way.
    """
    from llm_service.errors import QueryError

    with _opened(target) as telemetry:
        try:
            done = telemetry.budgets.reconcile(hold_id, usd)
        except QueryError as error:
            if error.field == "hold_id":  # as for `release`: nothing has the id that was named
                why = error.remedy.partition(";")[0]
                raise Failure(f"hold {hold_id}: {why}; see: {suggested('budgets holds')}") from None
            raise
    if not done:
        raise Failure(f"hold {hold_id} was settled meanwhile; see: {suggested('budgets holds')}")
    found = {"hold_id": hold_id, "usd": float(usd)}
    target.show(found, lambda _: click.echo(f"reconciled {hold_id}: ${usd:,f}"))


def _limits(target: Target, policies: Path | None, policy: str | None) -> "Policies":
    """The policies in force, or those that were named."""
    from llm_service.budgets.policies import Policies

    known = known_policies(target, policies)
    if known is None:
        raise Failure(_NO_POLICIES)
    return Policies(known, policy)


def known_policies(target: Target, policies: Path | None) -> "Mapping[str, Policy] | None":
    """All policies of the file in force, or of the one that was named; None where there is none."""
    from llm_service.budgets.policies import compiled
    from llm_service.config.files import locate
    from llm_service.config.policies_schema import load_policies

    file = policies or locate("policies", target.config)
    return None if file is None else compiled(load_policies(file))


def _opened(target: Target) -> "TelemetryLogger":
    from llm_service.telemetry import TelemetryLogger

    return TelemetryLogger(target.path_to_change(), models=False, policies=False, retention_days=None)
