"""A command of keyward's that asks a person something."""

import os
import pty
import subprocess
import threading

import processes


class Asked:
    """A command of keyward's at a terminal, where a person answers."""

    def __init__(self, keyward, *arguments):
        self._ours, theirs = pty.openpty()
        command = keyward._started(arguments)
        self.child = subprocess.Popen(**command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        os.close(theirs)
        self.told, self.said = [], []
        heard = ((self.child.stdout, self.told), (self.child.stderr, self.said))
        self._readers = [threading.Thread(target=self._read, args=pair, daemon=True) for pair in heard]
        for reader in self._readers:
            reader.start()

    def _read(self, stream, into):
        while character := stream.read(1):
            into.append(character)

    def until_asked(self, question, timeout):
        def asked():
            if self.child.poll() is not None:
                raise RuntimeError(f"it ended: {self.text()}")
            return question in "".join(self.said)

        processes.until(asked, timeout=timeout, what=f"the question {question!r}", pause=0.05)

    def answer(self, word):
        os.write(self._ours, f"{word}\n".encode())

    def end(self, timeout):
        self.child.wait(timeout)
        for reader in self._readers:
            reader.join(timeout)
        os.close(self._ours)
        return self.child.returncode

    def text(self):
        return "".join([*self.told, "\n", *self.said])
