"""The provider of each section `[kms.ID]`. Each has its client in an extra of its own, loaded only where it is configured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.kms import LocalProvider, client_context

from .config import ConfigError
from .kms_config import AwsKms, AzureKms, GcpKms, LocalKms, TransitKms

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from strongroom.kms import KmsProvider

    from .kms_config import KmsConfig

_EXTRAS = {TransitKms: "vault", AwsKms: "aws", GcpKms: "gcp", AzureKms: "azure"}


def make_provider(provider_id: str, config: KmsConfig) -> KmsProvider:
    """Return a provider; nothing is connected yet.

    Raises:
        ConfigError: its client is not installed.
        InvalidRequest: a file or an address can't be used.
    """
    if isinstance(config, LocalKms):
        return LocalProvider(provider_id, config.keyring, passphrase=config.passphrase)
    try:
        return _with_client(provider_id, config)
    except ModuleNotFoundError:
        extra = _EXTRAS[type(config)]
        msg = f"[kms.{provider_id}] needs its client: pip install 'strongroom[{extra}]'"
        raise ConfigError(msg) from None


# Imports stand where they are used, as each needs an extra.
def _with_client(provider_id: str, config: TransitKms | AwsKms | GcpKms | AzureKms) -> KmsProvider:
    match config:
        case TransitKms():
            from strongroom.kms.providers.transit import TransitProvider  # noqa: PLC0415

            return TransitProvider(
                provider_id,
                config.address,
                token=_token(config.token, config.token_file),
                mount=config.mount,
                namespace=config.namespace,
                tls=client_context(ca_certs=config.ca_certs, certificate=config.certificate),
            )
        case AwsKms():
            import boto3  # noqa: PLC0415

            from strongroom.kms.providers.aws_kms import AwsKmsProvider  # noqa: PLC0415

            return AwsKmsProvider(
                provider_id,
                region=config.region,
                session=boto3.Session(profile_name=config.profile) if config.profile else None,
                endpoint=config.endpoint,
                tls=client_context(ca_certs=config.ca_certs),
                deletion_days=config.deletion_days,
                multi_region=config.multi_region,
            )
        case GcpKms():
            from strongroom.kms.providers.gcp_kms import GcpKmsProvider  # noqa: PLC0415

            return GcpKmsProvider(
                provider_id,
                key_ring=config.key_ring,
                protection_level="hsm" if config.hsm else "software",
                ca_certs=config.ca_certs,
                endpoint=config.endpoint,
            )
        case AzureKms():
            from strongroom.kms.providers.azure_key_vault import AzureKeyVaultProvider  # noqa: PLC0415

            return AzureKeyVaultProvider(
                provider_id,
                config.vault_url,
                algorithm="A256KW" if config.managed_hsm else "RSA-OAEP-256",
                tls=client_context(ca_certs=config.ca_certs),
            )


def _token(token: str | None, file: Path | None) -> Callable[[], str]:
    """Return what gives the token of each request; a file is read each time, as an agent renews it."""
    if file is not None:
        return lambda: file.read_text(encoding="utf-8").strip()
    return lambda: token or ""
