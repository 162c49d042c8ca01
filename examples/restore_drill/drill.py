"""Back a cell up, restore it into an empty database, and check that the parts fit together."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from strongroom.driver import LocalKms, load_config


def run(*command: str | Path) -> None:
    """Run a program of PostgreSQL. It must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command[0]}: {done.stderr.strip()}")


def drill(path: Path, target: str, programs: Path, folder: Path) -> int:
    """Run the drill in a folder, and return the exit code of `strongroom backup check`."""
    config = load_config(path)
    dump = folder / "strongroom.dump"
    # The database first: every other part must be at least as new (docs/how-to/backup-and-restore.md).
    run(programs / "pg_dump", "--format=custom", "--schema=strongroom", f"--file={dump}", config.dsn)
    copies: list[str] = []
    for provider_id, section in config.kms.items():
        if isinstance(section, LocalKms):
            copy = shutil.copy2(section.keyring, folder / f"{provider_id}.json")
            copies += ["--keyring", f"{provider_id}={copy}"]
    if config.audit_folder is not None:
        copies += ["--audit", str(shutil.copytree(config.audit_folder, folder / "audit"))]
    flags = ("--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error")
    run(programs / "pg_restore", *flags, f"--dbname={target}", dump)
    check = [
        Path(sys.executable).with_name("strongroom"),
        "--config",
        path,
        "backup",
        "check",
        "--dsn",
        target,
        "--json",
    ]
    done = subprocess.run([*check, *copies], capture_output=True, text=True, check=False)
    if done.returncode not in {0, 1}:
        sys.exit(done.stderr)
    report = json.loads(done.stdout)
    for finding in report["findings"]:
        sys.stdout.write(f"{finding['state']:8}{finding['group']}, {finding['check']}: {finding['text']}\n")
    sys.stdout.write(f"{report['summary']}\n")
    return done.returncode


def main() -> int:
    """Read the command line, and run the drill in a folder that only this user can read."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path, help="configuration of the cell")
    parser.add_argument("target", help="connection string of an empty database")
    parser.add_argument("--programs", type=Path, default=Path(), help="folder of pg_dump and pg_restore")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="strongroom-drill-") as name:
        return drill(arguments.config, arguments.target, arguments.programs, Path(name))


if __name__ == "__main__":
    sys.exit(main())
