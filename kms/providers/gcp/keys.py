"""Create, rotate, describe and delete keys in Cloud KMS. A CryptoKey itself has no state; its versions have one."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC
from typing import TYPE_CHECKING, Any

from google.cloud.kms_v1.types import resources, service

from strongroom.kms.errors import InvalidRequest, KeyConflict, KmsError, KmsTimeout, UnsupportedOperation
from strongroom.kms.provider import KekInfo

from .errors import of_state

if TYPE_CHECKING:
    from strongroom.kms.provider import KekRef

    from .channel import GcpChannel

KEY_RING = r"projects/[a-z0-9][a-z0-9.:-]{0,99}/locations/[a-z0-9-]{1,63}/keyRings/[A-Za-z0-9_-]{1,63}"
_CRYPTO_KEY = re.compile(KEY_RING + r"/cryptoKeys/[A-Za-z0-9_-]{1,63}")

_PAGE = 1000
_GENERATION_SECONDS, _GENERATION_POLL = 10.0, 0.25  # for a version in an HSM

_State = resources.CryptoKeyVersion.CryptoKeyVersionState
_GOING = {_State.DESTROY_SCHEDULED, _State.DESTROYED}


def key_name(kek: KekRef) -> str:
    """Return the name of the CryptoKey.

    Raises:
        InvalidRequest: The KEK's id is not the name of a CryptoKey.
    """
    if _CRYPTO_KEY.fullmatch(kek.key_id) is None:
        msg = f"{kek.provider}: a key is named projects/P/locations/L/keyRings/R/cryptoKeys/K"
        raise InvalidRequest(msg)
    return kek.key_id


def location_of(name: str, key_ring: str) -> str:
    """Return the location in a CryptoKey's name. Any other name is for a new key in the key ring's location."""
    return (name if _CRYPTO_KEY.fullmatch(name) else key_ring).split("/")[3]


class GcpKeys:
    """Operations on keys.

    Args:
        channel: The connection to Cloud KMS.
    """

    def __init__(self, channel: GcpChannel) -> None:
        self._channel = channel

    async def describe(self, kek: KekRef) -> KekInfo:
        """Return the state and the versions. If the primary can't wrap, any version that is kept makes the state `disabled`."""
        key = await self._read(kek)
        versions = await self._versions(kek)
        states = {version.state for version in versions}
        primary = _number(key.primary.name)
        usable = sorted(int(_number(version.name)) for version in versions if version.state == _State.ENABLED)
        enabled = tuple(str(number) for number in usable)
        if key.primary.state == _State.ENABLED:
            return KekInfo(kek, "enabled", primary, enabled)
        if states == {_State.DESTROYED}:
            return KekInfo(kek, "destroyed", primary, ())
        if not states or states - _GOING:
            return KekInfo(kek, "disabled", primary, enabled)
        scheduled = [version.destroy_time for version in versions if version.state == _State.DESTROY_SCHEDULED]
        last = max(scheduled).timestamp_pb().ToDatetime(tzinfo=UTC)
        return KekInfo(kek, "pending_deletion", primary, (), deletion_at=last)

    async def create(self, kek: KekRef, key_ring: str, short: str, level: int) -> None:
        """Create a symmetric key, or check that the existing one is such a key."""
        template = resources.CryptoKeyVersionTemplate(
            algorithm=resources.CryptoKeyVersion.CryptoKeyVersionAlgorithm.GOOGLE_SYMMETRIC_ENCRYPTION,
            protection_level=level,
        )
        key = resources.CryptoKey(
            purpose=resources.CryptoKey.CryptoKeyPurpose.ENCRYPT_DECRYPT, version_template=template
        )
        request = service.CreateCryptoKeyRequest(parent=key_ring, crypto_key_id=short, crypto_key=key)
        try:
            made = await self._channel.call(request, str(kek))
        except KeyConflict:
            made = await self._read(kek)
        await self._generated(kek, made.primary)

    async def rotate(self, kek: KekRef) -> str:
        """Add a version and make it primary."""
        await self._read(kek)
        made = await self._channel.call(service.CreateCryptoKeyVersionRequest(parent=key_name(kek)), str(kek))
        await self._generated(kek, made)
        version = _number(made.name)
        update = service.UpdateCryptoKeyPrimaryVersionRequest(name=key_name(kek), crypto_key_version_id=version)
        await self._channel.call(update, str(kek))
        return version

    async def retire(self, kek: KekRef, version: str) -> None:
        """Schedule the destruction of a version that is not primary. Until then it unwraps nothing and can be restored."""
        if version == _number((await self._read(kek)).primary.name):
            msg = f"version {version} is the one that {kek} wraps with; rotate it first"
            raise InvalidRequest(msg)
        name = f"{key_name(kek)}/cryptoKeyVersions/{version}"
        await self._channel.call(service.DestroyCryptoKeyVersionRequest(name=name), str(kek))

    async def delete(self, kek: KekRef) -> KekInfo:
        """Schedule the destruction of all versions, and stop the rotation."""
        key = await self._read(kek)
        if "rotation_period" in key or "next_rotation_time" in key:
            update = service.UpdateCryptoKeyRequest(
                crypto_key=resources.CryptoKey(name=key_name(kek)),
                update_mask={"paths": ["rotation_period", "next_rotation_time"]},
            )
            await self._channel.call(update, str(kek))
        for version in await self._versions(kek):
            if version.state in (_State.ENABLED, _State.DISABLED):
                await self._channel.call(service.DestroyCryptoKeyVersionRequest(name=version.name), str(kek))
        info = await self.describe(kek)
        if info.state not in ("pending_deletion", "destroyed"):
            msg = f"{kek}: a version was added or enabled during the deletion; delete the KEK again"
            raise KeyConflict(msg)
        return info

    async def why(self, kek: KekRef, version: str) -> KmsError | None:
        """Return the error for the state of a version, or of the primary version. None means that the state is not the reason."""
        try:
            if version:
                request = service.GetCryptoKeyVersionRequest(name=f"{key_name(kek)}/cryptoKeyVersions/{version}")
                read = await self._channel.call(request, str(kek))
            else:
                read = (await self._read(kek)).primary
        except KmsError:
            return None  # the caller may have the right to use a key, but not to view it
        return of_state(read.state.name, str(kek))

    async def _read(self, kek: KekRef) -> Any:
        key = await self._channel.call(service.GetCryptoKeyRequest(name=key_name(kek)), str(kek))
        if key.purpose != resources.CryptoKey.CryptoKeyPurpose.ENCRYPT_DECRYPT:
            msg = f"{kek} is not a symmetric key for encryption, its purpose is {key.purpose.name}"
            raise UnsupportedOperation(msg)
        return key

    async def _versions(self, kek: KekRef) -> list[Any]:
        versions: list[Any] = []
        token = ""
        while True:
            request = service.ListCryptoKeyVersionsRequest(parent=key_name(kek), page_size=_PAGE, page_token=token)
            page = await self._channel.call(request, str(kek))
            versions += page.crypto_key_versions
            token = page.next_page_token
            if not token:
                return versions

    async def _generated(self, kek: KekRef, version: Any) -> None:
        """Wait until an HSM has generated a version."""
        seconds = 0.0
        while version.state == _State.PENDING_GENERATION:
            if seconds >= _GENERATION_SECONDS:
                msg = f"{kek}: a new version is still being generated after {seconds:.0f} s"
                raise KmsTimeout(msg)
            await asyncio.sleep(_GENERATION_POLL)
            seconds += _GENERATION_POLL
            version = await self._channel.call(service.GetCryptoKeyVersionRequest(name=version.name), str(kek))


def _number(version_name: str) -> str:
    return version_name.rpartition("/")[2]
