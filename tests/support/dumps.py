"""Dump a cell's schema and restore it with PostgreSQL's own programs, as the owner of both databases."""

from __future__ import annotations

import subprocess

from tests.support.services import POSTGRES
from tests.support.services.postgres import programs_of

NEWEST = max(POSTGRES)


def dumped(source, path, *options, programs=NEWEST):
    """Write a dump of the schema of a cell, with the programs of a version of PostgreSQL."""
    program = programs_of(programs) / "pg_dump"
    subprocess.run([program, "--format=custom", "--schema=strongroom", *options, f"--file={path}", source], check=True)


def restored(path, target, *, programs=NEWEST):
    """Restore a dump into an empty database."""
    program = programs_of(programs) / "pg_restore"
    flags = ("--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error")
    subprocess.run([program, *flags, f"--dbname={target}", path], check=True)
