"""Names of contenders that documents mention. They can be imported without the contenders' libraries."""

from __future__ import annotations

PYTHON = "Strongroom, pure Python"
NATIVE = "Strongroom, native kernel"
TINK = "Tink AEAD"
ASHERAH = "Asherah session"
LIMIT = "native limit (AWS-LC)"
