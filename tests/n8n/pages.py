"""keyward's page in a real Chromium, while a real n8n runs a workflow through keyward.

Each step is a function of the scene and of `expect`; its docstring is the name of its check.  They rest on one another.
"""

import json
import os
import urllib.request
from datetime import datetime

import browser
import keyward
import n8n
import openai
import processes
import walk
import workflows
from stage import keep, new_key, tagged

SCRIPT = keyward.PROJECT / "tests" / "page" / "n8n.mjs"


class Scene:
    """A keyward that knows its n8n, one workflow in that, and the page.  What it starts is registered with `cleanup`."""

    def __init__(self, installed, binary, folder, cleanup):
        self.old, self.new = new_key(), new_key()
        upstream = openai.OpenAI([self.old, self.new])
        cleanup.callback(upstream.stop)
        self.n8n = n8n.N8n(installed, folder)
        cleanup.callback(lambda: self.n8n.stop())
        self.n8n.ready()
        key = folder / "n8n-api-key"
        keep(key, self.n8n.make_key("keyward", walk.SCOPES + walk.SCOPES_OF_CREDENTIALS))
        own = folder / "keyward"
        own.mkdir()
        settings = walk.N8N.format(url=self.n8n.url, key=key) + walk.ROTATION
        self.keyward = keyward.Keyward(binary, own, upstream.url, self.old, self.old, settings=settings)
        cleanup.callback(self.keyward.stop)
        self.credential = self.n8n.create_credential("OpenAI", self.tagged(self.old))
        setting = workflows.Setting(self.major, self.credential, f"{self.keyward.url}/v1", self.old)
        draft = workflows.legacy_chat(setting)
        self.name = draft.definition["name"] = "Weekly report"
        self.workflow = self.n8n.import_workflow(draft)
        self.said = folder / "page.log"
        self._folder, self._cleanup = folder, cleanup

    @property
    def major(self):
        return self.n8n.release.major

    def tagged(self, key):
        """What the credential holds: it leads to keyward and tags its node."""
        return tagged(self.major, self.keyward, key)

    def open_page(self):
        """Opens the page, and waits until it is live."""
        node, packages = browser.bring()
        environment = {**os.environ, "PACKAGES": str(packages), "LINK": self.keyward.command("open", "--print"), "TZ": "UTC"}
        child = processes.Child([node, SCRIPT], log=self.said, cwd=self._folder, env=environment)
        self._cleanup.callback(child.end)
        self.until(lambda row: True, "a row")

    def pictures(self):
        """What the page has shown so far."""
        lines = self.said.read_text().splitlines() if self.said.exists() else []
        return [json.loads(line) for line in lines if line.startswith("{")]

    def until(self, is_it, what, after=0):
        """Waits for a picture that was drawn later than that and shows the row as it should be; gives both."""

        def found():
            for picture in self.pictures():
                row = next((row for row in picture["rows"] if is_it(row)), None)
                if row and picture["at"] >= after:
                    return picture, row

        try:
            return processes.until(found, timeout=60, what=what, pause=0.02)
        except TimeoutError as error:
            raise AssertionError(f"no {what}: {processes.tail(self.said)}") from error

    def turns(self, state):
        """Runs the workflow, and gives how many milliseconds after its request's end the row stood so."""
        self.n8n.run(self.workflow)
        line = self.keyward.news(1)[-1]
        ended = datetime.fromisoformat(line["timestamp"]).timestamp() * 1000
        picture, _ = self.until(lambda row: row["state"] == state, f"row that is {state}", after=ended)
        return picture["at"] - ended


def steps(major):
    """All steps; the header that tags a node is there in n8n 2."""
    return [shows_it_by_its_names, turns_within_a_second] if major >= 2 else []


def shows_it_by_its_names(scene, expect):
    """the page names the workflow and its node, and links into n8n's editor, which answers"""
    scene.n8n.run(scene.workflow)
    scene.keyward.news(1)
    scene.open_page()
    named = (scene.name, workflows.NODE)
    picture, row = scene.until(lambda row: all(name in row["text"] for name in named) and row["link"], f"row with {named}")
    expect.equal("where the link leads", row["link"].split("?")[0].split("#")[0], f"{scene.n8n.url}/workflow/{scene.workflow.sender}/{scene.workflow.node}")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(row["link"], timeout=20) as answer:
        expect.equal("the status of the editor", answer.status, 200)
        expect.true("it is n8n's editor", b"n8n" in answer.read())
    expect.equal("what broke a promise of the page", picture["faults"], [])


def turns_within_a_second(scene, expect):
    """its row turns stale and confirmed within a second of its request"""
    scene.keyward.rotate(scene.new)
    stale = scene.turns("stale")
    scene.n8n.edit_credential(scene.credential, scene.tagged(scene.new))
    confirmed = scene.turns("confirmed")
    print(f"    a row was stale after {stale:.0f} ms, and confirmed after {confirmed:.0f} ms", flush=True)
    expect.true(f"stale after {stale:.0f} ms", stale < 1_000)
    expect.true(f"confirmed after {confirmed:.0f} ms", confirmed < 1_000)
    expect.equal("what broke a promise of the page", scene.pictures()[-1]["faults"], [])
