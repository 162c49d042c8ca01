"""The local keyring files of a cell: create them, and compare each with the registry's record of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.kms import KeyringDiverged, KeyringFileError, LocalProvider, ResilientProvider

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.kms import KmsProvider


def keyring_files(providers: Mapping[str, KmsProvider]) -> dict[str, LocalProvider]:
    """Return the providers whose KEKs are in a keyring file, by their ids."""
    found = {}
    for provider_id, provider in providers.items():
        inner = provider.inner if isinstance(provider, ResilientProvider) else provider
        if isinstance(inner, LocalProvider):
            found[provider_id] = inner
    return found


async def check_keyring_files(providers: Mapping[str, KmsProvider]) -> None:
    """Compare each keyring file with the registry's record, and record changes that the registry lacks.

    Args:
        providers: The cell's providers. The first one has the cell's own KEK. Others are checked when a namespace needs them, so
            that their file may be missing.

    Raises:
        KeyringDiverged: A file is not the copy that made the cell's newest KEKs.
        KeyringFileError: The file of the first provider can't be read.
    """
    for provider_id, local in keyring_files(providers).items():
        try:
            await local.check_registered()
        except KeyringFileError as error:
            if isinstance(error, KeyringDiverged) or provider_id == next(iter(providers)):
                raise


async def create_keyring_files(providers: Mapping[str, KmsProvider], in_use: set[str]) -> None:
    """Create the keyring files that no key depends on yet, and check all providers.

    Args:
        providers: The cell's providers.
        in_use: The ids of the providers that wrap keys. A missing file of one of these must be restored from a backup.

    Raises:
        KeyringFileError: A file can't be created or used.
        KmsError: A KMS can't be used.
    """
    for provider_id, local in keyring_files(providers).items():
        if provider_id not in in_use:
            await local.create_keyring()
    for provider in providers.values():
        await provider.check()
    await check_keyring_files(providers)
