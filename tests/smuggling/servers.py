"""The servers that stand in for upstream: each reads HTTP/1.1 with code that shares nothing with keyward's.

| name           | reads by                                       | from                  |
|----------------|------------------------------------------------|-----------------------|
| `node`         | llhttp, as strict as it can be                 | the npm registry      |
| `node-lenient` | llhttp with `--insecure-http-parser`           |                       |
| `h11`          | h11                                            | PyPI                  |
| `http.server`  | the library of Python, and chunks by `int`     | whatever Python there is |
| `waitress`     | waitress                                       | PyPI                  |
| `gunicorn`     | gunicorn                                       | PyPI                  |
| `aiohttp`      | aiohttp's parser (llhttp of its own, compiled) | PyPI                  |
| `uvicorn`      | httptools (llhttp of its own)                  | PyPI                  |
| `nginx`        | nginx, which passes everything on to an h11    | apt                   |
"""

import json
import os
import socket
from pathlib import Path

import install
import processes

PACKAGES = [
    "aiohttp==3.14.5",
    "gunicorn==27.0.1",
    "h11==0.16.0",
    "httptools==0.9.0",
    "uvicorn==0.54.0",
    "waitress==3.0.2",
]
HERE = Path(__file__).resolve().parent / "servers"

NGINX = """\
{user}daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/nginx-body;
  proxy_temp_path {folder}/nginx-proxy;
  fastcgi_temp_path {folder}/nginx-fastcgi;
  uwsgi_temp_path {folder}/nginx-uwsgi;
  scgi_temp_path {folder}/nginx-scgi;
  large_client_header_buffers 8 128k;
  client_max_body_size 0;
  keepalive_requests 1000000;
  keepalive_timeout 3600;
  underscores_in_headers on;
  proxy_buffer_size 256k;
  proxy_buffers 8 256k;
  proxy_busy_buffers_size 512k;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{behind};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Connection "";
    }}
  }}
}}
"""


class Server:
    """A running server."""

    def __init__(self, name, folder, tools):
        self.name, self._folder = name, folder
        self._record = folder / "record.jsonl"
        self._record.touch()
        self._children = []
        python, node = tools
        serve = [python, "-B", HERE / "python_server.py"]
        match name:
            case "node":
                self._start([node, HERE / "node_server.js"])
            case "node-lenient":
                self._start([node, "--insecure-http-parser", HERE / "node_server.js"])
            case "nginx":
                behind = self._start([*serve, "h11"])
                self.port = _free_port()
                # Its workers have to reach a folder that is the runner's alone.
                user = "user root;\n" if os.geteuid() == 0 else ""
                (folder / "nginx.conf").write_text(
                    NGINX.format(user=user, folder=folder, port=self.port, behind=behind)
                )
                self._spawn(["nginx", "-p", folder, "-c", folder / "nginx.conf"])
                processes.until(lambda: _listens(self.port), timeout=20, what="nginx")
            case _:
                self._start([*serve, name.replace(".", "_")])
        self.authority = f"127.0.0.1:{self.port}"

    def records(self):
        """Each request that came whole, in the order in which they came."""
        return [json.loads(line) for line in self._record.read_text().splitlines()]

    def stop(self):
        """Ends it."""
        for child in self._children:
            child.end(patience=2)

    def _start(self, command):
        """Starts it with the files to write to, and returns its port."""
        announced = self._folder / "port"
        self._spawn([*command, self._record, announced])
        processes.until(lambda: announced.exists() and announced.read_text(), timeout=60, what=self.name)
        self.port = int(announced.read_text())
        return self.port

    def _spawn(self, command):
        self._children.append(processes.Child(command, log=self._folder / "server.out", cwd=self._folder))


# The others show them as variables, or add their own.
SHOW_ALL_HEADERS = {"h11", "node", "node-lenient", "http.server", "aiohttp", "uvicorn"}

NAMES = ["h11", "node", "node-lenient", "http.server", "waitress", "gunicorn", "aiohttp", "uvicorn", "nginx"]


def bring():
    """Installs what the servers need: the python and the node to run them with."""
    install.require_tools("nginx")

    def build(folder, log):
        install.make_venv(folder, log, *PACKAGES)

    # Other versions are another folder.
    name = "smuggling-" + "-".join(package.replace("==", "-") for package in PACKAGES)
    python = install.once(name, build) / "venv" / "bin" / "python"
    return python, install.bring_node(install.NODE)


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
