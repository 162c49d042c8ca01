"""The PKCS#11 provider on SoftHSM, with AES key wrap with padding."""

from __future__ import annotations

from contextlib import asynccontextmanager

from .fix_pkcs11 import pkcs11_bench


@asynccontextmanager
async def pkcs11_kw_bench():
    """Yield the bench."""
    async with pkcs11_bench("key-wrap", "AES_KEY_WRAP_PAD", "pkcs11_kw") as bench:
        yield bench
