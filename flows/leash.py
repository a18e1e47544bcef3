"""Runs a command that ends when whoever started it does, however that ended.

The starter holds the other end of this program's standard input. When it is killed outright, the
system closes that end; the whole process group then gets SIGTERM and, after a grace, SIGKILL. A
pipe does this on Linux and macOS alike.

    python flows/leash.py GRACE_SECONDS COMMAND ...

It has to lead a process group. Started as a file: the standard library is all that it loads.
"""

import os
import signal
import subprocess
import sys
import threading
import time


def end_group_after_starter(orphaned: threading.Event, grace_seconds: float) -> None:
    """Wait for the end of standard input, then end this process group, this process included."""
    while os.read(0, 4096):
        pass
    orphaned.set()
    os.killpg(0, signal.SIGTERM)
    time.sleep(grace_seconds)
    os.killpg(0, signal.SIGKILL)


def main() -> int:
    """Run the command of the command line; this process ends as it did, by the same signal too."""
    grace_seconds, command = float(sys.argv[1]), sys.argv[2:]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Outlive the command. A handler, as a signal that is ignored would be for the command too.
        signal.signal(number, lambda *_: None)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    orphaned = threading.Event()
    watcher = threading.Thread(
        target=end_group_after_starter, args=(orphaned, grace_seconds), daemon=True
    )
    watcher.start()
    status = process.wait()
    if orphaned.is_set():  # what the command itself started may still be there
        watcher.join()
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


if __name__ == "__main__":
    sys.exit(main())
