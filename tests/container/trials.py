"""What is tried with the image. The first line of each function says what shall hold."""

import contextlib
import http.client
import os
import secrets
import shutil
import subprocess
import time
from pathlib import Path

import yaml

import box
import network
import processes

CONFIG = Path(__file__).resolve().parents[2] / "config"
# The time that `docker stop` gives.
PATIENCE_OF_DOCKER = 10


class Stage:
    """The image, the network and a new key or two."""

    def __init__(self, image, folder, authority, openai):
        self.image, self.folder, self.authority, self.openai = image, folder, authority, openai
        self.current, self.old = (f"sk-proj-{secrets.token_urlsafe(36)}" for _ in range(2))
        openai.keys = {self.current, self.old}
        self._containers = []

    def place(self, name):
        """A folder that is not there yet."""
        number = len(list(self.folder.iterdir()))
        return self.folder / f"{number}-{name}"

    def secrets(self, **files):
        """A folder with files that only the image's user can read."""
        folder = self.place("secrets")
        folder.mkdir()
        for name, text in files.items():
            self.secret(folder / name.replace("_", "-"), text)
        return folder

    def secret(self, path, text, mode=0o400, owner=None):
        path.write_text(f"{text}\n")
        path.chmod(mode)
        os.chown(path, *(owner or self.user))

    @property
    def user(self):
        return tuple(map(int, self.image.user.split(":")))

    def state(self):
        return box.volume(self.place("state"), self.image, "/var/lib/keyward")

    def container(self, *mounts, env=None, authority=True, **options):
        """A container with the test authority in the way of OpenAI's, by a setting."""
        env = dict(env or {})
        if authority:
            mounts = (*mounts, (self.authority, "/etc/openai-ca.pem", "ro"))
            env["KEYWARD_PROXY_UPSTREAM_CA"] = "/etc/openai-ca.pem"
        options = {"resolv": network.RESOLV, **options}
        container = box.Container(self.image, self.place("container"), mounts=mounts, env=env, **options)
        self._containers.append(container)
        return container

    def clear(self):
        for container in self._containers:
            container.remove()
        self._containers = []


def the_image_has_keyward_its_configuration_and_an_empty_state_folder_and_nothing_else(stage):
    root = stage.image.root
    files = {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}
    equal(files, {"usr/local/bin/keyward", "etc/keyward/keyward.toml"})
    state = stage.image.path("/var/lib/keyward").stat()
    equal((state.st_uid, state.st_gid, state.st_mode & 0o7777), (65532, 65532, 0o700))
    linked = subprocess.run(["ldd", stage.image.path("/usr/local/bin/keyward")], capture_output=True, text=True)
    contains(linked.stdout + linked.stderr, "statically linked")


def it_starts_as_the_image_says_with_a_read_only_root_without_any_capability_and_is_healthy(stage):
    container = stage.container((stage.state(), "/var/lib/keyward", "rw"))
    container.listening()
    status = Path(f"/proc/{container.pid}/status").read_text()
    facts = {name: value.split() for name, _, value in (line.partition(":") for line in status.splitlines())}
    user, group = map(str, stage.user)
    equal((facts["Uid"], facts["Gid"], facts["Groups"]), ([user] * 4, [group] * 4, []))
    equal({facts[name][0] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}, {"0" * 16})
    equal((facts["NoNewPrivs"], facts["NSpid"][-1]), (["1"], "1"))
    equal(container.health(), (0, "keyward lives and takes requests\n"))
    # From another address of the network, as another container would.
    for port in stage.image.ports:
        equal(ask(network.KEYWARD, port, stage.current)[0], 200)
    contains(container.run("/usr/local/bin/keyward", "check")[1], "0.0.0.0:8080 is reached from other machines")


def it_reaches_openai_by_its_name_over_tls_and_says_whose_key_came(stage):
    container = start(stage)
    equal(ask(network.KEYWARD, 8080, stage.current), (200, "current"))
    equal(ask(network.KEYWARD, 8080, stage.old), (200, "unknown"))
    equal([key for _, _, key in stage.openai.journal[-2:]], [f"Bearer {stage.current}", f"Bearer {stage.old}"])
    equal(stage.openai.journal[-1][0], "api.openai.com")
    equal([line["diagnosis"] for line in container.exchanges(2)], ["ok", "unlisted_key"])
    text = container.log.read_text()
    equal([key for key in (stage.current, stage.old) if key in text], [], "keys in the log")


