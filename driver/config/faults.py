"""Describe the faults of a configuration: the path of each key, its fault, and the nearest known key."""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import TypeAdapter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

Node: TypeAlias = "Mapping[str, Any]"
_LIKENESS = 0.5
_WORDS = {"boolean": "true or false", "object": "a section"}
_FORMATS = {"path": "a path", "environment-variable": "the name of an environment variable", "uuid": "a UUID"}
_USUAL_LENGTH = 4096
_VERBS = ("must ", "names ")
_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Schema:
    """The JSON Schema of a settings class. Its parts are looked up by path.

    Args:
        cls: The class.
        by_alias: Whether settings have their names from the file instead of the names of the class's fields.
    """

    def __init__(self, cls: type, *, by_alias: bool = True) -> None:
        self.document: dict[str, Any] = TypeAdapter(cls).json_schema(by_alias=by_alias)

    def resolve(self, node: Node) -> Node:
        """Return a node with its reference followed, and without the alternative of a missing value."""
        choices = [each for each in node.get("anyOf", ()) if each.get("type") != "null"]
        if len(choices) == 1:
            node = {**choices[0], **{name: value for name, value in node.items() if name != "anyOf"}}
        if "$ref" not in node:
            return node
        target = self.document["$defs"][node["$ref"].rpartition("/")[2]]
        return self.resolve({**target, **{name: value for name, value in node.items() if name != "$ref"}})

    def follow(self, location: Iterable[str | int]) -> tuple[str, Node]:
        """Return the path of an error as a person writes it, and the node of the schema there."""
        path, node = "", self.resolve(self.document)
        for place in location:
            step = place
            if step == "[key]":
                break
            if "discriminator" in node:  # the step is the variant, which is not part of the path
                node = self.resolve({"$ref": node["discriminator"]["mapping"][step]})
                continue
            if isinstance(step, int) and "properties" in node:  # a positional argument
                step = list(node["properties"])[step]
            path += f"[{step}]" if isinstance(step, int) else f".{_name(step)}" if path else _name(step)
            within = self.items(node) if isinstance(step, int) else node.get("properties", {}).get(step)
            node = self.resolve(within or node.get("additionalProperties") or {})
        return path, node

    def items(self, node: Node) -> Node | None:
        """Return the node of an item of a list, also of a setting that takes a list or a single value; None for other nodes."""
        return next((each["items"] for each in (node, *node.get("anyOf", ())) if "items" in each), None)

    def sections(self) -> Iterator[tuple[str, Node]]:
        """Yield each section with its path, from the top. `ID` replaces a name that the operator chooses."""
        waiting: list[tuple[str, Node]] = [("", self.document)]
        while waiting:
            path, found = waiting.pop(0)
            node = self.resolve(found)
            if "discriminator" in node:
                waiting[:0] = [(path, {"$ref": ref}) for ref in node["discriminator"]["mapping"].values()]
            elif node.get("type") == "array":
                waiting.insert(0, (f"[{path}]", node["items"]))
            elif "properties" in node:
                yield path, node
                waiting[:0] = [(f"{path}.{name}".lstrip("."), each) for name, each in node["properties"].items()]
            elif isinstance(node.get("additionalProperties"), dict):
                waiting.insert(0, (f"{path}.ID", node["additionalProperties"]))


def describe(cls: type, error: ValidationError, *, by_alias: bool) -> list[str]:
    """Return one sentence for each fault that a validation found. No sentence contains a value."""
    schema = _schema(cls, by_alias)
    return [_sentence(schema, fault) for fault in error.errors(include_url=False)]


@cache
def _schema(cls: type, by_alias: bool) -> Schema:  # noqa: FBT001 - keys of the cache
    return Schema(cls, by_alias=by_alias)


