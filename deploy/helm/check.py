"""Lints the chart, renders it with several values, and checks each object against the schemas of Kubernetes."""

import pathlib
import sys
import tomllib

import kubernetes_validate
import yaml
from helm_python import chart

HERE = pathlib.Path(__file__).parent / "finkare-relay"
VALUES = {
    "sqlite": {"replicas": 3},
    "sqlite with an ingress": {
        "ingress": {"enabled": True, "className": "nginx", "tlsSecret": "tls", "paths": ["/hooks/a", "/hooks/b"]},
    },
    "postgres with one replica": {"store": "postgres", "replicas": 1, "image": {"tag": "1.2.3"}},
    "postgres": {"store": "postgres", "replicas": 3, "serviceMonitor": {"enabled": True}},
}
EXPECTED = {
    "sqlite": {"ConfigMap", "Service", "StatefulSet"},
    "sqlite with an ingress": {"ConfigMap", "Service", "StatefulSet", "Ingress"},
    "postgres with one replica": {"ConfigMap", "Service", "Deployment"},
    "postgres": {"ConfigMap", "Service", "Deployment", "PodDisruptionBudget", "ServiceMonitor"},
}


def must(holds, name, problem):
    if not holds:
        sys.exit(f"{name}: {problem}")


def check_pod(name, item):
    pod = item["spec"]["template"]["spec"]
    [container] = pod["containers"]
    security = container["securityContext"]
    must(pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 10001, name, "it may run as root")
    must(security["readOnlyRootFilesystem"], name, "it may write to its root")
    must(security["capabilities"] == {"drop": ["ALL"]}, name, "it has capabilities")
    must(not security["allowPrivilegeEscalation"], name, "it may get privileges")
    must(not pod["automountServiceAccountToken"], name, "it gets a token for the cluster")
    must(container["livenessProbe"]["httpGet"]["path"] == "/healthz", name, "a database that is away would kill the pod")
    must(container["readinessProbe"]["httpGet"]["path"] == "/readyz", name, "deliveries would come before it is ready")
    must(container["resources"]["limits"]["memory"], name, "its memory has no limit")
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    must(mounted == {"/etc/finkare-relay", "/data"}, name, f"it mounts {sorted(mounted)}")
    if name.startswith("sqlite"):
        must(item["spec"]["replicas"] == 1, name, "two processes would share one file")


def check(name, text):
    kinds = set()
    for item in yaml.safe_load_all(text):
        if not item:
            continue
        kinds.add(item["kind"])
        if item["kind"] != "ServiceMonitor":
            kubernetes_validate.validate(item, "1.37", strict=True)
        else:
            label = item["spec"]["jobLabel"]
            must(item["metadata"]["labels"][label] == "finkare-relay", name, "the alerts know another name of the job")
        if item["kind"] in ("StatefulSet", "Deployment"):
            check_pod(name, item)
        if item["kind"] == "ConfigMap":
            tomllib.loads(item["data"]["relay.toml"])
        if item["kind"] == "Ingress":
            paths = item["spec"]["rules"][0]["http"]["paths"]
            must([path["path"] for path in paths] == VALUES[name]["ingress"]["paths"], name, "not all paths are reached")
            ports = {path["backend"]["service"]["port"]["name"] for path in paths}
            must(ports == {"public"}, name, f"the ingress leads to {sorted(ports)}")
    must(kinds == EXPECTED[name], name, f"{sorted(kinds)} instead of {sorted(EXPECTED[name])}")
    print(f"  {name}: {len(kinds)} kinds of objects")


def main():
    loaded = chart.Chart.load(str(HERE))
    for name, values in VALUES.items():
        complaints = chart.lint(str(HERE), values=values, strict=True)
        if complaints.get("errors") or any(m.get("severity", 0) >= 2 for m in complaints.get("messages", [])):
            sys.exit(f"{name}: {complaints}")
        rendered = loaded.render(values=values, name="relay", namespace="finkare")
        texts = [text for path, text in rendered.items() if path.endswith(".yaml")]
        check(name, "\n---\n".join(text for text in texts if text.strip()))
    for wrong in ({"store": "mysql"}, {"replicas": 0}, {"colour": "red"}, {"ingress": {"paths": []}}):
        try:
            loaded.validate_schema(wrong)
        except Exception:
            continue
        sys.exit(f"the schema of the values accepts {wrong}")


main()
