"""The arguments of each operation as a type, made from the annotations of the store's method.

So the signatures of the stores are the schema of the protocol, and there is no second set of request types.
"""

from __future__ import annotations

import inspect
from types import new_class
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import msgspec

from strongroom.kms import KekRef

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

LOCAL = frozenset({"barrier", "mark_layout", "transaction"})
"""Parameters that only a caller in the same process can pass."""


def arguments_type(name: str, method: Callable[..., Any], replaced: Mapping[str, Any]) -> type[msgspec.Struct]:
    """Return a type with a field for each parameter of a method that a client can pass. It refuses unknown fields.

    Args:
        name: The name of the operation.
        method: The method of the store's class.
        replaced: Types of parameters, by name, in place of the annotations.

    Raises:
        NameError: The module of the method or of a value does not import a type at run time.
    """
    fields: list[Any] = []
    for parameter, hint in _parameters(method, replaced):
        wanted = hint if not _is_kek(hint) else str if hint is KekRef else str | None
        default = () if parameter.default is parameter.empty else (parameter.default,)
        fields.append((parameter.name, wanted, *default))
    return msgspec.defstruct(name.replace(".", "_"), fields, kw_only=True, forbid_unknown_fields=True)


def kek_parameters(method: Callable[..., Any], replaced: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the parameters that are references to KEKs, which are text on the wire."""
    return tuple(parameter.name for parameter, hint in _parameters(method, replaced) if _is_kek(hint))


def _parameters(method: Callable[..., Any], replaced: Mapping[str, Any]) -> Iterator[tuple[inspect.Parameter, Any]]:
    function = inspect.unwrap(method)
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        if parameter.name in replaced:
            yield parameter, replaced[parameter.name]
        elif parameter.name not in LOCAL:
            yield parameter, _resolved(function, parameter)


def _resolved(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """Return the type of one parameter. The types of the others and of the answer need not be imported at run time."""
    members = {"__annotations__": {parameter.name: parameter.annotation}, "__module__": function.__module__}
    holder = new_class(parameter.name, exec_body=lambda namespace: namespace.update(members))
    return get_type_hints(holder)[parameter.name]


def _is_kek(hint: Any) -> bool:
    return KekRef in (hint, *get_args(hint))
