"""Print namespaces, keys and the results of jobs: as tables for people, and as JSON for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.kms import KeyClass
from strongroom.visibility import parse_layout

from .output import json_wanted, line, result, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

    from strongroom.kms import CachePolicy, DataKeyRecord, KekUsage
    from strongroom.storage import Namespace
    from strongroom.visibility import Reconciliation, TokenTally


def namespaces(found: Iterable[Namespace]) -> None:
    """Print namespaces."""
    if json_wanted():
        result({"namespaces": [_namespace(each) for each in found]})
        return
    rows = (
        (
            namespace.name,
            namespace.namespace_id,
            namespace.region,
            f"{namespace.created_at:%Y-%m-%d %H:%M}",
            _state(namespace),
            ", ".join(f"{name}={kind}" for name, kind in namespace.search_attributes.items()),
        )
        for namespace in found
    )
    table("name", "id", "region", "created (UTC)", "state", "search attributes", rows=rows)


def _namespace(namespace: Namespace) -> Mapping[str, object]:
    return {
        "name": namespace.name,
        "namespace_id": namespace.namespace_id,
        "region": namespace.region,
        "created_at": namespace.created_at,
        "state": _state_name(namespace),
        "shredded_at": namespace.shredded_at,
        "shred_due_at": namespace.shred_due_at,
        "deleted_at": namespace.deleted_at,
        "unreadable": namespace.unreadable,
        "search_attributes": namespace.search_attributes,
        "aliases": namespace.aliases,
    }


def _state(namespace: Namespace) -> str:
    if namespace.shredded_at is not None:
        return f"shredded {namespace.shredded_at:%Y-%m-%d %H:%M}"
    if namespace.shred_due_at is not None:
        deleted = "deleted, " if namespace.deleted_at is not None else ""
        return f"{deleted}to be shredded, due {namespace.shred_due_at:%Y-%m-%d %H:%M}"
    return namespace.unreadable or "ready"


def _state_name(namespace: Namespace) -> str:
    if namespace.shredded_at is not None:
        return "shredded"
    if namespace.shred_due_at is not None:
        return "scheduled"
    return "ready" if namespace.unreadable is None else "unreadable"


def search_attributes(namespace: Namespace) -> None:
    """Print the custom search attributes of a namespace."""
    if json_wanted():
        result({"search_attributes": namespace.search_attributes, "aliases": namespace.aliases})
        return
    aliases: dict[str, list[str]] = {}
    for alias, name in namespace.aliases.items():
        aliases.setdefault(name, []).append(alias)
    rows = ((name, kind, ", ".join(aliases.get(name, ()))) for name, kind in namespace.search_attributes.items())
    table("search attribute", "type", "aliases", rows=rows)


def keys(records: Iterable[DataKeyRecord], policy: CachePolicy) -> None:
    """Print the keys of a namespace, and when a revoked KEK stops all use."""
    found = [
        {
            "class": record.key_class.value,
            "version": record.version,
            "state": record.state.value,
            "suite": record.suite.name.replace("_", "-"),
            "kek": f"{record.provider}:{record.kek_id}",
            "kek_version": record.kek_version,
            "created_at": record.created_at,
            "preset": parse_layout(record.layout).preset if record.key_class is KeyClass.INDEX else None,
        }
        for record in records
    ]
    if json_wanted():
        result({"keys": found, "revocation": _times(policy)})
        return
    rows = [(*list(each.values())[:6], f"{each['created_at']:%Y-%m-%d %H:%M}", each["preset"]) for each in found]
    table("class", "version", "state", "suite", "KEK", "KEK version", "created (UTC)", "preset", rows=rows)
    line(revocation(policy))


def kek_usage(found: Iterable[KekUsage], policy: CachePolicy | None = None) -> None:
    """Print the number of keys under each version of each KEK."""
    keks = [
        {
            "kek": f"{each.provider}:{each.kek_id}",
            "kek_version": each.kek_version,
            "keys": each.keys,
            "namespaces": each.namespaces,
        }
        for each in found
    ]
    if json_wanted():
        if policy is not None:
            result({"keks": keks, "revocation": _times(policy)})
        return
    table("KEK", "version", "keys", "of namespaces", rows=(each.values() for each in keks))
    if policy is not None:
        line(revocation(policy))


def _times(policy: CachePolicy) -> Mapping[str, float]:
    return {
        "soft_ttl_seconds": policy.soft_ttl,
        "encrypt_ttl_seconds": policy.encrypt_ttl,
        "decrypt_ttl_seconds": policy.decrypt_ttl,
    }


def revocation(policy: CachePolicy) -> str:
    """Return the times after which a revoked KEK stops all use, in words."""
    return (
        f"A revoked KEK stops within {policy.soft_ttl:g} s where it is in use, and within {policy.encrypt_ttl:g} s everywhere. "
        f"If the KMS can't be asked, sealing stops after {policy.encrypt_ttl:g} s, opening after {policy.decrypt_ttl:g} s."
    )


def token_tally(namespace_id: UUID, found: TokenTally) -> Iterable[str]:
    """Return the result of comparing a namespace's tokens with its records, as lines."""
    right = found.records - found.wrong - found.unreadable + found.repaired
    yield f"{namespace_id}: the tokens of {right} of {found.records} records are correct"
    if found.wrong:
        yield f"  {found.wrong} had wrong tokens, {found.repaired} of them repaired"
    if found.unreadable:
        yield f"  {found.unreadable} records do not open: restore them from a backup"
        yield from (f"    {each}" for each in found.named)
        if found.unreadable > len(found.named):
            yield f"    and {found.unreadable - len(found.named)} more"


def reconciliation(found: Reconciliation) -> None:
    """Print the result of comparing the search index with the records."""
    table(
        "namespace",
        "records",
        "correct documents",
        rows=((each.namespace_id, each.records, each.equal) for each in found.namespaces),
    )
    for drift, count in found.found.items():
        line(f"{count} documents {drift}, {found.repaired.get(drift, 0)} of them repaired")
    if found.orphans:
        line(f"{found.orphans} documents without a record, {found.removed} of them removed")
    if found.rewritten:
        line(f"{found.rewritten} documents written again")
    line(str(found))


def purged(rows: Mapping[str, int]) -> Iterable[str]:
    """Return the number of rows that a purge deleted from each table, as lines."""
    return [f"{count} rows deleted from {name}" for name, count in rows.items()] or ["no rows were left"]
