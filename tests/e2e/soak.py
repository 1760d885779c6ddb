"""Runs `cairn train` and looks at its process five times on the way.

    soak.py RUN_FOLDER EPOCHS COMMAND...

Prints a line a look: epoch, KiB of memory of its own, open files, threads. The process is looked at
while it waits to print an epoch, since its output is a pipe of one page that nobody reads then: so
each look sees it at the same place, behind an epoch's last file."""
import fcntl
import os
import struct
import subprocess
import sys
import termios
import time

F_SETPIPE_SZ, PAGE, LOOKS, LINE = 1031, 4096, 5, 120
folder, epochs, command = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
# The heap gives back at once what is free: the rest is in use.
frugal = {"MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_TOP_PAD_": "0", "MALLOC_MMAP_THRESHOLD_": "16384",
          "OMP_WAIT_POLICY": "passive"}
run = subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0, env={**os.environ, **frugal})
fcntl.fcntl(run.stdout, F_SETPIPE_SZ, PAGE)
os.makedirs(folder, exist_ok=True)


def status(*keys):
    with open(f"/proc/{run.pid}/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    return [fields[key].split()[0] for key in keys]


def state():
    unread = struct.unpack("i", fcntl.ioctl(run.stdout, termios.FIONREAD, bytes(4)))[0]
    return [unread, *status("State", "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")]


def wait_until_it_waits():
    while True:
        if run.poll() is not None:
            sys.exit(f"it ended within {printed} epochs and a page")
        before = state()
        time.sleep(0.03)
        if before == state() and before[0] > PAGE - LINE and before[1] == "S":
            return


printed = 0
for look in range(LOOKS):
    while run.poll() is None and printed < (2 * look + 1) * (epochs - 2 * PAGE // 60) // (2 * LOOKS):
        printed += run.stdout.read(PAGE // 2).count(b"\n")
    wait_until_it_waits()
    with open(f"{folder}/metrics.json") as file:
        epoch = file.read().count("epoch")
    memory, threads = status("RssAnon", "Threads")
    print(epoch, memory, len(os.listdir(f"/proc/{run.pid}/fd")), threads, flush=True)
while run.stdout.read(PAGE):
    pass
sys.exit(run.wait())
