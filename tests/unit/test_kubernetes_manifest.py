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
FIELDS = {"apiVersion", "kind", "metadata", "spec", "data"}


def documents():
    """Return the objects of the manifest, by kind."""
    return {each["kind"]: each for each in yaml.safe_load_all(MANIFEST.read_text())}


def pods(objects):
    """Return the specification of each pod, with the names of the volumes that its claims make."""
    stateful, job = objects["StatefulSet"]["spec"], objects["CronJob"]["spec"]["jobTemplate"]["spec"]
    claims = {each["metadata"]["name"] for each in stateful["volumeClaimTemplates"]}
    return [(stateful["template"]["spec"], claims), (job["template"]["spec"], set())]


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
    labels = objects["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    selectors = (objects["StatefulSet"]["spec"]["selector"]["matchLabels"], objects["Service"]["spec"]["selector"])
    return found + [f"{selector} selects no pod" for selector in selectors if not selector.items() <= labels.items()]


def test_the_parts_fit_together():
    """Each mount has a volume, each selector a pod, and no container has more rights than it needs."""
    assert faults(documents()) == []


def test_parts_that_do_not_fit_are_found():
    """Control: a volume, a selector, a field and the rights of a container."""
    objects = documents()
    broken = copy.deepcopy(objects)
    broken["StatefulSet"]["spec"]["template"]["spec"]["volumes"].pop(0)
    broken["Service"]["spec"]["selector"] = {"app": "other"}
    broken["Service"]["sepc"] = {}
    broken["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["securityContext"] = {
        "allowPrivilegeEscalation": True,
        "readOnlyRootFilesystem": True,
    }
    assert len(faults(broken)) == 4


def test_the_manifest_has_what_the_programs_and_the_page_name():
    """Socket, address of the health, folder of the audit log, user and time for draining are the same everywhere."""
    objects = documents()
    (pod, _), _ = pods(objects)
    serve, temporal = pod["containers"]
    mounts = {mount["mountPath"] for mount in serve["volumeMounts"]}
    [configuration] = [block.text for block in code_blocks(PAGE) if block.language == "toml"]
    assert str(ServeConfig().socket.parent) in mounts
    assert str(ServeConfig().socket) in configuration
    assert re.search(r'folder = "(/var/lib/strongroom)/audit"', configuration)[1] in mounts
    assert re.search(r'health = "(.*)"', configuration)[1] in " ".join(serve["readinessProbe"]["exec"]["command"])
    assert pod["terminationGracePeriodSeconds"] > ServeConfig().drain_seconds + Patience().last
    example = yaml.safe_load((ROOT / "docker" / "temporal" / "temporal.yaml").read_text())
    assert yaml.safe_load(objects["ConfigMap"]["data"]["temporal.yaml"]) == example
    dockerfile = (ROOT / "docker" / "temporal" / "strongroom.Dockerfile").read_text()
    assert pod["securityContext"]["runAsUser"] == int(re.search(r"--uid (\d+)", dockerfile)[1])
    assert temporal["ports"][0]["name"] == objects["Service"]["spec"]["ports"][0]["targetPort"]
