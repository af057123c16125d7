"""Run commands over this machine's own files, look at what each would have changed, and keep nothing.

python examples/sandbox.py 'COMMAND' ['COMMAND'...]
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import lamina


def try_out(store: lamina.Store, command: str) -> str:
    """Return what the command says and changes."""
    with store.image("host").container() as box:
        done = box.run(["sh", "-c", command], text=True)
        changes = [f"    {change.kind} {change.path}" for change in box.diff()]
    return "\n".join([f"$ {command}  (status {done.returncode})", f"{done.stdout}{done.stderr}".rstrip(), *changes])


def main(commands: list[str]) -> None:
    """Try all commands at once, each over files of its own."""
    store = lamina.Store()
    with ThreadPoolExecutor() as pool:
        for report in pool.map(lambda command: try_out(store, command), commands):
            print(report)


if __name__ == "__main__":
    main(sys.argv[1:] or ["cat /etc/hostname", "echo hello > /tmp/hello; cat /tmp/hello", "ls /no/such/file"])
