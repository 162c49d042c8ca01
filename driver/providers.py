"""The provider of each section `[kms.ID]`. Each client is in an extra of its own, and is imported only if it is configured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.kms import KmsAuthenticationError, LocalProvider, MultiProvider, ResilientProvider, client_context
from strongroom.kms.text import NotText, read_text

from .config import AwsKms, AzureKms, ConfigError, GcpKms, LocalKms, MultiKms, Pkcs11Kms, TransitKms
from .config.schema import MOST_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from strongroom.kms import KeyEventSink, KeyringLedger, KmsProvider

    from .config import KmsConfig

_WRONG_TEXT = "it holds more than one line, an invisible character or a text that is too long; write only the token or the PIN in it"
_EXTRAS = {TransitKms: "vault", AwsKms: "aws", GcpKms: "gcp", AzureKms: "azure", Pkcs11Kms: "pkcs11"}


def make_providers(
    sections: Mapping[str, KmsConfig], *, key_events: KeyEventSink, ledger: KeyringLedger | None = None
) -> dict[str, KmsProvider]:
    """Return the providers of a configuration by their ids, in its order. No connection is opened yet.

    Args:
        sections: The configuration of each provider, by its id.
        key_events: Receives each call of a KMS.
        ledger: The record of the newest change of each keyring file; None to compare the files with nothing.

    Raises:
        ConfigError: A client is not installed, or a section of type `multi` names a provider that does not exist.
        InvalidRequest: A file or an address can't be used.
    """
    providers: dict[str, KmsProvider] = {
        provider_id: ResilientProvider(provider_id, _make(provider_id, config, ledger), key_events=key_events)
        for provider_id, config in sections.items()
        if not isinstance(config, MultiKms)
    }
    for provider_id, config in sections.items():
        if isinstance(config, MultiKms):
            absent = [
                each for each in config.providers if each not in providers or isinstance(sections[each], MultiKms)
            ]
            if absent:
                msg = (
                    f"[kms.{provider_id}] names {', '.join(absent)}, which is not a section of a type other than multi"
                )
                raise ConfigError(msg)
            children = {each: providers[each] for each in config.providers}
            providers[provider_id] = MultiProvider(provider_id, children, policy=config.policy)
    return {provider_id: providers[provider_id] for provider_id in sections}


def _make(provider_id: str, config: KmsConfig, ledger: KeyringLedger | None) -> KmsProvider:
    if isinstance(config, LocalKms):
        return LocalProvider(
            provider_id, config.keyring, passphrase=config.passphrase, region=config.region, ledger=ledger
        )
    assert not isinstance(config, MultiKms)  # noqa: S101 - see `make_providers`
    try:
        return _with_client(provider_id, config)
    except ModuleNotFoundError:
        msg = f"[kms.{provider_id}] needs its client: pip install 'strongroom[{_EXTRAS[type(config)]}]'"
        raise ConfigError(msg) from None


# Each import is next to its use, because each needs an extra.
def _with_client(provider_id: str, config: TransitKms | AwsKms | GcpKms | AzureKms | Pkcs11Kms) -> KmsProvider:
    match config:
        case TransitKms():
            from strongroom.kms.providers.transit import TransitProvider  # noqa: PLC0415

            return TransitProvider(
                provider_id,
                config.address,
                token=secret_from(config.token, config.token_file),
                mount=config.mount,
                namespace=config.namespace,
                tls=client_context(ca_certs=config.ca_certs, certificate=config.certificate),
                insecure=config.insecure,
                region=config.region,
            )
        case AwsKms():
            import boto3  # noqa: PLC0415

            from strongroom.kms.providers.aws import AwsKmsProvider  # noqa: PLC0415

            return AwsKmsProvider(
                provider_id,
                region=config.region,
                session=boto3.Session(profile_name=config.profile) if config.profile else None,
                endpoint=config.endpoint,
                tls=client_context(ca_certs=config.ca_certs),
                insecure=config.insecure,
                deletion_days=config.deletion_days,
                multi_region=config.multi_region,
            )
        case GcpKms():
            from strongroom.kms.providers.gcp import GcpKmsProvider  # noqa: PLC0415

            return GcpKmsProvider(
                provider_id,
                key_ring=config.key_ring,
                protection_level=config.protection_level,
                ca_certs=config.ca_certs,
                endpoint=config.endpoint,
                insecure=config.insecure,
            )
        case AzureKms():
            from strongroom.kms.providers.azure import AzureKeyVaultProvider  # noqa: PLC0415

            return AzureKeyVaultProvider(
                provider_id,
                config.vault_url,
                algorithm=config.algorithm,
                tls=client_context(ca_certs=config.ca_certs),
                region=config.region,
            )
        case Pkcs11Kms():
            from strongroom.kms.providers.pkcs11 import Pkcs11Provider  # noqa: PLC0415

            return Pkcs11Provider(
                provider_id,
                config.module,
                token=config.token,
                pin=secret_from(config.pin, config.pin_file),
                mechanism=config.mechanism,
                region=config.region,
            )


def secret_from(value: str | None, file: Path | None) -> Callable[[], str]:
    """Return a function that returns a token or PIN. A file is read in each call, because it may have been renewed.

    Args:
        value: The token or PIN, if the configuration has one.
        file: The file that holds it otherwise.
    """

    def read() -> str:
        if file is None:
            return value or ""
        try:
            found = read_text(file, is_secret=True).strip()
            fault = _fault(found)
        except NotText as error:
            fault = str(error)
        if fault:
            msg = f"{file} can't be used: {fault}"
            raise KmsAuthenticationError(msg)
        return found

    return read


def _fault(secret: str) -> str:
    """Return what is wrong with the token or PIN of a file; "" if nothing is."""
    if not secret:
        return "it is empty"
    return "" if secret.isprintable() and len(secret) <= MOST_CHARACTERS else _WRONG_TEXT
