"""The format of a multi KEK's id and version, and of a root that several KEKs wrapped (multi.md, "Format")."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.kms.errors import IntegrityError, InvalidRequest
from strongroom.kms.provider import KekRef, Wrapped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_CHILDREN = 8
ABSENT = "-"
"""The version of a child that has no copy."""
CHECK_BYTES = 32
_SEPARATOR = ","
_FORMAT = b"\x01"
_MOST_BYTES = 4096  # storage/sql/schema/schema.sql
_LENGTH = struct.Struct(">H")


@dataclass(frozen=True, slots=True)
class Copies:
    """A root key that several KEKs wrapped.

    Attributes:
        of: The wrapped roots, in the order of the KEK's children. A child that was unavailable has none.
        check: The bytes by which the root in a copy is checked.
    """

    of: Sequence[Wrapped]
    check: bytes


def children_of(key_id: str) -> tuple[KekRef, ...]:
    """Return the children of a multi KEK.

    Raises:
        InvalidRequest: The id is not 2 to 8 different KEK URIs with commas between them.
    """
    uris = key_id.split(_SEPARATOR)
    if not 1 < len(set(uris)) == len(uris) <= MOST_CHILDREN:
        msg = f"a KEK of several is named by 2 to {MOST_CHILDREN} URIs with commas between, such as aws:alias/a,vault:a"
        raise InvalidRequest(msg)
    return tuple(KekRef.parse(uri) for uri in uris)


def parts_of(key_id: str, version: str) -> dict[KekRef, str]:
    """Return the children of a KEK with their versions in one of its versions. Children without a copy are left out."""
    versions = version.split(_SEPARATOR)
    return {child: each for child, each in zip(children_of(key_id), versions, strict=False) if each != ABSENT}


def key_id_of(children: Sequence[KekRef]) -> str:
    """Return the id of a multi KEK.

    Raises:
        InvalidRequest: A child's name has a comma, or there are too few or too many children.
    """
    key_id = _SEPARATOR.join(str(child) for child in children)
    if children_of(key_id) != tuple(children):
        msg = f"{key_id}: a KEK whose name has a comma can't be one of several"
        raise InvalidRequest(msg)
    return key_id


def version_of(children: Sequence[KekRef], versions: Mapping[KekRef, str]) -> str:
    """Return the version of a multi KEK: the version of each child, in order, and `-` for a child without a copy."""
    return _SEPARATOR.join(versions.get(child, ABSENT) for child in children)


def write_copies(kek: KekRef, copies: Copies) -> Wrapped:
    """Return copies as one wrapped root.

    Raises:
        InvalidRequest: The result is too long for a row of the registry.
    """
    parts = [
        part for copy in copies.of for part in (str(copy.kek).encode(), copy.kek_version.encode(), copy.ciphertext)
    ]
    size = len(_FORMAT) + 1 + sum(_LENGTH.size + len(part) for part in parts) + len(copies.check)
    if size > _MOST_BYTES:
        msg = f"{kek}: a wrapped root of {size} bytes is too long for the registry; name fewer KEKs"
        raise InvalidRequest(msg)
    body = b"".join(_LENGTH.pack(len(part)) + part for part in parts)
    version = version_of(children_of(kek.key_id), {copy.kek: copy.kek_version for copy in copies.of})
    return Wrapped(kek, version, _FORMAT + bytes((len(copies.of),)) + body + copies.check)


def read_copies(wrapped: Wrapped) -> Copies:
    """Return the copies in a wrapped root.

    Raises:
        IntegrityError: The copies don't match the KEK's children in their order, or don't match the named version.
        InvalidRequest: The KEK's id is invalid.
    """
    children = children_of(wrapped.kek.key_id)
    content, check = wrapped.ciphertext[:-CHECK_BYTES], wrapped.ciphertext[-CHECK_BYTES:]
    if content[:1] != _FORMAT or len(content) < len(_FORMAT) + 1:
        raise IntegrityError
    try:
        parts = _parts(content[2:], 3 * content[1])
        texts = [(parts[at].decode("ascii"), parts[at + 1].decode("ascii")) for at in range(0, len(parts), 3)]
    except (struct.error, ValueError):
        raise IntegrityError from None
    by_uri = {str(child): child for child in children}
    named = [uri for uri, _ in texts]
    if not named or named != [uri for uri in by_uri if uri in named]:
        raise IntegrityError
    copies = [Wrapped(by_uri[uri], version, parts[3 * at + 2]) for at, (uri, version) in enumerate(texts)]
    if version_of(children, {copy.kek: copy.kek_version for copy in copies}) != wrapped.kek_version:
        raise IntegrityError
    return Copies(copies, check)


def _parts(content: bytes, count: int) -> list[bytes]:
    parts, at = [], 0
    for _ in range(count):
        (length,) = _LENGTH.unpack_from(content, at)
        at += _LENGTH.size
        parts.append(content[at : at + length])
        at += length
    if at != len(content):
        raise ValueError
    return parts
