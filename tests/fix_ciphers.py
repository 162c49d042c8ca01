"""Both implementations of sealing and opening."""

from __future__ import annotations

import os
import shutil

import pytest

from strongroom.kms.sealing import ciphers


@pytest.fixture(scope="module", params=[ciphers.PYTHON, ciphers.NATIVE])
def cipher(request):
    """Name of the implementation that all keys made meanwhile use; each in turn."""
    if request.param == ciphers.NATIVE:
        request.getfixturevalue("native")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ciphers, "chosen", lambda: request.param)
        yield request.param


@pytest.fixture(scope="session")
def native():
    """Name of the kernel's implementation; skips what needs it where it is not built."""
    if ciphers.NATIVE not in ciphers.available():
        if os.environ.get("REQUIRE_SERVICES") == "1" and shutil.which("cargo"):
            pytest.fail("the native kernel is not built: `make kernel`")
        pytest.skip("the native kernel is not built: `make kernel`")
    return ciphers.NATIVE


@pytest.fixture
def only_python(monkeypatch):
    """Let keys made meanwhile use the implementation whose random bytes a test can set."""
    monkeypatch.setattr(ciphers, "chosen", lambda: ciphers.PYTHON)
