"""A stack and a command become a process.

`spec` holds what a person asks for, `plan` turns it into a `Launch` (every mount, id and limit as a value), `explain`
prints that as a shell script, `launch` carries it out. The container's processes start as

    caller ── C1: new user (when not root), pid, ipc, uts, cgroup and network namespaces
                └─ C2: pid 1; new mount namespace, the mounts, pivot_root, ids, capabilities, exec

in this order, since a process that pivots must itself have made its mount namespace, and a pid namespace holds for
children only.
"""
