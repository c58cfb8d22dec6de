"""What the tests of clients share: the appliance that they talk to, and helpers.

A test is a function marked `@test`; it gets a World and raises where a result differs, or Left where its client is not
to be had.
"""

import contextlib
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile

BIN = pathlib.Path(sys.executable).parent
ACCESS, SECRET = "clientsaccess", "clients-secret-key"
TESTS = []


def test(function):
    TESTS.append(function)
    return function


class Left(Exception):
    """A client that cannot be had here."""


class World:
    def __init__(self, endpoint, folder, program):
        self.endpoint, self.folder, self.program = endpoint, folder, program
        self.host = endpoint.removeprefix("http://")
        self.env = {
            "PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(folder), "AWS_ACCESS_KEY_ID": ACCESS,
            "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": endpoint, "LANG": "C.UTF-8",
        }
        self.random = random.Random(7)

    def bytes(self, length):
        return self.random.randbytes(length)

    def file(self, name, content):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def need(self, program):
        if shutil.which(program, path=self.env["PATH"]) is None:
            raise Left(f"{program} is not installed")

    def aerie(self, *arguments):
        """The program itself, as its operator."""
        env = {"AERIE_ENDPOINT": self.endpoint, "AERIE_ROOT_ACCESS_KEY": ACCESS, "AERIE_ROOT_SECRET_KEY": SECRET}
        return self.run(self.program, *arguments, env=env)

    def run(self, *command, **options):
        self.need(command[0])
        env = self.env | options.pop("env", {})
        limits = {"timeout": 120} | options
        done = subprocess.run(command, env=env, capture_output=True, cwd=self.folder, **limits)
        if done.returncode:
            raise AssertionError(f"{' '.join(map(str, command))}\n{done.stdout.decode()}{done.stderr.decode()}")
        return done.stdout.decode()


def equal(got, wanted):
    assert got == wanted, f"got {got!r:.300}, wanted {wanted!r:.300}"


def boto(w, **config):
    import boto3
    from botocore.config import Config
    return boto3.client("s3", endpoint_url=w.endpoint, aws_access_key_id=ACCESS, aws_secret_access_key=SECRET,
                        region_name="us-east-1", config=Config(retries={"max_attempts": 1}, **config))


@contextlib.contextmanager
def appliance(aerie):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for number in range(1, 7):
            (folder / f"d{number}").mkdir()
        env = os.environ | {"AERIE_ROOT_ACCESS_KEY": ACCESS, "AERIE_ROOT_SECRET_KEY": SECRET}
        with open(folder / "log", "wb") as log:
            server = subprocess.Popen([aerie, "serve", "--parity", "2", "--address", "127.0.0.1:0", f"{folder}/d{{1..6}}"],
                                      stdout=subprocess.PIPE, stderr=log, env=env)
        try:
            line = server.stdout.readline().decode()
            found = re.search(r"http://[^ ,)]+", line)
            if not found:
                raise SystemExit(f"the appliance did not start: {line}{(folder / 'log').read_text()}")
            (folder / "work").mkdir()
            yield World(found[0], folder / "work", os.path.abspath(aerie)), folder / "log"
            if server.poll() is not None:
                raise SystemExit(f"the appliance ended by itself: {(folder / 'log').read_text()[-3000:]}")
        finally:
            server.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(30)
            server.kill()
