"""`make temporal`: a real Temporal server on a sealed cell, used and then searched for plaintext.

The same workflows run on Temporal's own stores as a control. The command fails if a step fails, if a planted string is found in the
sealed stores, or if the control does not find it in the plain ones.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import sys
import tempfile
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import click

from strongroom.driver.demo import LeakReport, scan

from .binaries import SERVER, build
from .interface import check_interface, web_interface
from .pages import check_pages
from .plain import plain_stores
from .processes import StackError
from .run import Outcome, exercise, measured, scene
from .sealed import sealed_cell, search_node
from .server import TemporalServer


@click.command(help=__doc__)
@click.option("--keep", is_flag=True, help="Leave the sealed server running until Ctrl-C.")
@click.option("--workers", default=2, show_default=True, help="Worker processes of `strongroom serve`.")
@click.option("--shards", default=4, show_default=True, help="History shards of both servers.")
@click.option("--elasticsearch/--no-elasticsearch", default=True, help="Use a search index if Java is installed.")
@click.option("--images", type=click.Path(path_type=Path), help="Folder for images of the web interface's pages.")
def main(*, keep: bool, workers: int, shards: int, elasticsearch: bool, images: Path | None) -> None:
    """Run the demonstration."""
    logging.disable(
        logging.WARNING
    )  # the SDK logs each failed attempt of an activity, and the first attempts fail on purpose
    with tempfile.TemporaryDirectory(prefix="strongroom-") as folder, ExitStack() as stack:
        try:
            held = _run(stack, Path(folder), _Options(keep, workers, shards, elasticsearch, images))
        except StackError as error:
            raise click.ClickException(str(error)) from None
    sys.exit(0 if held else 1)


class _Options(NamedTuple):
    """The options of the command line."""

    keep: bool
    workers: int
    shards: int
    elasticsearch: bool
    images: Path | None


def _run(stack: ExitStack, folder: Path, options: _Options) -> bool:
    click.echo("building the Temporal server with Strongroom's stores (minutes the first time) ...")
    binary = build(SERVER, "temporal-server-strongroom")
    secret = f"planted{secrets.token_hex(12)}"

    index = search_node(stack) if options.elasticsearch else None
    cell = sealed_cell(
        stack, folder / "sealed", shards=options.shards, workers=options.workers, elasticsearch=index and index.url
    )
    cell.serve()
    sealed = TemporalServer(binary, cell.folder, cell.datastores())
    stack.callback(sealed.stop)
    sealed.start()
    where = "Elasticsearch" if index else "PostgreSQL"
    click.echo(f"a Temporal server on a sealed cell: {sealed.address}, {options.workers} workers, search in {where}")
    namespace = f"payments-{secret}"
    outcomes = asyncio.run(_exercise(sealed.address, secret, cell.config))
    web = web_interface(stack, cell, sealed.address, namespace)
    outcomes.append(measured("the web interface", lambda: check_interface(web, namespace, secret)))
    _show(outcomes[-1])
    if options.images is not None:
        options.images.mkdir(parents=True, exist_ok=True)
    pages = partial(check_pages, web, namespace, secret, options.images)
    outcomes.append(measured("the web interface in a browser", pages))
    _show(outcomes[-1])
    click.echo(
        f"  in a browser: accept the certificate of {web.codec}, open {web.url}/demo, then the namespace {namespace}"
    )
    if options.keep:
        click.echo("running until Ctrl-C")
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with suppress(KeyboardInterrupt):
            signal.pause()
    sealed.stop()
    cell.stop()

    click.echo("the control: the same workflows on Temporal's own stores")
    with ExitStack() as control:
        plain = plain_stores(control, folder / "plain", shards=options.shards)
        server = TemporalServer(binary, folder / "plain", plain.datastores())
        control.callback(server.stop)
        server.start()
        asyncio.run(_exercise(server.address, secret, None))
        server.stop()
        found = scan(plain.postgres, [secret])
    folders = [cell.postgres, *([index.data] if index else [])]
    reports = [scan(each, [secret]) for each in folders]
    return _table(outcomes, reports, found, secret)


async def _exercise(address: str, secret: str, config: Path | None) -> list[Outcome]:
    async with scene(address, f"payments-{secret}", secret, config=config) as the_scene:
        return await exercise(the_scene, _show)


def _show(outcome: Outcome) -> None:
    mark = "FAILED" if outcome.failure is not None else "ok" if outcome.not_run is None else "not run"
    click.echo(f"  {outcome.name:<36}{mark:<8}{outcome.seconds:6.1f} s")
    if outcome.failure is not None:
        click.echo(f"    {outcome.failure}")
    if outcome.not_run is not None:
        click.echo(f"    {outcome.not_run}")


def _table(outcomes: list[Outcome], reports: list[LeakReport], control: LeakReport, secret: str) -> bool:
    files = sum(report.files for report in reports)
    size = sum(report.bytes for report in reports)
    leaks = [place for report in reports for place in sorted(report.hits.get(secret, ()))]
    ran = [outcome for outcome in outcomes if outcome.not_run is None]
    worked = sum(outcome.failure is None for outcome in ran)
    click.echo("\nwhat held")
    click.echo(f"  steps that worked                   {worked} of {len(ran)}")
    for outcome in outcomes:
        if outcome.not_run is not None:
            click.echo(f"  NOT RUN: {outcome.name}: {outcome.not_run}")
    click.echo(f"  planted strings in the sealed files {len(leaks)} in {files} files, {size >> 20} MiB")
    click.echo(f"  the control found them              {len(control.hits.get(secret, ()))} times in the plain files")
    for place in leaks:
        click.echo(f"  LEAKED: {place}")
    return worked == len(ran) and not leaks and bool(control.hits)


if __name__ == "__main__":
    main()
