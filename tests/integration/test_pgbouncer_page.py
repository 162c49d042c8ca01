from __future__ import annotations

import asyncio
import shlex
import tempfile
from pathlib import Path

import asyncpg
import pytest

from strongroom.driver.config import load_config
from strongroom.driver.doctor import examine
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KekRef
from strongroom.storage import NO_NAMESPACE
from tests.support.elasticsearch_node.node import free_ports
from tests.support.fixtures.command_line import faults, run_command
from tests.support.fixtures.contract import new_shard
from tests.support.fixtures.executions import RUNNING, Workflow
from tests.support.pages import code_blocks
from tests.support.services import or_skip
from tests.support.services.pgbouncer import pgbouncer_of
from tests.support.services.postgres import own_postgres
from tests.support.tree import ROOT

pytestmark = pytest.mark.integration

BLOCKS = {(block.language, block.label): block.text for block in code_blocks(ROOT / "docs" / "how-to" / "pgbouncer.md")}


@pytest.fixture
def folders():
    """Folders for the server, for PgBouncer, and for the cell."""
    with tempfile.TemporaryDirectory(prefix="strongroom-page-") as folder:
        Path(folder).chmod(0o755)
        made = [Path(folder, name) for name in ("postgres", "pgbouncer", "cell")]
        for each in made:
            each.mkdir()
        yield made


async def prepare(dsn):
    """Run the statements of the page as an administrator."""
    admin = await asyncpg.connect(dsn)
    for statement in BLOCKS["sql", "as an administrator"].strip().split("\n"):
        await admin.execute(statement)
    await admin.close()


async def test_the_page_about_pgbouncer(folders):
    """The page's roles, configuration and commands make a cell through PgBouncer that reads, writes, lists and is notified."""
    server_folder, pooler_folder, cell_folder = folders
    (port,) = free_ports(1)
    with or_skip(own_postgres(server_folder, 18)) as server:
        await prepare(server.dsn)
        files = {
            "pgbouncer.ini": BLOCKS["ini", "pgbouncer.ini"]
            .replace("host=127.0.0.1 port=5432", f"host={server.folder} port=5432")
            .replace("6432", str(port))
            .replace("/etc/pgbouncer/userlist.txt", str(pooler_folder / "userlist.txt")),
            "userlist.txt": BLOCKS["text", "userlist.txt"],
        }
        with or_skip(pgbouncer_of(pooler_folder, server.dsn, files, port)):
            for line in BLOCKS["sh", ""].replace("6432", str(port)).splitlines():
                program, *arguments = shlex.split(line)
                settings = {}
                while "=" in program:  # a variable in front of the command
                    name, _, settings[name] = program.partition("=")
                    program, *arguments = arguments
                if program == "strongroom":
                    done = await asyncio.to_thread(run_command, cell_folder, *arguments, environment=settings)
                    assert (done.returncode, faults(done.stderr)) == (0, ""), line
                else:
                    process = await asyncio.create_subprocess_exec(program, *arguments, cwd=cell_folder)
                    assert await process.wait() == 0
            await the_cell_works(cell_folder / "strongroom.toml")


async def the_cell_works(path):
    """Check `doctor`, row-level security, writes, reads, lists and notifications of a cell."""
    findings = {finding.check: finding for finding in await examine(path)}
    assert all(finding.ok for finding in findings.values()), findings
    assert "through PgBouncer" in findings["sessions"].text
    assert findings["row-level security"].text == "row-level security applies to strongroom_driver"
    assert findings["notifications of keys"].ok
    config = load_config(path)
    assert ":driver-secret@127.0.0.1:" in config.dsn
    async with Strongroom.open(config) as cell:
        namespace = await cell.namespaces.create("payments", kek=await cell.create_kek(KekRef.parse("local:payments")))
        workflow = Workflow(cell, namespace.namespace_id, await new_shard(cell), "order 1")
        run = await workflow.create(workflow.snapshot(of=RUNNING))
        assert (await workflow.get(run.run_id)).db_record_version == 1
        heard, ready = asyncio.Event(), asyncio.Event()
        listening = asyncio.create_task(cell.database.listen("page", lambda _: heard.set(), listening=ready.set))
        async with asyncio.timeout(60):
            await ready.wait()
            async with cell.by_key.connection(NO_NAMESPACE) as connection:
                await connection.execute("NOTIFY page")
            await heard.wait()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
