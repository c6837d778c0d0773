"""The clients that are tried, how each is installed, and how a job is given to one."""

import hashlib
import json
import os
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import install
import processes

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Kind:
    """A client, the way it connects, and what keyward has to call it."""

    name: str
    driver: tuple
    tls: bool
    # The cases that this client has beside those of all.
    more: frozenset
    # How often it sends a request that fails, at most; and one whose answer does not come in time.
    attempts: int = 3
    attempts_in_time: int = 2


OF_ALL = ["chat", "chat_stream", "tools", "structured", "responses", "responses_stream", "embeddings", "images"]
OF_SDKS = ["models", "moderations", "speech", "transcription", "files", "batches", "upload", "head", "broken_off"]
IN_ORDER = [*OF_SDKS, "realtime", "responses_socket"]
SDK = frozenset(OF_SDKS)
KINDS = [
    Kind("openai for Node", ("node", "openai"), False, SDK),
    Kind(
        "openai for Node, TLS and HTTP/2",
        ("node", "openai"),
        True,
        SDK | {"realtime", "realtime_subprotocol", "responses_socket"},
    ),
    Kind("openai for Python", ("python", "plain"), False, SDK | {"realtime"}),
    Kind("openai for Python, TLS and HTTP/2", ("python", "http2"), True, SDK | {"realtime"}),
    Kind("LangChain", ("node", "langchain"), False, frozenset(), attempts=2, attempts_in_time=1),
]


@dataclass(frozen=True)
class Tools:
    """What was installed: where, and in which versions."""

    node: Path
    modules: Path
    python: Path

    @property
    def aimock(self):
        return self.modules / "@copilotkit" / "aimock" / "dist" / "cli.js"

    def beside(self, name):
        """A program of ours, copied to where node finds the packages that it imports."""
        for source in (HERE / "node").glob("*.mjs"):
            target = self.modules.parent / source.name
            if not target.exists() or target.read_bytes() != source.read_bytes():
                # Another run may start one of them at this moment.
                fresh = target.with_suffix(f".{os.getpid()}")
                fresh.write_bytes(source.read_bytes())
                fresh.replace(target)
        return self.modules.parent / name

    def version(self, kind):
        """The version of the SDK that a client is, or is made of; it stands in keyward's log."""
        if kind.driver[0] == "python":
            return required("openai")
        return self.module_version("openai")

    def told(self, kind):
        """The versions in words."""
        if kind.name == "LangChain":
            return f"@langchain/openai {self.module_version('@langchain/openai')} with openai {self.version(kind)}"
        return f"openai {self.version(kind)}"

    def module_version(self, name):
        return json.loads((self.modules / name / "package.json").read_text())["version"]


def bring():
    """Installs the clients, or finds them installed."""
    steps = [lambda: install.bring_node(install.NODE), _bring_modules, _bring_python]
    with ThreadPoolExecutor() as pool:
        return Tools(*pool.map(lambda step: step(), steps))


def _bring_modules():
    files = [HERE / "node" / name for name in ("package.json", "package-lock.json")]

    def build(folder, log):
        for file in files:
            (folder / file.name).write_bytes(file.read_bytes())
        install.call_npm(folder, log, ["ci"])

    return install.once(f"clients-node-{_digest(files)}", build) / "node_modules"


def _bring_python():
    requirements = HERE / "python" / "requirements.txt"

    def build(folder, log):
        install.make_venv(folder, log, "--require-hashes", "--requirement", requirements)

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = install.once(f"clients-python-{version}-{_digest([requirements])}", build)
    return folder / "venv" / "bin" / "python"


def _digest(files):
    """Other contents are another folder."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def required(package):
    """The version that is pinned of a Python package."""
    lines = (HERE / "python" / "requirements.txt").read_text().splitlines()
    (version,) = [line.split("==")[1].split()[0] for line in lines if line.startswith(f"{package}==")]
    return version


class Driver:
    """A running program that does with its client what it is told."""

    def __init__(self, kind, tools, folder, authority):
        self.log = folder / "driver.log"
        language, argument = kind.driver
        environment = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            if language == "node":
                environment["NODE_EXTRA_CA_CERTS"] = str(authority)
                environment |= {"OVER_HTTP2": "1"} if kind.tls else {}
                command = [tools.node, tools.beside("driver.mjs"), port, argument]
            else:
                environment |= {"CA_FILE": str(authority)} if kind.tls else {}
                command = [tools.python, "-B", HERE / "python" / "driver.py", port, argument]
            self._child = processes.Child(command, log=self.log, cwd=folder, env=environment)
            listener.settimeout(1)
            self._socket = processes.until(lambda: self._accept(listener), timeout=60, what=kind.name)
        self._lines = self._socket.makefile("rw", encoding="utf-8", newline="\n")

    def do(self, case, base, credential):
        """Does one job and returns what came of it: `{"result": …}` or `{"raised": …}`."""
        self._lines.write(json.dumps({"case": case, "base": base, "credential": credential}) + "\n")
        self._lines.flush()
        line = self._lines.readline()
        if not line:
            raise RuntimeError(f"the client ended during {case}:\n{processes.tail(self.log)}")
        return json.loads(line)

    def stop(self):
        """Ends it; once more does nothing."""
        self._socket.close()
        self._child.end(patience=2)

    def _accept(self, listener):
        if not self._child.running():
            raise RuntimeError(f"the client ended while it was starting:\n{processes.tail(self.log)}")
        try:
            connection = listener.accept()[0]
        except TimeoutError:
            return None
        connection.settimeout(120)
        return connection


# What would change the addresses, keys and proxies that a client uses.
FOREIGN = ("OPENAI_", "LANGCHAIN_", "LANGSMITH_", "NODE_", "SSL_", "HTTP_", "HTTPS_", "ALL_", "http_", "https_", "all_")
