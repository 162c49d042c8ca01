"""KEKs in Azure Key Vault and Managed HSM. Needs the Azure SDK: `pip install strongroom[azure]`."""

from .key_vault import AzureKeyVaultProvider

__all__ = ["AzureKeyVaultProvider"]
