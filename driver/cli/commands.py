"""The classes of commands and groups. Every command has `--json`, or a reason why it has not."""

from __future__ import annotations

import math
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from .show.output import JSON


class _WithShortHelp:
    """A command whose help is asked for with -h too.

    click would take the names from the context, and keeps those of the first help that a process makes of a command.
    """

    def get_help_option_names(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's own method takes them from it
        """Return the names of the option."""
        return ["-h", "--help"]


class Command(_WithShortHelp, click.Command):
    """A command with the option `--json`.

    Attributes:
        without_json: The reason why it has no `--json`; None if it has.

    Args:
        without_json: See the attribute.
        json_help: The help of `--json`.
    """

    def __init__(
        self, *args: Any, without_json: str | None = None, json_help: str = "Print JSON.", **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self.without_json = without_json
        if without_json is None:
            self.params.append(
                click.Option(
                    ["--json"], is_flag=True, is_eager=True, expose_value=False, callback=_want_json, help=json_help
                )
            )


class FiniteRange(click.FloatRange):
    """A number of a range. Unlike click's own type, it refuses NaN, which is neither above nor below a limit, and infinity."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number", param, ctx)
        return number


MOST_WAIT = 30 * 86_400
"""The longest wait that a command accepts, in seconds."""


class Group(_WithShortHelp, click.Group):
    """A group of such commands."""

    command_class = Command
    group_class = type


def _want_json(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    context.meta[JSON] = value


def is_given(option: str) -> bool:
    """Return whether an option is on the command line, and not from the environment or a default.

    Args:
        option: The name of its parameter.
    """
    return click.get_current_context().get_parameter_source(option) is ParameterSource.COMMANDLINE


def refuse_unused(options: dict[str, str], because: str) -> None:
    """Refuse options that would have no effect.

    Args:
        options: The options, by the names of their parameters.
        because: The reason, and what to do.

    Raises:
        UsageError: One of the options is on the command line.
    """
    unused = [option for parameter, option in options.items() if is_given(parameter)]
    if unused:
        refuse(f"{' and '.join(unused)} would have no effect: {because}")


def refuse(message: str) -> NoReturn:
    """Refuse the command line.

    Raises:
        UsageError: Always.
    """
    raise click.UsageError(message)
