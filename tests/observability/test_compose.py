"""The Compose project: loopback ports, exact versions, files that exist; and the routing of alerts."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.docs.test_links import ROOT
from tests.observability import programs
from tests.observability.alert_cases import OBSERVABILITY, alerts

COMPOSE = yaml.safe_load((OBSERVABILITY / "compose.yml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
DOCKERFILE = (OBSERVABILITY / "exporter.Dockerfile").read_text(encoding="utf-8")


def read(name):
    return yaml.safe_load((OBSERVABILITY / name).read_text(encoding="utf-8"))


def test_every_port_is_bound_to_loopback():
    ports = [port for service in SERVICES.values() for port in service["ports"]]
    assert len(ports) == len(SERVICES)
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports)


def test_every_image_has_an_exact_version():
    images = [service["image"] for service in SERVICES.values()] + re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert [image for image in images if not re.search(r":v?\d+\.\d+\.\d+(-[\w.-]+)?$", image)] == []


def test_mounted_and_copied_files_exist_and_are_mounted_read_only():
    for service in SERVICES.values():
        for volume in service["volumes"]:
            source, target, *options = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume).split(":")
            if source.startswith("."):
                assert options == ["ro"], target
                assert source == "../../.peak_trade" or (OBSERVABILITY / source).exists(), source
            else:
                assert source in COMPOSE["volumes"]
    copied = [name for line in re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.MULTILINE) for name in line.split()]
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_services_find_each_other():
    targets = [
        config["targets"] for job in read("prometheus.yml")["scrape_configs"] for config in job["static_configs"]
    ]
    targets += [
        config["targets"]
        for manager in read("prometheus.yml")["alerting"]["alertmanagers"]
        for config in manager["static_configs"]
    ]
    source = read("grafana/provisioning/datasources/prometheus.yml")["datasources"][0]
    addresses = [target for group in targets for target in group] + [source["url"].removeprefix("http://")]
    for address in addresses:
        service, port = address.split(":")
        assert SERVICES[service]["ports"][0].endswith(f":{port}")
    assert source["jsonData"]["timeInterval"] == read("prometheus.yml")["global"]["scrape_interval"]


def test_grafana_loads_the_dashboards_that_are_mounted():
    provider = read("grafana/provisioning/dashboards/peak_trade.yml")["providers"][0]
    mounted = {volume.split(":")[1]: volume.split(":")[0] for volume in SERVICES["grafana"]["volumes"]}
    folder = OBSERVABILITY / mounted[provider["options"]["path"]]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.startswith(provider["options"]["path"])
    assert (folder / home.rpartition("/")[2]).exists()


def test_an_outage_of_a_session_inhibits_only_alerts_that_exist():
    rules = read("alertmanager.yml")["inhibit_rules"]
    named = [name for rule in rules for side in ("source", "target") for name in rule[f"{side}_matchers"]]
    assert {re.fullmatch(r'alertname="(\w+)"', name)[1] for name in named} <= set(alerts())


@pytest.mark.long
@programs.needs("docker-compose")
def test_compose_accepts_the_project(tmp_path):
    done = programs.run("docker-compose", "-f", OBSERVABILITY / "compose.yml", "config")
    assert done.returncode == 0, done.stderr
    assert set(yaml.safe_load(done.stdout)["services"]) == {"exporter", "prometheus", "alertmanager", "grafana"}


@pytest.mark.long
@programs.needs("amtool")
@pytest.mark.parametrize("severity", ["warning", "critical"])
def test_alertmanager_routes_an_alert_by_its_severity(severity):
    config = OBSERVABILITY / "alertmanager.yml"
    assert programs.run("amtool", "check-config", config).returncode == 0
    routed = programs.run(
        "amtool", "config", "routes", "test", f"--config.file={config}", f"severity={severity}", "alertname=X"
    )
    assert routed.stdout.strip() == severity
