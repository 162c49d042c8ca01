"""moto's S3 over HTTP, with buckets that have object lock or not, and an answer that tests set in place of the right one."""

from __future__ import annotations

from http.client import responses
from uuid import uuid4

import boto3

from strongroom.driver.config import AnchorConfig
from tests.support.moto_server import MotoServer

REGION = "eu-west-1"
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "not a secret"}


class S3Server(MotoServer):
    """moto's server, which can answer every request with an error.

    Attributes:
        fault: Status and code of the answer to all requests; None for moto's own answers.
    """

    fault = None

    def _answer(self, environ, start_response):
        if self.fault is None:
            return super()._answer(environ, start_response)
        status, code = self.fault
        start_response(f"{status} {responses[status]}", [("Content-Type", "application/xml")])
        return [f"<Error><Code>{code}</Code><Message>a text of the server</Message></Error>".encode()]


class Store:
    """A bucket, as an administrator of it sees it.

    Attributes:
        name: The name of the bucket.
        client: The SDK's client.
    """

    def __init__(self, server, *, lock=True, versioning=None):
        self.server, self.name = server, f"anchors-{uuid4().hex[:12]}"
        self.client = boto3.client(
            "s3",
            region_name=REGION,
            endpoint_url=server.address,
            aws_access_key_id=ENVIRONMENT["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=ENVIRONMENT["AWS_SECRET_ACCESS_KEY"],
        )
        place = {"LocationConstraint": REGION}
        self.client.create_bucket(Bucket=self.name, CreateBucketConfiguration=place, ObjectLockEnabledForBucket=lock)
        if versioning is not None:
            self.client.put_bucket_versioning(Bucket=self.name, VersioningConfiguration={"Status": versioning})

    def config(self, **settings):
        """Return the section of a configuration for this bucket."""
        given = {"bucket": self.name, "region": REGION, "endpoint": self.server.address, "insecure": True}
        return AnchorConfig(**given | settings)

    def toml(self, **settings):
        """Return the same as text."""
        lines = [
            f'bucket = "{self.name}"',
            f'region = "{REGION}"',
            f'endpoint = "{self.server.address}"',
            "insecure = true",
        ]
        return "\n[anchor]\n" + "\n".join([*lines, *(f"{name} = {value}" for name, value in settings.items())]) + "\n"

    def keys(self):
        """Return the keys of the objects, in order."""
        return [each["Key"] for each in self.client.list_objects_v2(Bucket=self.name).get("Contents", ())]

    def versions(self):
        """Return all versions of all objects."""
        return self.client.list_object_versions(Bucket=self.name).get("Versions", [])

    def get(self, key):
        """Return the content of an object."""
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def put(self, key, content):
        """Write an object."""
        self.client.put_object(Bucket=self.name, Key=key, Body=content)
