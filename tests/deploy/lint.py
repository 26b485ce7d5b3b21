"""The files of deploy/, each through the checker of its kind, and against one another and the program.

python lint.py PROGRAM SOURCE_FOLDER [NAME of a test …]

The Python must have tests/requirements.txt. What is not installed (haproxy, systemd-analyze) is named and left out.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import kubernetes_validate
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "cli"))
from program import Program, run_all  # noqa: E402

# The oldest Kubernetes for which the manifests are written, and the newest that the checker knows.
KUBERNETES = ["1.30", kubernetes_validate.latest_version()]
# `systemd-analyze security` counts from 0 (nothing is open) to 100; a unit that says nothing has 96.
EXPOSURE, EXPOSURE_NVIDIA = 20, 25
# Not flags of `qwill serve`: of the router, and of the Compose file itself.
OTHERS = re.compile("QWILL_(ROUTER_.*|REPLICA.*|NAMESERVER|SERVER_TIMEOUT|BALANCE_FACTOR|MODELS|PUBLISH)")


def run(*command, environment=None):
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | (environment or {})
    )
    return done.returncode, done.stdout


def tool(name):
    """A program's path; None, and a line that says so, if it is not installed."""
    beside = Path(sys.executable).parent / name
    path = str(beside) if beside.exists() else shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if path is None:
        print(f"left out: {name} is not installed", flush=True)
    return path


def seconds(text):
    """A time as Compose, HAProxy and systemd write it."""
    number, unit = re.fullmatch(r"(\d+)(s|m|h|)", str(text)).groups()
    return int(number) * {"": 1, "s": 1, "m": 60, "h": 3600}[unit]


class World:
    def __init__(self, program, source, folder):
        self.qwill = Program(program)
        self.qwill.environment = {k: v for k, v in self.qwill.environment.items() if not k.startswith("QWILL_")}
        self.deploy = Path(source) / "deploy"
        self.folder = Path(folder)

    def text(self, name):
        return (self.deploy / name).read_text()

    def documents(self, name):
        return list(yaml.safe_load_all(self.text(name)))

    def changed(self, name, old, new):
        """A copy of a file with a mistake in it: what a checker must not take."""
        text = self.text(name)
        assert old in text, old
        path = self.folder / Path(name).name
        path.write_text(text.replace(old, new))
        return path

    def manifests(self):
        """Every Kubernetes object, by kind and name."""
        names = yaml.safe_load(self.text("kustomization.yaml"))["resources"] + ["kubernetes/pull.yaml"]
        return {(d["kind"], d["metadata"]["name"]): d for name in names for d in self.documents(name)}

    def drain_timeout(self):
        return seconds(re.search(r"^drain-timeout = (\d+)$", self.text("serve.toml"), re.MULTILINE)[1])


def pod_of(manifest):
    return manifest["spec"]["template"]["spec"]


# ---------------------------------------------------------------- one file, one checker


def test_containerfile(checks, world):
    hadolint = tool("hadolint")
    checks.equal(run(hadolint, world.deploy / "Containerfile"), (0, ""))
    wrong = world.changed("Containerfile", "FROM docker.io/library/debian:12 AS build", "FROM debian AS build")
    checks.equal(run(hadolint, wrong)[0], 1, "an image without a version")
    root = world.deploy.parent
    for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", world.text("Containerfile"), re.MULTILINE):
        for source in sources.split():
            checks.that((root / source).exists(), source)
    # A folder that CMake reads must be there in the image too.
    cmake = "".join((root / name).read_text() for name in ("CMakeLists.txt", "src/CMakeLists.txt"))
    for folder in set(re.findall(r"add_subdirectory\((\w+)|\{PROJECT_SOURCE_DIR\}/(\w+)", cmake)):
        folder = "".join(folder)
        copied = re.search(rf"^COPY {folder} {folder}$", world.text("Containerfile"), re.MULTILINE)
        checks.that(copied or not (root / folder).is_dir(), f"not copied: {folder}")


