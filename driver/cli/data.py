"""Commands on histories and visibility: import, history, query."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from strongroom.driver.importing.import_file import read_import_file
from strongroom.driver.importing.importer import import_executions
from strongroom.visibility import InvalidQuery

from .cell import with_cell
from .show import cell as cli_show
from .show.output import console, errors, progress_bar

if TYPE_CHECKING:
    from strongroom.driver.strongroom import Strongroom


@click.command("import", epilog="\b\nExample:\n  strongroom import payments workflows.jsonl.gz")
@click.argument("namespace_name", metavar="NAMESPACE")
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_obj
def import_(config_path: Path, namespace_name: str, file: Path) -> None:
    """Import exported executions from a file of JSON Lines, plain or gzip.

    The whole file is checked before anything is written. An interrupted import can be run again.
    """

    async def run(strongroom: Strongroom) -> None:
        found = await strongroom.namespaces.get(namespace_name)
        with console.status("checking the file ..."):
            executions = await asyncio.to_thread(read_import_file, file)
        with progress_bar("Sealing histories", len(executions)) as advance:
            done = await import_executions(strongroom, found, executions, progress=advance)
        console.print(
            f"{done.executions} executions: {done.nodes} history nodes, "
            f"{done.records} visibility records new or newer, {done.executions - done.records} unchanged"
        )

    with_cell(config_path, run, "import.run", name=namespace_name)


@click.command(epilog="\b\nExample:\n  strongroom history payments order/web/00157")
@click.argument("namespace_name", metavar="NAMESPACE")
@click.argument("workflow_id")
@click.option("--run-id", help="Run id. Default: the latest run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines, with events in base64.")
@click.pass_obj
def history(config_path: Path, namespace_name: str, workflow_id: str, run_id: str | None, as_json: bool) -> None:
    """Print the history of a run."""

    async def run(strongroom: Strongroom) -> None:
        await cli_show.history(strongroom, namespace_name, workflow_id, run_id, as_json=as_json)

    with_cell(
        config_path, run, "history.read_history_branch", name=namespace_name, workflow_id=workflow_id, run_id=run_id
    )


@click.command(
    epilog="\b\nExamples:\n  strongroom query payments \"WorkflowType = 'OrderWorkflow' AND CustomerId = 'cust-00001'\"\n"
    '  strongroom query payments "GROUP BY ExecutionStatus" --count\n'
    "  strongroom query payments \"WorkflowId STARTS_WITH 'order/'\" --explain"
)
@click.argument("namespace_name", metavar="NAMESPACE")
@click.argument("filter_", metavar="[FILTER]", default="")
@click.option("--count", is_flag=True, help="Print the exact number of matches; also with GROUP BY.")
@click.option(
    "--explain", is_flag=True, help="Show what is sent, what the index decides, what is opened and what is revealed."
)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Runs on a page.")
@click.option("--page-token", help="Token of the next page, from the page before.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines.")
@click.pass_obj
def query(
    config_path: Path,
    namespace_name: str,
    filter_: str,
    count: bool,
    explain: bool,
    limit: int,
    page_token: str | None,
    as_json: bool,
) -> None:
    """List or count the runs that match a list filter. Without a filter all runs match."""

    async def run(strongroom: Strongroom) -> None:
        if explain:
            await cli_show.explanation(strongroom, namespace_name, filter_)
        elif count:
            await cli_show.count(strongroom, namespace_name, filter_, as_json=as_json)
        else:
            token = page_token.encode() if page_token else None
            await cli_show.executions(
                strongroom, namespace_name, filter_, limit=limit, page_token=token, as_json=as_json
            )

    try:
        with_cell(config_path, run, _query_operation(count=count, explain=explain), name=namespace_name, query=filter_)
    except InvalidQuery as error:
        if error.position is not None and filter_.isprintable():
            errors.print(f"  {escape(filter_)}\n  {' ' * error.position}^", soft_wrap=True, highlight=False)
        raise


def _query_operation(*, count: bool, explain: bool) -> str:
    if explain:
        return "visibility.explain"
    return f"visibility.{'count' if count else 'list'}_workflow_executions"
