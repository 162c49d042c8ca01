"""Commands on histories and visibility: import, history, query."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from strongroom.driver.importing.import_file import read_import_file
from strongroom.driver.importing.importer import import_executions
from strongroom.driver.importing.temporal_history import Given
from strongroom.visibility import InvalidQuery

from .cell import with_cell
from .commands import Command, refuse_unused
from .show import runs as cli_show
from .show.output import busy, fault, json_wanted, progress_bar, result

if TYPE_CHECKING:
    from strongroom.driver.strongroom import Strongroom


@click.command(
    "import",
    cls=Command,
    epilog="\b\nExamples:\n  strongroom import payments workflows.jsonl.gz\n"
    "  temporal workflow show -w order-7 --output json | strongroom import payments -",
)
@click.argument("namespace_name", metavar="NAMESPACE")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--workflow-id", help="Workflow id of the one history in FILE, if the history names none.")
@click.option(
    "--run-id", help="Run id of the one history in FILE. After a reset the history has the id of the first run."
)
@click.pass_obj
def import_(config_path: Path, namespace_name: str, file: Path, workflow_id: str | None, run_id: str | None) -> None:
    """Import exported executions from a file, plain or gzip. `-` is standard input.

    The file has JSON Lines as docs/how-to/import.md describes, or the output of `temporal workflow show --output json`, of one run or
    of several runs one after the other. The whole file is checked before anything is written. An interrupted import can be run again.
    """

    async def run(strongroom: Strongroom) -> None:
        found = await strongroom.namespaces.get(namespace_name)
        with busy("checking the file ..."):
            executions = await asyncio.to_thread(read_import_file, file, given=Given(workflow_id, run_id))
        with progress_bar("Sealing histories", len(executions)) as advance:
            done = await import_executions(strongroom, found, executions, progress=advance)
        result(
            {
                "executions": done.executions,
                "nodes": done.nodes,
                "records": done.records,
                "unchanged": done.executions - done.records,
            },
            f"{done.executions} executions: {done.nodes} history nodes, "
            f"{done.records} visibility records new or newer, {done.executions - done.records} unchanged",
        )

    with_cell(config_path, run, "import.run", name=namespace_name)


@click.command(
    cls=Command,
    json_help="Print JSON Lines, with events in base64.",
    epilog="\b\nExample:\n  strongroom history payments order/web/00157",
)
@click.argument("namespace_name", metavar="NAMESPACE")
@click.argument("workflow_id")
@click.option("--run-id", help="Run id. Default: the latest run.")
@click.pass_obj
def history(config_path: Path, namespace_name: str, workflow_id: str, run_id: str | None) -> None:
    """Print the history of a run."""

    async def run(strongroom: Strongroom) -> None:
        await cli_show.history(strongroom, namespace_name, workflow_id, run_id)

    with_cell(
        config_path, run, "history.read_history_branch", name=namespace_name, workflow_id=workflow_id, run_id=run_id
    )


@click.command(
    cls=Command,
    json_help="Print JSON Lines.",
    epilog="\b\nExamples:\n  strongroom query payments \"WorkflowType = 'OrderWorkflow' AND CustomerId = 'cust-00001'\"\n"
    '  strongroom query payments "GROUP BY ExecutionStatus" --count\n'
    "  strongroom query payments \"WorkflowId STARTS_WITH 'order/'\" --explain",
)
@click.argument("namespace_name", metavar="NAMESPACE")
@click.argument("filter_", metavar="[FILTER]", default="")
@click.option("--count", is_flag=True, help="Print the exact number of matches; also with GROUP BY.")
@click.option(
    "--explain", is_flag=True, help="Show what is sent, what the index decides, what is opened and what is revealed."
)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Runs on a page.")
@click.option("--page-token", help="Token of the next page, from the page before.")
@click.pass_obj
def query(
    config_path: Path,
    namespace_name: str,
    filter_: str,
    count: bool,
    explain: bool,
    limit: int,
    page_token: str | None,
) -> None:
    """List or count the runs that match a list filter. Without a filter all runs match.

    In a namespace of a Temporal server, a filter names the fields of its search attributes, for example Keyword01.
    """
    paging = {"limit": "--limit", "page_token": "--page-token"}
    if explain:
        refuse_unused({"count": "--count", **paging}, "--explain runs no query; leave --explain or the others out")
    elif count:
        refuse_unused(paging, "--count prints no runs; leave --count or the others out")

    async def run(strongroom: Strongroom) -> None:
        if explain:
            await cli_show.explanation(strongroom, namespace_name, filter_)
        elif count:
            await cli_show.count(strongroom, namespace_name, filter_)
        else:
            token = page_token.encode(errors="surrogateescape") if page_token else None
            await cli_show.executions(strongroom, namespace_name, filter_, limit=limit, page_token=token)

    try:
        with_cell(config_path, run, _query_operation(count=count, explain=explain), name=namespace_name, query=filter_)
    except InvalidQuery as error:
        if error.position is not None and filter_.isprintable() and not json_wanted():
            fault(f"  {filter_}")
            fault(f"  {' ' * error.position}^")
        raise


def _query_operation(*, count: bool, explain: bool) -> str:
    if explain:
        return "visibility.explain"
    return f"visibility.{'count' if count else 'list'}_workflow_executions"