def without_a_given_authority_the_bundled_roots_decide(stage):
    container = start(stage, authority=False)
    status, _ = ask(network.KEYWARD, 8080, stage.current)
    equal(status, 502)
    said = "the certificate of api.openai.com is signed by no authority that keyward trusts"
    contains(container.exchanges(1)[0]["cause"], said)


def names_are_found_in_etc_hosts_and_in_dns_by_search_domains_in_ipv6_and_by_tcp(stage):
    for resolv in (network.RESOLV, network.RESOLV_SEARCH):
        container = start(stage, resolv=resolv, hosts=f"{network.OPENAI} only-in-hosts\n")
        names = ["api.openai.com", "only-in-hosts", "six.test", "many.test"]
        names += ["openai"] if resolv == network.RESOLV_SEARCH else []
        for name in names:
            said = check_online(container, f"http://{name}")
            contains(said, "is alive: upstream takes it", name)
        contains(check_online(container, "http://nowhere.test"), "the name nowhere.test cannot be resolved")
        stage.clear()


def its_state_is_all_that_it_writes_and_outlives_the_container(stage):
    state, keys = stage.state(), stage.secrets(openai_key=stage.old)
    first = start(stage, state=state, keys=keys)
    equal(ask(network.KEYWARD, 8080, stage.old), (200, "current"))
    first.signal_to_stop()
    equal(first.ended(PATIENCE_OF_DOCKER), 0)
    equal(sorted(path.name for path in state.iterdir()), ["admin.token", "fingerprint.key", "keyward.db", "serve.lock"])
    owners = {(path.stat().st_uid, path.stat().st_mode & 0o777) for path in state.iterdir()}
    equal(owners, {(65532, 0o600)})
    text = b"".join(path.read_bytes() for path in state.iterdir())
    equal(stage.old.encode() in text, False, "the key in the state")
    stage.clear()
    swap(stage, keys, stage.current)
    start(stage, state=state, keys=keys)
    equal(ask(network.KEYWARD, 8080, stage.old), (200, "outdated"))


def a_key_that_is_moved_into_the_folder_of_secrets_is_the_current_one_without_a_restart(stage):
    keys = stage.secrets(openai_key=stage.old)
    container = start(stage, keys=keys)
    equal(ask(network.KEYWARD, 8080, stage.old), (200, "current"))
    swap(stage, keys, stage.current)
    container.wait_for("the new key", lambda line: "has a new current key" in line.get("message", ""))
    equal(ask(network.KEYWARD, 8080, stage.current), (200, "current"))
    equal(ask(network.KEYWARD, 8080, stage.old), (200, "outdated"))


def docker_stop_lets_what_is_open_finish_cuts_what_does_not_and_it_ends_with_0_in_time(stage):
    for opens in (True, False):
        stage.openai.gate.clear()
        container = start(stage)
        stream = http.client.HTTPConnection(network.KEYWARD, 8080, timeout=30)
        stream.request("GET", "/v1/slow", headers={"Authorization": f"Bearer {stage.current}"})
        answer = stream.getresponse()
        equal(answer.read(6), b"data: ")
        begun = time.monotonic()
        container.signal_to_stop()
        container.wait_for("the draining", lambda line: line.get("event") == "draining")
        status, said = container.health()
        equal(status, 1)
        contains(said, "draining")
        if opens:
            stage.openai.gate.set()
            equal(answer.read(), b"[DONE]")
        else:
            with contextlib.suppress(http.client.IncompleteRead, ConnectionError):
                answer.read()
        equal(container.ended(PATIENCE_OF_DOCKER - (time.monotonic() - begun)), 0)
        outcome = "success" if opens else "shut_down"
        equal(container.exchanges(1)[-1]["outcome"], outcome)
        stage.openai.gate.set()
        stage.clear()


