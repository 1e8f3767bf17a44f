"""Checks what the schema of compose files cannot: that the parts of docker-compose.yml fit together and to the files here."""

import json
import pathlib
import re
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
problems = []


def read(path):
    return yaml.safe_load((ROOT / path).read_text())


def must(holds, problem):
    if not holds:
        problems.append(problem)


text = (ROOT / "docker-compose.yml").read_text()
compose = yaml.safe_load(text)
services = compose["services"]

# What is mounted is there, and each volume is declared and used. `config` is the user's own folder.
used = set()
for name, service in services.items():
    for mount in service.get("volumes", []):
        source = mount.split(":")[0]
        if not source.startswith("."):
            used.add(source)
        elif source != "./config":
            must((ROOT / source).exists(), f"{name} mounts {source}, which does not exist")
must(used == set(compose["volumes"]), f"volumes: {sorted(used)} are used, {sorted(compose['volumes'])} are declared")

# Each variable is explained to the one who fills in .env.
example = (ROOT / ".env.example").read_text()
named = set(re.findall(r"\$\{(\w+)", text))
for service in services.values():
    named |= {variable for variable, value in service.get("environment", {}).items() if value is None}
for variable in sorted(named):
    must(re.search(rf"^#?{variable}=", example, re.M), f"{variable} is not in .env.example")

# Only loopback is published, except by the proxy that is meant for the world.
for name, service in services.items():
    for port in service.get("ports", []):
        must(name == "caddy" or port.startswith("127.0.0.1:"), f"{name} publishes {port} to everybody")

# A relay.toml may name any variable of .env, and is read from a folder.
relay = services["relay"]
must({"path": ".env", "required": False} in relay["env_file"], "the relay does not get the variables of .env")
must(relay["working_dir"] == "/etc/finkare-relay", "the relay does not start in the folder of its relay.toml")
must("./config:/etc/finkare-relay:ro" in relay["volumes"], "the folder of relay.toml is not mounted")
must(relay["read_only"] and relay["cap_drop"] == ["ALL"], "the relay may write to its root or has capabilities")

# Prometheus finds the relay under the name of the job that alerts and dashboard know, and Grafana finds Prometheus.
scrape = read("deploy/prometheus/prometheus.yml")
[job] = scrape["scrape_configs"]
port = relay["environment"]["RELAY_ADMIN_LISTEN"].split(":")[1]
must(job["static_configs"] == [{"targets": [f"relay:{port}"]}], "Prometheus does not scrape the relay's admin listener")
alerts = (ROOT / "deploy/prometheus/alerts.yml").read_text()
must(f'job="{job["job_name"]}"' in alerts, "the alerts know another name of the job")
for rules in scrape["rule_files"]:
    must((ROOT / "deploy/prometheus" / rules).exists(), f"Prometheus reads {rules}, which does not exist")
[source] = read("deploy/grafana/provisioning/datasources/prometheus.yml")["datasources"]
must(source["url"] == "http://prometheus:9090" and "prometheus" in services, "Grafana does not find Prometheus")
must(source["jsonData"]["timeInterval"] == scrape["global"]["scrape_interval"], "Grafana knows another interval of scrapes")
[provider] = read("deploy/grafana/provisioning/dashboards/finkare-relay.yml")["providers"]
board = next(m for m in services["grafana"]["volumes"] if m.startswith("./deploy/grafana/finkare-relay.json:"))
folder = str(pathlib.PurePosixPath(board.split(":")[1]).parent)
must(provider["options"]["path"] == folder, "Grafana looks for dashboards in another folder")
json.loads((ROOT / "deploy/grafana/finkare-relay.json").read_text())

if problems:
    sys.exit("docker-compose.yml:\n" + "\n".join(f"- {problem}" for problem in problems))
print(f"  {len(services)} services fit together")
