"""The commands of this project that a page shows, parsed by the command line itself."""

from __future__ import annotations

import re
import shlex

import click

from strongroom.driver.cli.main import cli

INLINE = re.compile(r"`(strongroom [^`]+)`")
BREAKS = re.compile(r"\s(?:&&|\|\|?|;|>>?|<)\s")
"""Where another command of a line begins, or the output goes to a file."""
INNER = re.compile(r"\$\([^)]*\)")
SETTING = re.compile(r"^[A-Z_]+=\S+\s+")
FOLDER = re.compile(r"^(?:\S*/)?(?=strongroom )")
"""The folder of a version's own environment."""
ELLIPSIS = {"...", "…"}


def commands(text):
    """Return the commands of this project in the lines of a code block, each with its arguments."""
    lines = INNER.sub("VALUE", re.sub(r"\\\n\s*", " ", text)).splitlines()
    parts = (FOLDER.sub("", SETTING.sub("", part.strip())) for line in lines for part in BREAKS.split(line))
    return [part for part in parts if part.startswith("strongroom ")]


def inline_commands(text):
    """Return the commands between backticks in the prose of a page; a new line counts as a blank."""
    prose = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    joined = "\n".join(" ".join(command.split()) for command in INLINE.findall(prose))
    return commands(joined.replace("\\|", "|"))


def fault_of(command, *, complete):
    """Return what the command line refuses in a command; None if it accepts it.

    Args:
        command: The command, as a person types it.
        complete: Whether arguments that the command requires must be there. Prose often leaves them out.
    """
    try:
        words = shlex.split(command, comments=True)[1:]
    except ValueError as error:
        return f"{command}: {error}"
    group, context, abbreviated = cli, click.Context(cli, info_name="strongroom"), ELLIPSIS & set(words)
    words = [word for word in words if word not in ELLIPSIS]
    try:
        while isinstance(group, click.Group):
            given, words, _ = _parse(group, context, words)
            if not words:
                return None if given or abbreviated or not complete else f"{command}: a command is missing"
            if words[0].isupper():  # a placeholder
                return None
            name, found, words = group.resolve_command(context, words)
            group, context = found, click.Context(found, info_name=name, parent=context)
        options, left, _ = _parse(group, context, words)
    except click.UsageError as error:
        return f"{command}: {error.format_message()}"
    if left:
        return f"{command}: {left[0]} is one argument too many"
    missing = [
        each.name for each in group.params if each.required and not isinstance(options.get(each.name), str | tuple)
    ]
    return f"{command}: {missing[0]} is missing" if complete and missing and not abbreviated else None


def _parse(command, context, words):
    parser = command.make_parser(context)
    parser.allow_interspersed_args = not isinstance(command, click.Group)
    return parser.parse_args(list(words))
