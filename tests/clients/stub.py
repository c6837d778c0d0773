"""What aimock lacks: OpenAI's refusals word for word, uploads larger than ten MiB, and uploads in parts."""

import hashlib
import json
import re

import fake_openai


class Stub(fake_openai.Server):
    """A server that takes one key."""

    def __init__(self, key):
        self._uploads = Uploads()
        super().__init__(_handler_for(key, self._uploads))

    def reset(self):
        """Forgets the parts that it has."""
        self._uploads.parts.clear()

    def journal(self):
        """What it got, the tap tells."""
        return []


class Uploads:
    """Files that come in parts (`/v1/uploads`). Names of parts and files are made of what is in them."""

    def __init__(self):
        self.parts = {}

    def answer(self, path, body):
        """The answer to a request, or None if there is no such thing."""
        match path.split("/")[3:]:
            case []:
                asked = json.loads(body)
                return {**UPLOAD, "bytes": asked["bytes"], "filename": asked["filename"], "purpose": asked["purpose"]}
            case [_, "parts"]:
                return self._keep(body)
            case [_, "complete"]:
                return self._join(json.loads(body))
            case [_, "cancel"]:
                return {**UPLOAD, "status": "cancelled"}

    def _keep(self, form):
        (content,) = re.findall(rb'name="data".*?\r\n\r\n(.*)\r\n--', form, re.DOTALL)
        name = f"part_{hashlib.sha256(content).hexdigest()[:16]}"
        self.parts[name] = content
        return {"id": name, "object": "upload.part", "created_at": 1, "upload_id": UPLOAD["id"]}

    def _join(self, asked):
        """The parts in the order that is asked for, if they are what the client says that they are."""
        whole = b"".join(self.parts[name] for name in asked["part_ids"])
        if hashlib.md5(whole).hexdigest() != asked["md5"]:
            return None
        file = {"id": f"file-{hashlib.sha256(whole).hexdigest()}", "object": "file", "bytes": len(whole)}
        return {**UPLOAD, "status": "completed", "file": {**file, "created_at": 1, "filename": "parts.bin"}}


UPLOAD = {"id": "upload_stub", "object": "upload", "created_at": 1, "expires_at": 2, "status": "pending"}


def _handler_for(key, uploads):
    class Handler(fake_openai.Handler):
        def do_GET(self):
            self._answer({"object": "list", "data": []})

        def do_POST(self):
            if self.path.startswith("/v1/uploads"):
                self._answer(uploads.answer(self.path, b"".join(self.pieces())))
            else:
                self._digest()

        def _digest(self):
            """Files of any size: nothing is kept of them."""
            digest, length = hashlib.sha256(), 0
            for piece in self.pieces():
                digest.update(piece)
                length += len(piece)
            made = {"id": f"file-{digest.hexdigest()[:16]}", "object": "file", "bytes": length}
            self._answer({**made, "created_at": 1, "filename": "huge.bin", "purpose": "user_data"})

        def _answer(self, value):
            if self.key() != key:
                self.refuse()
            elif value:
                self.whole(200, json.dumps(value).encode())
            else:
                self.whole(404, b'{"error": {"message": "There is none.", "code": null}}')

    return Handler
