"""The sealed format (FORMAT.md): record kinds, headers, packing, nonces, ciphers and tokens.

`record_kinds` is the register of all record kinds.
"""

from .header import Suite
from .record_kind import PartType, RecordKey, RecordKind
from .tokens import TokenKey
from .xaes import XAES256GCM

__all__ = ["XAES256GCM", "PartType", "RecordKey", "RecordKind", "Suite", "TokenKey"]
