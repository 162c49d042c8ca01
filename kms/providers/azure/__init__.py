"""KEKs in Azure Key Vault and Managed HSM."""
