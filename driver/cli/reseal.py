"""Commands that reseal old rows, and destroy data keys that nothing uses."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from strongroom.kms import KeyDestroyed
from strongroom.storage import KeyInUse, destroy_retired_key, retired_versions
from strongroom.storage.keys.reseal_progress import RATE

from .cell import with_cell
from .commands import MOST_WAIT, Command, FiniteRange, refuse, refuse_unused
from .forgetting import RETIRE_KEK_VERSIONS, retire_keks
from .show.output import busy, json_wanted, line, progress_bar, result

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType
    from typing import Self
    from uuid import UUID

    from strongroom.driver.strongroom import Strongroom
    from strongroom.storage import Reseal, Resealed

_STEPS = {
    "scan": "{} rows scanned ...",
    "wait": "waiting until every process uses the newest key: {} s (can be interrupted and run again)",
    "index": "{} documents of older keys in the search index ...",
}
_NAMED = 20
_NAMESPACE = click.argument("namespace_name", metavar="[NAMESPACE]", required=False)
_CELL = click.option("--cell", "of_cell", is_flag=True, help="The cell's own keys and rows, in place of a namespace's.")
_WAIT = click.option(
    "--wait",
    type=FiniteRange(0, MOST_WAIT),
    metavar="SECONDS",
    help="Time until every process has read the registry again. Default: encrypt_ttl_seconds and 100 s.",
)

_NO_PAYLOADS = click.option(
    "--no-payloads",
    is_flag=True,
    help="Confirm that no workflow holds a payload that a worker sealed with an older key. A scan can't find those.",
)


@click.command(
    "reseal",
    cls=Command,
    epilog="\b\nExamples:\n  strongroom keys rotate payments && strongroom keys reseal payments\n"
    "  strongroom keys reseal payments --rate 500 --destroy\n  strongroom keys reseal --cell\n"
    "  strongroom keys reseal payments --wait 0   # only if no other process has the cell open",
)
@_NAMESPACE
@_CELL
@click.option(
    "--rate",
    type=click.IntRange(min=0),
    default=RATE,
    show_default=True,
    metavar="ROWS",
    help="Maximum of rows a second; 0 for no limit.",
)
@click.option("--destroy", is_flag=True, help="Then destroy every older key that nothing uses, as a scan proves.")
@_WAIT
@_NO_PAYLOADS
@RETIRE_KEK_VERSIONS
@click.pass_obj
def reseal(
    config_path: Path,
    namespace_name: str | None,
    of_cell: bool,
    rate: int,
    destroy: bool,
    wait: float | None,
    no_payloads: bool,
    retire_kek_versions: str | None,
) -> None:
    """Reseal all rows under older data keys with the active one. Services keep reading and writing.

    An interrupted run continues where it stopped. Rows that do not open are not changed. They are named, and the command ends with 1.
    """
    _check_owner(namespace_name, of_cell=of_cell)
    if not destroy:
        unused = {"no_payloads": "--no-payloads", "retire_kek_versions": "--retire-kek-versions"}
        refuse_unused(unused, "it is about a destruction; add --destroy, or leave it out")

    async def run(strongroom: Strongroom) -> None:
        owner = await _owner(strongroom, namespace_name)
        if destroy and not of_cell:
            _ask_for_payloads(strongroom, no_payloads=no_payloads)
        work = strongroom.reseal(wait=wait)
        # It waits without --destroy too: exit code 0 states that no row of an older key is left, and other processes still write some.
        with _Shown() as shown:
            done = await work.run(owner, rate=rate, progress=shown)
        _print(done)
        outcomes = await _destroy(work, owner, await retired_versions(work, owner)) if destroy else []
        keks = await retire_keks(strongroom, owner, retire_kek_versions, wait=wait) if destroy else []
        if json_wanted():
            result({**_document(done), "versions": outcomes, "keks": keks})
        if done.unreadable or any(each["kept"] for each in outcomes):
            raise click.exceptions.Exit(1)

    with_cell(config_path, run, "keys.reseal", name=namespace_name)


@click.command(
    "destroy",
    cls=Command,
    epilog="\b\nExamples:\n  strongroom keys destroy payments --version 1\n  strongroom keys destroy --cell --version 1\n"
    "  strongroom keys destroy payments --version 1 --retire-kek-versions vault:payments",
)
@_NAMESPACE
@_CELL
@click.option(
    "--version", type=click.IntRange(min=1), required=True, help="Version of the data key, from `strongroom keys list`."
)
@_WAIT
@_NO_PAYLOADS
@RETIRE_KEK_VERSIONS
@click.pass_obj
def destroy_key(
    config_path: Path,
    namespace_name: str | None,
    of_cell: bool,
    version: int,
    wait: float | None,
    no_payloads: bool,
    retire_kek_versions: str | None,
) -> None:
    """Destroy an older data key permanently, if a scan of all sealed columns and of the search index proves that nothing uses it.

    If something uses the key, its places are printed, nothing is destroyed, and the command ends with 1: reseal first. The KMS still
    unwraps the destroyed key if its old row is put back. --retire-kek-versions makes it forget, where it can: the KEK is rotated, its
    other keys are wrapped again, and the older versions are retired. Take a backup before and after it, and copy a local keyring file
    to the other hosts of the cell at once. If the command is interrupted, run it again.
    """
    _check_owner(namespace_name, of_cell=of_cell)

    async def run(strongroom: Strongroom) -> None:
        owner = await _owner(strongroom, namespace_name)
        if not of_cell:
            _ask_for_payloads(strongroom, no_payloads=no_payloads)
        outcomes = await _destroy(strongroom.reseal(wait=wait), owner, [version])
        is_kept = any(each["kept"] for each in outcomes)
        keks = [] if is_kept else await retire_keks(strongroom, owner, retire_kek_versions, wait=wait)
        if json_wanted():
            result({"versions": outcomes, "keks": keks})
        if is_kept:
            raise click.exceptions.Exit(1)

    with_cell(config_path, run, "keys.destroy", name=namespace_name, version=version)


def _check_owner(name: str | None, *, of_cell: bool) -> None:
    if (name is None) != of_cell:
        refuse("give either NAMESPACE or --cell")
    if of_cell:
        because = "the cell's own keys seal no payloads; leave it out"
        refuse_unused({"no_payloads": "--no-payloads"}, because)


async def _owner(strongroom: Strongroom, name: str | None) -> UUID:
    return strongroom.keyring.cell_id if name is None else await strongroom.namespaces.find(name)


def _ask_for_payloads(strongroom: Strongroom, *, no_payloads: bool) -> None:
    if strongroom.config.codec_server is not None and not no_payloads:
        msg = (
            "workers may have sealed payloads with this namespace's keys, because there is a section [codec_server]. "
            "A scan can't find those. Add --no-payloads if no retained workflow is older than the last rotation"
        )
        raise click.UsageError(msg)


async def _destroy(work: Reseal, owner: UUID, versions: list[int]) -> list[dict[str, object]]:
    """Destroy versions, and return for each its outcome. A version that is in use is kept."""
    outcomes: list[dict[str, object]] = []
    for version in versions:
        outcome: dict[str, object] = {"version": version, "kept": False, "reason": None, "resealed_late": 0}
        outcomes.append(outcome)
        try:
            with _Shown() as shown:
                late = await destroy_retired_key(work, owner, version, progress=shown)
        except KeyInUse as error:
            _say(str(error))
            outcome |= {"kept": True, "reason": str(error)}
        except KeyDestroyed:
            _say(f"version {version} was destroyed before")
        else:
            outcome["resealed_late"] = late
            also = f"; {late} rows that were written meanwhile were resealed" if late else ""
            _say(f"version {version} is destroyed: nothing used it{also}")
    if any(each["kept"] for each in outcomes):
        _say("reseal the rows that open with `strongroom keys reseal`; repair or delete the others")
    return outcomes


def _document(done: Resealed) -> dict[str, object]:
    return {
        "version": done.version,
        "found": done.found,
        "resealed": done.resealed,
        "unreadable": done.unreadable,
        "named": [str(row) for row in done.named],
        "seconds": done.seconds,
    }


def _say(text: str) -> None:
    if not json_wanted():
        line(text)


def _print(done: Resealed) -> None:
    resealed, unreadable = sum(done.resealed.values()), sum(done.unreadable.values())
    rate = f", {resealed / done.seconds:,.0f} a second" if resealed and done.seconds else ""
    _say(f"{resealed} of {max(done.found, resealed + unreadable)} rows resealed with version {done.version}{rate}")
    for name, count in sorted(done.resealed.items()):
        _say(f"  {name} {count}")
    if not unreadable:
        return
    _say(f"{unreadable} rows do not open, and were not changed:")
    for row in done.named[:_NAMED]:
        _say(f"  {row}")
    if unreadable > _NAMED:
        _say(f"  and {unreadable - _NAMED} more")


class _Shown:
    """Shows the steps of a run: a progress bar for rows, and a line for other steps."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._status: Callable[[str], None] | None = None
        self._total: int | None = None
        self._bar: Callable[[int], None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def __call__(self, step: str, number: int) -> None:
        if step == "total":
            self._total = number
        elif step == "reseal":
            if self._bar is None:
                self._stack.close()
                self._status = None
                self._bar = self._stack.enter_context(progress_bar("Resealing", max(self._total or 0, number)))
            self._bar(number)
        else:
            if self._status is None:
                self._stack.close()
                self._bar = None
                self._status = self._stack.enter_context(busy())
            self._status(_STEPS[step].format(number))
