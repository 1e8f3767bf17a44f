"""Lints the chart, renders it with several values, and checks each object against the schemas of Kubernetes."""

import pathlib
import sys

import kubernetes_validate
import yaml
from helm_python import chart

HERE = pathlib.Path(__file__).parent / "finkare-relay"
VALUES = {
    "sqlite": {},
    "sqlite with an ingress": {"ingress": {"enabled": True, "className": "nginx", "tlsSecret": "tls"}},
    "postgres": {"store": "postgres", "replicas": 3, "serviceMonitor": {"enabled": True}},
}
EXPECTED = {
    "sqlite": {"ConfigMap", "Service", "StatefulSet"},
    "sqlite with an ingress": {"ConfigMap", "Service", "StatefulSet", "Ingress"},
    "postgres": {"ConfigMap", "Service", "Deployment", "PodDisruptionBudget", "ServiceMonitor"},
}


def check(name, text):
    kinds = set()
    for item in yaml.safe_load_all(text):
        if not item:
            continue
        kinds.add(item["kind"])
        if item["kind"] != "ServiceMonitor":
            kubernetes_validate.validate(item, "1.37", strict=True)
    if kinds != EXPECTED[name]:
        sys.exit(f"{name}: {sorted(kinds)} instead of {sorted(EXPECTED[name])}")
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
    for wrong in ({"store": "mysql"}, {"replicas": 0}, {"colour": "red"}):
        try:
            loaded.validate_schema(wrong)
        except Exception:
            continue
        sys.exit(f"the schema of the values accepts {wrong}")


main()
