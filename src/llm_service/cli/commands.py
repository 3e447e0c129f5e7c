"""`llm-telemetry`: the group that all commands belong to.

What a command needs beyond click is imported when it runs, so that `--help` answers at once.
"""

import sys

import click

from llm_service import __version__
from llm_service.cli.command_backup import backup
from llm_service.cli.command_budgets import budgets
from llm_service.cli.command_compare import compare
from llm_service.cli.command_completion import completion
from llm_service.cli.command_config import config_group
from llm_service.cli.command_costs import costs
from llm_service.cli.command_dead_letters import dead_letters
from llm_service.cli.command_demo import demo
from llm_service.cli.command_doctor import doctor
from llm_service.cli.command_errors import errors
from llm_service.cli.command_estimate import estimate
from llm_service.cli.command_export import export
from llm_service.cli.command_info import info
from llm_service.cli.command_invocations import invocations
from llm_service.cli.command_prices import prices
from llm_service.cli.command_purge import purge
from llm_service.cli.command_query import query
from llm_service.cli.command_report import report
from llm_service.cli.command_reprice import reprice
from llm_service.cli.command_runs import runs
from llm_service.cli.command_search import search
from llm_service.cli.command_show import show
from llm_service.cli.command_sql import sql
from llm_service.cli.command_stats import stats
from llm_service.cli.command_top import top
from llm_service.cli.command_trace import trace
from llm_service.cli.command_watch import watch
from llm_service.cli.group import Commands
from llm_service.cli.output import is_colored

__all__ = ["cli"]


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  llm-telemetry demo
  llm-telemetry costs --by agent,model --since 30d
  llm-telemetry invocations --errors --follow
  llm-telemetry COMMAND --help

\b
Exit codes:
  0    done
  1    failed, nothing has the name that was given, or a finding
  2    used wrongly
  3    a call would not fit into its budgets
  129  its terminal was closed (SIGHUP)
  130  interrupted (SIGINT)
  143  terminated (SIGTERM)""",
)
@click.version_option(__version__, prog_name="llm-telemetry")
@click.pass_context
def cli(context: click.Context) -> None:
    """The flight recorder for LLM calls.

    Without --db, the database is that of the configuration: --config PATH, else where the loggers look for one.

    Times and days are those of --tz, else of the configuration's time_zone, else of this machine. A TIME is a period
    (today, yesterday, this-week, last-month, 2026-11-23, 2026-11), which --since begins with and --until ends with; a
    duration that counts back from now (90m, 24h, 7d of 24 hours each, 1w), now, or a moment (2026-11-23T18:00).

    On a terminal, tables are cut to its width; elsewhere they are whole, plain and aligned. NO_COLOR and FORCE_COLOR
    are heeded.
    """
    context.color = is_colored(sys.stdout)


for command in (
    demo, watch, stats, costs, query, top, errors, invocations, search, show, trace, runs, compare, estimate, report,
    export, info, sql, config_group, completion, prices, reprice, budgets, purge, doctor, backup, dead_letters,
):  # fmt: skip
    cli.add_command(command)
