"""A certificate authority of the run's own, and a certificate for the loopback interface that it vouches for."""

import install

SUBJECT = "/CN=keyward tests"
KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]


class Authority:
    """The files of both."""

    def __init__(self, folder):
        install.require_tools("openssl")
        self.file = folder / "ca.pem"
        self.certificate = folder / "server.pem", folder / "server.key"
        signing, log = folder / "ca.key", folder / "openssl.log"
        command = ["openssl", "req", "-x509", *KEY]
        install.step([*command, "-subj", SUBJECT, "-keyout", signing, "-out", self.file], log=log)
        vouched = ["-CA", self.file, "-CAkey", signing, "-subj", "/CN=127.0.0.1"]
        whose = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]
        made = ["-keyout", self.certificate[1], "-out", self.certificate[0]]
        install.step([*command, *vouched, *whose, *made], log=log)
