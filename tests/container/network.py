"""A network of one machine: OpenAI's name and some more, a name server that knows them, and who answers there.

All of it is in a network namespace of its own, so it may have any address.
"""

import json
import socket
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import processes

KEYWARD, OPENAI, NAMES, OPENAI_V6 = "10.9.0.2", "10.9.0.3", "10.9.0.4", "fd09::3"
# More addresses than fit into one datagram of 512 bytes, so that the name server is asked by TCP.
MANY = [f"10.9.1.{number}" for number in range(1, 60)]
RECORDS = [
    f"api.openai.com,{OPENAI}",
    f"openai.svc.cluster.local,{OPENAI}",
    f"six.test,{OPENAI_V6}",
    *(f"many.test,{address}" for address in MANY),
]


def set_up(folder):
    """Brings the interface up and starts the name server. Run once, inside the namespace."""
    for words in ["link set lo up", *(f"addr add {ip}/32 dev lo" for ip in [KEYWARD, OPENAI, NAMES, *MANY])]:
        subprocess.run(["ip", *words.split()], check=True)
    subprocess.run(["ip", "addr", "add", f"{OPENAI_V6}/128", "dev", "lo", "nodad"], check=True)
    options = ["--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces", "--user=root"]
    records = [f"--host-record={record}" for record in RECORDS]
    command = ["dnsmasq", *options, f"--listen-address={NAMES}", "--local=/com/local/test/", *records]
    processes.Child(command, log=folder / "dnsmasq.log")
    processes.until(lambda: _answers(NAMES, 53), timeout=20, what="the name server")


RESOLV = f"nameserver {NAMES}\n"
# What Kubernetes writes.
RESOLV_SEARCH = f"search default.svc.cluster.local svc.cluster.local cluster.local\n{RESOLV}options ndots:5\n"


def make_certificates(folder):
    """An authority of our own, and its certificate for OpenAI's name. Gives the authority's file."""
    ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    subject = ["-subj", "/CN=keyward test authority", "-keyout", folder / "ca.key", "-out", folder / "ca.pem"]
    _openssl("req", "-x509", *ec, *subject)
    name = ["-subj", "/CN=api.openai.com", "-addext", "subjectAltName=DNS:api.openai.com"]
    signed = ["-CA", folder / "ca.pem", "-CAkey", folder / "ca.key", "-addext", "basicConstraints=critical,CA:FALSE"]
    _openssl("req", "-x509", *ec, *name, *signed, "-keyout", folder / "key.pem", "-out", folder / "cert.pem")
    (folder / "ca.pem").chmod(0o644)
    return folder / "ca.pem"


class OpenAI:
    """Takes a set of keys at OpenAI's address: over TLS on 443, without it on 80, also by IPv6."""

    def __init__(self, keys, certificates):
        self.keys, self.journal, self.gate = set(keys), [], threading.Event()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
        self._serve(OPENAI, 443, tls)
        for address in [OPENAI, OPENAI_V6, MANY[-1]]:
            self._serve(address, 80)

    def _serve(self, address, port, tls=None):
        server = (_ServerV6 if ":" in address else _Server)((address, port), _handler_for(self))
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A client may find that it does not trust us."""


class _ServerV6(_Server):
    address_family = socket.AF_INET6


def _handler_for(openai):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            openai.journal.append((self.headers["Host"], self.path, self.headers["Authorization"]))
            key = (self.headers["Authorization"] or "").removeprefix("Bearer ")
            if key not in openai.keys:
                return self._answer(401, {"error": {"message": "Incorrect API key provided.", "code": "invalid_api_key"}})
            if self.path == "/v1/slow":
                return self._stream()
            self._answer(200, {"object": "list", "data": []})

        def _answer(self, status, value):
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _stream(self):
            """A first chunk, and the last one when the gate is opened."""
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"6\r\ndata: \r\n")
            openai.gate.wait(60)
            self.wfile.write(b"6\r\n[DONE]\r\n0\r\n\r\n")

        def log_message(self, *_):
            """The journal tells more."""

    return Handler


def _openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def _answers(address, port):
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0
