"""A process with everything imported that forks node agents on demand. Shell of the agents.

Forked by the provisioner at its start, with one end of a socket. Requests, one datagram each:

    spawn CONFIG     with the log's descriptor attached; answer `pid N`
    reap PID         answer `code N`, or `code none` if that is no ended child of ours

Rules:
1. One thread, no event loop, nothing open but the socket: what is forked starts clean.
2. It stays the parent of the agents, so that their exit codes are known. When the socket closes, it ends, and
   the agents go on.
"""

import gc
import os
import socket
import sys
import traceback

#: Imported once here instead of in each agent; that is the point of this process.
from agents import node, procfs
from agents.entry import name_process

_MESSAGE_BYTES_MAX = 8_192


def begin() -> tuple[int, socket.socket]:
    """Fork the template out of this process; its pid and our end of the socket.

    For the start of a provisioner, before it has a loop, a lock or a thread: what both have imported is shared.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # What exists now is never collected, so its pages stay shared with every agent.
    gc.collect()
    gc.freeze()
    pid = os.fork()
    if pid == 0:
        ours.close()
        # Out of the reach of a Ctrl-C in our terminal; it ends with us, by its socket.
        os.setsid()
        try:
            serve(theirs)
        finally:
            os._exit(0)
    theirs.close()
    return pid, ours


def main(argv: list[str]) -> None:
    """Be a template with an interpreter of its own; for a provisioner that lost the one it forked."""
    gc.collect()
    gc.freeze()
    serve(socket.socket(fileno=int(argv[0])))


def serve(control: socket.socket) -> None:
    """Answer requests until the other end closes."""
    name_process("node-template")
    while True:
        try:
            message, logs, _, _ = socket.recv_fds(control, _MESSAGE_BYTES_MAX, 1)
        except OSError:
            return
        if not message:
            return
        word, _, rest = message.decode().partition(" ")
        if word == "spawn":
            _answer_spawn(control, rest, logs[0])
        elif word == "reap":
            control.send(f"code {str(procfs.reap(int(rest))).lower()}".encode())


def _answer_spawn(control: socket.socket, config: str, log: int) -> None:
    try:
        pid = os.fork()
    except OSError as error:
        os.close(log)
        control.send(f"error {error}".encode())
        return
    if pid == 0:
        _be_agent(control, config, log)
    os.close(log)
    control.send(f"pid {pid}".encode())


def _be_agent(control: socket.socket, config: str, log: int) -> None:
    """Become a node agent; never returns."""
    code = 1
    try:
        control.close()
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        os.close(nothing)
        os.close(log)
        node.run_from(config)
        code = 0
    except SystemExit as error:
        print(error, file=sys.stderr)  # noqa: T201 - as the interpreter does it
    except BaseException:  # noqa: BLE001 - a forked process must not go back into the template's loop
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
