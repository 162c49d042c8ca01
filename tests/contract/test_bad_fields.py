"""Every field of every argument of every store operation, with values that no store can keep."""

from __future__ import annotations

import asyncio
import traceback
from dataclasses import replace

import pytest

from strongroom.driver.stores import STORE_OPERATIONS, STORES
from strongroom.kms import KekRef, StrongroomError
from strongroom.storage import CategoryType, InvalidPersistenceRequest
from strongroom.visibility import AttributeType, VisibilityError
from tests.support.bad_values import MARK, NotPossible, Samples, changes
from tests.support.search_cell import record

pytestmark = pytest.mark.integration

CODE = ("barrier", "create", "transaction")
"""Arguments that are functions or objects of the caller's program, not values."""

EVENTS = (
    "new_workflow_new_events",
    "update_workflow_new_events",
    "reset_workflow_events_new_events",
    "new_workflow_events_new_events",
    "current_workflow_events_new_events",
    "visibility",
)
OTHER_RUNS = {"new_workflow_snapshot", "current_workflow_mutation"}
"""Fields of requests that would need another run id. Their types are those of other fields."""


def samples(namespace_id, store):
    """Return the builder of valid values."""
    fair = store == "fair_tasks"
    return Samples(
        {
            "namespace_id": namespace_id,
            "kek": KekRef.parse("local:first"),
            "types": {"Customer": AttributeType.KEYWORD},
            "records": [(1, 1, record(1))],
            "query": "WorkflowId = 'a'",
            "aliases": {"Alias": "a"},
            "page_token": None,
            "rpc_address": "10.0.0.1",
            "previous_run_id": None,
            "end_node": 5,
            "node_id": 9,
            "fork_node_id": 7,
            "max_node_id": 10,
            **{field: [] for field in EVENTS},
            "task_pass": int(fair),
            "min_pass": int(fair),
            "max_pass": int(fair),
            "max_task_id": 2**63 - 1,
            CategoryType: CategoryType.SCHEDULED,
        }
    )


async def fault(call, arguments):
    """Return what is wrong with the outcome of a call; None for success and for an error of this package without the value."""
    try:
        await call(**arguments)
    except StrongroomError as error:
        seen = error
        while seen is not None:
            if MARK in "".join(traceback.format_exception_only(seen)) or MARK in repr(getattr(seen, "object", "")):
                return f"quotes the value: {seen!a}"
            seen = seen.__cause__ or seen.__context__
    except Exception as error:  # noqa: BLE001 - what is wrong is collected
        return f"{type(error).__name__}: {error!a}"
    return None


async def refusal(call, arguments):
    """Return the error that says that an argument is not valid; None for success and for any other error."""
    try:
        await call(**arguments)
    except (InvalidPersistenceRequest, VisibilityError) as error:
        return error
    except StrongroomError:
        return None
    return None


def valid_arguments(call, namespace_id, store, method):
    """Return arguments that a call does not refuse."""
    valid = samples(namespace_id, store).arguments(call)
    if method == "get_namespace":
        valid["name"] = None
    if method in ("update_workflow_execution", "conflict_resolve_workflow_execution"):
        request = valid["request"]
        valid["request"] = replace(request, **{run: None for run in OTHER_RUNS if hasattr(request, run)})
    return valid


async def faults_of(name, call, valid):
    """Return what is wrong with the outcomes of a call with each of its arguments changed, and the number of these calls."""
    faults, tried = [], 0
    if (problem := await refusal(call, valid)) is not None:
        faults.append(f"{name}: the valid arguments are refused, so that the bad ones are not reached: {problem!a}")
    places = [one for argument, value in valid.items() if argument not in CODE for one in walk(argument, value)]
    for argument, path, make in places:
        try:
            changed = make()
        except (NotPossible, StrongroomError):
            continue
        tried += 1
        if wrong := await fault(call, {**valid, argument: changed}):
            faults.append(f"{name}: {path}: {wrong}"[:300])
    return faults, tried


def walk(argument, value):
    """Yield the argument, the place in it and the maker of each change."""
    for path, make in changes(value, argument):
        yield argument, path, make


@pytest.mark.parametrize("store", [store.name for store in STORES])
async def test_a_bad_value_in_any_field(strongroom, namespace, store):
    """Each is refused with an error of this package that does not quote it, or is accepted."""
    faults, tried = [], 0
    for name in STORE_OPERATIONS:
        area, _, method = name.partition(".")
        if area == store and not method.startswith("delete_namespace"):
            call = getattr(getattr(strongroom, store), method)
            found = await faults_of(name, call, valid_arguments(call, namespace.namespace_id, store, method))
            faults, tried = faults + found[0], tried + found[1]
    assert tried
    assert not faults, f"{len(faults)} of {tried}:\n" + "\n".join(faults)


@pytest.mark.parametrize("text", ["*", "'; SELECT 1; --", ("'; SELECT 1; --",), ("*",)])
async def test_a_namespace_that_is_no_uuid_never_becomes_the_setting_of_a_session(strongroom, text):
    """The setting names the rows that row-level security shows. A star would show those of all namespaces."""
    with pytest.raises(InvalidPersistenceRequest, match="namespace_id"):
        async with strongroom.database.connection(text if isinstance(text, tuple) else (text,)):
            pytest.fail("it was lent")
    if isinstance(text, str):
        with pytest.raises(InvalidPersistenceRequest, match="namespace_id"):
            async with strongroom.database.connection(text):
                pytest.fail("it was lent")


async def test_a_bad_id_does_not_disturb_the_look_ups_of_others(strongroom, namespace):
    """Look-ups of concurrent callers share a statement, which one id that is no UUID would spoil for all of them."""
    good = strongroom.metadata.get_namespace(namespace_id=namespace.namespace_id)
    bad = strongroom.namespaces.set_aliases("no uuid", {})
    found, refused = await asyncio.gather(good, bad, return_exceptions=True)
    assert not isinstance(found, BaseException)
    assert isinstance(refused, InvalidPersistenceRequest)
