"""Attacks on the rows of the whole cell: namespaces, clusters, endpoints, the key registry, the policy and the audit log."""

from __future__ import annotations

from uuid import uuid4

from strongroom.kms import IntegrityError
from strongroom.storage import DataLoss, NexusEndpoint
from tests.support.fixtures.executions import blob

from .attacks import AttackList, Found, Refused

NAMESPACES, CLUSTERS = AttackList("namespace"), AttackList("cluster")
REGISTRY, SHREDDED = AttackList("registry"), AttackList("shredded namespace")
POLICY, AUDIT_LOG, JOURNAL = AttackList("policy"), AttackList("audit log"), AttackList("journal")
ATTACKS = (NAMESPACES, CLUSTERS, REGISTRY, SHREDDED, POLICY, AUDIT_LOG, JOURNAL)
_NAMESPACE = "namespace_id = $1"
_METADATA = "tests/contract/test_metadata_sealed.py::"


async def _update_namespace(scene):
    version = await scene.cell.metadata.get_metadata()
    await scene.cell.metadata.update_namespace(
        scene.namespace_id, data=blob(), is_global=False, notification_version=version
    )


OLDER_NAMESPACE = Refused(lambda scene: scene.cell.metadata.get_namespace(namespace_id=scene.namespace_id), DataLoss)


@NAMESPACES.attack("put older settings back", Found("namespaces"), OLDER_NAMESPACE)
async def _(scene):
    await _update_namespace(scene)
    await scene.keep("older", "namespaces", _NAMESPACE, scene.namespace_id)
    await _update_namespace(scene)
    yield
    await scene.admin.put_back("namespaces", scene.kept["older"])
    yield


@NAMESPACES.attack("put older search attributes back", Found("namespaces"), OLDER_NAMESPACE)
async def _(scene):
    await scene.keep("older", "namespaces", _NAMESPACE, scene.namespace_id)
    await scene.cell.namespaces.add_search_attributes(scene.namespace_id, {"Customer": "Keyword"})
    yield
    await scene.admin.put_back("namespaces", scene.kept["older"])
    yield


@NAMESPACES.attack("delete a namespace", Found("namespaces"))
async def _(scene):
    yield
    await scene.admin.delete("namespaces", _NAMESPACE, scene.namespace_id)
    yield


READ_NAMESPACE = Refused(
    lambda scene: scene.cell.metadata.get_namespace(namespace_id=scene.namespace_id), IntegrityError
)


@NAMESPACES.attack("edit is_global", READ_NAMESPACE)
async def _(scene):
    await _update_namespace(scene)
    yield
    await scene.admin.edit("namespaces", "is_global = NOT is_global", _NAMESPACE, scene.namespace_id)
    yield


@NAMESPACES.attack("delete the settings", READ_NAMESPACE)
async def _(scene):
    await _update_namespace(scene)
    yield
    await scene.admin.edit("namespaces", "data = NULL", _NAMESPACE, scene.namespace_id)
    yield


NAMESPACES.tested("exchange the tokens of names", _METADATA + "test_exchanged_names_lead_to_no_other_namespace")
NAMESPACES.tested("exchange the settings of namespaces", _METADATA + "test_a_value_of_another_namespace_does_not_open")


@NAMESPACES.attack(
    "put an older version of the table back", Refused(lambda scene: scene.cell.metadata.get_metadata(), DataLoss)
)
async def _(scene):
    await scene.keep("older", "namespace_metadata", "true")
    await _update_namespace(scene)
    yield
    await scene.admin.put_back("namespace_metadata", scene.kept["older"])
    yield


def _cluster(scene):
    return f"cluster {scene.shard_id}"


@CLUSTERS.attack(
    "put older settings of a cluster back",
    Found("cluster_metadata"),
    Refused(lambda scene: scene.cell.cluster_metadata.get_cluster_metadata(_cluster(scene)), DataLoss),
)
async def _(scene):
    name = _cluster(scene)
    await scene.cell.cluster_metadata.save_cluster_metadata(name, data=blob(), version=0)
    await scene.keep("older", "cluster_metadata", "cluster_name = $1", name)
    await scene.cell.cluster_metadata.save_cluster_metadata(name, data=blob(), version=1)
    yield
    await scene.admin.put_back("cluster_metadata", scene.kept["older"])
    yield


@CLUSTERS.attack(
    "bring a deleted cluster back",
    Found("cluster_metadata"),
    Refused(lambda scene: scene.cell.cluster_metadata.list_cluster_metadata(page_size=0), DataLoss),
)
async def _(scene):
    name = _cluster(scene)
    await scene.cell.cluster_metadata.save_cluster_metadata(name, data=blob(), version=0)
    await scene.keep("row", "cluster_metadata", "cluster_name = $1", name)
    await scene.cell.cluster_metadata.delete_cluster_metadata(name)
    yield
    await scene.admin.put_back("cluster_metadata", scene.kept["row"])
    yield


def _read_endpoint(scene):
    return scene.cell.nexus_endpoints.get_nexus_endpoint(scene.kept["endpoint"])


def _list_endpoints(scene):
    return scene.cell.nexus_endpoints.list_nexus_endpoints(page_size=0)


async def _write_endpoint(scene, endpoint_id, version):
    endpoints = scene.cell.nexus_endpoints
    table_version = (await endpoints.list_nexus_endpoints(page_size=0)).table_version
    endpoint = NexusEndpoint(endpoint_id, version, blob())
    await endpoints.create_or_update_nexus_endpoint(endpoint, last_known_table_version=table_version)


