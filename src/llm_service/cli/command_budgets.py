"""`budgets`: how limits stand, what is held, whether a call would fit; and holds freed or reconciled by hand."""

from decimal import Decimal, InvalidOperation
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import click

from llm_service.cli.group import Failure
from llm_service.cli.options import common, prices_for, report_path, settings_for
from llm_service.cli.output import json_document

if TYPE_CHECKING:
    from llm_service.budgets.policies import Policies
    from llm_service.telemetry import TelemetryLogger

__all__ = ["EXIT_DOES_NOT_FIT", "budgets"]

EXIT_DOES_NOT_FIT: Final = 3
_NO_POLICIES: Final = (
    "there is no policies.yaml, so there are no limits; write `policies: {default: {daily_budget_usd: 10}}` into "
    "config/policies.yaml, or name a file with --policies PATH or LLM_TELEMETRY_POLICIES"
)


class _Usd(click.ParamType[Decimal]):
    """An amount of money, exactly as it is written."""

    name = "usd"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        try:
            amount = Decimal(value)
        except InvalidOperation:
            amount = Decimal("NaN")
        if not (amount.is_finite() and isfinite(float(amount))):
            self.fail(f"{value!r} is no amount; give USD such as 0.40", param, ctx)
        return amount


_POLICIES = click.option(
    "--policies",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="PATH",
    help="The policies.yaml with the limits, instead of the one in force.",
)
_POLICY = click.option(
    "--policy", metavar="NAME", help="The policy without a scope that is in force; default: default, if there is one."
)


