"""Becomes a process in a container: `enter.py ROOT FOLDER USER:GROUP[,GROUP...] ENVIRONMENT PROGRAM [ARGUMENT...]`.

As a container runtime does with `read_only`, `cap_drop: ALL` and `no-new-privileges`: another root, another user, no
capability that is left or could come back, and no variable but those in ENVIRONMENT (JSON).
"""

import ctypes
import json
import os
import subprocess
import sys

PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 23, 24, 38


def main(root, folder, user, environment, *command):
    # In a process that has a mount namespace of its own.
    subprocess.run(["mount", "-t", "proc", "-o", "nosuid,nodev,noexec", "proc", f"{root}/proc"], check=True)
    os.chroot(root)
    os.chdir(folder)
    libc = ctypes.CDLL(None, use_errno=True)
    capability = 0
    while libc.prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0:
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
        capability += 1
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")
    uid, _, groups = user.partition(":")
    gid, *more = map(int, groups.split(","))
    os.setgroups(more)
    os.setgid(gid)
    os.setuid(int(uid))
    os.execve(command[0], command, json.loads(environment))


if __name__ == "__main__":
    main(*sys.argv[1:])
