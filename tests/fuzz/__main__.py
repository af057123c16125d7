"""Fuzz one target until libFuzzer's options say that it is enough: python -m tests.fuzz TARGET [-OPTION=VALUE...] [DIR]

    python -m tests.fuzz layer -max_total_time=600      # ten minutes
    python -m tests.fuzz layer crash-0123...            # an input that failed, once more

DIR keeps inputs that reach something new; without, a directory is made for the time being. An exception that is not
lamina's own ends it with the traceback, and the input in a file `crash-...`; so does one step of more than ten seconds,
or a process of more than 512 MiB. https://llvm.org/docs/LibFuzzer.html lists the options.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["lamina"]):
    from tests.fuzz.targets import TARGETS

_LIMITS = ["-timeout=10", "-rss_limit_mb=512", "-max_len=65536"]


def main(argv: list[str]) -> int:
    """Fuzz, and return the exit status."""
    if len(argv) < 2 or argv[1] not in TARGETS:
        raise SystemExit(f"{__doc__}\nTARGET is one of {', '.join(TARGETS)}.")
    target = TARGETS[argv[1]]
    with tempfile.TemporaryDirectory(prefix="lamina-fuzz-") as corpus:
        for seed in target.seeds():
            Path(corpus, hashlib.sha256(seed).hexdigest()).write_bytes(seed)
        own = [word for word in argv[2:] if not word.startswith("-")]
        places = [] if own and not Path(own[0]).is_dir() else [corpus]
        words = [argv[0], *_LIMITS, *argv[2:], *places]
        # libFuzzer ends its process without a way back, and the directory would stay.
        child = os.fork()
        if not child:
            atheris.Setup(words, target.run)
            atheris.Fuzz()
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


sys.exit(main(sys.argv))
