"""Calls of S3 for one bucket. Needs boto3: `pip install 'strongroom[aws]'`."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from strongroom.kms.providers.aws.client import AwsClient
from strongroom.kms.transport.unreachable import failed_connection

from .errors import AnchorUnavailable

if TYPE_CHECKING:
    import ssl
    from datetime import datetime, timedelta

    import boto3

MAX_OBJECT = 4 * 2**20
"""Maximum size of an object, in bytes. The positions of 16,384 shards take 1.5 MiB."""
_PAGE = 1000
_NO_TIME = (
    "the answer for the bucket {} states no time, which retention is counted from; check that anchor.endpoint is S3"
)
EXISTS = frozenset(("PreconditionFailed", "ConditionalRequestConflict"))
"""Codes of S3 for an object whose key exists, or that another caller writes at this moment."""
_ADVICE = {
    "NoSuchBucket": "create it with object lock, or correct anchor.bucket",
    "AccessDenied": "give the credentials the rights that docs/how-to/anchors.md lists",
    "PermanentRedirect": "it is in another region; correct anchor.region",
    "AuthorizationHeaderMalformed": "it is in another region; correct anchor.region",
    "InvalidAccessKeyId": "give the SDK valid credentials",
    "SignatureDoesNotMatch": "give the SDK valid credentials",
    "ExpiredToken": "give the SDK valid credentials",
    "RequestTimeTooSkewed": "correct the clock of this host",
    "InvalidRequest": "check that the bucket has object lock",
    "NotImplemented": "this object store lacks object lock or conditional writes; use one that has both",
}


@dataclass(frozen=True, slots=True)
class Version:
    """A version of an object.

    Attributes:
        key: The key of the object.
        version_id: The id of the version.
        size: Its size in bytes.
        written_at: The time at which it was written, by the clock of S3.
    """

    key: str
    version_id: str
    size: int
    written_at: datetime


class Bucket:
    """One bucket.

    Attributes:
        name: Its name.
        server_time: The time of the last answer, by the clock of S3; None before the first one.

    Args:
        name: The name of the bucket.
        region: Its region.
        endpoint: An address in place of the region's own, or None.
        session: The session with the credentials. None means the SDK's usual chain.
        tls: The TLS context.
    """

    def __init__(
        self, name: str, *, region: str, endpoint: str | None, session: boto3.Session | None, tls: ssl.SSLContext
    ) -> None:
        self.name = name
        self.server_time: datetime | None = None
        self._aws = AwsClient(
            region,
            endpoint=endpoint,
            session=session,
            tls=tls,
            service="s3",
            to_error=error_of,
            at_once=2,
            max_answer=MAX_OBJECT,
        )

    async def refuse_unlocked(self) -> None:
        """Check that the bucket has object lock and versioning.

        Raises:
            AnchorUnavailable: It has not, or the check is not allowed.
        """
        try:
            answer = await self._call("get_object_lock_configuration")
            is_locked = answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled"
        except AnchorUnavailable as error:
            if error.code != "ObjectLockConfigurationNotFoundError":
                raise
            is_locked = False
        if not is_locked:
            msg = (
                f"the bucket {self.name} has no object lock, so that an anchor in it could be deleted; create a bucket with object "
                "lock (aws s3api create-bucket --object-lock-enabled-for-bucket), and name it as anchor.bucket"
            )
            raise AnchorUnavailable(msg)
        if (await self._call("get_bucket_versioning")).get("Status") != "Enabled":
            msg = (
                f"versioning of the bucket {self.name} is not enabled, so that an anchor in it could be overwritten; enable it: "
                f"aws s3api put-bucket-versioning --bucket {self.name} --versioning-configuration Status=Enabled"
            )
            raise AnchorUnavailable(msg)

    async def folders(self, prefix: str) -> list[str]:
        """Return the folders below a prefix, in order, also those whose objects have delete markers.

        Args:
            prefix: The prefix, which ends with a slash.

        Raises:
            AnchorUnavailable: S3 refuses or does not answer.
        """
        found = [
            each["Prefix"]
            for page in await self._pages(Prefix=prefix, Delimiter="/")
            for each in page.get("CommonPrefixes", ())
        ]
        return sorted(set(found))

    async def versions(self, prefix: str) -> list[Version]:
        """Return all versions of all objects below a prefix, in the order of their keys.

        Args:
            prefix: The prefix.

        Raises:
            AnchorUnavailable: S3 refuses or does not answer.
        """
        found = [
            Version(each["Key"], each["VersionId"], each["Size"], each["LastModified"].astimezone(UTC))
            for page in await self._pages(Prefix=prefix)
            for each in page.get("Versions", ())
        ]
        return sorted(found, key=lambda each: each.key)

    async def get(self, version: Version) -> bytes:
        """Return the content of a version of an object.

        Raises:
            AnchorUnavailable: S3 refuses or does not answer.
        """
        answer = await self._call("get_object", Key=version.key, VersionId=version.version_id)
        content: bytes = answer["Body"].read(MAX_OBJECT)
        return content

    async def put(self, key: str, content: bytes, *, mode: str, keep: timedelta) -> None:
        """Write a new object with a retention lock.

        Args:
            key: The key, which must not exist.
            content: The content.
            mode: `COMPLIANCE` or `GOVERNANCE`.
            keep: The time for which it can't be deleted, counted by the clock of S3.

        Raises:
            AnchorUnavailable: S3 refuses or does not answer. The code is in `EXISTS` if the key exists.
        """
        assert self.server_time is not None  # noqa: S101 - the bucket was listed before
        await self._call(
            "put_object",
            Key=key,
            Body=content,
            ContentType="application/json",
            ChecksumAlgorithm="SHA256",  # S3 requires it with a retention lock
            ChecksumSHA256=base64.b64encode(sha256(content).digest()).decode(),
            IfNoneMatch="*",
            ObjectLockMode=mode,
            ObjectLockRetainUntilDate=self.server_time + keep,
        )

    async def aclose(self) -> None:
        """Wait for running calls, and close the connections."""
        await self._aws.aclose()

    async def _pages(self, **request: Any) -> list[dict[str, Any]]:
        pages: list[dict[str, Any]] = []
        while True:
            page = await self._call("list_object_versions", MaxKeys=_PAGE, **request)
            pages.append(page)
            if not page.get("IsTruncated"):
                return pages
            request["KeyMarker"] = page["NextKeyMarker"]
            request["VersionIdMarker"] = page.get("NextVersionIdMarker", "")
            if not request["VersionIdMarker"]:
                del request["VersionIdMarker"]

    async def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        answer = await self._aws.call(operation, f"the bucket {self.name}", Bucket=self.name, **arguments)
        date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
        try:
            self.server_time = parsedate_to_datetime(date).astimezone(UTC)
        except (TypeError, ValueError):
            raise AnchorUnavailable(_NO_TIME.format(self.name)) from None
        return answer


def error_of(error: Exception, what: str, operation: str) -> AnchorUnavailable:
    """Return our error for an exception of the SDK. It has no reference to the exception, and none of S3's own text.

    Args:
        error: One of the SDK's errors.
        what: The bucket.
        operation: AWS's name of the operation.
    """
    if not isinstance(error, ClientError):
        name = type(error).__name__
        return AnchorUnavailable(
            f"{what} can't be reached for {operation} ({name}: {failed_connection(error)}); check anchor.endpoint and the network"
        )
    answer = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = str(answer.get("Code") or status)
    code = {"404": "NoSuchBucket", "403": "AccessDenied", "412": "PreconditionFailed"}.get(code, code)
    shown = code if code.isalnum() and len(code) <= 100 else "an unknown error"  # noqa: PLR2004 - no code of S3 is longer
    advice = _ADVICE.get(code, "see the documentation of S3 for this code")
    return AnchorUnavailable(f"{what} refused {operation} ({shown}); {advice}", code=code)
