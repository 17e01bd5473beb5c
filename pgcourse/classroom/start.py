"""How a process of the pool begins: before it imports anything large, for its parent may be gone already."""

import os
import signal
import sys

from pgcourse.classroom import sandbox


def judge(parent):
    """In each process of the pool: no life after the main process, no Ctrl-C of its own, one thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        sandbox.prctl(sandbox.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    import threading
    import warnings

    import torch
    from tqdm import tqdm

    tqdm.set_lock(threading.RLock())  # its own is a semaphore, which whoever is ended leaves behind
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # pitfalls make them on purpose
