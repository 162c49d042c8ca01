"""The public names: what a service needs. Everything else may change in any version.

They are the exports of `strongroom.driver` and `strongroom.driver.demo`, every error, the stores, and what follows from them:
each type that
an operation takes or returns, and each type of its fields. A type that is needed and not exported is an error of the generator.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from strongroom.driver.stores import STORES
from strongroom.kms import StrongroomError

if TYPE_CHECKING:
    from collections.abc import Iterator

WHOLE = ("strongroom.driver", "strongroom.driver.demo")
"""Modules of which every export is public."""
PARTS = ("strongroom.storage", "strongroom.visibility", "strongroom.kms")
"""Modules of which only the needed exports are public. The other exports are for the packages above them."""
NEEDED = {
    # The categories of history tasks, what a program needs that prepares a database, and what the bridge to Temporal needs.
    "strongroom.storage": "TRANSFER TIMER REPLICATION VISIBILITY ARCHIVAL OUTBOUND Database NO_NAMESPACE EVERY_NAMESPACE "
    "ShardNumbers current_version Encoding",
    "strongroom.visibility": "attribute_types parse_filter SearchAttributes ListFilter PRESETS",
    "strongroom.kms": "ErasureCertificate verify_certificate KeyClass KeyState UnsafePath check_shared_folder",
}
"""Names that no operation mentions."""
_WORD = re.compile(r"[A-Za-z_]\w*")


def names() -> dict[str, list[str]]:
    """Return the public names of each module, sorted.

    Raises:
        SystemExit: A public name needs a type that is not exported.
    """
    found = {module: set(import_module(module).__all__) for module in WHOLE}
    found |= {module: set(NEEDED[module].split()) | _errors(module) for module in PARTS}
    waiting = [(module, name) for module, several in found.items() for name in several]
    for store in STORES:
        module = _package(store.type.__module__)
        waiting.append((module, store.type.__name__))
        found[module].add(store.type.__name__)
        waiting += _needed_by_operations(store.type, [each.method for each in store.operations])
    seen = set()
    while waiting:
        module, name = waiting.pop()
        if (module, name) in seen:
            continue
        seen.add((module, name))
        if module in PARTS:
            found[module].add(name)
            waiting += _needed_by(getattr(import_module(module), name))
    return {module: sorted(several) for module, several in found.items()}


def listing() -> str:
    """Return the public names, one in a line."""
    return "".join(f"{module}.{name}\n" for module, several in names().items() for name in several)


def _errors(module: str) -> set[str]:
    package = import_module(module)
    exported = {name: getattr(package, name) for name in package.__all__}
    return {name for name, each in exported.items() if inspect.isclass(each) and issubclass(each, StrongroomError)}


def _needed_by_operations(store: type, methods: list[str]) -> Iterator[tuple[str, str]]:
    for method in methods:
        function = inspect.unwrap(getattr(store, method))
        yield from _types(function.__module__, function.__annotations__.values())


def _needed_by(public: Any) -> Iterator[tuple[str, str]]:
    """Return the types of the fields of a class, and of the parameters of a function. Stores and protocols have only operations."""
    if inspect.isfunction(public) or (inspect.isclass(public) and _is_value(public)):
        fields = {name: each for name, each in public.__annotations__.items() if not name.startswith("_")}
        yield from _types(public.__module__, fields.values())


def _is_value(kind: type) -> bool:
    return hasattr(kind, "__dataclass_fields__") or hasattr(kind, "_fields")


def _types(module: str, annotations: Any) -> Iterator[tuple[str, str]]:
    """Return module and name of each type of Strongroom in annotations."""
    origins = _origins(module)
    for annotation in annotations:
        for word in _WORD.findall(annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")):
            origin = origins.get(word)
            if origin is not None:
                yield _exported(origin, word, module)


def _exported(origin: str, name: str, user: str) -> tuple[str, str]:
    for module in dict.fromkeys([_package(origin), *WHOLE]):
        if name in import_module(module).__all__:
            return module, name
    raise SystemExit(f"{user} needs {origin}.{name} in a public signature, but {_package(origin)} does not export it")


def _origins(module: str) -> dict[str, str]:
    """Return the module of each name of Strongroom that a module defines or imports, also for the type checker alone."""
    source = import_module(module)
    tree = ast.parse(inspect.getsource(source))
    is_package = hasattr(source, "__path__")
    found = {node.name: module for node in tree.body if isinstance(node, ast.ClassDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            origin = _absolute(node, module, is_package=is_package)
            found |= {each.asname or each.name: origin for each in node.names if origin.startswith("strongroom.")}
    return {name: origin for name, origin in found.items() if _is_type(origin, name)}


def _is_type(origin: str, name: str) -> bool:
    return inspect.isclass(getattr(sys.modules.get(origin) or import_module(origin), name, None))


def _absolute(node: ast.ImportFrom, module: str, *, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    base = parts[: len(parts) - node.level + is_package]
    return ".".join([*base, *([node.module] if node.module else [])])


def _package(module: str) -> str:
    return ".".join(module.split(".")[:2])
