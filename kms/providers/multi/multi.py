"""The multi provider: several KEKs act as one. Each wraps every root key, and any of them unwraps it (multi.md)."""

from __future__ import annotations

import asyncio
import hmac
import os
from itertools import islice, product
from typing import TYPE_CHECKING, Literal, NoReturn, TypeVar

from strongroom.kms.errors import IntegrityError, InvalidRequest, KeyNotFound, StrongroomError, UnsupportedOperation
from strongroom.kms.keys.derivation import ROOT_BYTES, copies_check
from strongroom.kms.provider import Capabilities, GeneratedKey, KekInfo, KekRef, Wrapped
from strongroom.kms.secret import Secret

from .errors import all_done, error_of_all, failed_of, is_down
from .wrapped_format import ABSENT, Copies, children_of, key_id_of, read_copies, version_of, write_copies

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from strongroom.kms.provider import KmsProvider

    T = TypeVar("T")

_BATCH = 200
_MOST_VERSIONS = 4096


class MultiProvider:
    """A provider that wraps each root key with KEKs of several providers, so that losing one KEK loses no root key.

    Args:
        provider_id: The id of this provider in the registry and in KEK URIs.
        providers: The providers of the child KEKs by their ids, in the order in which `create_kek` lists them. None is a
            `MultiProvider`. The caller closes them.
        policy: With `all` a wrap fails unless each child wraps. With `any` an unavailable child is left out, and a later
            re-wrap adds its copy.

    Raises:
        InvalidRequest: There are fewer than two providers, or one is a `MultiProvider`.
    """

    def __init__(
        self, provider_id: str, providers: Mapping[str, KmsProvider], *, policy: Literal["all", "any"] = "all"
    ) -> None:
        if len(providers) < 2 or any(isinstance(provider, MultiProvider) for provider in providers.values()):  # noqa: PLR2004
            msg = f"{provider_id}: at least two providers are needed, none of type multi"
            raise InvalidRequest(msg)
        self._id = provider_id
        self._providers = dict(providers)
        self._policy = policy

    @property
    def capabilities(self) -> Capabilities:
        """The abilities that all providers have."""
        each = [provider.capabilities for provider in self._providers.values()]
        return Capabilities(
            context="native" if all(one.context == "native" for one in each) else "commitment",
            rewrap="client",
            batch=_BATCH,
            deletion="scheduled" if any(one.deletion == "scheduled" for one in each) else "immediate",
            remote=any(one.remote for one in each),
            rotates_slowly=any(one.rotates_slowly for one in each),
            retires_versions=False,  # a child's version may be in use by other KEKs
        )

    def __repr__(self) -> str:
        return f"MultiProvider({self._id!r}, {list(self._providers)!r}, policy={self._policy!r})"

    def __reduce__(self) -> NoReturn:
        msg = "a provider can't be pickled, because it has credentials"
        raise TypeError(msg)

    def regions(self, kek: KekRef) -> frozenset[str | None]:
        """Return the regions of all children. For a name of new KEKs, return the regions of all providers."""
        children = (
            self._children(kek) if ":" in kek.key_id else [KekRef(provider, kek.key_id) for provider in self._providers]
        )
        return frozenset().union(*(self._provider(child.provider).regions(child) for child in children))

    async def generate_data_key(self, kek: KekRef, *, context: Mapping[str, str]) -> GeneratedKey:
        """Return a new random root key that each child has wrapped."""
        root = Secret(os.urandom(ROOT_BYTES))
        return GeneratedKey(root, await self.wrap(kek, root, context=context))

    async def wrap(self, kek: KekRef, root: Secret, *, context: Mapping[str, str]) -> Wrapped:
        """Wrap a root key with each child. With the policy `any` unavailable children are left out."""
        return await self._wrap(kek, root, context, {})

    async def unwrap(self, wrapped: Wrapped, *, context: Mapping[str, str]) -> Secret:
        """Unwrap with the first child that can, in the order of the KEK's children."""
        (answer,) = await self.unwrap_many([(wrapped, context)])
        if isinstance(answer, StrongroomError):
            raise answer
        return answer

    async def unwrap_many(self, items: Sequence[tuple[Wrapped, Mapping[str, str]]]) -> list[Secret | StrongroomError]:
        """Unwrap several roots, in order: first with their first children, the failed ones with their second children, and so on.

        A copy that unwraps to another root fails like a copy that does not unwrap.
        """
        answers: dict[int, Secret | StrongroomError] = {}
        copies: dict[int, Copies] = {}
        failures: dict[int, dict[KekRef, StrongroomError]] = {}
        for index, (wrapped, _) in enumerate(items):
            try:
                copies[index] = read_copies(wrapped)
                failures[index] = {}
            except StrongroomError as error:
                answers[index] = error
        for turn in range(max((len(each.of) for each in copies.values()), default=0)):
            asked = [index for index in copies if index not in answers and turn < len(copies[index].of)]
            results = await self._unwrap_copies([(copies[index].of[turn], items[index][1]) for index in asked])
            for index, answer in zip(asked, results, strict=True):
                checked = _checked(answer, items[index][0].kek, copies[index].check)
                if isinstance(checked, Secret):
                    answers[index] = checked
                else:
                    failures[index][copies[index].of[turn].kek] = checked
        for index in copies.keys() - answers.keys():
            answers[index] = error_of_all(str(items[index][0].kek), failures[index])
        return [answers[index] for index in range(len(items))]

    async def rewrap(self, wrapped: Wrapped, kek: KekRef, *, context: Mapping[str, str]) -> Wrapped:
        """Wrap the same root again with each child's primary version, which also adds missing copies.

        With the policy `any` an unavailable child keeps its old copy.
        """
        root = await self.unwrap(wrapped, context=context)
        old = {copy.kek: copy for copy in read_copies(wrapped).of}
        return await self._wrap(kek, root, context, old)

    async def describe(self, kek: KekRef) -> KekInfo:
        """Return the combined state and versions of the children.

        The KEK is enabled if any child is. In the primary version, `-` stands for a child that is not enabled.

        Raises:
            StrongroomError: No child can be described.
        """
        children = self._children(kek)
        outcomes = await self._ask_all(children, lambda provider, child: provider.describe(child))
        described = {child: info for child, info in outcomes.items() if isinstance(info, KekInfo)}
        if not described:
            raise error_of_all(str(kek), failed_of(outcomes))
        usable = {child: info for child, info in described.items() if info.state == "enabled"}
        first = next(iter((usable or described).values()))
        each = [(*described[child].versions, ABSENT) if child in described else (ABSENT,) for child in children]
        versions = tuple(",".join(one) for one in islice(product(*each), _MOST_VERSIONS) if set(one) != {ABSENT})
        primary = version_of(children, {child: info.primary_version for child, info in usable.items()})
        return KekInfo(kek, first.state, primary, versions, None if usable else first.deletion_at)

    async def create_kek(self, key_id: str) -> KekRef:
        """Create a KEK at each provider under one name, or create the KEKs that a multi id names."""
        children = (
            self._children(KekRef(self._id, key_id))
            if ":" in key_id
            else [KekRef(provider, key_id) for provider in self._providers]
        )
        key_id_of(children)  # before any KEK is created, check that one id can name them all
        outcomes = await self._ask_all(children, lambda provider, child: provider.create_kek(child.key_id))
        return KekRef(self._id, key_id_of(all_done(f"{self._id}:{key_id}", outcomes)))

    async def rotate_kek(self, kek: KekRef) -> str:
        """Rotate each child. After an error, some children may be rotated. This does no harm, and the call may be repeated."""
        children = self._children(kek)
        outcomes = await self._ask_all(children, lambda provider, child: provider.rotate_kek(child))
        return version_of(children, dict(zip(children, all_done(str(kek), outcomes), strict=True)))

    async def retire_version(self, kek: KekRef, version: str) -> None:  # noqa: ARG002
        """Raise `UnsupportedOperation`, because a child's version may be in use by other KEKs. Retire versions of the children."""
        msg = f"{kek}: retire the versions of {', '.join(str(child) for child in self._children(kek))} one by one"
        raise UnsupportedOperation(msg)

    async def delete_kek(self, kek: KekRef) -> KekInfo:
        """Delete each child. A missing child counts as deleted. Repeat the call after an error, because any child still unwraps."""
        children = self._children(kek)
        outcomes = await self._ask_all(children, lambda provider, child: provider.delete_kek(child))
        done = {child: info for child, info in outcomes.items() if not isinstance(info, KeyNotFound)} or outcomes
        infos = all_done(str(kek), done)
        dates = [info.deletion_at for info in infos if info.deletion_at is not None]
        return KekInfo(kek, "pending_deletion" if dates else "destroyed", "", (), max(dates, default=None))

    async def check(self) -> str:
        """Check each provider. Raise an error only if the policy allows no wrap now."""
        children = [KekRef(provider, "") for provider in self._providers]
        outcomes = await self._ask_all(children, lambda provider, _: provider.check())
        failed = failed_of(outcomes)
        if len(failed) == len(outcomes) or (failed and self._policy == "all"):
            raise error_of_all(self._id, {child: failed[child] for child in failed})
        return "; ".join(
            f"{child.provider}: {f'FAILS: {answer}' if child in failed else answer}"
            for child, answer in outcomes.items()
        )

    async def aclose(self) -> None:
        """Do nothing, because the caller closes the providers."""

    async def _wrap(
        self, kek: KekRef, root: Secret, context: Mapping[str, str], old: Mapping[KekRef, Wrapped]
    ) -> Wrapped:
        children = self._children(kek)
        outcomes = await self._ask_all(children, lambda provider, child: provider.wrap(child, root, context=context))
        failed = failed_of(outcomes)
        lost = {child: error for child, error in failed.items() if self._policy == "all" or not is_down(error)}
        if lost or len(failed) == len(outcomes):
            raise error_of_all(str(kek), lost or failed)
        kept = {child: old[child] if child in failed and child in old else answer for child, answer in outcomes.items()}
        copies = [copy for copy in kept.values() if isinstance(copy, Wrapped)]
        return write_copies(kek, Copies(copies, copies_check(root, kek.key_id)))

    async def _unwrap_copies(
        self, items: Sequence[tuple[Wrapped, Mapping[str, str]]]
    ) -> list[Secret | StrongroomError]:
        """Unwrap one copy of each root, in order. Providers are called concurrently, in batches of their size."""
        answers: dict[int, Secret | StrongroomError] = {}
        by_provider: dict[str, list[int]] = {}
        for index, (copy, _) in enumerate(items):
            by_provider.setdefault(copy.kek.provider, []).append(index)

        async def unwrap_at(provider_id: str, indexes: list[int]) -> None:
            try:
                provider = self._provider(provider_id)
            except KeyNotFound as error:
                answers.update(dict.fromkeys(indexes, error))
                return
            size = provider.capabilities.batch
            for batch in (indexes[start : start + size] for start in range(0, len(indexes), size)):
                try:
                    results = await provider.unwrap_many([items[index] for index in batch])
                except StrongroomError as error:
                    results = [error] * len(batch)
                answers.update(zip(batch, results, strict=True))

        await asyncio.gather(*(unwrap_at(provider_id, indexes) for provider_id, indexes in by_provider.items()))
        return [answers[index] for index in range(len(items))]

    async def _ask_all(
        self, children: Sequence[KekRef], ask: Callable[[KmsProvider, KekRef], Awaitable[T]]
    ) -> dict[KekRef, T | StrongroomError]:
        async def asked(child: KekRef) -> T | StrongroomError:
            try:
                return await ask(self._provider(child.provider), child)
            except StrongroomError as error:
                return error

        return dict(zip(children, await asyncio.gather(*map(asked, children)), strict=True))

    def _children(self, kek: KekRef) -> tuple[KekRef, ...]:
        children = children_of(kek.key_id)
        for child in children:
            self._provider(child.provider)
        return children

    def _provider(self, provider_id: str) -> KmsProvider:
        if provider_id not in self._providers:
            msg = f"{self._id}: {provider_id!r} is not one of its providers, which are {', '.join(self._providers)}"
            raise KeyNotFound(msg)
        return self._providers[provider_id]


def _checked(answer: Secret | StrongroomError, kek: KekRef, check: bytes) -> Secret | StrongroomError:
    """Return the root, or an error if it is not the wrapped root, which means that a copy was replaced."""
    if isinstance(answer, StrongroomError):
        return answer
    return answer if hmac.compare_digest(copies_check(answer, kek.key_id), check) else IntegrityError()
