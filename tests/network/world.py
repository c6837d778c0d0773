"""Network and mount namespaces of this run's own: in them a cable to another machine that can be cut, and a name server.

`here` is the namespace that this process and keyward are in, `far` the one of the other machine, at the end of the cable.
"""

import ctypes
import os
import socket
import struct
import subprocess
import threading
from pathlib import Path

import processes

HERE, FAR = "10.77.0.1", "10.77.0.2"
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Cable:
    """A cable between here and far. What is cut by it vanishes without a word: nothing of it arrives here any more."""

    def __init__(self, folder):
        self._machine = processes.Child(["unshare", "--net", "sleep", "600"], log=folder / "far.out")
        number = self._machine.pid
        here = os.readlink("/proc/self/ns/net")
        self._space = Path(f"/proc/{number}/ns/net")
        processes.until(lambda: os.readlink(self._space) != here, timeout=10, what="the other machine")
        _ip("link", "set", "lo", "up")
        _ip("link", "add", "here", "address", "02:00:00:00:00:01", "type", "veth", "peer", "name", "far",
            "address", "02:00:00:00:00:02", "netns", str(number))
        for run, name, own, other, mac in [(_ip, "here", HERE, FAR, "02"), (self._far_ip, "far", FAR, HERE, "01")]:
            run("address", "add", f"{own}/24", "dev", name)
            run("link", "set", name, "up")
            run("neigh", "add", other, "lladdr", f"02:00:00:00:00:{mac}", "dev", name, "nud", "permanent")

    def cut(self):
        self._far_ip("rule", "add", "from", f"{FAR}/32", "priority", "1", "blackhole")

    def listen(self):
        """A listening socket of the other machine."""
        return self._from_there(lambda: socket.create_server((FAR, 0)))

    def connect(self, address):
        """A connection from the other machine to here."""
        return self._from_there(lambda: socket.create_connection(address, timeout=150))

    def _from_there(self, make):
        """A socket belongs to the namespace of the thread that makes it."""
        made = []

        def run():
            with open(self._space) as space:
                if _libc.setns(space.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            made.append(make())

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        return made[0]

    def _far_ip(self, *arguments):
        _run("nsenter", f"--net={self._space}", "ip", *arguments)


class Names:
    """What getaddrinfo(3) reads, in place of the machine's own: a name server on loopback, and a table of hosts."""

    SILENT, REFUSED, UNKNOWN = "silent", "refused", "unknown"

    def __init__(self, folder):
        self.answers, self.delays = {}, {}
        self._hosts = folder / "hosts"
        for name, text in {
            "hosts": "127.0.0.1 localhost\n",
            "resolv.conf": "nameserver 127.0.0.1\noptions timeout:5 attempts:1\n",
            "nsswitch.conf": "hosts: files dns\n",
        }.items():
            (folder / name).write_text(text)
            (Path("/etc") / name).touch()
            _run("mount", "--bind", folder / name, f"/etc/{name}")
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def write_hosts(self, text):
        # In place, for the file is mounted and another one of that name would be none.
        self._hosts.write_text(f"127.0.0.1 localhost\n{text}\n")

    def _serve(self):
        while True:
            question, asker = self._socket.recvfrom(4096)
            name, answer = self._answer(question)
            if answer is not None:
                threading.Timer(self.delays.get(name, 0), self._socket.sendto, (answer, asker)).start()

    def _answer(self, question):
        """RFC 1035, 4: the head, the question again, and an address for each answer."""
        labels, at = [], 12
        while length := question[at]:
            labels.append(question[at + 1 : at + 1 + length].decode())
            at += 1 + length
        kind, end = struct.unpack("!H", question[at + 1 : at + 3])[0], at + 5
        name = ".".join(labels)
        known = self.answers.get(name, self.UNKNOWN)
        if known == self.SILENT:
            return name, None
        code = {self.REFUSED: 2, self.UNKNOWN: 3}.get(known, 0) if isinstance(known, str) else 0
        addresses = known if kind == 1 and not isinstance(known, str) else []
        head = question[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(addresses), 0, 0)
        record = lambda address: struct.pack("!HHHIH", 0xC00C, 1, 1, 0, 4) + socket.inet_aton(address)
        return name, head + question[12:end] + b"".join(map(record, addresses))


def _ip(*arguments):
    _run("ip", *arguments)


def _run(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
