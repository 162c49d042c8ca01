"""The local provider on a keyring file."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from strongroom.kms import KekRef, KeyNotFound, KeyringFileError, LocalProvider

from .kms_bench import Fault, KmsBench


@asynccontextmanager
async def local_bench():
    """Yield the bench."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "keyring.json"
        provider = LocalProvider("local", path)
        await provider.create_keyring()

        @asynccontextmanager
        async def gone(_kek):
            aside = path.rename(path.with_suffix(".aside"))
            yield provider
            aside.rename(path)

        @asynccontextmanager
        async def readable(_kek):
            path.chmod(0o644)
            yield provider
            path.chmod(0o600)

        yield KmsBench(
            name="local",
            provider=provider,
            missing=KekRef("local", "absent"),
            deleted=KeyNotFound,
            faults={"no file": Fault(KeyringFileError, gone), "readable by others": Fault(KeyringFileError, readable)},
        )
        await provider.aclose()
