"""The multi-provider over two keyring files."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from strongroom.kms import KekRef, KeyNotFound, KeyringFileError, LocalProvider
from strongroom.kms.providers.multi import MultiProvider

from .kms_bench import Fault, KmsBench

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class TwoKeyrings:
    """Two local providers in a folder.

    Attributes:
        folder: The folder with a keyring file for each provider.
        providers: The providers by their ids, `one` and `two`.
    """

    folder: Path
    providers: Mapping[str, LocalProvider]

    def path(self, provider_id):
        """Return the keyring file of a provider."""
        return self.folder / f"{provider_id}.json"


@asynccontextmanager
async def two_keyrings():
    """Yield two keyrings."""
    with TemporaryDirectory() as folder:
        made = TwoKeyrings(
            Path(folder), {name: LocalProvider(name, Path(folder) / f"{name}.json") for name in ("one", "two")}
        )
        for provider in made.providers.values():
            await provider.create_keyring()
        yield made


@asynccontextmanager
async def multi_bench():
    """Yield the bench."""
    async with two_keyrings() as keyrings:
        provider = MultiProvider("multi", keyrings.providers)
        paths = [keyrings.path("one"), keyrings.path("two")]

        @asynccontextmanager
        async def gone(_kek):
            for path in paths:
                path.rename(path.with_suffix(".aside"))
            yield provider
            for path in paths:
                path.with_suffix(".aside").rename(path)

        @asynccontextmanager
        async def readable(_kek):
            for path in paths:
                path.chmod(0o644)
            yield provider
            for path in paths:
                path.chmod(0o600)

        yield KmsBench(
            name="multi",
            provider=provider,
            missing=KekRef("multi", "one:absent,two:absent"),
            deleted=KeyNotFound,
            children=keyrings.providers,
            faults={"no files": Fault(KeyringFileError, gone), "readable by others": Fault(KeyringFileError, readable)},
        )
        await provider.aclose()
