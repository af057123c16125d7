"""What a process sets for itself and its children: prctl(2), signals by pid descriptor; what others may do."""

from __future__ import annotations

from lamina.linux.libc import call

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
CAP_SYS_ADMIN = 21


def set_parent_death_signal(signal: int) -> None:
    """Have `signal` sent when the parent *thread* ends. Cleared by a change of user: set it again after one."""
    call("prctl", PR_SET_PDEATHSIG, signal, 0, 0, 0)


def set_no_new_privileges() -> None:
    """Let no execve(2) of this process and its children grant privileges (set-id, file capabilities), for good."""
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def set_child_subreaper() -> None:
    """Become the parent of orphaned descendants."""
    call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def set_dumpable(dumpable: bool) -> None:
    """Say whether others of the same user may look into this process (ptrace, /proc/PID owned by the user)."""
    call("prctl", PR_SET_DUMPABLE, int(dumpable), 0, 0, 0)


def has_capability(pid: int, capability: int) -> bool:
    """Tell whether a process has a capability (CAP_*) in effect, in its own user namespace; False once it is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            effective = next((line for line in file if line.startswith("CapEff:")), "CapEff: 0")
    except OSError:
        return False
    return bool(int(effective.split()[1], 16) >> capability & 1)
