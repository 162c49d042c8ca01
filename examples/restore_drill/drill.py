"""Back a cell up, restore it into an empty database, and check that the parts fit together."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from strongroom.driver import LocalKms, load_config


def run(*command: str | Path, environment: dict[str, str]) -> None:
    """Run a program of PostgreSQL with more variables in its environment. It must succeed."""
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command[0]}: {done.stderr.strip()}")


def for_libpq(dsn: str) -> tuple[str, dict[str, str]]:
    """Return a connection string without its password, and the environment with it: every user can see a program's arguments."""
    parts = urlsplit(dsn)
    user, _, host = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    query = dict(parse_qsl(parts.query))
    password = query.pop("password", unquote(password))
    server = f"{name}@{host}" if name else host
    parameters = f"?{urlencode(query)}" if query else ""
    return f"{parts.scheme}://{server}{parts.path}{parameters}", {"PGPASSWORD": password} if password else {}


def drill(path: Path, target: str, programs: Path, folder: Path) -> int:
    """Run the drill in a folder, and return the exit code of `strongroom backup check --rows`."""
    config = load_config(path)
    source, environment = for_libpq(config.dsn)
    dump = folder / "strongroom.dump"
    # The database first: every other part must be at least as new (docs/how-to/backup-and-restore.md).
    run(
        programs / "pg_dump",
        "--format=custom",
        "--schema=strongroom",
        f"--file={dump}",
        source,
        environment=environment,
    )
    copies: list[str] = []
    for provider_id, section in config.kms.items():
        if isinstance(section, LocalKms):
            copy = shutil.copy2(section.keyring, folder / f"{provider_id}.json")
            copies += ["--keyring", f"{provider_id}={copy}"]
    if config.audit_folder is not None:
        copies += ["--audit", str(shutil.copytree(config.audit_folder, folder / "audit"))]
    flags = ("--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error")
    restored, environment = for_libpq(target)
    run(programs / "pg_restore", *flags, f"--dbname={restored}", dump, environment=environment)
    # --rows compares each row with the journal, as `strongroom verify` does in a cell that is in use.
    strongroom = Path(sys.executable).with_name("strongroom")
    check = [strongroom, "--config", path, "backup", "check", "--rows", "--json"]
    in_target = {**os.environ, "STRONGROOM_DSN": target}
    done = subprocess.run([*check, *copies], env=in_target, capture_output=True, text=True, check=False)
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
    parser.add_argument("target", nargs="?", help="connection string of an empty database; or set DRILL_DSN")
    parser.add_argument("--programs", type=Path, default=Path(), help="folder of pg_dump and pg_restore")
    arguments = parser.parse_args()
    target = arguments.target or os.environ.get("DRILL_DSN")
    if not target:
        parser.error("name an empty database, as an argument or in the environment variable DRILL_DSN")
    with tempfile.TemporaryDirectory(prefix="strongroom-drill-") as name:
        return drill(arguments.config, target, arguments.programs, Path(name))


if __name__ == "__main__":
    sys.exit(main())
