"""KMS providers in a configuration: `[kms.ID]` with a `type`, a frozen value for each (kms/providers/*.md have the pages)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from strongroom.kms import check_region

from .settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

GCP_ENDPOINT = "https://cloudkms.googleapis.com"


@dataclass(frozen=True, slots=True)
class LocalKms:
    """KEKs in a keyring file.

    Attributes:
        keyring: path of the file.
        passphrase: of one that has one; never shown.
        region: where it is; a cell that is bound to a region wants to know.
    """

    keyring: Path
    passphrase: str | None = field(default=None, repr=False)
    region: str | None = None


@dataclass(frozen=True, slots=True)
class TransitKms:
    """The Transit engine of OpenBao or Vault.

    Attributes:
        address: of the server, https; http to this machine with `insecure`.
        token: for it; never shown.
        token_file: a file with it that an agent renews, in its place.
        mount: path of the engine.
        namespace: of the server's, where it has them.
        ca_certs: file with the certificates of the authority that signed the server's; None for the system's.
        certificate: file with this client's own, where the server asks for one, and its key.
        insecure: whether the address may be http.
        region: where the server is; as for `LocalKms`.
    """

    address: str
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    mount: str = "transit"
    namespace: str | None = None
    ca_certs: Path | None = None
    certificate: Path | None = None
    insecure: bool = False
    region: str | None = None


@dataclass(frozen=True, slots=True)
class AwsKms:
    """AWS KMS in one region; credentials come from where the SDK looks for them.

    Attributes:
        region: for example eu-west-1.
        profile: of the SDK's configuration files; None for the usual one.
        endpoint: another address than the region's own.
        ca_certs: file with certificates to trust; None for the system's.
        deletion_days: how long AWS waits before it deletes a key, 7 to 30.
        multi_region: whether keys that are made can have replicas in other regions.
        insecure: whether the endpoint may be http, on this machine.
    """

    region: str
    profile: str | None = None
    endpoint: str | None = None
    ca_certs: Path | None = None
    deletion_days: int = 30
    multi_region: bool = False
    insecure: bool = False


@dataclass(frozen=True, slots=True)
class GcpKms:
    """Google Cloud KMS; credentials are the application default ones.

    Attributes:
        key_ring: where keys are made, projects/P/locations/L/keyRings/R.
        protection_level: of keys that are made, software or hsm.
        endpoint: another address than Google's.
        ca_certs: file with certificates to trust; None for those that gRPC comes with.
        insecure: whether the endpoint may be http, on this machine.
    """

    key_ring: str
    protection_level: Literal["software", "hsm"] = "software"
    endpoint: str = GCP_ENDPOINT
    ca_certs: Path | None = None
    insecure: bool = False

    @property
    def region(self) -> str:
        """The key ring's location, or "" for a key ring without one."""
        return "".join(self.key_ring.split("/")[3:4])


@dataclass(frozen=True, slots=True)
class AzureKms:
    """Azure Key Vault or Managed HSM; credentials are what the environment gives.

    Attributes:
        vault_url: https://NAME.vault.azure.net or https://NAME.managedhsm.azure.net.
        algorithm: RSA-OAEP-256, or A256KW for the AES keys of a Managed HSM.
        ca_certs: file with certificates to trust; None for the system's.
        region: where the vault is; as for `LocalKms`.
    """

    vault_url: str
    algorithm: Literal["RSA-OAEP-256", "A256KW"] = "RSA-OAEP-256"
    ca_certs: Path | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True)
class Pkcs11Kms:
    """A token with a PKCS#11 module, such as a hardware security module.

    Attributes:
        module: the vendor's library.
        token: label of the token.
        pin: of its user; never shown.
        pin_file: a file with it, in its place.
        mechanism: AES_GCM, or AES_KEY_WRAP_PAD for tokens that have no GCM.
        region: where the token is; as for `LocalKms`.
    """

    module: Path
    token: str
    pin: str | None = field(default=None, repr=False)
    pin_file: Path | None = None
    mechanism: Literal["AES_GCM", "AES_KEY_WRAP_PAD"] = "AES_GCM"
    region: str | None = None


@dataclass(frozen=True, slots=True)
class MultiKms:
    """Several of the other providers as one: each wraps, any unwraps.

    Attributes:
        providers: their ids, two or more.
        policy: all, or any to wrap while some are down.
    """

    providers: tuple[str, ...]
    policy: Literal["all", "any"] = "all"


