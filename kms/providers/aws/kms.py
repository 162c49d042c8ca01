"""The AWS KMS provider (aws_kms.md): AWS wraps roots under the encryption context and can re-wrap them itself."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

from strongroom.kms.errors import (
    AccessDenied,
    IntegrityError,
    InvalidRequest,
    KeyConflict,
    KeyNotFound,
    KmsError,
    KmsTimeout,
    KmsUnavailable,
    StrongroomError,
    Throttled,
    UnsupportedOperation,
)
from strongroom.kms.provider import Capabilities, GeneratedKey, KekInfo, KekRef, Wrapped
from strongroom.kms.transport.tls import check_address, client_context

from . import answers as aws_answers
from .answers import ONLY_VERSION, check_version, field, material
from .client import AwsClient
from .key_id import AwsKeyId, regions_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping, Sequence

    import boto3

    from strongroom.kms.secret import Secret

_CIPHERTEXT_BYTES = 6144  # the limit of AWS
_DAYS = range(7, 31)  # the waiting periods that AWS allows
_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-\d{1,2}")
_POLL_SECONDS = 0.2
_NAME = re.compile(r"[A-Za-z0-9/_-]{1,200}")


class AwsKmsProvider:
    """A provider for one region of AWS KMS.

    Args:
        provider_id: The id of this provider in the registry and in KEK URIs.
        region: The region, for example `eu-west-1`. It is never taken from the environment.
        session: The session with the credentials. None means the SDK's usual chain.
        endpoint: An https URL that replaces the region's own endpoint.
        tls: The TLS context. None means the system's authorities and TLS 1.3.
        insecure: Whether an endpoint over http is accepted, for this machine only.
        deletion_days: The days that AWS waits before it deletes a key, 7 to 30.
        multi_region: Whether keys from `create_kek` can have replicas in other regions.
        rotation_seconds: The seconds that `rotate_kek` waits for AWS to finish.

    Raises:
        InvalidRequest: The region, the address or the number of days is invalid.
    """

    capabilities = Capabilities(
        context="native", rewrap="server", batch=100, deletion="scheduled", retires_versions=False
    )

    def __init__(
        self,
        provider_id: str,
        *,
        region: str,
        session: boto3.Session | None = None,
        endpoint: str | None = None,
        tls: ssl.SSLContext | None = None,
        insecure: bool = False,
        deletion_days: int = 30,
        multi_region: bool = False,
        rotation_seconds: float = 30.0,
    ) -> None:
        if not _REGION.fullmatch(region):
            raise InvalidRequest(f"{provider_id}: region is a name like eu-west-1")
        if deletion_days not in _DAYS:
            raise InvalidRequest(f"{provider_id}: AWS lets a deletion wait for 7 to 30 days, not for {deletion_days}")
        if endpoint is not None or insecure:
            check_address(endpoint or "https://kms.amazonaws.com", insecure=insecure)
        self._id = provider_id
        self._region = region
        self._deletion_days = deletion_days
        self._multi_region = multi_region
        self._rotation_seconds = rotation_seconds
        self._aws = AwsClient(region, endpoint=endpoint, session=session, tls=tls or client_context())

    def __repr__(self) -> str:
        return f"AwsKmsProvider({self._id!r}, region={self._region!r})"

    def __reduce__(self) -> NoReturn:
        msg = "a provider can't be pickled, because it has credentials"
        raise TypeError(msg)

    def regions(self, kek: KekRef) -> frozenset[str | None]:
        """Return the region of an ARN, else the provider's. A multi-Region key may be in other regions too."""
        return regions_of(kek.key_id, self._region)

    async def generate_data_key(self, kek: KekRef, *, context: Mapping[str, str]) -> GeneratedKey:
        """Return a root key that AWS generated and wrapped."""
        named = AwsKeyId.parse(kek.key_id)
        answer = await self._aws.call(
            "generate_data_key",
            str(kek),
            KeyId=named.within(self._region),
            KeySpec="AES_256",
            EncryptionContext=dict(context),
        )
        wrapped = Wrapped(self._used(kek, named, answer), material(answer), field(answer, "CiphertextBlob"))
        return GeneratedKey(aws_answers.root(answer), wrapped)

    async def wrap(self, kek: KekRef, root: Secret, *, context: Mapping[str, str]) -> Wrapped:
        """Wrap a root key under the KEK's primary version. It is unwrapped once, because only that answer names the version."""
        named = AwsKeyId.parse(kek.key_id)
        answer = await self._aws.call(
            "encrypt",
            str(kek),
            KeyId=named.within(self._region),
            Plaintext=root.reveal(),
            EncryptionContext=dict(context),
        )
        used = self._used(kek, named, answer)
        ciphertext: bytes = field(answer, "CiphertextBlob")
        return Wrapped(used, material(await self._decrypt(used, ciphertext, context)), ciphertext)

    async def unwrap(self, wrapped: Wrapped, *, context: Mapping[str, str]) -> Secret:
        """Unwrap a root with the KEK and version that the wrapped key names."""
        answer = await self._decrypt(wrapped.kek, wrapped.ciphertext, context)
        check_version(wrapped, material(answer))
        return aws_answers.root(answer)

    async def unwrap_many(self, items: Sequence[tuple[Wrapped, Mapping[str, str]]]) -> list[Secret | StrongroomError]:
        """Unwrap several roots, in order, with one call each and 16 at a time. An error is returned in place of its root."""
        return await asyncio.gather(*(self._answer(wrapped, context) for wrapped, context in items))

    async def rewrap(self, wrapped: Wrapped, kek: KekRef, *, context: Mapping[str, str]) -> Wrapped:
        """Wrap the same root again under the KEK's primary version. The root does not leave AWS."""
        named = AwsKeyId.parse(kek.key_id)
        _check_length(wrapped.ciphertext)
        answer = await self._aws.call(
            "re_encrypt",
            str(kek) if kek == wrapped.kek else f"{wrapped.kek} to {kek}",
            CiphertextBlob=wrapped.ciphertext,
            SourceKeyId=AwsKeyId.parse(wrapped.kek.key_id).within(self._region),
            SourceEncryptionContext=dict(context),
            DestinationKeyId=named.within(self._region),
            DestinationEncryptionContext=dict(context),
        )
        check_version(wrapped, material(answer, "SourceKeyMaterialId"))
        version = material(answer, "DestinationKeyMaterialId")
        return Wrapped(self._used(kek, named, answer), version, field(answer, "CiphertextBlob"))

    async def describe(self, kek: KekRef) -> KekInfo:
        """Return the state and the versions of a KEK. A version is AWS's id of the key material."""
        metadata = await self._metadata(kek)
        state, primary = aws_answers.state(metadata), material(metadata, "CurrentKeyMaterialId")
        if state == "pending_deletion":
            return KekInfo(kek, state, primary, (), aws_answers.deletion_at(metadata))
        versions = (primary,) if primary == ONLY_VERSION else await self._versions(kek, field(metadata, "Arn"))
        return KekInfo(kek, state, primary, versions)

    async def create_kek(self, key_id: str) -> KekRef:
        """Return the key of the alias `alias/strongroom-KEY_ID`, or create it. Two concurrent calls return the same key.

        Returns:
            The key's ARN, which names the same key even if the alias is moved.
        """
        if not _NAME.fullmatch(key_id):
            raise InvalidRequest(f"{self._id}: the name of a key may have at most 200 letters, digits, /, _ and -")
        alias = KekRef(self._id, f"alias/strongroom-{key_id}")
        with suppress(KeyNotFound):
            return KekRef(self._id, field(await self._metadata(alias), "Arn"))
        made = await self._aws.call("create_key", str(alias), Description="strongroom", MultiRegion=self._multi_region)
        arn = field(field(made, "KeyMetadata"), "Arn")
        try:
            await self._aws.call("create_alias", str(alias), AliasName=alias.key_id, TargetKeyId=arn)
        except KmsError as error:
            with suppress(KmsError):  # the unused key
                await self._aws.call("schedule_key_deletion", arn, KeyId=arn, PendingWindowInDays=_DAYS[0])
            if not isinstance(error, KeyConflict):
                raise
            return KekRef(self._id, field(await self._metadata(alias), "Arn"))
        return KekRef(self._id, arn)

    async def rotate_kek(self, kek: KekRef) -> str:
        """Let AWS generate new key material, which wraps from then on. Older material still unwraps.

        Raises:
            KeyConflict: AWS did not finish in time, or will rotate the key by itself within 20 minutes.
            QuotaExceeded: The key was rotated on demand as often as AWS allows.
            UnsupportedOperation: The key is in a custom key store, asymmetric, or a replica.
        """
        metadata = await self._metadata(kek)
        before = material(metadata, "CurrentKeyMaterialId")
        if before == ONLY_VERSION:
            raise UnsupportedOperation(f"{kek}: AWS names no key material of this key, so it can't be seen to rotate")
        await self._aws.call("rotate_key_on_demand", str(kek), KeyId=field(metadata, "Arn"))
        with suppress(TimeoutError):
            async with asyncio.timeout(self._rotation_seconds):
                while True:
                    with suppress(
                        Throttled, KmsUnavailable, KmsTimeout
                    ):  # an error here would make the caller rotate again
                        now = material(await self._metadata(kek), "CurrentKeyMaterialId")
                        if now != before:
                            return now
                    await asyncio.sleep(_POLL_SECONDS)
        raise KeyConflict(f"{kek}: its rotation has begun; AWS was not done after {self._rotation_seconds:g} s")

    async def retire_version(self, kek: KekRef, version: str) -> None:  # noqa: ARG002
        """Raise `UnsupportedOperation`, because AWS keeps all key material of a key as long as the key exists."""
        raise UnsupportedOperation(f"{kek}: AWS keeps every version of a key; move what depends on it to another KEK")

    async def delete_kek(self, kek: KekRef) -> KekInfo:
        """Schedule the deletion of a key after AWS's waiting period. The key unwraps nothing from then on."""
        metadata = await self._metadata(kek)
        if aws_answers.state(metadata) != "pending_deletion":
            arn, days = field(metadata, "Arn"), self._deletion_days  # this operation accepts no alias
            await self._aws.call("schedule_key_deletion", str(kek), KeyId=arn, PendingWindowInDays=days)
        return await self.describe(kek)

    async def check(self) -> str:
        """List one alias, which uses no key. The check passes without that permission, because AWS has authenticated the caller."""
        try:
            await self._aws.call("list_aliases", self._id, Limit=1)
        except AccessDenied:
            return f"AWS KMS in {self._region} knows this caller, who may not list aliases"
        return f"AWS KMS in {self._region} knows this caller"

    async def aclose(self) -> None:
        """Wait for running calls, and close the connections."""
        await self._aws.aclose()

    async def _answer(self, wrapped: Wrapped, context: Mapping[str, str]) -> Secret | StrongroomError:
        try:
            return await self.unwrap(wrapped, context=context)
        except StrongroomError as error:
            return error

    async def _decrypt(self, kek: KekRef, ciphertext: bytes, context: Mapping[str, str]) -> dict[str, Any]:
        named = AwsKeyId.parse(kek.key_id)
        _check_length(ciphertext)
        answer = await self._aws.call(
            "decrypt",
            str(kek),
            KeyId=named.within(self._region),
            CiphertextBlob=ciphertext,
            EncryptionContext=dict(context),
        )
        self._used(kek, named, answer)
        return answer

    async def _metadata(self, kek: KekRef) -> dict[str, Any]:
        key_id = AwsKeyId.parse(kek.key_id).within(self._region)
        answer = await self._aws.call("describe_key", str(kek), KeyId=key_id)
        metadata: dict[str, Any] = field(answer, "KeyMetadata")
        return metadata

    async def _versions(self, kek: KekRef, arn: str) -> tuple[str, ...]:
        request: dict[str, Any] = {"KeyId": arn, "IncludeKeyMaterial": "ALL_KEY_MATERIAL"}
        rotations: list[dict[str, Any]] = []
        while True:
            answer = await self._aws.call("list_key_rotations", str(kek), **request)
            rotations += field(answer, "Rotations")
            if not answer.get("Truncated"):
                return aws_answers.versions(rotations)
            request["Marker"] = field(answer, "NextMarker")

    def _used(self, kek: KekRef, named: AwsKeyId, answer: Mapping[str, Any]) -> KekRef:
        """Return the KEK that a wrapped key names. For an alias this is the key's ARN, because an alias may be moved."""
        used: str = field(answer, "KeyId")
        if named.key is None:
            return KekRef(self._id, used)
        if AwsKeyId.parse(used).key != named.key:
            raise KmsUnavailable(f"{kek}: the server answered for another key; check that the endpoint is AWS KMS")
        return kek


def _check_length(ciphertext: bytes) -> None:
    if not 1 <= len(ciphertext) <= _CIPHERTEXT_BYTES:
        raise IntegrityError  # AWS would report a malformed request