def test_compose(checks, world):
    def check(path):
        return run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", path)

    for name in ("compose.yaml", "compose.nvidia.yaml"):
        status, output = check(world.deploy / name)
        checks.equal(status, 0, output)
    checks.equal(check(world.changed("compose.yaml", "stop_grace_period", "stop_grace_time"))[0], 1, "a wrong name")
    compose = yaml.safe_load(world.text("compose.yaml"))["services"]
    for name in yaml.safe_load(world.text("compose.nvidia.yaml"))["services"]:
        checks.that(name in compose, name)


def test_kubernetes(checks, world):
    manifests = world.manifests()
    for version in KUBERNETES:
        for name, manifest in manifests.items():
            try:
                kubernetes_validate.validate(manifest, version, strict=True)
                checks.passed += 1
            except kubernetes_validate.ValidationError as error:
                checks.that(False, f"{name} for {version}: {error}")
    wrong = json.loads(json.dumps(manifests["Deployment", "qwill"]).replace("readinessProbe", "readynessProbe"))
    try:
        kubernetes_validate.validate(wrong, KUBERNETES[-1], strict=True)
        checks.that(False, "a wrong name was taken")
    except kubernetes_validate.ValidationError:
        checks.passed += 1


def test_kustomization(checks, world):
    kustomization = yaml.safe_load(world.text("kustomization.yaml"))
    files = kustomization["resources"] + [f for g in kustomization["configMapGenerator"] for f in g["files"]]
    for name in files + ["kubernetes/nvidia.yaml"]:
        checks.that((world.deploy / name).is_file(), name)
    # What kubectl itself says, where there is one.
    if kubectl := tool("kubectl"):
        copy = world.folder / "kustomized"
        shutil.copytree(world.deploy, copy)
        status, output = run(kubectl, "kustomize", copy)
        checks.that(status == 0 and "nvidia.com/gpu" not in output, output[-500:])
        text = (copy / "kustomization.yaml").read_text()
        (copy / "kustomization.yaml").write_text(text.replace("#patches:\n#  - path", "patches:\n  - path"))
        status, output = run(kubectl, "kustomize", copy)
        checks.that(status == 0 and 'nvidia.com/gpu: "1"' in output, output[-500:])


def test_systemd(checks, world):
    analyze = tool("systemd-analyze")
    if not analyze:
        return

    def check(name, text, drop_in, threshold):
        unit = world.folder / name / "qwill.service"
        unit.parent.mkdir()
        unit.write_text(text.replace("/usr/local/bin/qwill", world.qwill.path))
        if drop_in:
            (unit.parent / "qwill.service.d").mkdir()
            (unit.parent / "qwill.service.d/nvidia.conf").write_text(drop_in)
        verified = run(analyze, "verify", "--man=no", unit)
        security = run(analyze, "security", "--offline=true", f"--threshold={threshold}", unit)
        return verified, security

    unit = world.text("qwill.service")
    for name, drop_in, limit in (("cpu", "", EXPOSURE), ("card", world.text("qwill-nvidia.conf"), EXPOSURE_NVIDIA)):
        verified, security = check(name, unit, drop_in, limit)
        checks.equal(verified, (0, ""), name)
        checks.equal(security[0], 0, security[1][-300:])
    verified, security = check("open", unit.replace("ProtectSystem", "ProtectSistem"), "", 5)
    checks.that("ProtectSistem" in verified[1], verified)
    checks.that(security[0] != 0, "the limit does not limit")


def test_haproxy(checks, world):
    haproxy = tool("haproxy")
    if not haproxy:
        return
    config = world.deploy / "router/haproxy.cfg"
    # -dW: a warning is an error.
    for environment in (
        {},
        {"QWILL_ROUTER_USER": "nobody"},
        {"QWILL_REPLICAS": "replicas:8000"},
        {"QWILL_REPLICAS": "replicas:8000", "QWILL_NAMESERVER": "127.0.0.1:53"},
    ):
        status, output = run(haproxy, "-c", "-dW", "-f", config, environment=environment)
        checks.equal(status, 0, f"{environment} {output}")
    wrong = world.changed("router/haproxy.cfg", "option redispatch 1", "option redispatched 1")
    checks.that(run(haproxy, "-c", "-dW", "-f", wrong)[0] != 0, "a wrong option")


