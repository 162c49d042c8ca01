"""The provider of each section `[kms.ID]`. Each has its client in an extra of its own, loaded only where it is configured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.kms import LocalProvider

from .config import ConfigError
from .kms_config import LocalKms, TransitKms

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from strongroom.kms import KmsProvider

    from .kms_config import KmsConfig

_EXTRAS = {TransitKms: "vault"}


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
def _with_client(provider_id: str, config: TransitKms) -> KmsProvider:
    from strongroom.kms.providers.transit import TransitProvider  # noqa: PLC0415
    from strongroom.kms.tls import client_context  # noqa: PLC0415

    return TransitProvider(
        provider_id,
        config.address,
        token=_token(config.token, config.token_file),
        mount=config.mount,
        namespace=config.namespace,
        tls=client_context(ca_certs=config.ca_certs, certificate=config.certificate),
    )


def _token(token: str | None, file: Path | None) -> Callable[[], str]:
    """Return what gives the token of each request; a file is read each time, as an agent renews it."""
    if file is not None:
        return lambda: file.read_text(encoding="utf-8").strip()
    return lambda: token or ""
