"""The command that shows what each preset of the index would reveal of a namespace, and cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from strongroom.storage import VisibilityEpochs
from strongroom.visibility import IndexAdviser, attribute_types

from .cell import with_cell
from .commands import Command
from .show.output import busy, json_wanted, line, result, table

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.driver.strongroom import Strongroom
    from strongroom.visibility import Advice, PresetAdvice


@click.command(
    "advise",
    cls=Command,
    epilog="\b\nExamples:\n  strongroom index advise payments\n  strongroom index advise payments --sample 50000 --json",
)
@click.argument("namespace_name", metavar="NAMESPACE")
@click.option(
    "--sample",
    type=click.IntRange(100, 1_000_000),
    default=10_000,
    show_default=True,
    help="Number of runs to open. All rows are read, but only these are opened.",
)
@click.pass_obj
def advise(config_path: Path, namespace_name: str, sample: int) -> None:
    """Show what each preset of the index would reveal of a namespace's own runs, and what searches would cost.

    For each attribute, "named" is the share of the values that an attacker recognises from the tokens of this attribute alone, if they
    have a copy of the index and know how common each value is. With the preset compatible, columns in clear reveal more: times, and
    lengths of records. "opened" is the number of runs that a count by one value opens. No value of a run is shown.
    """

    async def run(strongroom: Strongroom) -> None:
        namespace = await strongroom.namespaces.get(namespace_name)
        adviser = IndexAdviser(
            VisibilityEpochs(strongroom.database, strongroom.journal.journal, outbox=False),
            strongroom.keyring,
            sample=sample,
        )
        with busy("reading runs ...") as update:
            advice = await adviser.advise(
                namespace.namespace_id, attribute_types(namespace), progress=lambda rows: update(f"{rows} rows read")
            )
        if json_wanted():
            result(_document(advice))
        else:
            _show(advice)

    with_cell(config_path, run, "index.advise", name=namespace_name)


def _document(advice: Advice) -> dict[str, object]:
    return {
        "runs": advice.runs,
        "sampled": advice.sampled,
        "unreadable": advice.unreadable,
        "preset": advice.preset,
        "attributes": [
            {
                "name": each.name,
                "type": each.type.value,
                "present": each.present,
                "values": each.values,
                "commonest": each.commonest,
                "presets": {
                    preset: {
                        "profile": found.profile,
                        "leakage": found.leakage,
                        "named": found.recovered,
                        "opened": found.opened,
                    }
                    for preset, found in each.presets.items()
                },
                "prefixes": None
                if each.prefixes is None
                else {
                    "chosen": each.prefixes.chosen,
                    "named": each.prefixes.recovered,
                    "tokens": each.prefixes.tokens,
                    "bytes": each.prefixes.bytes,
                },
            }
            for each in advice.attributes
        ],
        "buckets": [{"size": each.size, "mean": each.mean, "greatest": each.greatest} for each in advice.buckets],
        "lengths": [
            {"shortest": each.shortest, "classes": each.classes, "commonest": each.commonest, "mean": each.mean}
            for each in advice.lengths
        ],
    }


def _show(advice: Advice) -> None:
    is_sample = advice.runs > advice.sampled
    line(f"{advice.runs} runs, preset {advice.preset}")
    if is_sample:
        line(
            f"{advice.sampled} of them were opened, chosen at random; shares are estimates, and rare values may be missing"
        )
    if advice.unreadable:
        line(f"{advice.unreadable} of them do not open: strongroom index reconcile --check")
    table(
        "attribute",
        "runs",
        "values",
        "commonest",
        "compatible reveals",
        "named",
        "opened",
        "strict reveals",
        "named",
        "opened",
        rows=[
            (
                each.name,
                _percent(each.present),
                each.values,
                _percent(each.commonest),
                *_cells(each.presets["compatible"]),
                *_cells(each.presets["strict"]),
            )
            for each in advice.attributes
        ],
    )
    line("")
    table(
        "custom Keyword",
        "chosen",
        "named without",
        "named with it",
        "tokens of a value",
        "bytes of a run",
        rows=[
            (
                each.name,
                "yes" if each.prefixes.chosen else "no",
                _named(each.presets[advice.preset]),
                _percent(each.prefixes.recovered),
                f"{each.prefixes.tokens:.0f}",
                f"{each.prefixes.bytes:.0f}",
            )
            for each in advice.attributes
            if each.prefixes is not None
        ],
        title="With `index rotate --prefixes NAME` the index answers prefixes and ranges of a custom Keyword",
    )
    line("")
    table(
        "bucket of strict",
        "closed runs, mean",
        "greatest",
        rows=[(each.size, f"{each.mean:.0f}", each.greatest) for each in advice.buckets],
        title="A page of a list opens all runs of the buckets that it touches",
    )
    line("")
    table(
        "record length",
        "classes",
        "in the commonest",
        "mean bytes",
        rows=[(each.shortest, each.classes, _percent(each.commonest), f"{each.mean:.0f}") for each in advice.lengths],
        title="The length of a record shows its class",
    )


def _cells(found: PresetAdvice) -> tuple[str, str, str]:
    return found.leakage, _named(found), str(found.opened)


def _named(found: PresetAdvice) -> str:
    return "" if found.recovered is None else _percent(found.recovered)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