def test_prometheus(checks, world):
    """No schema is at hand; promtool is asked where it is installed."""
    config = yaml.safe_load(world.text("prometheus.yml"))
    services = yaml.safe_load(world.text("compose.yaml"))["services"]
    qwill, router = config["scrape_configs"]
    checks.that(qwill["dns_sd_configs"][0]["names"][0] in services["replica1"]["networks"]["default"]["aliases"], qwill)
    port = services["router"]["environment"]["QWILL_ROUTER_METRICS"].rpartition(":")[2]
    checks.equal(router["static_configs"][0]["targets"], [f"router:{port}"])
    if promtool := tool("promtool"):
        status, output = run(promtool, "check", "config", "--syntax-only", world.deploy / "prometheus.yml")
        checks.equal(status, 0, output)


# ---------------------------------------------------------------- the files against one another


def test_time_to_drain(checks, world):
    """Whoever ends a server waits longer than the server takes to end."""
    drain = world.drain_timeout()
    unit = world.text("qwill.service")
    checks.that(seconds(re.search(r"^TimeoutStopSec=(\S+)$", unit, re.MULTILINE)[1]) > drain, "qwill.service")
    services = yaml.safe_load(world.text("compose.yaml"))["services"]
    for name in ("replica1", "replica2"):
        own = int(services[name]["environment"]["QWILL_DRAIN_TIMEOUT"])
        checks.that(seconds(services[name]["stop_grace_period"]) > own, name)
    router = services["router"]
    checks.that(seconds(router["stop_grace_period"]) > seconds(router["environment"]["QWILL_ROUTER_DRAIN"]), "router")
    manifests = world.manifests()
    for name in ("qwill", "qwill-router"):
        pod = pod_of(manifests["Deployment", name])
        (container,) = pod["containers"]
        environment = {e["name"]: e.get("value") for e in container["env"]}
        own = seconds(environment.get("QWILL_ROUTER_DRAIN", drain))
        before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        checks.that(pod["terminationGracePeriodSeconds"] > before + own, name)


def test_kubernetes_names(checks, world):
    """Selectors find pods, ports are those of containers, volumes and settings exist."""
    manifests = world.manifests()
    kustomization = yaml.safe_load(world.text("kustomization.yaml"))
    config_maps = {g["name"]: [Path(f).name for f in g["files"]] for g in kustomization["configMapGenerator"]}
    pods = {}
    for (kind, name), manifest in manifests.items():
        if kind not in ("Deployment", "Job"):
            continue
        labels, pod = manifest["spec"]["template"]["metadata"]["labels"], pod_of(manifest)
        (container,) = pod["containers"]
        ports = {p["name"]: p["containerPort"] for p in container.get("ports", [])}
        pods[name] = (labels, ports)
        if kind == "Deployment":
            checks.that(manifest["spec"]["selector"]["matchLabels"].items() <= labels.items(), name)
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if probe in container:
                checks.that(container[probe]["httpGet"]["port"] in ports, f"{name} {probe}")
        checks.equal({m["name"] for m in container["volumeMounts"]}, {v["name"] for v in pod["volumes"]}, name)
        for volume in pod["volumes"]:
            if "configMap" in volume:
                checks.that(volume["configMap"]["name"] in config_maps, volume)
            else:
                claim = volume["persistentVolumeClaim"]["claimName"]
                checks.that(("PersistentVolumeClaim", claim) in manifests, claim)

    def found(selector):
        return [ports for labels, ports in pods.values() if selector["matchLabels"].items() <= labels.items()]

    for (kind, name), manifest in manifests.items():
        spec = manifest.get("spec", {})
        if kind == "Service":
            (ports,) = found({"matchLabels": spec["selector"]})
            checks.that(all(p["targetPort"] in ports for p in spec["ports"]), name)
        elif kind == "PodDisruptionBudget":
            checks.equal(len(found(spec["selector"])), 1, name)
        elif kind == "NetworkPolicy":
            (ports,) = found(spec["podSelector"])
            opened = {p["port"] for rule in spec["ingress"] for p in rule["ports"]}
            checks.equal(opened, set(ports.values()), name)
    router = {e["name"]: e["value"] for e in pod_of(manifests["Deployment", "qwill-router"])["containers"][0]["env"]}
    host, port = router["QWILL_REPLICAS"].rsplit(":", 1)
    service, namespace = host.split(".")[:2]
    checks.equal(namespace, kustomization["namespace"])
    checks.equal(int(port), manifests["Service", service]["spec"]["ports"][0]["port"])
    patch = yaml.safe_load(world.text("kubernetes/nvidia.yaml"))
    target = manifests[patch["kind"], patch["metadata"]["name"]]
    checks.equal(pod_of(patch)["containers"][0]["name"], pod_of(target)["containers"][0]["name"], "the patch")


