"""What a child process is made to do in the tests of the pool."""

import os
import signal

from gallery.errors import DamagedPicture

MEMORY = 512 * 1024 * 1024


def die():
    os.kill(os.getpid(), signal.SIGSEGV)


def eat():
    return len(bytearray(4 * MEMORY))


def refuse():
    raise DamagedPicture(reason="bits")
