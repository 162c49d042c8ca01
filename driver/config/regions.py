"""A cell of one region: its KMSs must be there too, and a configuration that says otherwise is refused before any is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.kms import InvalidRequest

from .kms import AwsKms, GcpKms, MultiKms

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from .kms import KmsConfig


def check_kms_regions(sections: Mapping[str, KmsConfig], allowed: Collection[str]) -> None:
    """Refuse providers that are elsewhere, or that do not say where they are.

    Args:
        sections: the configuration of each.
        allowed: what KMSs call the cell's region.

    Raises:
        InvalidRequest: names the section, and what to write there.
    """
    names = ", ".join(sorted(allowed))
    for provider_id, section in sections.items():
        if isinstance(section, MultiKms):
            continue  # its parts are sections of their own
        if section.region is None:
            msg = f"[kms.{provider_id}] does not say where it is, and this cell uses KMSs in {names} only: add region to it"
            raise InvalidRequest(msg)
        if section.region not in allowed:
            setting = "key_ring" if isinstance(section, GcpKms) else "region"
            msg = (
                f"[kms.{provider_id}] is in {section.region} by its {setting}, and this cell uses KMSs in {names} only. Take it out, "
                "or if its own word for the same region is another one, add that to cell.kms_regions"
            )
            raise InvalidRequest(msg)
        if isinstance(section, AwsKms) and section.multi_region:
            msg = f"[kms.{provider_id}] makes keys for several regions, and this cell is bound to one: take multi_region out"
            raise InvalidRequest(msg)
