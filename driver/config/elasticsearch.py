"""The section `[elasticsearch]`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from strongroom.kms import TlsFiles

from .schema import (
    CaCerts,
    Certificate,
    Count,
    Flag,
    Key,
    Number,
    Secret,
    Text,
    about,
    checked_address,
    secret,
    section,
)

DEFAULT_INDEX = "strongroom-visibility"
MOST_URLS, MOST_SHARDS, MOST_REPLICAS = 32, 1024, 10


def _listed(value: Any) -> Any:
    """Return one address as a list."""
    return (value,) if isinstance(value, str) else value


@section
class ElasticsearchConfig:
    """The search index in Elasticsearch."""

    urls: Annotated[
        tuple[Text, ...],
        BeforeValidator(_listed, json_schema_input_type=Text | list[Text]),
        Field(validation_alias="url"),
        about(
            "URL of the cluster, or a list of URLs of nodes or gateways. If a request fails at one, it is sent to the next."
        ),
    ]
    index: Annotated[Text, StringConstraints(max_length=255), about("Alias of the index.")] = DEFAULT_INDEX
    api_key: Annotated[Secret, about("API key of the cluster.")] | None = secret("api_key_env")
    ca_certs: CaCerts | None = None
    certificate: Certificate | None = None
    key: Key | None = None
    insecure: Annotated[Flag, about("Whether the URL may be http, for a cluster on this machine.")] = False
    timeout: Annotated[Number, Field(gt=0, le=600), about("Timeout of a request.", unit="seconds")] = Field(
        default=10.0, validation_alias="timeout_seconds"
    )
    deadline: (
        Annotated[
            Number,
            Field(gt=0, le=3600),
            about("Time during which a failed request is sent again. Default: three timeouts.", unit="seconds"),
        ]
        | None
    ) = Field(default=None, validation_alias="deadline_seconds")
    shards: (
        Annotated[
            Count,
            Field(ge=1, le=MOST_SHARDS),
            about("Primary shards of a new index. Default: one for each data node, up to 8."),
        ]
        | None
    ) = None
    replicas: (
        Annotated[
            Count,
            Field(ge=0, le=MOST_REPLICAS),
            about("Replicas of each shard. Default: one if there are at least two data nodes."),
        ]
        | None
    ) = None
    refresh_interval: Annotated[
        Number, Field(ge=0.1, le=60), about("Time after which searches see a write.", unit="seconds")
    ] = Field(default=1.0, validation_alias="refresh_interval_seconds")

    @model_validator(mode="after")
    def _check(self) -> ElasticsearchConfig:
        if not 1 <= len(self.urls) <= MOST_URLS:
            raise ValueError(f"url must be one address, or a list of at most {MOST_URLS}")
        for url in self.urls:
            checked_address("url", url, insecure=self.insecure)
        if len(set(self.urls)) < len(self.urls):
            raise ValueError("url must not name an address twice")
        if self.deadline is not None and self.deadline <= self.timeout:
            raise ValueError(
                "deadline_seconds must be longer than timeout_seconds, or a request that timed out is not sent again"
            )
        return self

    @property
    def tls(self) -> TlsFiles:
        """The certificates for connections to the cluster."""
        return TlsFiles(self.ca_certs, self.certificate, self.key)
