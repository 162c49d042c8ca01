"""`strongroom demo`: seven claims, checked on real histories in a throw-away PostgreSQL.

If a claim does not hold, the demonstration fails.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from strongroom.driver.config import load_config, write_config
from strongroom.driver.importing.import_file import read_import_file
from strongroom.driver.importing.importer import import_executions
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KekRef, StrongroomError

from . import proofs as demo_proofs
from . import views as demo_views
from .embedded_postgres import create_plain_database, embedded_postgres
from .stage import Stage, Tenant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.driver.importing.import_file import Execution

    from .terminal import Terminal

PASSPHRASE_VARIABLE = "STRONGROOM_CLINIC_PASSPHRASE"  # noqa: S105 - the name of a variable
SAMPLE = "sample/workflows.jsonl.gz"
_STEPS = (
    ("1. What a database administrator sees, and what the service reads back", demo_views.rows_as_stored),
    ("2. List filters over the sealed records", demo_views.list_filters),
    ("3. Every history read back, byte for byte", demo_proofs.read_back),
    ("4. Leak scan of the data directory, with an unsealed copy as its control", demo_proofs.leak_scan),
    ("5. Moved and altered rows", demo_proofs.tampering),
    ("6. Rotation and shredding", demo_proofs.rotation_and_shredding),
    ("7. Speed", demo_views.speed),
)


async def run_demo(keep: Path | None, terminal: Terminal) -> bool:
    """Run the demonstration.

    Args:
        keep: A new or empty folder for the database, the keyrings and the configuration, in which the server stays running; None for a
            temporary folder that is deleted at the end.
        terminal: The output.

    Returns:
        Whether every claim held.

    Raises:
        StrongroomError: The folder is not empty, or the server does not start.
    """
    started = perf_counter()
    with ExitStack() as cleanup:
        folder = _folder(keep, cleanup)
        terminal.line("Starting a throw-away PostgreSQL ...")
        superuser_dsn = cleanup.enter_context(embedded_postgres(folder / "postgres", keep_running=keep is not None))
        config_path = folder / "strongroom.toml"
        _configure(config_path, await create_plain_database(superuser_dsn))
        config = load_config(config_path)
        await Strongroom.init(config)
        async with Strongroom.open(config) as strongroom:
            executions = read_import_file(Path(str(files(__package__) / SAMPLE)))
            tenants = await _import(strongroom, executions, terminal)
            stage = Stage(strongroom, terminal, folder, superuser_dsn, tenants)
            failed = [title for title, step in _STEPS if not await _step(title, step, stage)]
    _conclude(terminal, failed, perf_counter() - started, keep)
    return not failed


def stop_demo(folder: Path) -> None:
    """Stop the server that `run_demo` left running in a folder.

    Raises:
        StrongroomError: The folder holds no database of a kept demonstration.
    """
    data = folder / "postgres"
    if not (data / "PG_VERSION").is_file():
        msg = f"{folder} holds no database of `strongroom demo --keep`; name the folder that --keep was given"
        raise StrongroomError(msg)
    with embedded_postgres(data):
        pass


async def _step(title: str, step: demo_proofs.Step, stage: Stage) -> bool:
    stage.terminal.title(title)
    held = await step(stage)
    stage.terminal.line("held" if held else "DID NOT HOLD", outcome="held" if held else "failed")
    stage.terminal.line()
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
    """Write a configuration with two keyrings: the cell's own, and the clinic's, which has a passphrase."""
    os.environ.setdefault(PASSPHRASE_VARIABLE, "correct horse battery staple")
    write_config(path, dsn=dsn)
    with path.open("a", encoding="utf-8") as file:
        file.write(
            f'\n[kms.clinic]\ntype = "local"\nkeyring = "clinic-keyring.json"\npassphrase_env = "{PASSPHRASE_VARIABLE}"\n'
        )


async def _import(strongroom: Strongroom, executions: Sequence[Execution], terminal: Terminal) -> tuple[Tenant, Tenant]:
    """Import orders and subscriptions for a shop and the other workflows for a clinic. Each has a KEK of its own."""
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
        with terminal.progress(f"Sealing {len(share)} histories of {name}", len(share)) as advance:
            imported = await import_executions(strongroom, namespace, share, progress=advance)
        terminal.line(
            f"  {imported.nodes} history nodes and {imported.records} visibility records, keys wrapped by {uri}"
        )
        tenants.append(Tenant(await strongroom.namespaces.get(name), tuple(share)))
    terminal.line()
    return tenants[0], tenants[1]


def _conclude(terminal: Terminal, failed: list[str], seconds: float, keep: Path | None) -> None:
    if failed:
        terminal.line(f"{len(failed)} of {len(_STEPS)} claims did not hold: {'; '.join(failed)}", outcome="failed")
    else:
        terminal.line(f"All {len(_STEPS)} claims held, in {seconds:.0f} s.", outcome="held")
    if keep is not None:
        terminal.line(
            f"\nThe database is still running. Look around with\n"
            f"  strongroom --config {keep}/strongroom.toml query acme-shop \"CustomerId = 'cust-00001'\"\n"
            f"(set {PASSPHRASE_VARIABLE} as for this run) and stop it with\n  strongroom demo --stop {keep}"
        )
