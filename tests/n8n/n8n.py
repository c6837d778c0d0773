"""Drives a real n8n without a screen: starts it, sets up its owner, makes credentials and runs workflows.

What the editor does goes through n8n's internal API (`/rest`, a cookie session); what the tests hold
keyward's words against comes from its public one (`/api/v1`, an API key).
"""

import http.cookiejar
import json
import os
import socket
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass

import processes
import workflows

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
    """An active workflow, the path that starts it, and the node that asks OpenAI then, with its workflow."""

    id: str
    webhook: str
    sender: str
    node: str


@dataclass(frozen=True)
class Run:
    """What came of one call of a workflow's webhook, and what the public API says of the execution that sent.

    That execution is another workflow's, if the called one has another one ask OpenAI.
    """

    status: int
    answer: object
    execution: dict


class N8n:
    """A running n8n with an empty database."""

    def __init__(self, installed, folder, environment=None):
        self.release = installed.release
        self._installed, self._folder = installed, folder
        self._port = free_port()
        session = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        # A proxy that the machine may be set up with has no business with the loopback interface.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), session)
        self._key = None
        self.log = folder / "n8n.log"
        self._start(environment)

    def _start(self, environment):
        settings = _environment(self._installed, self._folder, self._port)
        self._child = processes.Child(
            [self._installed.node, self._installed.script, "start"],
            log=self.log,
            cwd=self._folder,
            env={**settings, **(environment or {})},
        )

    def ready(self):
        """Waits until it serves, makes its owner and signs in."""
        processes.until(self._serves, timeout=180, what="n8n", pause=0.2)
        # The settings are served some seconds before all the other routes are.
        processes.until(self._owner, timeout=60, what="n8n's owner set-up", pause=0.2)
        login = {"emailOrLdapLoginId": OWNER["email"], "password": OWNER["password"]}
        self._rest("POST", "/login", login)
        self._key = self.make_key("test", self._rest("GET", "/api-keys/scopes"))

    def stop(self):
        self._child.end()

    def restart(self, environment):
        """Starts it anew with the same database, and with more in its environment."""
        self.stop()
        self._start(environment)
        processes.until(self._serves, timeout=180, what="n8n", pause=0.2)
        processes.until(self._answers, timeout=60, what="n8n's public API", pause=0.2)

    def start_worker(self, environment):
        """A worker beside it, in queue mode, and with that in its environment; it is there once it can work."""
        folder, port = self._folder, free_port()
        settings = _environment(self._installed, folder, free_port())
        health = {"QUEUE_HEALTH_CHECK_ACTIVE": "true", "QUEUE_HEALTH_CHECK_PORT": str(port)}
        worker = processes.Child(
            [self._installed.node, self._installed.script, "worker"],
            log=folder / "worker.log",
            cwd=folder,
            env={**settings, **health, **environment},
        )

        def is_ready():
            if not worker.running():
                raise RuntimeError(f"the worker ended while it was starting:\n{processes.tail(folder / 'worker.log')}")
            try:
                with self._opener.open(f"http://127.0.0.1:{port}/healthz/readiness", timeout=5) as answer:
                    return answer.status == 200
            except OSError:
                return False

        processes.until(is_ready, timeout=120, what="a worker of n8n", pause=0.2)
        return worker

    def make_key(self, label, scopes):
        """A key for the public API that may do no more than that."""
        body = {"label": label, "scopes": scopes, "expiresAt": None}

        def made():
            # n8n 1 takes no two that are made in the same second.
            status, answer = self._http("POST", "/rest/api-keys", body)
            return status == 200 and answer["data"]["rawApiKey"]

        return processes.until(made, timeout=30, what="an API key", pause=0.5)

    @property
    def url(self):
        """Where its editor and its APIs are."""
        return f"http://127.0.0.1:{self._port}"

    # === Credentials ===

    def create_credential(self, name, data):
        """Makes a new OpenAI credential, as the editor does."""
        made = self._rest("POST", "/credentials", self._record(name, data))
        return Credential(made["id"], name)

    def create_record(self, kind, name, data):
        """Makes a new credential of another kind."""
        made = self._rest("POST", "/credentials", {"name": name, "type": kind, "data": data})
        return Credential(made["id"], name)

    def edit_credential(self, credential, data):
        """Saves other values in a credential; the workflows that use it stay untouched."""
        self._rest("PATCH", f"/credentials/{credential.id}", self._record(credential.name, data))

    def records(self):
        """All credentials."""
        return [Credential(one["id"], one["name"]) for one in self._rest("GET", "/credentials")]

    def delete_credential(self, credential):
        """Deletes a credential; what uses it stays."""
        self._rest("DELETE", f"/credentials/{credential.id}")

    def test_credential(self, credential, data):
        """Presses the credential's test button, and returns whether it turned green and what it said."""
        record = {"id": credential.id, **self._record(credential.name, data)}
        result = self._rest("POST", "/credentials/test", {"credentials": record})
        return result["status"] == "OK", result.get("message")

    def models(self, node, parameter, search):
        """Opens the list of models of a node's parameter, as the editor does, and gives their names."""
        asked = {
            "path": f"parameters.{parameter}",
            "nodeTypeAndVersion": {"name": node["type"], "version": node["typeVersion"]},
            "currentNodeParameters": node["parameters"],
            "credentials": node["credentials"],
        }
        if isinstance(search, str):
            asked["methodName"] = search
            found = self._rest("POST", "/dynamic-node-parameters/resource-locator-results", asked)["results"]
        else:
            asked["loadOptions"] = search
            found = self._rest("POST", "/dynamic-node-parameters/options", asked)
        return [model["value"] for model in found]

    def _record(self, name, data):
        # n8n 2 refuses a record that does not say whether it has a custom header.
        header = {"header": False} if self.release.major >= 2 else {}
        return {"name": name, "type": CREDENTIAL_TYPE, "data": {**header, **data}}

    # === Workflows ===

    def import_workflow(self, draft):
        """Creates a workflow, and the one that it calls, and activates them."""
        callee = draft.callee and self.create(draft.callee)
        definition = draft.definition
        if callee:
            if self.release.major >= 2:
                # A workflow that is not published is not there for others, and n8n 1 activates no such workflow.
                self.activate(callee["id"])
            definition = json.loads(json.dumps(definition).replace(workflows.CALLEE, callee["id"]))
        made = self.create(definition)
        self.activate(made["id"])
        sender = callee or made
        node = next(node for node in sender["nodes"] if node["name"] == workflows.NODE)
        return Workflow(str(made["id"]), draft.webhook, str(sender["id"]), node["id"])

    def create(self, definition):
        """Makes a workflow, which is not active yet."""
        return self.api("POST", "/workflows", definition)

    def change(self, workflow, change):
        """Has `change` make other nodes of a workflow's nodes, and saves it as the editor does; n8n 2 saves a draft."""
        saved = self._rest("GET", f"/workflows/{workflow}")
        self._rest("PATCH", f"/workflows/{workflow}", {"nodes": [change(node) for node in saved["nodes"]]})

    def remove(self, workflow):
        """Deletes a workflow; n8n 2 answers first and unpublishes then, and deletes none that is published. One of a chat
        may be gone by itself meanwhile."""
        key = {"X-N8N-API-KEY": self._key}
        self._http("POST", f"/api/v1/workflows/{workflow}/deactivate", None, key)

        def removed():
            return self._http("DELETE", f"/api/v1/workflows/{workflow}", None, key)[0] in (200, 404)

        processes.until(removed, timeout=30, what="the end of a workflow", pause=0.05)

    def deactivate(self, workflow):
        """Switches a workflow off."""
        self.api("POST", f"/workflows/{workflow}/deactivate")

    def activate(self, workflow):
        """Activates a workflow, and waits until it is; n8n 2 publishes its draft with that."""
        self.api("POST", f"/workflows/{workflow}/activate")
        if self.release.major >= 2:
            # n8n 2 answers first and publishes then, and meanwhile the version before goes on running.
            processes.until(lambda: self._is_published(workflow), timeout=30, what="publication", pause=0.05)

    def _is_published(self, workflow):
        return self._rest("GET", f"/workflows/{workflow}/publication-status")["status"] != "in_progress"

    def run(self, workflow):
        """Calls a workflow's webhook, and waits until the execution that sends is saved."""
        known = {execution["id"] for execution in self._executions(workflow)}
        status, answer = self._call(workflow)
        return Run(status, answer, self.execution(self._saved(workflow, known)))

    def run_by_hand(self, workflow, trigger):
        """Runs a workflow from one of its triggers, as the editor does."""
        self._rest("POST", f"/workflows/{workflow.id}/run", {"triggerToStartFrom": {"name": trigger}})

    def _saved(self, workflow, known):
        """The number of an execution that was not known before, once it has ended."""

        def saved():
            for execution in self._executions(workflow):
                if execution["id"] not in known and execution.get("stoppedAt"):
                    return execution["id"]

        return processes.until(saved, timeout=60, what=f"an execution of {workflow.sender}", pause=0.05)

    def execution(self, number):
        """What the public API says of an execution, with all that ran in it."""
        return self.api("GET", f"/executions/{number}?includeData=true")

    def _call(self, workflow):
        return self.call(workflow.webhook)

    def call(self, webhook):
        """Calls a webhook, and gives the status and the answer."""
        return self._http("POST", f"/webhook/{webhook}", {})

    def _executions(self, workflow):
        return self.api("GET", f"/executions?workflowId={workflow.sender}&limit=20")["data"]

    # === Agents, which the public API shows nowhere ===

    def create_agent(self, credential, every):
        """Makes an Agent that asks OpenAI on a schedule, publishes it, and gives the path of its routes."""
        project = self._rest("GET", "/projects/personal")["id"]
        config = {
            "name": "On a schedule",
            "model": f"openai/{workflows.MODEL}",
            "credential": credential.id,
            "instructions": "Say hello.",
        }
        agents = f"/projects/{project}/agents/v2"
        agent = f"{agents}/{self._rest('POST', agents, {'name': config['name'], 'schema': config})['id']}"
        self._rest("POST", f"{agent}/tasks", {"name": "Hello", "objective": "Say hello.", "cronExpression": every})
        self._rest("POST", f"{agent}/publish", {})
        return agent

    def save_agent(self, agent):
        """Saves an Agent as it is."""
        saved = self._rest("GET", f"{agent}/config")
        self._rest("PUT", f"{agent}/config", {"config": saved["config"], "baseConfigHash": saved["configHash"]})

    def delete_agent(self, agent):
        """Deletes an Agent, whose schedule ends with it."""
        self._rest("DELETE", agent)

    # === Chat Hub and Instance AI, which it does not show either ===

    def allow_chats(self):
        """Switches Chat Hub on, which is off by default."""
        self._rest("PUT", "/chat/enabled", {"enabled": True})

    def chat(self, credential):
        """Says something in a new chat of Chat Hub; the answer comes later."""
        message = {
            "messageId": str(uuid.uuid4()),
            "sessionId": str(uuid.uuid4()),
            "message": "hi",
            "model": {"provider": "openai", "model": workflows.MODEL},
            "previousMessageId": None,
            "credentials": {CREDENTIAL_TYPE: {"id": credential.id, "name": credential.name}},
            "attachments": [],
            "timeZone": "UTC",
        }
        self._rest("POST", "/chat/conversations/send", message)

    def connect_instance_ai(self, data):
        """Gives Instance AI a connection, as its admin does: n8n makes a record of it that no API lists."""
        connection = {"type": CREDENTIAL_TYPE, "data": {"header": False, **data}}
        settings = {"enabled": True, "modelConnection": connection, "modelName": workflows.MODEL}
        self._rest("PUT", "/instance-ai/settings", settings)

    def ask_instance_ai(self):
        """Says something to Instance AI; the answer comes later."""
        project = self._rest("GET", "/projects/personal")["id"]
        thread = {"threadId": str(uuid.uuid4()), "projectId": project, "source": "assistant_page"}
        self._rest("POST", "/instance-ai/threads", thread)
        self._rest("POST", f"/instance-ai/chat/{thread['threadId']}", {"message": "hi", "timeZone": "UTC"})

    # === Workflows and executions that go on ===

    def save(self, workflow, credential):
        """Has the sending node use another credential, and saves it as the editor does; n8n 2 saves a draft."""
        chosen = {CREDENTIAL_TYPE: {"id": credential.id, "name": credential.name}}
        self.change(
            workflow.sender, lambda node: {**node, "credentials": chosen} if node["id"] == workflow.node else node
        )

    def start(self, workflow):
        """Calls a workflow that waits, and returns its execution and the address that wakes it, once it waits."""
        status, answer = self._call(workflow)
        if status != 200:
            raise RuntimeError(f"the workflow that should wait answered {status}: {str(answer)[:500]}")
        number = answer["execution"]
        self._until_status(number, {"waiting"})
        return number, answer["resume"].partition(f":{self._port}")[2]

    def resume(self, number, path):
        """Wakes an execution, and waits until it has ended."""
        status, answer = self._http("GET", path)
        return Run(status, answer, self._until_status(number, {"success", "error"}))

    def retry(self, workflow, execution, loads_workflow):
        """Retries a failed execution, with the saved workflow or as it was, and returns the new one."""
        known = {execution["id"] for execution in self._executions(workflow)}
        self._rest("POST", f"/executions/{execution['id']}/retry", {"loadWorkflow": loads_workflow})
        return Run(None, None, self.execution(self._saved(workflow, known)))

    def _until_status(self, number, wanted):
        def reached():
            execution = self.execution(number)
            return execution["status"] in wanted and execution

        return processes.until(reached, timeout=30, what=f"execution {number} to be {wanted}", pause=0.05)

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
            f"{self.url}{path}",
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

    def _answers(self):
        return self._http("GET", "/api/v1/workflows?limit=1", None, {"X-N8N-API-KEY": self._key})[0] == 200

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
        # In seconds; without it, connections that are kept alive hold up its end for half a minute.
        "N8N_GRACEFUL_SHUTDOWN_TIMEOUT": "3",
        "N8N_BLOCK_ENV_ACCESS_IN_NODE": "false",
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
