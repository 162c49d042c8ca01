"""A Managed HSM: the same API, with AES keys."""

from __future__ import annotations

from .fix_azure import azure_bench


def azure_hsm_bench():
    """Return the bench."""
    return azure_bench("azure_hsm", "A256KW")