def expected(schema: Schema, node: Node) -> str:
    """Describe the values that a setting accepts: their type, range and unit."""
    kind = node.get("type", "")
    if "anyOf" in node:
        return ", or ".join(expected(schema, schema.resolve(each)) for each in node["anyOf"])
    if "const" in node or "enum" in node:
        choices = node.get("enum") or [node["const"]]
        return f"{'one of ' if len(choices) > 1 else ''}{', '.join(choices)}"
    if kind in {"integer", "number"}:
        low = f"above {node['exclusiveMinimum']}" if "exclusiveMinimum" in node else f"from {node['minimum']}"
        unit = f" {node['unit']}" if "unit" in node else ""
        return f"a {'whole ' if kind == 'integer' else ''}number {low} to {node['maximum']}{unit}"
    if kind == "array":
        inner = schema.resolve(node["items"])
        least = f", {node['minItems']} or more" if node.get("minItems") else ""
        if "enum" in inner:
            return f"a list of {', '.join(inner['enum'])}{least}"
        return f"a list of {'sections' if inner.get('type') == 'object' else 'texts'}{least}"
    if kind == "string":
        longest = node.get("maxLength", _USUAL_LENGTH)
        text = "text" if longest == _USUAL_LENGTH else f"text of at most {longest} characters"
        return _FORMATS.get(node.get("format", ""), text)
    return _WORDS.get(kind, "a section")


def _sentence(schema: Schema, fault: ErrorDetails) -> str:
    path, node = schema.follow(fault["loc"])
    match fault["type"]:
        case "unexpected_keyword_argument":
            return _unknown(schema, fault)
        case "missing" if "properties" in node or "discriminator" in schema.resolve(
            node.get("additionalProperties", {})
        ):
            return f"[{path}] is missing; add the section"
        case "missing":
            return f"{path} is missing; add it. {node.get('description', '')}".rstrip(" .")
        case "union_tag_not_found" | "union_tag_invalid":
            return _variant(path, node, fault)
        case "value_error":
            text = str(fault["ctx"]["error"])
            return f"{path} {text}" if text.startswith(_VERBS) else f"{path}: {text}" if path else text
        case "string_too_short":
            return f"{path} must not be empty"
        case "string_too_long":
            return f"{path} must be text of at most {node.get('maxLength', _USUAL_LENGTH)} characters"
        case "string_unicode":
            return f"{path} must be text in valid UTF-8"
        case "string_pattern_mismatch":
            return f"{path} must have the form {node['form']}"
    meant = _nearest(fault["input"], node.get("enum", ())) if isinstance(fault["input"], str) else None
    return f"{path} must be {expected(schema, node)}" + (f"; did you mean {meant}?" if meant else "")


def _unknown(schema: Schema, fault: ErrorDetails) -> str:
    *section, name = fault["loc"]
    path, node = schema.follow(section)
    known = list(node.get("properties", ()))
    whole = f"{path}.{_name(name)}".lstrip(".")
    what = f"[{whole}] is no section" if isinstance(fault["input"], dict) else f"{whole} is no setting"
    meant = _nearest(str(name), known)
    elsewhere = [where for where, each in schema.sections() if where and name in each["properties"]]
    if meant is not None:
        return f"{what}; did you mean {f'{path}.{meant}'.lstrip('.')}?"
    if elsewhere:
        return f"{what}; [{elsewhere[0]}] has one of this name"
    return f"{what}; known here: {', '.join(known)}"


def _name(key: object) -> str:
    """Return a key as it is shown. A text that does not look like a key may be a value in a wrong place."""
    return str(key) if _KEY.fullmatch(str(key)) else "(a key)"


def _variant(path: str, node: Node, fault: ErrorDetails) -> str:
    """Describe a section whose variant is missing or unknown."""
    tag, known = node["discriminator"]["propertyName"], list(node["discriminator"]["mapping"])
    given = fault["input"] if isinstance(fault["input"], dict) else {}
    if tag in given:
        meant = _nearest(given[tag], known) if isinstance(given[tag], str) else None
        return f"{path}.{tag} must be one of {', '.join(known)}" + (f"; did you mean {meant}?" if meant else "")
    misspelt = get_close_matches(tag, given, n=1, cutoff=_LIKENESS)
    if misspelt:
        return f"{path}.{misspelt[0]} is no setting; did you mean {path}.{tag}?"
    return f"{path}.{tag} is missing; add one of {', '.join(known)}"


def _nearest(text: str, known: Iterable[str]) -> str | None:
    return next(iter(get_close_matches(text, list(known), n=1, cutoff=_LIKENESS)), None)
