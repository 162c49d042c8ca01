"""The types of settings, and the decorator that makes a class of settings a section of the configuration."""

from __future__ import annotations

import os
import re
from enum import StrEnum, auto
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar, dataclass_transform
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, Strict, StringConstraints, ValidationError
from pydantic import ValidationInfo as Info
from pydantic.dataclasses import dataclass

from strongroom.kms import InvalidRequest, check_address, check_region

from .errors import ConfigError
from .faults import describe

_Section = TypeVar("_Section")
MOST_CHARACTERS = 4096
"""The maximum length of a text."""
_CONFIG = ConfigDict(extra="forbid", validate_by_name=True, validate_by_alias=False, hide_input_in_errors=True)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class FileMark(StrEnum):
    """The mark of a path that is not the path of a public file; see `named_files`."""

    SECRET = auto()  # a file that holds a secret, or may hold one
    SOCKET = auto()  # a socket that a server makes


def about(description: str, *, unit: str | None = None) -> Any:
    """Return the annotation that describes a setting for the reference.

    Args:
        description: The description of the setting, a noun phrase.
        unit: The unit of its value.
    """
    # A `json_schema_extra` of None would replace that of `formed` on the same setting.
    return (
        Field(description=description)
        if unit is None
        else Field(description=description, json_schema_extra={"unit": unit})
    )


def formed(pattern: str, form: str) -> Any:
    """Return the annotation of a text that has a form.

    Args:
        pattern: The regular expression that the whole text matches.
        form: The form in words, for messages.
    """
    return Field(pattern=f"^(?:{pattern})$", json_schema_extra={"form": form})


def secret(alias: str) -> Any:
    """Return the default of an optional secret.

    Args:
        alias: The setting of the file that names an environment variable. Files never hold the secret itself.
    """
    return Field(default=None, repr=False, validation_alias=alias)


@dataclass_transform(frozen_default=True, field_specifiers=(Field,))
def section(cls: type[_Section]) -> type[_Section]:
    """Make a class a frozen value whose fields are checked, however it is built.

    Unknown settings are refused. An invalid value that is built in Python raises `ConfigError`, as an invalid file does.
    """
    made: Any = dataclass(frozen=True, slots=True, config=_CONFIG)(cls)
    checked = made.__init__

    @wraps(checked)
    def build(self: Any, *args: Any, **settings: Any) -> None:
        try:
            checked(self, *args, **settings)
        except ValidationError as error:
            raise ConfigError(f"{cls.__name__}: " + "; ".join(describe(made, error, by_alias=False))) from None

    made.__init__ = build
    return made  # type: ignore[no-any-return] # the class, with slots


def checked_address(name: str, address: str, *, insecure: bool = False) -> None:
    """Refuse an address that would carry keys or tokens in clear.

    Args:
        name: The name of the setting, for messages.
        address: The URL.
        insecure: Whether it may be http to this machine.

    Raises:
        ValueError: The address is no URL with a host, or neither https, nor http to this machine with `insecure`.
    """
    if not _is_url(address):
        raise ValueError(f"{name} must be a URL: https://HOST or https://HOST:PORT")
    try:
        check_address(address, insecure=insecure)
    except InvalidRequest as error:
        raise ValueError(f"{name}: {error}") from None


def checked_endpoint(endpoint: str | None, *, insecure: bool) -> None:
    """Refuse the setting `endpoint` as `checked_address` does, and `insecure` without an endpoint.

    Args:
        endpoint: The address in place of the region's own, or None.
        insecure: Whether it may be http to this machine.

    Raises:
        ValueError: The address can't be used, or there is none for `insecure`.
    """
    if endpoint is not None:
        checked_address("endpoint", endpoint, insecure=insecure)
    elif insecure:
        raise ValueError("insecure = true is for an endpoint that is http; take it out")


def _is_url(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # an unfinished address in brackets, or a port that is no number
        return False


def printable(text: str) -> str:
    """Refuse a text that nobody means: control characters, byte order marks, lone surrogates, or nothing but spaces.

    Raises:
        ValueError: The text has such a character. The message does not hold the text.
    """
    if not text.isprintable():
        raise ValueError(
            "must not hold a control character, a line break, an invisible character or invalid UTF-8; take it out"
        )
    if text.isspace():
        raise ValueError("must not be blank")
    return text


def _region(name: str) -> str:
    try:
        return check_region(name)
    except InvalidRequest as error:
        raise ValueError(str(error)) from None


def _in_folder(value: Any, info: Info) -> Any:
    if not isinstance(value, str):
        return value
    if not 0 < len(value) <= MOST_CHARACTERS:
        raise ValueError("must be a path")
    return printable(value) if info.context is None else info.context / printable(value)


def _from_environment(value: Any, info: Info) -> Any:
    if info.context is None or not isinstance(value, str):
        return value
    if not _VARIABLE.fullmatch(value):
        raise ValueError("must be the name of an environment variable; the secret itself is not written here")
    found = os.environ.get(value)
    if not found:
        raise ValueError("names an environment variable that is not set; set it, or correct the name")
    if len(found) > MOST_CHARACTERS:
        raise ValueError(
            f"names the environment variable {value}, whose value is longer than {MOST_CHARACTERS} characters"
        )
    try:
        return printable(found)
    except ValueError as error:
        raise ValueError(f"names the environment variable {value}, whose value {error}") from None


_Length = StringConstraints(min_length=1, max_length=MOST_CHARACTERS)
Text = Annotated[str, Strict(), _Length, AfterValidator(printable)]
Flag = Annotated[bool, Strict()]
Count = Annotated[int, Strict()]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
File = Annotated[Path, BeforeValidator(_in_folder, json_schema_input_type=Path)]
SecretFile = Annotated[File, FileMark.SECRET]
SocketFile = Annotated[File, FileMark.SOCKET]
Variable = Annotated[Text, Field(json_schema_extra={"format": "environment-variable"})]
Secret = Annotated[Text, BeforeValidator(_from_environment, json_schema_input_type=Variable)]
Region = Annotated[Text, AfterValidator(_region)]
CaCerts = Annotated[File, about("PEM file with the certificates of trusted authorities. Default: the system's.")]
Certificate = Annotated[SecretFile, about("PEM file with the client's certificate, for a server that asks for one.")]
Key = Annotated[SecretFile, about("PEM file with the certificate's key. Default: the certificate's file.")]
Insecure = Annotated[Flag, about("Whether the address may be http, for a server on this machine.")]
