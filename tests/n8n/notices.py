"""Whether n8n takes notices: the workflow of config/n8n-notice-workflow.json, as a person imports it.

A check is a function of the stage and of `expect`; its docstring is its name.
"""

import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import secrets
import time

import keyward
import openai
import processes
from stage import keep, new_key

WORKFLOW = keyward.PROJECT / "config/n8n-notice-workflow.json"
PATH = "/webhook/keyward-notices"
TOLD = "Tell it here"
SETTINGS = """
[notices.n8n]
to = {{ file = "{folder}/url" }}
secret = {{ file = "{folder}/secret" }}
about = ["incident"]
quiet = "0s"
"""


def of(major):
    """What can be tried with that release: the Crypto node of n8n 1 has no credential."""
    return [takes_notices_and_nothing_else] if major >= 2 else []


def takes_notices_and_nothing_else(stage, expect):
    """the workflow of config/ takes keyward's notices, and none with a false signature or an old one"""
    with contextlib.ExitStack() as cleanup:
        scene = Scene(stage, cleanup)
        done = scene.keyward.run("notices", "test")
        expect.equal(f"the status of keyward notices test, which says {done.stdout}{done.stderr}", done.returncode, 0)
        expect.equal("how the test was told", scene.told()["title"], "A test of keyward's notices: `n8n` is reached")
        scene.send_the_old_key()
        told = scene.told()
        expect.true(f"it tells who sends which key: {told}", f"…{scene.old[-4:]}" in told["title"] and "Report" in told["text"])
        body = json.dumps({"type": "test", "data": {"title": "forged", "text": "forged"}})
        now = int(time.time())
        right = scene.signature("msg_1", now, body)
        wrong = scene.signature("msg_1", now, body.replace("forged", "other"))
        old = now - 600
        for what, when, signature in (
            ("another body's signature", now, wrong),
            ("no signature", now, None),
            ("an old one", old, scene.signature("msg_1", old, body)),
        ):
            expect.equal(f"the answer to {what}", scene.post("msg_1", when, signature, body), 401)
            execution = scene.execution()
            expect.equal(f"the execution of {what}", execution["status"], "error")
            expect.true(f"{what} is not told", TOLD not in run_data(execution))
        expect.equal("the answer to one of two signatures", scene.post("msg_1", now, f"{wrong} {right}", body), 204)
        expect.equal("what it says", scene.told()["title"], "forged")


class Scene:
    """A keyward that tells the n8n of the stage.  What it starts is registered with `cleanup`."""

    def __init__(self, stage, cleanup):
        self._n8n, self.old, current = stage.n8n, new_key(), new_key()
        folder = stage.folder / "notices"
        folder.mkdir()
        # As the sticky note of the workflow says: a text that a person can type into n8n's Crypto credential.
        self._secret = secrets.token_hex(20)
        signing = f"whsec_{base64.b64encode(self._secret.encode()).decode()}"
        for name, text in {"url": f"{self._n8n.url}{PATH}", "secret": signing}.items():
            keep(folder / name, text)
        upstream = openai.OpenAI([current, self.old])
        cleanup.callback(upstream.stop)
        self._import()
        settings = SETTINGS.format(folder=folder)
        binary = stage.binary
        self.keyward = keyward.Keyward(binary, folder, upstream.url, current, self.old, grace="0s", settings=settings)
        cleanup.callback(self.keyward.stop)

    def _import(self):
        """Makes the workflow with a credential, and activates it."""
        record = self._n8n.create_record("crypto", "keyward", {"hmacSecret": self._secret})
        definition = json.loads(WORKFLOW.read_text())
        signing = next(node for node in definition["nodes"] if node["name"] == "Signature")
        signing["credentials"] = {"crypto": {"id": record.id, "name": record.name}}
        self._workflow = str(self._n8n.create(definition)["id"])
        self._n8n.activate(self._workflow)
        self._known = set()

    def send_the_old_key(self):
        connection = http.client.HTTPConnection(self.keyward.address, timeout=20)
        headers = {"Authorization": f"Bearer {self.old}", "X-N8N-Tag": "wf=w1;ex=1;node=n1;name=Report"}
        connection.request("GET", "/v1/models", headers=headers)
        connection.getresponse().read()
        connection.close()

    def post(self, name, seconds, signature, body):
        """Posts what may be a notice, and gives the status of the answer."""
        headers = {"Content-Type": "application/json", "webhook-id": name, "webhook-timestamp": str(seconds)}
        headers |= {"webhook-signature": signature} if signature else {}
        connection = http.client.HTTPConnection(self._n8n.url.removeprefix("http://"), timeout=60)
        connection.request("POST", PATH, body=body, headers=headers)
        status = connection.getresponse().status
        connection.close()
        return status

    def signature(self, name, seconds, body):
        mac = hmac.new(self._secret.encode(), f"{name}.{seconds}.{body}".encode(), hashlib.sha256)
        return f"v1,{base64.b64encode(mac.digest()).decode()}"

    def execution(self):
        """The next execution that has ended, with all that ran in it."""

        def ended():
            listed = self._n8n.api("GET", f"/executions?workflowId={self._workflow}&limit=20")["data"]
            new = [one["id"] for one in listed if one["id"] not in self._known and one.get("stoppedAt")]
            return new and min(new, key=int)

        number = processes.until(ended, timeout=60, what="an execution of the notices", pause=0.1)
        self._known.add(number)
        return self._n8n.execution(number)

    def told(self):
        """What the next execution tells: its title and its text."""
        execution = self.execution()
        ran = run_data(execution)
        if execution["status"] != "success" or TOLD not in ran:
            raise AssertionError(f"the execution ended with {execution['status']} and ran {list(ran)}")
        return ran[TOLD][0]["data"]["main"][0][0]["json"]


def run_data(execution):
    """What each node of an execution did, by its name."""
    return execution["data"]["resultData"]["runData"]