@click.group(
    invoke_without_command=True,
    epilog="""\b
Examples:
  llm-telemetry budgets
  llm-telemetry budgets --policies ./policies.yaml --policy production --json
  llm-telemetry budgets check --estimate 0.40 --agent backend-dev
  llm-telemetry budgets holds
  llm-telemetry budgets reconcile HOLD_ID --usd 0.17""",
)
@_POLICIES
@_POLICY
@common
@click.pass_context
def budgets(
    context: click.Context,
    *,
    policies: Path | None,
    policy: str | None,
    db: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Every limit beside what is spent, reserved and of unknown outcome, with a forecast to the window's end.

    All three count against a limit. Calls without a known cost are counted as unpriced, never as $0. What a limit is
    new for is counted from the records of its present window. Only reads: a draft of policies leaves no trace. With
    --json: an array of objects.
    """
    if context.invoked_subcommand is not None:
        if policies or policy or db or config or as_json:
            command = f"budgets {context.invoked_subcommand}"
            raise click.UsageError(f"give options after the command they are for: {command} ...")
        return
    from llm_service.cli import budget_reports  # noqa: PLC0415
    from llm_service.cli import budget_views as views  # noqa: PLC0415

    rows = budget_reports.status(_limits(config, policies, policy), report_path(db, config))
    if as_json:
        json_document(rows)
    else:
        views.show_status(rows)


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
@click.option("--estimate", "usd", type=_Usd(), metavar="USD", help="What the call would cost at most.")
@click.option("--tokens", type=int, default=0, metavar="N", help="How many tokens it would use at most.")
@click.option("--agent", "agent_name", metavar="NAME", help="The agent that would call.")
@click.option("--tool", "tool_name", metavar="NAME", help="The tool that would call.")
@click.option("--model", "model_name", metavar="NAME", help="The model that would be called.")
@click.option("--user", "user_id", metavar="ID", help="The user it would be for.")
@click.option("--session", "session_id", metavar="ID", help="The session it would belong to.")
@click.option("--run", "trace_id", metavar="ID", help="The run (trace) it would belong to.")
@_POLICIES
@_POLICY
@common
def check(
    *,
    usd: Decimal | None,
    tokens: int,
    policies: Path | None,
    policy: str | None,
    db: Path | None,
    config: Path | None,
    as_json: bool,
    **names: str | None,
) -> None:
    """Say whether a call would fit now into every budget that covers it. Nothing is reserved.

    Without --estimate it is taken to cost what the policies say of calls whose price is unknown.
    """
    from llm_service.cli import budget_reports  # noqa: PLC0415
    from llm_service.cli import budget_views as views  # noqa: PLC0415
    from llm_service.errors import BudgetError  # noqa: PLC0415
    from llm_service.telemetry.client.reservation_requests import ReservationRequest  # noqa: PLC0415

    refused: BudgetError | None = None
    rows: list[Any] = []
    limits, path = _limits(config, policies, policy), report_path(db, config)
    wish = ReservationRequest(usd=usd, tokens=tokens, justification="only looking", **cast("Any", names))
    try:
        rows = list(budget_reports.check(limits, path, wish, prices_for(None, config)))
    except BudgetError as error:
        refused = error
    fits = refused is None and all(row["fits"] or not row["hard"] for row in rows)
    asked = {"usd": usd, "tokens": tokens, "calls": 1}
    if as_json:
        json_document(
            {
                "fits": fits,
                "asked": asked | {"usd": None if usd is None else float(usd)},
                "error": None if refused is None else str(refused),
                "limits": rows,
            }
        )
    else:
        views.show_check(rows, asked, refused)
    if not fits:
        raise click.exceptions.Exit(EXIT_DOES_NOT_FIT)


@budgets.command(
    epilog="""\b
Examples:
  llm-telemetry budgets holds
  llm-telemetry budgets holds --json"""
)
@common
def holds(*, db: Path | None, config: Path | None, as_json: bool) -> None:
    """List what is held for calls under way, and for those whose outcome nobody knows; oldest first.

    With --json: an array of objects.
    """
    from llm_service.cli import budget_views as views  # noqa: PLC0415
    from llm_service.cli import reports  # noqa: PLC0415

    found = reports.holds(report_path(db, config))
    if as_json:
        json_document(found)
    else:
        views.show_holds(found)


@budgets.command(
    epilog="""\b
Examples:
  llm-telemetry budgets release 01a216b9-c88d-7e9e-8987-7f8541e0e322"""
)
@click.argument("hold_ids", metavar="HOLD_ID...", nargs=-1, required=True)
@common
def release(*, hold_ids: tuple[str, ...], db: Path | None, config: Path | None, as_json: bool) -> None:
    """Free holds, open or of unknown outcome, for which nothing was spent.

    Exit code 1 where there is no such hold; the others are freed all the same.
    """
    with _plain(db, config) as telemetry:
        freed = {hold_id: telemetry.budgets.release(hold_id) for hold_id in hold_ids}
    if as_json:
        json_document({"released": [hold_id for hold_id, done in freed.items() if done]})
    else:
        click.echo(f"released {sum(freed.values()):,}")
    missing = [hold_id for hold_id, done in freed.items() if not done]
    if missing:
        raise Failure(f"there is no hold {', '.join(missing)}; see: llm-telemetry budgets holds")


@budgets.command(
    epilog="""\b
Examples:
  llm-telemetry budgets reconcile 01a216b9-c88d-7e9e-8987-7f8541e0e322 --usd 0.17"""
)
@click.argument("hold_id", metavar="HOLD_ID")
@click.option("--usd", type=_Usd(), required=True, metavar="USD", help="What the call has cost, as the bill says.")
@common
def reconcile(*, hold_id: str, usd: Decimal, db: Path | None, config: Path | None, as_json: bool) -> None:
    """Say what a call of unknown outcome, or of unknown cost, has cost; that ends its hold.

    A call without a record gets one, of error type outcome_unknown. Exit code 1 where there is no such hold, or its
    call is under way.
    """
    from llm_service.errors import QueryError  # noqa: PLC0415

    with _plain(db, config) as telemetry:
        try:
            done = telemetry.budgets.reconcile(hold_id, usd)
        except QueryError as error:
            if error.field == "hold_id":  # as for `release`: nothing has the id that was named
                why = error.remedy.partition(";")[0]
                raise Failure(f"hold {hold_id}: {why}; see: llm-telemetry budgets holds") from None
            raise
    if not done:
        raise Failure(f"hold {hold_id} was settled meanwhile; see: llm-telemetry budgets holds")
    if as_json:
        json_document({"hold_id": hold_id, "usd": float(usd)})
    else:
        click.echo(f"reconciled {hold_id}: ${usd:,f}")


def _limits(config: Path | None, policies: Path | None, policy: str | None) -> "Policies":
    """The policies in force, or those that were named."""
    from llm_service.budgets.policies import Policies, compiled  # noqa: PLC0415
    from llm_service.config.files import locate  # noqa: PLC0415
    from llm_service.config.policies_schema import load_policies  # noqa: PLC0415

    file = policies or locate("policies", config)
    if file is None:
        raise Failure(_NO_POLICIES)
    return Policies(compiled(load_policies(file)), policy)


def _plain(db: Path | None, config: Path | None) -> "TelemetryLogger":
    from llm_service.cli import reports  # noqa: PLC0415
    from llm_service.telemetry import TelemetryLogger  # noqa: PLC0415

    path = reports.looked_after(settings_for(db, config).db_path)
    return TelemetryLogger(path, models=False, policies=False, retention_days=None)
