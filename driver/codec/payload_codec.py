"""A payload codec for Temporal's Python SDK. It seals payloads before a worker sends them to the service.

codec = SealedPayloadCodec(strongroom.keyring, payments.namespace_id)
client = await Client.connect(..., data_converter=DataConverter(payload_codec=codec))
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from strongroom.kms import (
    IntegrityError,
    KeyDestroyed,
    KeyDisabled,
    KeyNotFound,
    StrongroomError,
    UnsupportedFormat,
)
from strongroom.kms.sealing.record_kinds import TEMPORAL_PAYLOAD
from strongroom.storage import OFF_LOOP_BYTES, ROW_BYTES, open_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from strongroom.kms import Keyring

    _Row = tuple[tuple[str], bytes]

ENCODING = "binary/encrypted"
"""The encoding of a sealed payload. It is the only metadata in clear, and is bound to the sealed value as the row's key."""
_KEY = (ENCODING,)
_NOT_OURS = (IntegrityError, KeyDestroyed, KeyDisabled, KeyNotFound)
"""Errors of a payload that another namespace may have sealed. The version of its key may have another state in this namespace."""


class SealedPayloadCodec(PayloadCodec):
    """Seals and opens the payloads of one namespace; see `temporalio.converter.PayloadCodec`.

    Args:
        keyring: The keyring of an open cell. Use a codec in the event loop in which the cell was opened.
        namespace_id: The namespace of the payloads.
        pass_unsealed: Whether `decode` returns unsealed payloads unchanged instead of refusing them. Use it for a namespace with
            workflows from before this codec. Any caller that can write to the service can then replace payloads with unsealed ones.
        partners: Namespaces whose payloads `decode` opens too: those of the callers and the handlers of Nexus operations, whose
            arguments and results cross namespaces. Any caller that can write to the service can then replace payloads of this
            namespace with payloads of a partner.
    """

    def __init__(
        self,
        keyring: Keyring,
        namespace_id: UUID,
        *,
        pass_unsealed: bool = False,
        partners: Sequence[UUID] = (),
    ) -> None:
        self._keyring = keyring
        self._namespace_id = namespace_id
        self._pass_unsealed = pass_unsealed
        self._partners = tuple(partners)

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Seal payloads, each as a whole with its metadata.

        Raises:
            KmsError: The namespace has no key that seals.
            SealingLimitExceeded: There are too many payloads, or one is too long.
        """
        if not payloads:
            return []
        keys = await self._keyring.open(self._namespace_id)
        rows = [(_KEY, payload.SerializeToString(deterministic=True)) for payload in payloads]
        if sum([len(plaintext) + ROW_BYTES for _, plaintext in rows]) < OFF_LOOP_BYTES:
            sealed = keys.seal_many(TEMPORAL_PAYLOAD, rows)
        else:
            sealed = await asyncio.to_thread(keys.seal_many, TEMPORAL_PAYLOAD, rows)
        return [Payload(metadata={"encoding": ENCODING.encode()}, data=value) for value in sealed]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Open payloads, all of them or none.

        Raises:
            IntegrityError: A payload was altered, or sealed in a namespace that is no partner, or in another cell.
            UnsupportedFormat: A payload is not sealed.
            KmsError: A key can't be used, or is destroyed.
        """
        rows = [(_KEY, payload.data) for payload in payloads if _is_sealed(payload)]
        if len(rows) != len(payloads) and not self._pass_unsealed:
            raise UnsupportedFormat
        if not rows:
            return list(payloads)
        try:
            opened = iter(await self._open(self._namespace_id, rows))
        except _NOT_OURS:
            if not self._partners:
                raise
            opened = iter([await self._open_one(row) for row in rows])
        return [_payload(next(opened)) if _is_sealed(payload) else payload for payload in payloads]

    async def _open_one(self, row: _Row) -> bytes:
        """Open a payload with the keys of this namespace, or with those of the first partner that can open it."""
        failure: StrongroomError | None = None
        for namespace_id in (self._namespace_id, *self._partners):
            try:
                return (await self._open(namespace_id, [row]))[0]
            except _NOT_OURS as error:
                failure = failure or error
        raise failure or IntegrityError

    async def _open(self, namespace_id: UUID, rows: Sequence[_Row]) -> Sequence[bytes]:
        size = sum([len(sealed) + ROW_BYTES for _, sealed in rows])
        return await open_rows(self._keyring, namespace_id, size, lambda keys: keys.open_many(TEMPORAL_PAYLOAD, rows))


def _is_sealed(payload: Payload) -> bool:
    return payload.metadata.get("encoding") == ENCODING.encode()


def _payload(plaintext: bytes) -> Payload:
    try:
        return Payload.FromString(plaintext)
    except DecodeError:
        raise IntegrityError from None  # only a holder of the key can have sealed it
