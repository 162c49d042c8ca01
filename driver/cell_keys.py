"""The keyring of a cell, and the comparison of the cell's own keys with its configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.kms import KekRef, Keyring, check_commitment, check_pin
from strongroom.storage import PostgresDataKeyStore
from strongroom.storage.keys.registry_heads import RegistryHeads

from .config.kms import LocalKms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.kms import DataKeyRecord, KeyEventSink, KeyWatch, KmsProvider, SigningKey
    from strongroom.storage import Database

    from .config import StrongroomConfig


def new_keyring(
    config: StrongroomConfig,
    registry: Database,
    *,
    providers: Mapping[str, KmsProvider],
    key_events: KeyEventSink,
    watch: KeyWatch | None,
) -> Keyring:
    """Return the keyring of a cell.

    Args:
        config: The cell's configuration.
        registry: The connection of the key registry.
        providers: The KMS providers, by their ids.
        key_events: Receives changes of keys.
        watch: Receives reports on sealing; None for none.
    """
    heads = RegistryHeads(config.cell.cell_id, lambda: keyring.registry.key())  # noqa: PLW0108 - the keyring is made after it
    keyring = Keyring(
        cell_id=config.cell.cell_id,
        providers=providers,
        store=PostgresDataKeyStore(registry, heads),
        region=config.cell.region,
        kek_regions=config.kek_regions,
        commitment=config.cell_commitment,
        policy=config.cache,
        key_events=key_events,
        watch=watch,
    )
    return keyring


def first_cell_kek(config: StrongroomConfig) -> KekRef:
    """Return the KEK that `init` makes for a cell's own keys, in the first provider.

    A keyring file belongs to one cell. Several cells may use one KMS, so there the name has the beginning of the cell's id. A KEK of
    two cells would be unsafe to delete, because each cell knows only its own keys.
    """
    provider, section = next(iter(config.kms.items()))
    return KekRef(provider, "cell" if isinstance(section, LocalKms) else f"cell-{config.cell.cell_id.hex[:8]}")


async def audit_key(keyring: Keyring) -> SigningKey:
    """Return the key that signs the cell's audit logs and anchors.

    Raises:
        KmsError, StorageError: The cell's own keys can't be opened.
    """
    return (await keyring.open(keyring.cell_id)).audit_key()


async def cell_keys(keyring: Keyring) -> Sequence[DataKeyRecord]:
    """Return the registry's rows of the cell's own keys as the database has them. No KMS is called."""
    return await keyring.store.list_unverified(keyring.cell_id)


async def check_cell_keys(keyring: Keyring, config: StrongroomConfig) -> None:
    """Compare the cell's own keys in the registry with the pin of the configuration, or with its commitment alone.

    Raises:
        PinMismatch: They are not the keys that the configuration names.
    """
    if config.cell_pin is not None:
        check_pin(await cell_keys(keyring), config.cell_pin)
    elif config.cell_commitment is not None:
        check_commitment(await cell_keys(keyring), config.cell_commitment)
