"""Tools for an upper whose mount is stopped, written by the kernel's driver or by ours: check, vacuum, flatten, merge.

Each first plans, which changes nothing, and then carries the plan out:

    with Stopped(overlay) as room:
        plan = plan_vacuum(room)
        for step in plan:
            print(step.describe())
        carry_out(plan, room)
"""