def test_router_variables(checks, world):
    """router.env names every variable of haproxy.cfg, with its default."""
    config, listed = world.text("router/haproxy.cfg"), world.text("router/router.env")
    defaults = dict(re.findall(r"^  presetenv (\S+) +(\S+)$", config, re.MULTILINE))
    used = set(re.findall(r"\$\{(\w+)\}|defined\((\w+)\)", config))
    used = {a or b for a, b in used}
    named = dict(re.findall(r"^#?(QWILL_\w+)=(\S+)$", listed, re.MULTILINE))
    checks.equal(set(named), used)
    for name, value in defaults.items():
        checks.equal(named[name], value, name)


# ---------------------------------------------------------------- the files against the program


def test_flags_exist(checks, world):
    """Every QWILL_ variable and every setting that a file uses is a flag of `qwill serve`."""
    help_text = checks.good(world.qwill("serve", "--help")).out.decode()
    flags = set(re.findall(r"--([a-z][a-z-]+)", help_text))
    variables = set(re.findall(r"\(Env:(QWILL_\w+)\)", help_text))
    for path in sorted(p for p in world.deploy.rglob("*") if p.is_file()):
        for name in set(re.findall(r"QWILL_[A-Z0-9_]+", path.read_text())):
            checks.that(OTHERS.fullmatch(name) or name in variables, f"{path.name}: {name}")
    settings = re.findall(r"^#?([a-z-]+) = ", world.text("serve.toml"), re.MULTILINE)
    checks.that(len(settings) > 3, settings)
    for name in settings:
        checks.that(name in flags, f"serve.toml: {name}")


def test_config_starts(checks, world):
    """The example as it is, and with every setting in it that is commented out, which must then hold."""
    text = world.text("serve.toml")
    whole = world.folder / "whole.toml"
    whole.write_text(re.sub(r"^#([a-z-]+ = )", r"\1", text, flags=re.MULTILINE))
    for path, name in ((world.deploy / "serve.toml", "nib"), (whole, "qwen3-8b")):
        process = world.qwill.start("serve", "--config", path, "--port", "0", "--threads", "1")
        try:
            line = process.stderr.readline().decode()
            while line and "listening on" not in line:
                line = process.stderr.readline().decode()
            address = re.search(r"listening on (http://\S+)", line)[1]
            with urllib.request.urlopen(f"{address}/v1/models", timeout=60) as answer:
                checks.equal([m["id"] for m in json.load(answer)["data"]], [name], path.name)
            process.terminate()
            checks.equal(process.wait(timeout=60), 0, path.name)
        finally:
            process.kill()
            process.communicate()


def main():
    program, source, *names = sys.argv[1:]
    tests = [value for name, value in globals().items() if name.startswith("test_") and (not names or name in names)]
    with tempfile.TemporaryDirectory(prefix="qwill-lint-") as folder:
        return run_all(tests, World(program, source, folder))


if __name__ == "__main__":
    sys.exit(main())
