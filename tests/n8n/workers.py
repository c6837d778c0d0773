"""Whether the old key can go, asked while a worker of a real n8n in queue mode still has it in its environment.

Each step is a function of the scene and of `expect`; its docstring is the name of its check.  They rest on one another.
"""

import install
import n8n
import processes
import senders
import workflows

# As many executions as one process has to show behind an address from which both keys came.
WANTED = 10


class Redis:
    """The queue between n8n and its workers, on a port of its own, which it keeps nowhere."""

    def __init__(self, folder):
        install.require_tools("redis-server")
        self.port = n8n.free_port()
        folder.mkdir()
        options = {"--bind": "127.0.0.1", "--port": str(self.port), "--save": "", "--appendonly": "no", "--dir": str(folder)}
        words = [word for option in options.items() for word in option]
        self._child = processes.Child(["redis-server", *words], log=folder / "redis.log", cwd=folder)
        said = lambda: "Ready to accept connections" in processes.tail(folder / "redis.log")
        processes.until(said, timeout=20, what="Redis", pause=0.05)

    def stop(self):
        self._child.end()


class Scene:
    """An n8n in queue mode whose record takes its key from the environment, and a worker.  `cleanup` ends what it starts."""

    def __init__(self, installed, binary, folder, cleanup):
        self.redis = Redis(folder / "redis")
        cleanup.callback(self.redis.stop)
        self.n8n = n8n.N8n(installed, folder, self.environment("none yet"))
        cleanup.callback(lambda: self.n8n.stop())
        self.n8n.ready()
        scopes = [*senders.SCOPES, senders.SCOPE_OF_PRESSES]
        self.rotation = senders.Rotation(binary, folder / "worker", self.n8n, scopes, cleanup)
        self.n8n.restart(self.environment(self.rotation.old))
        self._worker = self.n8n.start_worker(self.environment(self.rotation.old))
        cleanup.callback(lambda: self._worker.end())
        self.record = self.n8n.create_credential("By environment", self.rotation.tagged("={{ $env.OPENAI_KEY }}"))
        self.workflow = self.rotation.workflow(workflows.legacy_chat_also_by_hand, self.record)

    @property
    def major(self):
        return self.n8n.release.major

    def environment(self, key):
        """What the main process and its workers have in common, but for the key."""
        return {
            "EXECUTIONS_MODE": "queue",
            "OFFLOAD_MANUAL_EXECUTIONS_TO_WORKERS": "false",
            "QUEUE_BULL_REDIS_HOST": "127.0.0.1",
            "QUEUE_BULL_REDIS_PORT": str(self.redis.port),
            "OPENAI_KEY": key,
        }

    def restart_worker(self, key):
        """Starts the worker anew with another key in its environment."""
        self._worker.end()
        self._worker = self.n8n.start_worker(self.environment(key))

    def run(self):
        """Has the worker run the workflow, and gives the key that came."""
        run = self.n8n.run(self.workflow)
        if run.execution["status"] != "success":
            raise RuntimeError(f"the worker's execution ended with {run.execution['status']}")
        return self.rotation.sent(1)


def steps(major):
    """The steps for that release; only n8n 2 lists its records and the executions that run."""
    if major < 2:
        return []
    return [
        names_the_worker_that_kept_its_environment,
        is_not_misled_by_the_main_process,
        says_yes_after_enough_of_the_new_worker,
    ]


def names_the_worker_that_kept_its_environment(scene, expect):
    """the main process is started with the new key, and the worker goes on with the old one: no, with its address"""
    scene.rotation.until_held(scene.record, scene.rotation.old)
    expect.equal("the worker's key before the rotation", scene.run(), ["old"])
    scene.rotation.keyward.rotate(scene.rotation.new)
    scene.n8n.restart(scene.environment(scene.rotation.new))
    expect.equal("the worker's key after it", scene.run(), ["old"])
    answer = scene.rotation.until("a decision on that use", lambda answer: _still_sent(answer).get("address"))
    expect.equal("the answer", answer["answer"], "no")
    expect.equal("the address", _still_sent(answer)["address"], "127.0.0.1")
    text = _still_sent(answer)["text"]
    expect.true(f"{text!r} names the workflow", scene.workflow.id in text)
    expect.equal("what --can-go ends with", scene.rotation.status(), 1)


def is_not_misled_by_the_main_process(scene, expect):
    """the main process sends the new key, by hand and in n8n's test, and the worker the old one: no, by turns"""
    scene.n8n.run_by_hand(scene.workflow, workflows.BY_HAND)
    expect.equal("the main process's key", scene.rotation.sent(1), ["new"])
    expect.equal("the worker's key", scene.run(), ["old"])
    answer = scene.rotation.until("both keys", lambda answer: "by turns with a newer key" in _still_sent(answer).get("text", ""))
    end = _still_sent(answer)["end"]
    expect.true(f"{end!r} tells what to look for", "a worker with an older environment" in end)
    scene.rotation.until_held(scene.record, scene.rotation.new)
    answer = scene.rotation.until("that record", lambda answer: not senders.bars(answer, "record_holds_it"))
    expect.equal("the answer", answer["answer"], "no")
    expect.true("the worker bars it", _still_sent(answer))
    expect.equal("what --can-go ends with", scene.rotation.status(), 1)


def says_yes_after_enough_of_the_new_worker(scene, expect):
    """the worker is started with the new key: it takes ten executions in a row, and keyward counts them down"""
    scene.restart_worker(scene.rotation.new)
    expect.equal("the worker's keys", [key for _ in range(WANTED - 1) for key in scene.run()], ["new"] * (WANTED - 1))
    answer = scene.rotation.until("one more", lambda answer: "then 1 more execution" in _still_sent(answer).get("end", ""))
    expect.equal("the answer before the last one", answer["answer"], "no")
    expect.equal("the worker's last key", scene.run(), ["new"])
    scene.rotation.until("a yes", lambda answer: answer["answer"] == "yes")
    expect.equal("what --can-go ends with", scene.rotation.status(), 0)


def _still_sent(answer):
    """The one sender that still sends the old key, or nothing."""
    return next(iter(senders.bars(answer, "still_sent")), {})
