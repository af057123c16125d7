"""PostgreSQL over our mount and the kernel's: what was committed is there after a crash, and the sums are right."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers import users
from tests.helpers.effort import effort
from tests.helpers.wait import until
from tests.kernel.posix.places import place

pytestmark = pytest.mark.requires("root", "overlay", "fuse", "setpriv", "unshare", "pg_ctlcluster")

USER = "laminaplain"  # the server refuses root
IS_SHORT = bool(effort(short=1, long=0))
_OPTIONS = {
    "listen_addresses": "",
    "dynamic_shared_memory_type": "mmap",  # a crash leaves nothing outside of the directory
    "shared_buffers": "16MB",
    "max_connections": "20",
}


class _Database:
    """A cluster of databases in the directory `data`, whose socket is in `sockets`."""

    def __init__(self, data: Path, sockets: Path) -> None:
        self.data = data
        self.sockets = sockets
        (self.programs,) = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1:]

    def argv(self, program: str, *words: str) -> list[str]:
        return users.as_user(USER, [str(self.programs / program), *words])

    def call(self, program: str, *words: str) -> str:
        env = users.environment(USER, PGHOST=str(self.sockets), PGUSER="p", PGDATABASE="postgres")
        done = subprocess.run(self.argv(program, *words), env=env, cwd="/", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(self, query: str) -> str:
        return self.call("psql", "-XAtc", query).strip()

    def make(self) -> None:
        self.call("initdb", "-D", str(self.data), "-U", "p", "-A", "trust", "-E", "UTF8", "--locale=C", "-k")

    @contextmanager
    def running(self) -> Iterator[int]:
        """Run the server; yields its process. Whatever ends it ends all that it started: they have no other world."""
        options = [word for name, value in _OPTIONS.items() for word in ("-c", f"{name}={value}")]
        argv = self.argv("postgres", "-D", str(self.data), "-k", str(self.sockets), *options)
        server = subprocess.Popen(
            ["unshare", "--pid", "--ipc", "--fork", *argv], env=users.environment(USER), cwd="/",
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            until(lambda: server.poll() is not None or self._answers(), "the database answers")
            (process,) = _direct_children(server.pid)
            yield process
        finally:
            for process in _direct_children(server.pid):
                os.kill(process, signal.SIGINT)  # a fast shutdown
            server.wait(60)

    def _answers(self) -> bool:
        words = ["-q", "-h", str(self.sockets), "-U", "p"]
        return subprocess.run(self.argv("pg_isready", *words), check=False).returncode == 0


def _direct_children(pid: int) -> set[int]:
    try:
        return {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except (FileNotFoundError, ProcessLookupError):
        return set()


def _expect_sums(database: _Database, *, at_least: int) -> None:
    """See that the balances of the accounts, tellers and branches are what the history adds up to."""
    tables = ("abalance", "pgbench_accounts"), ("tbalance", "pgbench_tellers"), ("bbalance", "pgbench_branches")
    sums = {database.ask(f"SELECT sum({column}) FROM {table}") for column, table in tables}
    assert {database.ask("SELECT sum(delta) FROM pgbench_history")} == sums
    assert int(database.ask("SELECT count(*) FROM pgbench_history")) >= at_least
    assert database.ask("SELECT count(*) FROM pgbench_accounts") == "100000"
    database.call("pg_amcheck", "--install-missing", "--heapallindexed", "-d", "postgres")


@pytest.mark.parametrize("kind", ["fuse"] if IS_SHORT else ["fuse", "kernel"])
def test_what_was_committed_survives_a_crash(scratch: Path, kind: str) -> None:
    users.ensure_users()
    sockets = scratch / "sockets"
    sockets.mkdir()
    os.chmod(sockets, 0o777)

    def prepare(lower: Path) -> None:
        (lower / "data").mkdir(mode=0o700)
        subprocess.run(["chown", USER, str(lower / "data")], check=True)
        _Database(lower / "data", sockets).make()
        (lower / "made").mkdir(mode=0o700)
        subprocess.run(["chown", USER, str(lower / "made")], check=True)

    with place(kind, scratch, prepare) as top:
        database = _Database(top / "data", sockets)
        transactions = effort(short=25, long=1500)
        with database.running():
            database.call("pgbench", "-i", "-q", "-s", "1")
            database.call("pgbench", "-n", "-c", "4", "-t", str(transactions))
            _expect_sums(database, at_least=4 * transactions)
        committed = 4 * transactions
        for _ in range(effort(short=1, long=10)):
            committed = _crash(database, committed + transactions)
        with database.running():
            _expect_sums(database, at_least=committed)
            database.call("psql", "-XAtqc", "VACUUM FULL")
        database.call("pg_checksums", "--check", "-D", str(database.data))
        if not IS_SHORT:
            _Database(top / "made", sockets).make()


def _crash(database: _Database, wanted: int) -> int:
    """Kill the server and all that it started while it is busy; return how many transactions it had committed."""
    count = "SELECT count(*) FROM pgbench_history"
    with database.running() as process:
        busy = subprocess.Popen(
            database.argv("pgbench", "-n", "-c", "4", "-T", "60", "-h", str(database.sockets), "-U", "p", "postgres"),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until(lambda: int(database.ask(count)) >= wanted, "more is committed")
        committed = int(database.ask(count))
        os.kill(process, signal.SIGKILL)
        busy.wait(60)
    return committed
