"""`strongroom demo`: the whole of it on real histories, in a throw-away PostgreSQL.

Each claim is checked, and one that does not hold fails the demonstration.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from strongroom.driver.cli.show.output import console, progress_bar
from strongroom.driver.config import load_config, write_config
from strongroom.driver.importing.import_file import read_import_file
from strongroom.driver.importing.importer import import_executions
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KekRef, StrongroomError

from . import proofs as demo_proofs
from . import views as demo_views
from .embedded_postgres import embedded_postgres
from .stage import Stage, Tenant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.driver.importing.import_file import Execution

PASSPHRASE_VARIABLE = "STRONGROOM_CLINIC_PASSPHRASE"  # noqa: S105 - the name of a variable
SAMPLE = "sample/workflows.jsonl.gz"
_STEPS = (
    ("1. What a database administrator sees, and what the service reads back", demo_views.rows_as_stored),
    ("2. List filters over the sealed records", demo_views.list_filters),
    ("3. Every history read back, byte for byte", demo_proofs.read_back),
    ("4. Leak scan of the data directory, with an unsealed twin as its control", demo_proofs.leak_scan),
    ("5. Moved and altered rows", demo_proofs.tampering),
    ("6. Rotation and shredding", demo_proofs.rotation_and_shredding),
    ("7. Speed", demo_views.speed),
)


async def run_demo(keep: Path | None = None) -> bool:
    """Run the demonstration.

    Args:
        keep: an empty or new folder for database, keyrings and configuration, which stay, with the server running; None for a
            temporary folder that goes away.

    Returns:
        Whether every claim held.
    """
    started = perf_counter()
    with ExitStack() as cleanup:
        folder = _folder(keep, cleanup)
        console.print("Starting a throw-away PostgreSQL ...")
        dsn = cleanup.enter_context(embedded_postgres(folder / "postgres", keep_running=keep is not None))
        config_path = folder / "strongroom.toml"
        _configure(config_path, dsn)
        config = load_config(config_path)
        await Strongroom.init(config)
        async with Strongroom.open(config) as strongroom:
            executions = read_import_file(Path(str(files(__package__) / SAMPLE)))
            tenants = await _import(strongroom, executions)
            stage = Stage(strongroom, folder, tenants)
            failed = [title for title, step in _STEPS if not await _step(title, step, stage)]
    _conclude(failed, perf_counter() - started, keep)
    return not failed


def stop_demo(folder: Path) -> None:
    """Stop the server that `run_demo` left running in a folder.

    Raises:
        StrongroomError: there is none.
    """
    data = folder / "postgres"
    if not (data / "PG_VERSION").is_file():
        msg = f"{folder} holds no database that `strongroom demo --keep` left"
        raise StrongroomError(msg)
    with embedded_postgres(data):
        pass


async def _step(title: str, step: demo_proofs.Step, stage: Stage) -> bool:
    console.rule(f"[bold]{title}", align="left")
    held = await step(stage)
    console.print("[green]held[/]" if held else "[bold red]DID NOT HOLD[/]", end="\n\n")
    return held


def _folder(keep: Path | None, cleanup: ExitStack) -> Path:
    if keep is None:
        return Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="strongroom-demo-")))
    keep.mkdir(parents=True, exist_ok=True)
    if any(keep.iterdir()):
        msg = f"{keep} is not empty; name a new folder"
        raise StrongroomError(msg)
    return keep.resolve()


def _configure(path: Path, dsn: str) -> None:
    """Two keyrings: the cell's own, and one in the clinic's hands that its passphrase protects."""
    os.environ.setdefault(PASSPHRASE_VARIABLE, "correct horse battery staple")
    write_config(path, dsn=dsn)
    with path.open("a", encoding="utf-8") as file:
        file.write(
            f'\n[kms.clinic]\ntype = "local"\nkeyring = "clinic-keyring.json"\npassphrase_env = "{PASSPHRASE_VARIABLE}"\n'
        )


async def _import(strongroom: Strongroom, executions: Sequence[Execution]) -> tuple[Tenant, Tenant]:
    """Give orders and subscriptions to a shop, approvals and what they belong to to a clinic; each has its own KEK."""
    shop_types = {"OrderWorkflow", "SubscriptionWorkflow"}
    shares = {
        ("acme-shop", "local:acme"): [e for e in executions if e.record.workflow_type in shop_types],
        ("north-clinic", "clinic:north"): [e for e in executions if e.record.workflow_type not in shop_types],
    }
    tenants = []
    for (name, uri), share in shares.items():
        kek = KekRef.parse(uri)
        await strongroom.create_kek(kek)
        namespace = await strongroom.namespaces.create(name, kek=kek)
        with progress_bar(f"Sealing {len(share)} histories of {name}", len(share)) as advance:
            imported = await import_executions(strongroom, namespace, share, progress=advance)
        console.print(
            f"  {imported.nodes} history nodes and {imported.records} visibility records, keys wrapped by {uri}"
        )
        tenants.append(Tenant(await strongroom.namespaces.get(name), tuple(share)))
    console.print()
    return tenants[0], tenants[1]


def _conclude(failed: list[str], seconds: float, keep: Path | None) -> None:
    if failed:
        console.print(f"[bold red]{len(failed)} of {len(_STEPS)} claims did not hold:[/] " + "; ".join(failed))
    else:
        console.print(f"[bold green]All {len(_STEPS)} claims held[/], in {seconds:.0f} s.")
    if keep is not None:
        console.print(
            f"\nThe database is left running. Look around with\n"
            f"  strongroom --config {keep}/strongroom.toml query acme-shop \"CustomerId = 'cust-00001'\"\n"
            f"(set {PASSPHRASE_VARIABLE} as for this run) and stop it with\n  strongroom demo --stop {keep}"
        )