@CLUSTERS.attack("put an older endpoint back", Found("nexus_endpoints"), Refused(_read_endpoint, DataLoss))
async def _(scene):
    scene.kept["endpoint"] = endpoint_id = uuid4()
    await _write_endpoint(scene, endpoint_id, 0)
    await scene.keep("older", "nexus_endpoints", "id = $1", endpoint_id)
    await _write_endpoint(scene, endpoint_id, 1)
    yield
    await scene.admin.put_back("nexus_endpoints", scene.kept["older"])
    yield


@CLUSTERS.attack("put an older version of the table of endpoints back", Refused(_list_endpoints, DataLoss))
async def _(scene):
    await scene.keep("older", "nexus_endpoints_status", "true")
    await _write_endpoint(scene, uuid4(), 0)
    yield
    await scene.admin.put_back("nexus_endpoints_status", scene.kept["older"])
    yield


@CLUSTERS.attack("delete an endpoint", Found("nexus_endpoints"))
async def _(scene):
    endpoint_id = uuid4()
    await _write_endpoint(scene, endpoint_id, 0)
    yield
    await scene.admin.delete("nexus_endpoints", "id = $1", endpoint_id)
    yield


_REGISTRY = "tests/integration/registry/test_attacks.py"
_EDITED = f"{_REGISTRY}::test_an_edited_registry_is_refused"
_EDITED_ROWS = (
    "register roots under another KEK for a namespace",
    "make an old version the active one",
    "enable disabled keys",
    "put a destroyed root back",
    "delete the newest version, so that its number is given twice",
    "delete a head",
    "name another KEK",
    "name another version of the KEK",
)
for _name in _EDITED_ROWS:
    REGISTRY.tested(_name, _EDITED)
REGISTRY.tested(
    "register roots under another KEK for the cell",
    _EDITED,
    "tests/integration/registry/test_pin.py::test_replaced_keys_of_the_cell_are_refused_by_a_new_process",
)
for _name in ("edit the suite", "use a root of another namespace"):
    REGISTRY.tested(_name, "tests/unit/kms/keys/test_registry_head.py::test_each_field_counts")
REGISTRY.tested(
    "put the registry back as it was before a rotation",
    f"{_REGISTRY}::test_an_older_registry_is_refused_by_a_process_that_has_seen_a_newer_one",
)
REGISTRY.tested_in(
    _REGISTRY,
    {
        "set a spent lease to 0": "test_a_spent_lease_stays_spent",
        "put one namespace's registry back": "test_an_older_state_of_one_namespace_is_found_by_a_new_process",
        "edit the KEK's name while a namespace is shredded": "test_an_edited_kek_name_deletes_no_other_kek",
        "add a decision to delete a KEK": "test_an_added_decision_deletes_no_kek",
        "make up the answer of a KMS": "test_a_made_up_answer_is_not_certified",
        "make up a namespace that shares a KEK": "test_a_made_up_row_keeps_no_kek_shared",
        "hide a namespace that shares a KEK": "test_a_hidden_namespace_keeps_its_kek",
        "edit the end of a grace period": "test_an_edited_grace_period_does_not_end",
        "hide a request to shred": "test_a_hidden_request_is_not_made_again",
    },
)
SHREDDED.tested_in(
    "tests/freshness/test_shredded_namespaces.py",
    {
        "bring all rows back but those of the registry": "test_rows_of_a_shredded_namespace_do_not_open",
        "bring all rows back with those of the registry": "test_keys_of_a_shredded_namespace_stay_destroyed",
    },
)
POLICY.tested_in(
    "tests/access/test_older_policy.py",
    {
        "put an older one back, running process": "test_a_running_process_refuses_an_older_policy",
        "put an older one back, new process": "test_a_starting_process_refuses_an_older_policy",
        "put an older one back, review": "test_a_review_names_an_older_policy",
    },
)
AUDIT_LOG.tested_in(
    "tests/audit/test_checkpoints.py",
    {
        "cut the log": "test_a_log_that_was_altered_is_ended",
        "cut the log, and write as much again": "test_a_log_that_was_altered_is_ended",
        "take a stream away": "test_a_stream_that_was_taken_away_is_named",
        "edit or delete checkpoints": "test_rows_that_were_altered_are_named",
        "put older checkpoints back": "test_an_older_state_of_the_rows_is_named",
    },
)
JOURNAL.tested_in(
    "tests/contract/test_journal.py",
    {
        "delete an entry with what it wrote": "test_an_entry_that_vanished_is_found",
        "name a deleted row as replaced": "test_a_removal_needs_a_permission",
        "put older sums back": "test_older_sums_are_found",
    },
)
JOURNAL.tested_in(
    "tests/freshness/test_older_rows.py",
    {
        "hide the count of acceptances from a process that starts": "test_an_edited_count_is_no_acceptance",
        "edit a version in clear, and set it back": "test_an_edited_number_that_is_set_back_is_forgotten",
        "edit the version of a table, and set it back": "test_an_edited_version_of_a_table_that_is_set_back_is_forgotten",
    },
)
JOURNAL.tested_in(
    "tests/freshness/test_replaced_rows.py",
    {
        "put a replaced row back, and edit its entry": "test_a_write_that_is_undone_is_found",
        "put an overwritten row back, and edit its entry": "test_an_overwritten_row_that_is_put_back_is_found",
        "forge what a statement replaced": "test_a_forged_answer_does_not_undo_a_write",
    },
)
