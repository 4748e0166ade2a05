"""The beginning of a renderer. It imports little: each child would pay for it, in time and in memory."""

import os
import resource
import signal
import threading
import time
from pathlib import Path

from gallery.renderers.confinement import confine


def prepare_child(parent: int, memory: int, scratch: Path, denied: Path, niceness: int) -> None:
    """Limits what this process may do, and ends it after its parent, the process `parent`. `memory` is in bytes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.nice(niceness)
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    confine(scratch, denied)
    threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()


def _exit_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)
