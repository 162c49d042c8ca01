"""A keyring that has the keys of a cell, without a KMS and a database."""

from __future__ import annotations

from uuid import UUID

from strongroom.kms import KeyClass, NamespaceKeys, Secret, Suite
from strongroom.kms.keys.data_key import DataKey, Lease
from strongroom.kms.sealing import ciphers

CELL = UUID(int=1)


def cell_keys():
    """Return keys of a cell."""
    key = DataKey(Secret(bytes(32)), version=1, suite=Suite.XAES_256_GCM, lease=Lease(2**40), cipher=ciphers.PYTHON)
    identity = {1: Secret(bytes(range(32)))}
    active = {KeyClass.DATA: 1, KeyClass.IDENTITY: 1}
    return NamespaceKeys(cell_id=CELL, namespace_id=CELL, data={1: key}, index={}, identity=identity, active=active)


class OneKeyring:
    """A keyring that has the cell's keys."""

    cell_id = CELL

    def __init__(self):
        self.keys = cell_keys()

    async def open(self, _namespace_id):
        """Return the keys."""
        return self.keys