KmsConfig: TypeAlias = LocalKms | TransitKms | AwsKms | GcpKms | AzureKms | Pkcs11Kms | MultiKms


class Section(Settings):
    """A section `[kms.ID]`; its type says which settings it has."""

    def __init__(self, provider_id: str, content: Mapping[str, Any], folder: Path) -> None:
        super().__init__(f"kms.{provider_id}", content, folder)
        self.type = self.text("type")
        self.kind = f" of type {self.type}"

    def region(self) -> str | None:
        """Return the setting `region`, if it is given."""
        region = self.optional("region")
        return None if region is None else check_region(region)


def _local(section: Section) -> LocalKms:
    keyring = section.path("keyring")
    if keyring is None:
        raise ValueError("a provider of type local needs the setting keyring")
    return LocalKms(keyring, section.secret("passphrase"), section.region())


def _transit(section: Section) -> TransitKms:
    found = TransitKms(
        address=section.text("address"),
        token=section.secret("token"),
        token_file=section.path("token_file"),
        mount=section.optional("mount") or "transit",
        namespace=section.optional("namespace"),
        ca_certs=section.path("ca_certs"),
        certificate=section.path("certificate"),
        insecure=section.flag("insecure"),
        region=section.region(),
    )
    if (found.token is None) == (found.token_file is None):
        raise ValueError("a provider of type vault needs one of the settings token_env and token_file")
    return found


def _aws(section: Section) -> AwsKms:
    return AwsKms(
        region=section.text("region"),
        profile=section.optional("profile"),
        endpoint=section.optional("endpoint"),
        ca_certs=section.path("ca_certs"),
        deletion_days=section.number("deletion_days", 30),
        multi_region=section.flag("multi_region"),
        insecure=section.flag("insecure"),
    )


def _gcp(section: Section) -> GcpKms:
    return GcpKms(
        key_ring=section.text("key_ring"),
        protection_level="hsm" if section.one_of("protection_level", ("software", "hsm")) == "hsm" else "software",
        endpoint=section.optional("endpoint") or GCP_ENDPOINT,
        ca_certs=section.path("ca_certs"),
        insecure=section.flag("insecure"),
    )


def _azure(section: Section) -> AzureKms:
    return AzureKms(
        vault_url=section.text("vault_url"),
        algorithm="A256KW" if section.one_of("algorithm", ("RSA-OAEP-256", "A256KW")) == "A256KW" else "RSA-OAEP-256",
        ca_certs=section.path("ca_certs"),
        region=section.region(),
    )


def _pkcs11(section: Section) -> Pkcs11Kms:
    module = section.path("module")
    found = Pkcs11Kms(
        module=module or Path(),
        token=section.text("token"),
        pin=section.secret("pin"),
        pin_file=section.path("pin_file"),
        mechanism="AES_GCM"
        if section.one_of("mechanism", ("AES_GCM", "AES_KEY_WRAP_PAD")) == "AES_GCM"
        else "AES_KEY_WRAP_PAD",
        region=section.region(),
    )
    if module is None or (found.pin is None) == (found.pin_file is None):
        raise ValueError("a provider of type pkcs11 needs the setting module, and one of pin_env and pin_file")
    return found


def _multi(section: Section) -> MultiKms:
    policy = section.one_of("policy", ("all", "any"))
    return MultiKms(section.texts("providers"), "any" if policy == "any" else "all")


_PARSERS: Mapping[str, Callable[[Section], KmsConfig]] = {
    "local": _local,
    "vault": _transit,
    "aws-kms": _aws,
    "gcp-kms": _gcp,
    "azure-keyvault": _azure,
    "pkcs11": _pkcs11,
    "multi": _multi,
}


def parse_kms(provider_id: str, content: Mapping[str, Any], folder: Path) -> KmsConfig:
    """Read the section of one provider.

    Args:
        provider_id: as KEK URIs name it.
        content: of the section.
        folder: that relative paths count from.

    Raises:
        ValueError: a setting is missing, of another type, or unknown.
    """
    section = Section(provider_id, content, folder)
    if section.type not in _PARSERS:
        raise ValueError(f"kms.{provider_id}.type is one of {', '.join(sorted(_PARSERS))}")
    found = _PARSERS[section.type](section)
    section.end()
    return found
