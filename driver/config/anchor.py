"""The section `[anchor]`. docs/how-to/anchors.md is its page."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from .schema import CaCerts, Count, Insecure, Number, Region, Text, about, checked_endpoint, formed, section

_DAY = 24 * 3600


@section
class AnchorConfig:
    """An S3 bucket with object lock, in which the newest state of the cell is anchored."""

    bucket: Annotated[
        Text, formed(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "the name of a bucket"), about("Name of the bucket.")
    ]
    region: Annotated[Region, about("AWS region of the bucket, for example eu-west-1.")]
    prefix: Annotated[
        Text,
        StringConstraints(max_length=512),
        formed(r"([A-Za-z0-9_.=-]+/)*", "folders, each with a slash after it"),
        about("Prefix of the objects' keys. The id of the cell follows it."),
    ] = "strongroom/"
    retention: Annotated[
        Literal["compliance", "governance"],
        about("Mode of the retention lock. In governance mode, callers with a special right can delete an object."),
    ] = "compliance"
    retention_days: Annotated[
        Count, Field(ge=1, le=3650), about("Time for which an object can't be deleted.", unit="days")
    ] = 30
    interval_seconds: Annotated[
        Number, Field(ge=1, le=_DAY), about("Time between two objects, if the state changed.", unit="seconds")
    ] = 300.0
    profile: Annotated[Text, about("Profile in the SDK's configuration files.")] | None = None
    endpoint: Annotated[Text, about("Address in place of the region's own.")] | None = None
    ca_certs: CaCerts | None = None
    insecure: Insecure = False

    @model_validator(mode="after")
    def _check(self) -> AnchorConfig:
        checked_endpoint(self.endpoint, insecure=self.insecure)
        return self
