"""What this machine can do for this user, asked by doing it.

- `values`: a probe, what it found, and a remedy
- `child`: a probe carried out in a process of its own, within a time
- `identity`, `namespaces`, `drivers`, `disk`, `resources`, `programs`: the probes, by what they are about
- `diagnose`: all of them one after the other, and whether `lamina run` can work
"""
