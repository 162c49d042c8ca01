"""KMS providers in a configuration: one class for each type of section `[kms.ID]`. kms/providers/*.md have a page for each."""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from strongroom.kms.provider import PROVIDER_ID

from .schema import (
    CaCerts,
    Count,
    File,
    Flag,
    Insecure,
    Region,
    Secret,
    SecretFile,
    Text,
    about,
    checked_address,
    checked_endpoint,
    formed,
    secret,
    section,
)

GCP_ENDPOINT = "https://cloudkms.googleapis.com"


def _provider_id(text: str) -> str:
    if not re.fullmatch(PROVIDER_ID, text):
        raise ValueError(
            "must be a provider's id: a lower-case letter, then lower-case letters, digits or hyphens, at most 32"
        )
    return text


ProviderId = Annotated[Text, AfterValidator(_provider_id)]
InRegion = Annotated[Region, about("Region that the KEKs are in. Needed in a cell that is bound to a region.")]


@section
class LocalKms:
    """KEKs in a keyring file on this machine."""

    keyring: Annotated[SecretFile, about("Path of the keyring file.")]
    passphrase: Annotated[Secret, about("Passphrase of the keyring file.")] | None = secret("passphrase_env")
    region: InRegion | None = None
    type: Annotated[Literal["local"], about("Type of the provider.")] = "local"


@section
class TransitKms:
    """The Transit engine of OpenBao or Vault."""

    address: Annotated[Text, about("Address of the server, https://HOST:PORT.")]
    token: Annotated[Secret, about("Token for the server.")] | None = secret("token_env")
    token_file: Annotated[SecretFile, about("File with the token, for an agent that renews it.")] | None = None
    mount: Annotated[Text, about("Path that the engine is mounted at.")] = "transit"
    namespace: Annotated[Text, about("Namespace in the server, where it has namespaces.")] | None = None
    ca_certs: CaCerts | None = None
    certificate: Annotated[SecretFile, about("PEM file with the client's certificate and its key.")] | None = None
    insecure: Insecure = False
    region: InRegion | None = None
    type: Annotated[Literal["vault"], about("Type of the provider.")] = "vault"

    @model_validator(mode="after")
    def _check(self) -> TransitKms:
        if (self.token is None) == (self.token_file is None):
            raise ValueError("give exactly one of the settings token_env and token_file")
        checked_address("address", self.address, insecure=self.insecure)
        return self


@section
class AwsKms:
    """AWS KMS in one region. Credentials come from the AWS SDK's usual places."""

    region: Annotated[Region, about("AWS region, for example eu-west-1.")]
    profile: Annotated[Text, about("Profile in the SDK's configuration files.")] | None = None
    endpoint: Annotated[Text, about("Address in place of the region's own.")] | None = None
    ca_certs: CaCerts | None = None
    deletion_days: Annotated[
        Count, Field(ge=7, le=30), about("Time until AWS deletes a key that is scheduled for deletion.", unit="days")
    ] = 30
    multi_region: Annotated[Flag, about("Whether new keys may have replicas in other regions.")] = False
    insecure: Insecure = False
    type: Annotated[Literal["aws-kms"], about("Type of the provider.")] = "aws-kms"

    @model_validator(mode="after")
    def _check(self) -> AwsKms:
        checked_endpoint(self.endpoint, insecure=self.insecure)
        return self


@section
class GcpKms:
    """Google Cloud KMS. Credentials are the application default credentials."""

    key_ring: Annotated[
        Text,
        formed(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+", "projects/P/locations/L/keyRings/R"),
        about("Key ring of new keys, as projects/P/locations/L/keyRings/R."),
    ]
    protection_level: Annotated[Literal["software", "hsm"], about("Protection level of new keys.")] = "software"
    endpoint: Annotated[Text, about("Address of the service.")] = GCP_ENDPOINT
    ca_certs: CaCerts | None = None
    insecure: Insecure = False
    type: Annotated[Literal["gcp-kms"], about("Type of the provider.")] = "gcp-kms"

    @model_validator(mode="after")
    def _check(self) -> GcpKms:
        checked_address("endpoint", self.endpoint, insecure=self.insecure)
        return self

    @property
    def region(self) -> str:
        """The location of the key ring."""
        return self.key_ring.split("/")[3]


@section
class AzureKms:
    """Azure Key Vault or Managed HSM. Credentials come from the environment."""

    vault_url: Annotated[Text, about("https://NAME.vault.azure.net or https://NAME.managedhsm.azure.net.")]
    algorithm: Annotated[
        Literal["RSA-OAEP-256", "A256KW"], about("Wrapping algorithm. A256KW needs an AES key in a Managed HSM.")
    ] = "RSA-OAEP-256"
    ca_certs: CaCerts | None = None
    region: InRegion | None = None
    type: Annotated[Literal["azure-keyvault"], about("Type of the provider.")] = "azure-keyvault"

    @model_validator(mode="after")
    def _check(self) -> AzureKms:
        checked_address("vault_url", self.vault_url)
        return self


@section
class Pkcs11Kms:
    """A token with a PKCS#11 module, such as a hardware security module."""

    module: Annotated[File, about("Path of the vendor's library.")]
    token: Annotated[Text, about("Label of the token.")]
    pin: Annotated[Secret, about("PIN of the token's user.")] | None = secret("pin_env")
    pin_file: Annotated[SecretFile, about("File with the PIN.")] | None = None
    mechanism: Annotated[
        Literal["AES_GCM", "AES_KEY_WRAP_PAD"],
        about("Wrapping mechanism. AES_KEY_WRAP_PAD is for tokens without AES_GCM."),
    ] = "AES_GCM"
    region: InRegion | None = None
    type: Annotated[Literal["pkcs11"], about("Type of the provider.")] = "pkcs11"

    @model_validator(mode="after")
    def _check(self) -> Pkcs11Kms:
        if (self.pin is None) == (self.pin_file is None):
            raise ValueError("give exactly one of the settings pin_env and pin_file")
        return self


@section
class MultiKms:
    """Several of the other providers as one. Each of them wraps a key, and any one unwraps it."""

    providers: Annotated[tuple[ProviderId, ...], Field(min_length=2), about("Ids of the other providers.")]
    policy: Annotated[
        Literal["all", "any"], about("Whether all providers must be up to wrap a key, or any of them.")
    ] = "all"
    type: Annotated[Literal["multi"], about("Type of the provider.")] = "multi"


KmsConfig: TypeAlias = LocalKms | TransitKms | AwsKms | GcpKms | AzureKms | Pkcs11Kms | MultiKms
