"""An entry of the keyring's cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.kms.errors import StrongroomError
    from strongroom.kms.keys.namespace_keys import NamespaceKeys
    from strongroom.kms.keys.registry import DataKeyRecord

    from .ageing import KeyAge


@dataclass(slots=True)
class CachedKeys:
    """Unwrapped keys of a namespace.

    Attributes:
        keys: The keys.
        records: The registry's rows from which they were unwrapped.
        errors: The error of each row that was not unwrapped, by the row's position.
        age: Their times.
        failure: The error of the last load, if it failed.
        opening_only: The same keys without the right to seal; made when they are first needed.
        used_at: Time of the last use. Recorded only if there is a watch.
    """

    keys: NamespaceKeys
    records: Sequence[DataKeyRecord]
    errors: Mapping[int, StrongroomError]
    age: KeyAge
    failure: StrongroomError | None = None
    opening_only: NamespaceKeys | None = None
    used_at: float = float("-inf")

    def new_errors(self, errors: Mapping[int, StrongroomError]) -> list[StrongroomError]:
        """Return the errors of rows that were unwrapped when these keys were loaded."""
        return [error for position, error in errors.items() if position not in self.errors]

    def confirm(self, asked_at: float) -> bool:
        """Note that the registry has the same rows. Return whether the keys are used without a call of their KMS."""
        self.age.confirmed_at = asked_at
        if asked_at >= self.age.due_at:
            return False
        self.age.fresh_until = self.age.due_at
        return True
