"""Names of contenders that documents speak of, known without their libraries."""

from __future__ import annotations

PYTHON = "Strongroom, pure Python"
NATIVE = "Strongroom, native kernel"
TINK = "Tink AEAD"
ASHERAH = "Asherah session"
LIMIT = "native limit (AWS-LC)"
