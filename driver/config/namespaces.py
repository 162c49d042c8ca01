"""The section `[namespaces]`: what holds for namespaces that name nothing else."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import Field, model_validator

from strongroom.kms import KekRef
from strongroom.kms.provider import PROVIDER_ID

from .schema import Number, Text, about, formed, section

ID = "{id}"
"""The part of a template that stands for the id of the namespace."""
_MOST_DAYS = 365


@section
class NamespacesConfig:
    """Defaults for new namespaces, and the grace period of deleted ones."""

    kek: (
        Annotated[
            Text,
            formed(PROVIDER_ID + ":[!-~]{1,470}", "PROVIDER:KEY"),
            about(
                "KEK of a new namespace for which none is named, as PROVIDER:KEY. A key with {id} is a template: each namespace gets "
                "a KEK of its own, which is created. Without {id} all these namespaces share one KEK, which must exist."
            ),
        ]
        | None
    ) = None
    shred_after_days: Annotated[
        Number,
        Field(ge=0, le=_MOST_DAYS),
        about("Days between the deletion of a namespace by Temporal and the destruction of its keys.", unit="days"),
    ] = 7.0

    @model_validator(mode="after")
    def _check(self) -> NamespacesConfig:
        if self.kek is not None and set("{}") & set(self.kek.replace(ID, "")):
            raise ValueError(f"kek holds a brace that is not part of {ID}; write {ID} where the namespace's id belongs")
        return self

    @property
    def has_own_keks(self) -> bool:
        """Whether each namespace gets a KEK of its own."""
        return self.kek is not None and ID in self.kek

    def kek_of(self, namespace_id: UUID) -> KekRef | None:
        """Return the KEK of a namespace; None if the configuration names none."""
        return None if self.kek is None else KekRef.parse(self.kek.replace(ID, str(namespace_id)))
