"""Drives a real n8n without a screen: starts it, sets up its owner, makes credentials and runs workflows.

What the editor does goes through n8n's internal API (`/rest`, a cookie session); what the tests hold
keyward's words against comes from its public one (`/api/v1`, an API key).
"""

import http.cookiejar
import json
import os
import socket
import time
import urllib.error
import urllib.request
from dataclasses import dataclass

import processes

OWNER = {
    "email": "owner@n8n.test",
    "firstName": "Test",
    "lastName": "Owner",
    "password": "Only-4-this-test",
}
CREDENTIAL_TYPE = "openAiApi"


@dataclass(frozen=True)
class Credential:
    """A credential record of n8n."""

    id: str
    name: str


@dataclass(frozen=True)
class Workflow:
    """An active workflow, and the path that starts it."""

    id: str
    webhook: str


@dataclass(frozen=True)
class Run:
    """What came of one call of a workflow's webhook, and what the public API says of its execution."""

    status: int
    answer: object
    execution: dict


class N8n:
    """A running n8n with an empty database."""

    def __init__(self, installed, folder):
        self.release = installed.release
        self._port = free_port()
        session = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        # A proxy that the machine may be set up with has no business with the loopback interface.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), session)
        self._key = None
        self.log = folder / "n8n.log"
        self._child = processes.Child(
            [installed.node, installed.script, "start"],
            log=self.log,
            cwd=folder,
            env=_environment(installed, folder, self._port),
        )

    def ready(self):
        """Waits until it serves, makes its owner and signs in."""
        processes.until(self._serves, timeout=180, what="n8n", pause=0.5)
        # The settings are served some seconds before all the other routes are.
        processes.until(self._owner, timeout=60, what="n8n's owner set-up", pause=0.5)
        login = {"emailOrLdapLoginId": OWNER["email"], "password": OWNER["password"]}
        self._rest("POST", "/login", login)
        key = {"label": "test", "scopes": self._rest("GET", "/api-keys/scopes"), "expiresAt": None}
        self._key = self._rest("POST", "/api-keys", key)["rawApiKey"]

    def stop(self):
        self._child.end()

    # === Credentials ===

    def create_credential(self, name, data):
        """Makes a new OpenAI credential, as the editor does."""
        made = self._rest("POST", "/credentials", self._record(name, data))
        return Credential(made["id"], name)

    def edit_credential(self, credential, data):
        """Saves other values in a credential; the workflows that use it stay untouched."""
        self._rest("PATCH", f"/credentials/{credential.id}", self._record(credential.name, data))

    def test_credential(self, credential, data):
        """Presses the credential's test button, and returns whether it turned green and what it said."""
        record = {"id": credential.id, **self._record(credential.name, data)}
        result = self._rest("POST", "/credentials/test", {"credentials": record})
        return result["status"] == "OK", result.get("message")

    def _record(self, name, data):
        # n8n 2 refuses a record that does not say whether it has a custom header.
        header = {"header": False} if self.release.major >= 2 else {}
        return {"name": name, "type": CREDENTIAL_TYPE, "data": {**header, **data}}

    # === Workflows ===

    def import_workflow(self, workflow):
        """Creates a workflow and activates it."""
        made = self.api("POST", "/workflows", workflow.definition)
        self.api("POST", f"/workflows/{made['id']}/activate")
        return Workflow(made["id"], workflow.webhook)

    def run(self, workflow):
        """Calls a workflow's webhook, and waits until its execution is saved."""
        known = {execution["id"] for execution in self._executions(workflow)}
        status, answer = self._call(workflow)

        def saved():
            for execution in self._executions(workflow):
                if execution["id"] not in known and execution.get("stoppedAt"):
                    return execution["id"]

        found = processes.until(saved, timeout=30, what=f"the execution of {workflow.webhook}")
        return Run(status, answer, self.api("GET", f"/executions/{found}?includeData=true"))

    def _call(self, workflow):
        # n8n 2 registers a webhook some moments after it has answered the activation.
        deadline = time.monotonic() + 20
        while True:
            status, answer = self._http("POST", f"/webhook/{workflow.webhook}", {})
            if status != 404 or time.monotonic() > deadline:
                return status, answer
            time.sleep(0.2)

    def _executions(self, workflow):
        return self.api("GET", f"/executions?workflowId={workflow.id}&limit=100")["data"]

    # === HTTP ===

    def api(self, method, path, body=None):
        """One call of the public API."""
        return self._good(method, f"/api/v1{path}", body, {"X-N8N-API-KEY": self._key})

    def _rest(self, method, path, body=None):
        return self._good(method, f"/rest{path}", body)["data"]

    def _good(self, method, path, body, headers=None):
        status, answer = self._http(method, path, body, headers)
        if status >= 400:
            raise RuntimeError(f"n8n answered {method} {path} with {status}: {str(answer)[:500]}")
        return answer

    def _http(self, method, path, body=None, headers=None):
        """The status and the answer, which is text where it is not JSON."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Accept": "application/json", "Content-Type": "application/json", **(headers or {})},
        )
        try:
            response = self._opener.open(request, timeout=120)
        except urllib.error.HTTPError as refused:
            response = refused
        with response:
            text = response.read().decode("utf-8", "replace")
            try:
                return response.status, json.loads(text)
            except ValueError:
                return response.status, text

    def _serves(self):
        if not self._child.running():
            raise RuntimeError("n8n ended while it was starting")
        try:
            status, answer = self._http("GET", "/rest/settings")
        except OSError:
            return False
        return status == 200 and isinstance(answer, dict)

    def _owner(self):
        return self._http("POST", "/rest/owner/setup", OWNER)[0] == 200


def free_port():
    """A port that was free a moment ago; n8n cannot choose one itself and tell which it took."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _environment(installed, folder, port):
    """All that n8n gets to know of the machine.

    The machine's own environment is not passed on: `OPENAI_API_KEY`, a proxy or another n8n's settings
    would change what it sends.  Whatever would make it call a server of n8n's is switched off.
    """
    environment = {
        "PATH": f"{installed.node.parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "NODE_OPTIONS": "--max-old-space-size=4096",
        "GENERIC_TIMEZONE": "UTC",
        "N8N_USER_FOLDER": str(folder),
        "N8N_HOST": "127.0.0.1",
        "N8N_LISTEN_ADDRESS": "127.0.0.1",
        "N8N_PORT": str(port),
        "N8N_RUNNERS_ENABLED": "false",
        "N8N_RUNNERS_BROKER_PORT": str(free_port()),
        "N8N_ENCRYPTION_KEY": "only-for-this-test",
        "N8N_ENFORCE_SETTINGS_FILE_PERMISSIONS": "false",
        "N8N_SECURE_COOKIE": "false",
        "N8N_LOG_LEVEL": "info",
        "N8N_PERSONALIZATION_ENABLED": "false",
        "N8N_ONBOARDING_FLOW_DISABLED": "true",
        "N8N_DIAGNOSTICS_ENABLED": "false",
        "N8N_DIAGNOSTICS_CONFIG_FRONTEND": "",
        "N8N_VERSION_NOTIFICATIONS_ENABLED": "false",
        "N8N_TEMPLATES_ENABLED": "false",
        "N8N_HIRING_BANNER_ENABLED": "false",
        "N8N_COMMUNITY_PACKAGES_ENABLED": "false",
        "N8N_LICENSE_AUTO_RENEW_ENABLED": "false",
        "EXTERNAL_FRONTEND_HOOKS_URLS": "",
    }
    if installed.release.major >= 2:
        # This module fetches a list from n8n's servers; n8n 1 does not know the name and would not start.
        environment["N8N_DISABLED_MODULES"] = "mcp-registry"
    return environment
