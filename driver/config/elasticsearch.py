"""The section `[elasticsearch]`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from strongroom.kms import TlsFiles

from .schema import CaCerts, Certificate, Flag, Key, Number, Secret, Text, about, checked_address, secret, section

DEFAULT_INDEX = "strongroom-visibility"


@section
class ElasticsearchConfig:
    """The search index in Elasticsearch."""

    url: Annotated[Text, about("URL of the cluster.")]
    index: Annotated[Text, StringConstraints(max_length=255), about("Alias of the index.")] = DEFAULT_INDEX
    api_key: Annotated[Secret, about("API key of the cluster.")] | None = secret("api_key_env")
    ca_certs: CaCerts | None = None
    certificate: Certificate | None = None
    key: Key | None = None
    insecure: Annotated[Flag, about("Whether the URL may be http, for a cluster on this machine.")] = False
    timeout: Annotated[Number, Field(gt=0, le=600), about("Timeout of a request.", unit="seconds")] = Field(
        default=10.0, validation_alias="timeout_seconds"
    )

    @model_validator(mode="after")
    def _check(self) -> ElasticsearchConfig:
        checked_address("url", self.url, insecure=self.insecure)
        return self

    @property
    def tls(self) -> TlsFiles:
        """The certificates for connections to the cluster."""
        return TlsFiles(self.ca_certs, self.certificate, self.key)
