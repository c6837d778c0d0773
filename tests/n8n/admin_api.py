"""OpenAI's admin API on the loopback interface, written from its reference: the keys of one project are listed, made and deleted.

What it makes the fake OpenAI takes, and what it deletes the fake OpenAI refuses from then on.
"""

import json
import secrets
import time

import fake_openai

KEY = f"sk-admin-{secrets.token_hex(24)}"
PROJECT, ACCOUNT = "proj_n8n", "svc_acct_n8n"


class AdminApi(fake_openai.Server):
    """The server, with one key that was made a month ago."""

    def __init__(self, openai, old):
        self.openai, self.keys, self.strangers = openai, {}, []
        self.add("key_old", "n8n", old, int(time.time()) - 30 * 86400)
        super().__init__(_handler_for(self))

    def add(self, id, name, value, made):
        self.keys[id] = {"name": name, "value": value, "made": made}

    def shown(self, id):
        """A key as a list has it."""
        key = self.keys[id]
        used = [request.at for request in self.openai.journal if f"Bearer {key['value']}" in request.values("authorization")]
        return {
            "object": "organization.project.api_key",
            "id": id,
            "name": key["name"],
            "redacted_value": f"{key['value'][:8]}...{key['value'][-4:]}",
            "created_at": key["made"],
            "last_used_at": int(max(used)) if used else None,
            "expires_at": None,
            "owner": {"type": "service_account", "service_account": {"id": ACCOUNT, "name": "n8n"}},
        }


def _handler_for(api):
    class Handler(fake_openai.Handler):
        def do_GET(self):
            self._answer()

        def do_POST(self):
            self._answer()

        def do_DELETE(self):
            self._answer()

        def _answer(self):
            body = b"".join(self.pieces())
            if self.key() != KEY:
                api.strangers.append(self.path)
                return self.refuse()
            path = self.path.partition("?")[0].removeprefix(f"/v1/organization/projects/{PROJECT}/")
            match self.command, path.split("/"):
                case "GET", ["api_keys"]:
                    self._json(200, {"object": "list", "data": [api.shown(id) for id in api.keys], "has_more": False})
                case "GET", ["api_keys", id] if id in api.keys:
                    self._json(200, api.shown(id))
                case "DELETE", ["api_keys", id] if id in api.keys:
                    api.openai.keys.discard(api.keys.pop(id)["value"])
                    self._json(200, {"object": "organization.project.api_key.deleted", "id": id, "deleted": True})
                case "POST", ["service_accounts", account, "api_keys"] if account == ACCOUNT:
                    self._mint(json.loads(body))
                case _:
                    self._json(404, {"error": {"message": "Not found.", "type": "invalid_request_error"}})

        def _mint(self, order):
            id, value = f"key_{secrets.token_hex(8)}", f"sk-svcacct-{secrets.token_hex(24)}"
            api.add(id, order["name"], value, int(time.time()))
            api.openai.keys.add(value)
            self._json(200, {"object": "organization.project.service_account.api_key", "id": id, "name": order["name"],
                             "value": value, "created_at": int(time.time()), "expires_at": None})

        def _json(self, status, value):
            self.whole(status, json.dumps(value).encode())

    return Handler
