"""Write the cell of a release: `python -m tests.released.write`, once, with the commit that is tagged.

It makes `tests/released/VERSION/cell.tar.xz` and `frozen.txt`. A folder that exists is not written again, because its bytes are what
that version wrote. Needs the programs of PostgreSQL 15, the oldest version whose dumps must be readable.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import re
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

from strongroom.driver.config import load_config
from strongroom.driver.strongroom import Strongroom
from tests.released.contents import ANSWERS, CELL, DIGESTS, DSN, DUMP, EVERY, FOLDER, FROZEN, KEPT, SAMPLE
from tests.released.kept_values import to_json
from tests.support.databases import Databases
from tests.support.dumps import dumped
from tests.support.every_table import every_table
from tests.support.fixtures.command_line import command, run_command
from tests.support.services import POSTGRES
from tests.support.services.postgres import own_postgres
from tests.support.tree import ROOT


def fill(folder: Path, dsn: str) -> None:
    """Make a cell with a row in every table and in every state that a key can have, and keep what it must answer."""
    command(folder, "init", "--dsn", dsn)
    command(folder, "namespace", "create", "payments", "-a", "CustomerId=Keyword", "--prefixes", "CustomerId")
    command(folder, "namespace", "create", "records", "--preset", "strict", "--suite", "aes-256-gcm")
    command(folder, "namespace", "create", "gone")
    runs = folder / "runs.jsonl"
    runs.write_bytes(b"".join(gzip.decompress(SAMPLE.read_bytes()).splitlines(keepends=True)[::EVERY]))
    for name in ("payments", "records", "gone"):
        command(folder, "import", name, runs)
    command(folder, "keys", "rotate", "payments")
    command(folder, "import", "payments", runs)
    command(folder, "index", "rotate", "payments", "--wait", "0")
    code = command(folder, "namespace", "shred", "gone", "--confirm", "gone", "--grace", "0s")
    final = re.search(r"--final (\w+)", code)[1]
    command(folder, "namespace", "shred", "gone", "--final", final, "--certificate", "gone-erasure.json")
    kept = asyncio.run(_every_table(folder))  # makes the first owner, and gives the commands below its API key
    kept["answers"] = [[*words, run_command(folder, *words).stdout] for words in ANSWERS]
    (folder / KEPT).write_text(json.dumps(kept, indent=1, ensure_ascii=False))
    configuration = folder / "strongroom.toml"
    configuration.write_text(configuration.read_text().replace(dsn, DSN))


async def _every_table(folder: Path) -> dict[str, object]:
    async with Strongroom.open(load_config(folder / "strongroom.toml")) as cell:
        made = await every_table(cell)
        await made.read()
        identity = {"name": made.name, "namespace_id": str(made.namespace_id), "shard_id": made.shard_id}
        return {**identity, "expected": to_json(made.expected)}


def frozen() -> str:
    """Return the digests of the files that no later version changes: migrations, and vectors of the sealed format."""
    paths = sorted(path for pattern in FROZEN for path in ROOT.glob(pattern))
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(ROOT)}\n" for path in paths)


def main() -> None:
    """Write the folder of this version."""
    target = FOLDER / version("strongroom")
    if target.exists():
        sys.exit(f"{target.name} is here, and is never written again")
    with tempfile.TemporaryDirectory(prefix="postgres-") as name, own_postgres(Path(name), min(POSTGRES)) as server:
        databases = Databases(server.dsn)
        dsn = asyncio.run(databases.create())
        folder = Path(name, "cell")
        folder.mkdir()
        fill(folder, dsn)
        dumped(dsn, folder / DUMP, "--compress=0", programs=min(POSTGRES))  # `xz` packs it smaller
        target.mkdir()
        with tarfile.open(target / CELL, "w:xz") as archive:
            archive.add(folder, ".", filter=_of_nobody)
        (target / DIGESTS).write_text(frozen())


def _of_nobody(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uname = member.gname = ""
    member.uid = member.gid = 0
    return member


if __name__ == "__main__":
    main()
