"""`make check-deploy`, its larger part: checks compose files against the compose specification's schema. Lints and
renders the Helm chart with Helm itself, for each way to use it, and checks the result against Kubernetes' schemas.
Nothing is started.

Runs with the Python of $CHROMA_EDGE_CACHE/deploy, which has the schemas. If an edge is built, `chroma-edge check` also
checks the configurations of compose files and chart.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import kubernetes_validate
import yaml

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "deploy" / "helm" / "chroma-edge"
WAYS = {
    "one edge on SQLite": [],
    "two edges on PostgreSQL": ["journal.databaseUrlSecret=journal"],
    "servers of one's own": ["chroma.enabled=false", "instances[0].name=a", "instances[0].url=http://a:8000"],
    "everything said": [
        "journal.storageClass=fast", "chroma.storageClass=fast", "nodeSelector.disk=ssd", "resources.limits.memory=1Gi",
        "tolerations[0].key=edge", "tolerations[0].operator=Exists", "image.tag=1.2.3", "config.edge.write_wait=7s",
    ],
}


def run(*command, code=0, variables=None):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=variables)
    if done.returncode != code:
        sys.exit(f"{' '.join(str(part) for part in command)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def render(settings, code=0):
    options = [option for setting in settings for option in ("--set", setting)]
    return run("helm", "template", "chroma", CHART, *options, code=code)


def edge():
    """Returns the newest edge that is built, if there is one."""
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    built = [target / profile / "chroma-edge" for profile in ("release", "debug")]
    built = [path for path in built if path.exists()]
    return max(built, key=lambda path: path.stat().st_mtime, default=None)


def accepted(binary, configuration, settings):
    """Checks that the edge accepts the file that the chart makes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(configuration)
        variables = {"PORT": ""}
        if any("databaseUrlSecret" in setting for setting in settings):
            variables["DATABASE_URL"] = "postgres://edge:secret@db:5432/chroma_edge"
        run(binary, "check", "--conf", path, variables=variables)


def check_compose(path, binary):
    """Checks a compose file's schema, that each edge accepts its variables, and that they lead to services that exist."""
    name = path.relative_to(ROOT)
    run(Path(sys.executable).parent / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", path)
    services = yaml.safe_load(path.read_text())["services"]
    edges = [service for service in services.values() if "PRIMARY_URL" in service.get("environment", {})]
    for edge_service in edges:
        variables = {key: re.sub(r"\$\{[^}]*\}", "secret", value) for key, value in edge_service["environment"].items()}
        if binary:
            run(binary, "check", variables=variables)
        for value in variables.values():
            for host in re.findall(r"(?:://(?:[^@/]*@)?|,)([a-z0-9-]+):\d+", value):
                if host not in services:
                    sys.exit(f"{name}: {value}: there is no service {host}")
    for service in services.values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("./") and not (path.parent / source).exists():
                sys.exit(f"{name}: {mount}: there is no such file")
    told = f", and {len(edges)} edge(s) that take their variables" if binary else ""
    print(f"{name}: as the compose specification has it{told}")


def main():
    binary, version = edge(), kubernetes_validate.latest_version()
    for path in sorted((ROOT / "deploy").glob("compose*.yaml")):
        check_compose(path, binary)
    run("helm", "lint", "--strict", CHART)
    for way, settings in WAYS.items():
        objects = [found for found in yaml.safe_load_all(render(settings)) if found]
        for found in objects:
            try:
                kubernetes_validate.validate(found, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                sys.exit(f"{way}: {found['kind']} {found['metadata']['name']}: {error.message}")
        configuration = next(found["data"]["config.yaml"] for found in objects if found["kind"] == "ConfigMap")
        if binary:
            accepted(binary, configuration, settings)
        told = ", and the edge takes its configuration" if binary else ""
        print(f"{CHART.relative_to(ROOT)}, {way}: {len(objects)} objects as Kubernetes {version} has them{told}")
    # Without servers there is nothing to stand in front of.
    render(["chroma.enabled=false"], code=1)


if __name__ == "__main__":
    main()