def a_key_that_its_user_may_not_read_is_told_with_the_user(stage):
    keys = stage.secrets()
    stage.secret(keys / "openai-key", stage.current, owner=(0, 0))
    watching = start(stage, keys=keys)
    equal(ask(network.KEYWARD, 8080, stage.current), (200, "unknown"))
    said = "/run/secrets/keyward/openai-key: it cannot be read by user 65532: Permission denied"
    watching.wait_for("the trouble", lambda line: said in line.get("message", ""))
    contains(watching.run("/usr/local/bin/keyward", "check")[1], "gives no key: it cannot be read by user 65532")
    stage.clear()
    acting = start(stage, keys=keys, env={"KEYWARD_PROXY_POLICY": "inject"}, wait=False)
    equal(acting.ended(20), 1)
    contains(acting.log.read_text(), "it would not be safe to start")
    contains(acting.log.read_text(), "it cannot be read by user 65532")


def without_a_place_for_its_state_it_says_so_and_serves(stage):
    foreign = stage.place("foreign")
    foreign.mkdir(mode=0o755)
    for mounts, why in [([], "Read-only file system"), ([(foreign, "/var/lib/keyward", "rw")], "by user 65532: Permission denied")]:
        container = stage.container(*mounts, env={"OPENAI_API_KEY": stage.current})
        container.listening()
        said = ["the state cannot be used, so rotations are forgotten at the next start (state.dir)", why]
        container.wait_for("the trouble", lambda line: all(text in line.get("message", "") for text in said))
        equal(ask(network.KEYWARD, 8080, stage.current), (200, "current"))
        equal(container.health()[0], 0)
        stage.clear()


def the_compose_file_watches_and_with_inject_a_token_stands_for_the_key(stage):
    service = yaml.safe_load((CONFIG / "compose.yaml").read_text())["services"]["keyward"]
    equal((service["read_only"], service["cap_drop"], service["security_opt"]), (True, ["ALL"], ["no-new-privileges:true"]))
    equal([name for name in ("ports", "user", "tmpfs", "command") if name in service], [])
    keys, state = stage.secrets(openai_key=stage.current), stage.state()
    sources = {"./secrets": keys, "keyward-state": state}
    volumes = (volume.split(":") for volume in service["volumes"])
    mounts = [(sources[source], at, *(mode or ["rw"])) for source, at, *mode in volumes]
    watching = stage.container(*mounts, env=service["environment"])
    watching.listening()
    equal(ask(network.KEYWARD, 8080, stage.current), (200, "current"))
    stage.clear()
    acting = stage.container(*mounts, env={**service["environment"], "KEYWARD_PROXY_POLICY": "inject"})
    acting.listening()
    status, said = acting.run("/usr/local/bin/keyward", "token", "new", "default", "--name", "n8n")
    equal(status, 0)
    token = said.splitlines()[0]
    processes.until(lambda: ask(network.KEYWARD, 8080, token) == (200, "token"), timeout=20, what="the token's welcome")
    equal(stage.openai.journal[-1][2], f"Bearer {stage.current}")
    equal(ask(network.KEYWARD, 8080, None), (401, "missing"))


