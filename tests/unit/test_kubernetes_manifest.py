"""The Kubernetes manifest of docs/how-to/kubernetes.md: its parts refer to each other, and to what the programs accept."""

from __future__ import annotations

import copy
import re

import yaml

from strongroom.driver.config import ServeConfig
from strongroom.driver.serve.process import Patience
from tests.support.pages import code_blocks
from tests.support.tree import ROOT

MANIFEST = ROOT / "docker" / "kubernetes" / "strongroom.yaml"
PAGE = ROOT / "docs" / "how-to" / "kubernetes.md"
STATE = "/var/lib/strongroom"
FIELDS = {"apiVersion", "kind", "metadata", "spec", "data"}


def documents():
    """Return the objects of the manifest, by kind."""
    return {each["kind"]: each for each in yaml.safe_load_all(MANIFEST.read_text())}


def pods(objects):
    """Return the specification of each pod, with the names of the volumes that its claims make."""
    stateful, job = objects["StatefulSet"]["spec"], objects["CronJob"]["spec"]["jobTemplate"]["spec"]
    claims = {each["metadata"]["name"] for each in stateful["volumeClaimTemplates"]}
    made = objects["PersistentVolumeClaim"]["metadata"]["name"]
    of_job = {
        each["name"]
        for each in job["template"]["spec"]["volumes"]
        if each.get("persistentVolumeClaim", {}).get("claimName") == made
    }
    return [(stateful["template"]["spec"], claims), (job["template"]["spec"], of_job)]


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
    environments = [
        each["secretRef"]["name"]
        for pod, _ in pods(objects)
        for container in pod["containers"]
        for each in container.get("envFrom", [])
    ]
    if len(environments) != len(set(environments)):
        found.append("two programs have one API key")
    return found + selection_faults(objects)


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
    """Control: a volume, selectors, a field, the rights of a container, an audit log without a claim, a shared key, open ports."""
    objects = documents()
    broken = copy.deepcopy(objects)
    broken["StatefulSet"]["spec"]["template"]["spec"]["volumes"].pop(0)
    broken["Service"]["spec"]["selector"] = {"app": "other"}
    broken["Service"]["sepc"] = {}
    job = broken["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    job["containers"][0]["securityContext"] = {"allowPrivilegeEscalation": True, "readOnlyRootFilesystem": True}
    job["containers"][0]["envFrom"] = [{"secretRef": {"name": "strongroom-environment"}}]
    broken["PersistentVolumeClaim"]["metadata"]["name"] = "other"
    broken["NetworkPolicy"]["spec"]["podSelector"] = {"matchLabels": {"app": "other"}}
    broken["NetworkPolicy"]["spec"]["ingress"] = [{"ports": [{"port": 7234}]}]
    assert len(faults(broken)) == 9, faults(broken)


def test_the_manifest_has_what_the_programs_and_the_page_name():
    """Socket, address of the health, folder of the audit log, user and time for draining are the same everywhere."""
    objects = documents()
    (pod, _), _ = pods(objects)
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
