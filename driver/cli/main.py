"""The command line: its groups, and how every command ends. docs/reference/command-line.md lists the exit codes."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import click

from strongroom.driver.config import ConfigError
from strongroom.kms import StrongroomError

from .access import access
from .audit import audit
from .backup import backup
from .codec import codec_server
from .commands import Group
from .damaged import damaged
from .data import history, import_, query
from .index import index
from .interrupts import INTERRUPTS
from .keys import keys
from .namespace import namespace
from .restore import restore
from .schema import schema
from .serve import serve
from .setup import demo, doctor, init
from .show.output import fault, json_fault
from .show.text import Guarded, guarded
from .shred import certificate_key, verify
from .verify_rows import verify_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

WRONG, DEFECT, CLOSED_PIPE = 2, 70, 141
_NO_ANSWER = (
    "standard input ended before the question was answered. Answer in a terminal, or with the option of the command, "
    "which --help describes"
)
TRACEBACK = "STRONGROOM_TRACEBACK"


def main() -> None:
    """Run the command line, and end the process with its exit code. An error is one line on standard error, without a traceback."""
    with guarded(sys):
        try:
            code = _run(sys.argv[1:])
            sys.stdout.flush()
        except OSError as error:  # standard output is closed, or its disk is full
            code = _without_output(error)
    sys.exit(code)


def _run(arguments: Sequence[str]) -> int:  # noqa: C901 - one handler for each kind of end
    try:
        # Without its stand-alone mode click returns the code of an `Exit`.
        return cli.main(arguments, prog_name="strongroom", standalone_mode=False) or 0
    except SystemExit as end:
        if isinstance(sys.stdout, Guarded):
            raise  # of shell completion
        # click replaced the stream and ended the command, because the reader of a pipe has gone away.
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from end
    except click.UsageError as error:
        _print_usage(error)
        return _fault(error, error.format_message(), WRONG)
    except click.ClickException as error:
        return _fault(error, error.format_message(), WRONG)
    except KeyboardInterrupt:
        INTERRUPTS.end()
    except click.Abort as error:
        if INTERRUPTS.received is not None:
            INTERRUPTS.end()
        return _fault(error, _NO_ANSWER, WRONG)
    except ConfigError as error:
        return _fault(error, error.summary, WRONG, error.details)
    except StrongroomError as error:
        return _fault(error, str(error), WRONG)
    except OSError as error:
        if error.errno in {errno.EPIPE, errno.ENOSPC} and error.filename is None:
            raise
        where = f"{error.filename}: " if error.filename else ""
        return _fault(error, f"{where}{error.strerror or type(error).__name__}", WRONG)
    except Exception as error:  # noqa: BLE001 - the values in a traceback may be a tenant's
        return _defect(error)


def _print_usage(error: click.UsageError) -> None:
    if error.ctx is not None and "--json" not in sys.argv:
        for each in error.ctx.get_usage().splitlines():
            fault(each)
        fault(f"Try '{error.ctx.command_path} --help' for help.")


def _fault(error: BaseException, message: str, code: int, details: Sequence[str] = ()) -> int:
    if "--json" in sys.argv:
        json_fault(type(error).__name__, message, code, details)
        return code
    fault(message, style="red", label="error: ")
    for each in details:
        fault(f"  {each}")
    return code


def _defect(error: Exception) -> int:
    """Report an unexpected exception by its type and place. Its message may hold a value that a tenant wrote."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [
        f"{frame.filename}:{frame.lineno}" for frame in frames if f"{os.sep}site-packages{os.sep}" not in frame.filename
    ]
    if os.environ.get(TRACEBACK):
        traceback.print_exception(error)
    text = (
        f"this is a defect of strongroom: {type(error).__name__} at {places[-1] if places else 'an unknown place'}. "
        f"Report it with this line; with {TRACEBACK}=1 the command prints the whole traceback, which may hold your data"
    )
    return _fault(error, text, DEFECT)


def _without_output(error: OSError) -> int:
    """End after an error of standard output. The interpreter must not write to it again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if error.errno == errno.EPIPE:
        return CLOSED_PIPE
    return _fault(error, f"standard output can't be written: {error.strerror}", WRONG)


@click.group(
    cls=Group,
    context_settings={"max_content_width": 110},
    epilog="See docs/tutorials for a first walk, and `strongroom COMMAND --help` for examples.",
)
@click.option(
    "--config",
    "config_path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("strongroom.toml"),
    envvar="STRONGROOM_CONFIG",
    show_default=True,
    show_envvar=True,
    help="Configuration file of the cell.",
)
@click.version_option(package_name="strongroom")
@click.pass_context
def cli(context: click.Context, config_path: Path) -> None:
    """Encrypted-at-rest persistence for workflow services, searchable while it is sealed."""
    context.obj = config_path


for command in (
    *(init, doctor, demo, schema, namespace, import_, history, query, index, keys, damaged),
    *(access, audit, backup, restore, verify_rows, verify, certificate_key, codec_server, serve),
):
    cli.add_command(command)
