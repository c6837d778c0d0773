"""What all servers in Python say of a request: in their answer, and as a line of a file."""

import base64
import hashlib
import json
import threading


SHOWN = ("authorization", "host", "x-case")


class Recorder:
    def __init__(self, path):
        self._file = open(path, "a", buffering=1)
        self._lock = threading.Lock()

    def see(self, method, target, headers, body):
        """What the answer says in a header, for it may have no body, and in its body.  Names come in lower case."""
        digest = hashlib.sha256(body).hexdigest()
        seen = {"method": method, "target": target, "headers": headers, "length": len(body), "digest": digest}
        line = json.dumps(seen)
        with self._lock:
            self._file.write(line + "\n")
        short = [[name, value] for name, value in headers if name in SHOWN]
        # keyward lets no header out that shows the key that it put in.
        return base64.b64encode(json.dumps({**seen, "headers": short}).encode()).decode(), line.encode()


def pairs(headers):
    """Names and values as text, from bytes or text."""
    text = lambda value: value.decode("latin-1") if isinstance(value, bytes) else value
    return [[text(name).lower(), text(value)] for name, value in headers]


def announce(path, port):
    """Tells the port, in a file that is whole as soon as it is there."""
    import os

    with open(f"{path}.new", "w") as file:
        file.write(str(port))
    os.rename(f"{path}.new", path)
