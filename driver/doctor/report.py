"""What a doctor found, and how a person reads it: what is fine, what is wrong, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Literal

from rich.markup import escape
from rich.table import Table

from strongroom.driver.cli.show.output import console
from strongroom.kms import (
    AccessDenied,
    KeyDestroyed,
    KeyDisabled,
    KeyNotFound,
    KeyPendingDeletion,
    KmsAuthenticationError,
    KmsTimeout,
    KmsUnavailable,
    Throttled,
    UnsupportedOperation,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms import StrongroomError


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check.

    Attributes:
        group: what part of the set-up it is about.
        check: of what.
        text: what was found.
        state: `note` for what works and yet is to be seen to; `skipped` for what was not looked at, as something else is wrong.
        advice: what to do; "" where nothing is to be done, or the text says it.
    """

    group: str
    check: str
    text: str
    state: Literal["ok", "note", "wrong", "skipped"] = "ok"
    advice: str = ""

    @property
    def ok(self) -> bool:
        """Whether the set-up can be used as far as this check goes."""
        return self.state != "wrong"


def wrong(group: str, check: str, error: StrongroomError, advice: str = "") -> Finding:
    """Return the finding of a check that failed, with what is to be done: as given, or what usually is about such an error."""
    return Finding(group, check, str(error), "wrong", advice or _advice(error))


_ADVICE: Sequence[tuple[type[StrongroomError], str]] = (
    (
        KmsAuthenticationError,
        "give it credentials that it knows: the page of this KMS in kms/providers/ says from where",
    ),
    (AccessDenied, "give this caller the rights on the page of this KMS in kms/providers/, and try doctor --use-keys"),
    (KeyPendingDeletion, "cancel the deletion in the KMS now if anything is still to be read"),
    (KeyDisabled, "enable it in its KMS; or was it revoked on purpose?"),
    (KeyDestroyed, "what it wraps opens for nobody; a backup of the KMS may have it"),
    (
        KeyNotFound,
        "is it the right KMS, account and keyring? What the key wraps can't be opened without it: restore it",
    ),
    (Throttled, "ask for a higher quota, or for fewer calls: longer keys.soft_ttl_seconds"),
    (
        KmsTimeout,
        "is the KMS up, and is the way to it open? Kept keys serve for a while: strongroom keys list says how long",
    ),
    (
        KmsUnavailable,
        "is the KMS up, and is the way to it open? Kept keys serve for a while: strongroom keys list says how long",
    ),
    (UnsupportedOperation, "see the page of this KMS in kms/providers/"),
)


def _advice(error: StrongroomError) -> str:
    return next((advice for kind, advice in _ADVICE if isinstance(error, kind)), "")


_MARKS = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "wrong": "[bold red]WRONG[/]", "skipped": "[dim]skipped[/]"}


def show(found: Sequence[Finding]) -> None:
    """Print findings by group, each with what to do, and a summary in the end."""
    widths = (2 + max(map(len, _MARKS)), max(len(finding.check) for finding in found), None)
    for group, findings in groupby(found, key=lambda finding: finding.group):
        console.print(f"[bold]{escape(group)}[/]")
        grid = Table.grid(padding=(0, 2))
        for width in widths:
            grid.add_column(overflow="fold", min_width=width)
        for finding in findings:
            grid.add_row(f"  {_MARKS[finding.state]}", escape(finding.check), escape(finding.text))
            if finding.advice:
                grid.add_row("", "", f"[bold]do:[/] {escape(finding.advice)}")
        console.print(grid)
    console.print()
    console.print(summary(found))


def summary(found: Sequence[Finding]) -> str:
    """Return one line on all findings."""
    count = {state: sum(finding.state == state for finding in found) for state in _MARKS}
    if count["wrong"]:
        rest = "; what was skipped is looked at once that is mended" if count["skipped"] else ""
        return f"{count['wrong']} of {len(found) - count['skipped']} checks found something that must be mended{rest}."
    notes = f"; {count['note']} to be seen to" if count["note"] else ""
    return f"All {len(found)} checks passed{notes}."