def two_replicas_on_kubernetes_know_the_same_tokens_and_give_a_key_the_same_fingerprint(stage):
    things = {(thing["kind"], thing["metadata"]["name"]): thing for thing in yaml.safe_load_all((CONFIG / "kubernetes.yaml").read_text())}
    pod = things["StatefulSet", "keyward"]["spec"]["template"]["spec"]
    group = pod["securityContext"]["fsGroup"]
    equal(f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}", stage.image.user)
    config = stage.place("config")
    config.mkdir()
    for name, text in things["ConfigMap", "keyward"]["data"].items():
        (config / name).write_text(text)
    # As a person makes them, with a keyward on their own machine.
    access, binary = stage.place("access"), stage.image.path("/usr/local/bin/keyward")
    access.mkdir()
    (access / "fingerprint.key").write_bytes(secrets.token_bytes(32))
    made = subprocess.run([binary, "token", "new", "default"], env={"KEYWARD_STATE_DIR": access}, capture_output=True, text=True)
    token, fingerprints = made.stdout.strip(), set()
    openai = stage.secrets()
    stage.secret(openai / "openai-key", stage.current, mode=0o440, owner=(0, group))
    for path in (access / "fingerprint.key", access / "access.json"):
        path.chmod(0o440)
        os.chown(path, 0, group)
    for _ in range(pod_count := things["StatefulSet", "keyward"]["spec"]["replicas"]):
        state = stage.place("volume")
        state.mkdir()
        os.chown(state, 0, group)
        state.chmod(0o2775)
        sources = {"config": config, "openai": openai, "access": access, "state": state}
        mounts = [
            (sources[mount["name"]] / mount.get("subPath", ""), mount["mountPath"], "ro" if mount.get("readOnly") else "rw")
            for mount in pod["containers"][0]["volumeMounts"]
        ]
        replica = stage.container(*mounts, groups=[group], resolv=network.RESOLV_SEARCH)
        replica.listening()
        equal(ask(network.KEYWARD, 8080, token), (200, "token"))
        for probe in ("livenessProbe", "readinessProbe"):
            equal(ask(network.KEYWARD, 8081, None, pod["containers"][0][probe]["httpGet"]["path"])[0], 200)
        fingerprints.add(replica.exchanges(1)[0]["injected"])
        equal((state / "keyward.db").exists(), True, "a ledger of its own")
        status, said = replica.run("/usr/local/bin/keyward", "token", "new", "default")
        equal(status, 1)
        contains(said, "access.json cannot be written")
        stage.clear()
    equal((pod_count, len(fingerprints)), (2, 1))


def start(stage, *, state=None, keys=None, env=None, wait=True, **options):
    """A container with a state and a folder of secrets, which hold what is not said otherwise."""
    env = {"KEYWARD_KEYS_DEFAULT_CURRENT_FILE": "/run/secrets/keyward/openai-key", **(env or {})}
    keys = keys or stage.secrets(openai_key=stage.current)
    mounts = [(state or stage.state(), "/var/lib/keyward", "rw"), (keys, "/run/secrets/keyward", "ro")]
    container = stage.container(*mounts, env=env, **options)
    if wait:
        container.listening()
    return container


def swap(stage, keys, key):
    """As compose.yaml says: a new file, moved into the place of the old one."""
    stage.secret(keys / "next", key)
    shutil.move(keys / "next", keys / "openai-key")


def check_online(container, upstream):
    program = ["/usr/local/bin/keyward", "check", "--online"]
    return container.run(*program, env={"KEYWARD_PROXY_UPSTREAM": upstream})[1]


def ask(address, port, key, path="/v1/models"):
    """A request on a connection of its own. Gives the status and the verdict."""
    connection = http.client.HTTPConnection(address, port, timeout=30)
    connection.request("GET", path, headers={"Authorization": f"Bearer {key}"} if key else {})
    answer = connection.getresponse()
    answer.read()
    return answer.status, answer.headers["x-keyward-verdict"]


def equal(found, wanted, what=""):
    if found != wanted:
        raise AssertionError(f"{what}: " * bool(what) + f"{found} is not {wanted}")


def contains(text, wanted, what=""):
    if wanted not in text:
        raise AssertionError(f"{what}: " * bool(what) + f"{wanted!r} is not in {text}")


ALL = [
    the_image_has_keyward_its_configuration_and_an_empty_state_folder_and_nothing_else,
    it_starts_as_the_image_says_with_a_read_only_root_without_any_capability_and_is_healthy,
    it_reaches_openai_by_its_name_over_tls_and_says_whose_key_came,
    without_a_given_authority_the_bundled_roots_decide,
    names_are_found_in_etc_hosts_and_in_dns_by_search_domains_in_ipv6_and_by_tcp,
    its_state_is_all_that_it_writes_and_outlives_the_container,
    a_key_that_is_moved_into_the_folder_of_secrets_is_the_current_one_without_a_restart,
    docker_stop_lets_what_is_open_finish_cuts_what_does_not_and_it_ends_with_0_in_time,
    a_key_that_its_user_may_not_read_is_told_with_the_user,
    without_a_place_for_its_state_it_says_so_and_serves,
    the_compose_file_watches_and_with_inject_a_token_stands_for_the_key,
    two_replicas_on_kubernetes_know_the_same_tokens_and_give_a_key_the_same_fingerprint,
]
