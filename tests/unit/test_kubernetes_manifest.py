"""The Kubernetes manifest of docs/how-to/kubernetes.md: its parts refer to each other, and to what the programs accept."""

from __future__ import annotations

import copy
import re

import yaml

from strongroom.driver.access.roles import ACCOUNT_ROLES
from strongroom.driver.config import ServeConfig
from strongroom.driver.serve.process import Patience
from strongroom.driver.stores import OPERATIONS
from tests.support.pages import code_blocks
from tests.support.tree import ROOT

MANIFEST = ROOT / "docker" / "kubernetes" / "strongroom.yaml"
PAGE = ROOT / "docs" / "how-to" / "kubernetes.md"
STATE = "/var/lib/strongroom"
FIELDS = {"apiVersion", "kind", "metadata", "spec", "data"}


def documents():
    """Return the objects of the manifest: CronJobs by their names, and all others by their kinds."""
    objects = list(yaml.safe_load_all(MANIFEST.read_text()))
    named = {each["metadata"]["name"] if each["kind"] == "CronJob" else each["kind"]: each for each in objects}
    assert len(named) == len(objects)
    return named


def jobs(objects):
    """Return the specification of the pod of each CronJob, by its name."""
    return {
        name: each["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        for name, each in objects.items()
        if each["kind"] == "CronJob"
    }


def hosts(objects):
    """Return the host that writes into each claim. The first pod of the StatefulSet has claims of its own."""
    stateful, made = objects["StatefulSet"], objects["PersistentVolumeClaim"]["metadata"]["name"]
    first = f"{stateful['metadata']['name']}-0"
    claims = [each["metadata"]["name"] for each in stateful["spec"]["volumeClaimTemplates"]]
    return {made: made} | {f"{claim}-{first}": first for claim in claims}


def claimed(pod):
    """Return the claim of each volume of a pod that has one."""
    named = {each["name"]: each.get("persistentVolumeClaim", {}).get("claimName") for each in pod["volumes"]}
    return {name: claim for name, claim in named.items() if claim}


def pods(objects):
    """Return the specification of each pod, with the names of the volumes that its claims make."""
    stateful, known = objects["StatefulSet"]["spec"], hosts(objects)
    claims = {each["metadata"]["name"] for each in stateful["volumeClaimTemplates"]}
    of_jobs = [
        (pod, {name for name, claim in claimed(pod).items() if claim in known}) for pod in jobs(objects).values()
    ]
    return [(stateful["template"]["spec"], claims), *of_jobs]


def faults(objects):
    """Return what does not fit together."""
    found = [f"{kind}: {name}" for kind, each in objects.items() for name in each if name not in FIELDS]
    for pod, claims in pods(objects):
        volumes = {each["name"] for each in pod["volumes"]} | claims
        if not pod["securityContext"].get("runAsNonRoot"):
            found.append("a pod may run as root")
        for container in pod["containers"]:
            found += [
                f"no volume {mount['name']}" for mount in container["volumeMounts"] if mount["name"] not in volumes
            ]
            if (
                container["securityContext"]["allowPrivilegeEscalation"]
                or not container["securityContext"]["readOnlyRootFilesystem"]
            ):
                found.append(f"{container['name']} has rights that it does not need")
            found += [
                f"the audit log of {container['name']} is on no claim"
                for mount in container["volumeMounts"]
                if mount["mountPath"] == STATE and mount["name"] not in claims
            ]
    keys = {
        (each["secretRef"]["name"], *container["command"])
        for pod, _ in pods(objects)
        for container in pod["containers"]
        for each in container.get("envFrom", [])
    }
    if len({name for name, *_ in keys}) != len(keys):
        found.append("two programs have one API key")
    return found + selection_faults(objects) + log_faults(objects)


def log_faults(objects):
    """Return the jobs that write into an audit log as another host, or where its volume is not attached."""
    found, writers = [], hosts(objects)
    labels = objects["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    for name, pod in jobs(objects).items():
        found += [
            f"{name} writes into the audit log of {writers[claim]}"
            for claim in claimed(pod).values()
            if writers.get(claim, pod["hostname"]) != pod["hostname"]
        ]
        near = pod.get("affinity", {}).get("podAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution", [])
        with_pod = any(
            each["labelSelector"]["matchLabels"].items() <= labels.items()
            and each["topologyKey"] == "kubernetes.io/hostname"
            for each in near
        )
        if f"{objects['StatefulSet']['metadata']['name']}-0" == pod["hostname"] and not with_pod:
            found.append(f"{name} may start on a node without the volume of its claim")
    return found


def selection_faults(objects):
    """Return the selectors without a pod, and how a caller reaches the Temporal server past the NetworkPolicy."""
    found, policy = [], objects["NetworkPolicy"]["spec"]
    if "Ingress" not in policy["policyTypes"] or not all(rule.get("from") for rule in policy["ingress"]):
        found.append("every pod may use the Temporal server")
    ports = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
    if ports != {port["port"] for port in objects["Service"]["spec"]["ports"]}:
        found.append("the Service and the NetworkPolicy have different ports")
    labels = objects["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    selectors = (
        objects["StatefulSet"]["spec"]["selector"]["matchLabels"],
        objects["Service"]["spec"]["selector"],
        policy["podSelector"]["matchLabels"],
    )
    return found + [f"{selector} selects no pod" for selector in selectors if not selector.items() <= labels.items()]


def test_the_parts_fit_together():
    """Each mount has a volume, each selector a pod, each audit log a claim, and no program has more rights than it needs."""
    assert faults(documents()) == []


def test_parts_that_do_not_fit_are_found():
    """Control: a volume, selectors, a field, rights, an audit log without a claim or of another host, a shared key, open ports."""
    objects = documents()
    broken = copy.deepcopy(objects)
    broken["StatefulSet"]["spec"]["template"]["spec"]["volumes"].pop(0)
    broken["Service"]["spec"]["selector"] = {"app": "other"}
    broken["Service"]["sepc"] = {}
    job = jobs(broken)["strongroom-rotate"]
    job["containers"][0]["securityContext"] = {"allowPrivilegeEscalation": True, "readOnlyRootFilesystem": True}
    job["containers"][0]["envFrom"] = [{"secretRef": {"name": "strongroom-environment"}}]
    job["volumes"][1]["persistentVolumeClaim"]["claimName"] = "missing"
    jobs(broken)["strongroom-prune-rotate"]["hostname"] = "another"
    jobs(broken)["strongroom-prune"].pop("affinity")
    broken["NetworkPolicy"]["spec"]["podSelector"] = {"matchLabels": {"app": "other"}}
    broken["NetworkPolicy"]["spec"]["ingress"] = [{"ports": [{"port": 7234}]}]
    assert len(faults(broken)) == 11, faults(broken)


def test_the_manifest_has_what_the_programs_and_the_page_name():
    """Socket, address of the health, folder of the audit log, user and time for draining are the same everywhere."""
    objects = documents()
    (pod, _), *_ = pods(objects)
    serve, temporal = pod["containers"]
    mounts = {mount["mountPath"] for mount in serve["volumeMounts"]}
    [configuration] = [block.text for block in code_blocks(PAGE) if block.language == "toml"]
    assert str(ServeConfig().socket.parent) in mounts
    assert str(ServeConfig().socket) in configuration
    assert STATE in mounts
    assert f'folder = "{STATE}/audit"' in configuration
    assert re.search(r'\[namespaces\]\nkek = "\w+:ns-\{id\}"', configuration)
    assert "--allow-no-auth" not in temporal["command"]
    assert re.search(r'health = "(.*)"', configuration)[1] in " ".join(serve["readinessProbe"]["exec"]["command"])
    assert pod["terminationGracePeriodSeconds"] > ServeConfig().drain_seconds + Patience().last
    example = yaml.safe_load((ROOT / "docker" / "temporal" / "temporal.yaml").read_text())
    assert yaml.safe_load(objects["ConfigMap"]["data"]["temporal.yaml"]) == example
    dockerfile = (ROOT / "docker" / "temporal" / "strongroom.Dockerfile").read_text()
    assert pod["securityContext"]["runAsUser"] == int(re.search(r"--uid (\d+)", dockerfile)[1])
    assert temporal["ports"][0]["name"] == objects["Service"]["spec"]["ports"][0]["targetPort"]


def test_each_audit_log_is_pruned_each_day():
    """Each claim with an audit log has one job that prunes it, under the role that the page names."""
    objects = documents()
    pruned = [
        claim
        for pod in jobs(objects).values()
        for claim in claimed(pod).values()
        if pod["containers"][0]["command"][-2:] == ["audit", "prune"]
    ]
    assert sorted(pruned) == sorted(hosts(objects))
    page, needed = PAGE.read_text(), OPERATIONS["audit.prune"].permission
    allowed = {role: permissions for role, permissions in ACCOUNT_ROLES.items() if needed in permissions}
    assert min(allowed, key=lambda role: len(allowed[role])) == "auditor"
    assert "`auditor`" in page
    environments = (each for pod, _ in pods(objects) for box in pod["containers"] for each in box.get("envFrom", []))
    assert set(re.findall(r"strongroom-[\w-]*environment", page)) == {
        each["secretRef"]["name"] for each in environments
    }
