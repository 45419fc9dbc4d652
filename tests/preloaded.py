"""A Python that has the slow imports behind it: what `python -m MODULE` does, in a fork of it, without the seconds that torch
and snakemake take to load.

A fork is a process of its own, with the folder, the environment, the streams and the arguments of whoever asks for it. Its
exit status or the signal that killed it becomes the asker's, and a signal to the asker is passed on.
What differs is that modules are there which it has not imported, and that all forks hash text alike. So the miniature of
tests/conftest.py is made by interpreters of their own, each stage by its command.

    python tests/preloaded.py serve SOCKET           the server; it ends when nobody holds a lease any more
    python tests/preloaded.py SOCKET -m MODULE …     who asks, in place of python: loads nothing but sockets
"""

import array
import contextlib
import json
import os
import re
import signal
import socket
import sys
from pathlib import Path

VARIABLE = "CAP2MASK_TESTS_PRELOADED"  # in the environment: the server's socket
ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("structures", "schemas", "models", "evaluation", "sources", "store", "training", "pipeline")
LIBRARIES = (
    "cv2",
    "pandas",
    "pyarrow.compute",
    "pycocotools.mask",
    "safetensors.torch",
    "snakemake.cli",
    "torchvision",
)
_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


def call(arguments: list[str], folder: Path, environment: dict[str, str], output: int, limit: float | None) -> int:
    """Do what `python -m ARGUMENTS` does in a folder; its exit status, below 0 the signal that killed it.

    output: the descriptor of a file for what it says, on both streams; limit: seconds, after which it is killed. Raises
    TimeoutError then.
    """
    with open(os.devnull, "rb") as nothing:
        descriptors = [nothing.fileno(), output, output]
        return _ask(os.environ[VARIABLE], arguments, str(folder), environment, descriptors, limit=limit)


def _connect(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    return connection


def _ask(
    path: str,
    arguments: list[str],
    folder: str,
    environment: dict[str, str],
    descriptors: list[int],
    *,
    passed_on: tuple = (),
    limit: float | None = None,
) -> int:
    message = json.dumps([arguments, folder, environment]).encode()
    with _connect(path) as connection:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
        connection.sendmsg([len(message).to_bytes(8, "big")], [rights])
        connection.sendall(message)
        for number in passed_on:
            signal.signal(number, lambda number, _: connection.sendall(bytes([number])))
        connection.settimeout(limit)
        status = connection.recv(4)
    if len(status) < 4:
        raise RuntimeError("the preloaded Python is gone")
    return int.from_bytes(status, "big", signed=True)


def lease(path: str) -> socket.socket:
    """A connection that keeps the server alive."""
    connection = _connect(path)
    connection.sendall(bytes(8))
    return connection


def instead_of(python: str) -> str:
    """A file for BASH_ENV by which bash asks the server wherever a command line names this Python; empty where the names
    have characters that would have to be quoted."""
    words = [python, str(Path(__file__)), os.environ[VARIABLE]]
    if not all(re.fullmatch(r"[\w./+-]+", word) for word in words):
        return ""
    return f'function {python} {{ command {" ".join([python, "-IS", *words[1:]])} "$@"; }}\n'


def _client(path: str, words: list[str]) -> None:
    """Python's command line, of which the server knows -m alone."""
    if words[:1] != ["-m"]:
        os.execv(sys.executable, [sys.executable, *words])
    status = _ask(path, words[1:], str(Path.cwd()), dict(os.environ), [0, 1, 2], passed_on=_PASSED_ON)
    if status < 0:
        if -status not in (signal.SIGKILL, signal.SIGSTOP):  # which nobody may handle
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


class _Server:
    """The listening socket, those who wait for a fork's end, and those forks."""

    def __init__(self, path: str):
        import selectors

        self._read = selectors.EVENT_READ
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{path}.new")
        self._listener.listen(256)
        Path(f"{path}.new").rename(path)  # who finds it can connect
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, self._read)
        self._forks: dict[socket.socket, int] = {}
        self._ends: dict[int, socket.socket] = {}
        self._leases: set[socket.socket] = set()

    def serve(self) -> list[str] | None:
        """Answer until no lease is left: None. In a fork: the arguments of what it is to do."""
        leased = False
        while not leased or self._leases:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    connection, _ = self._listener.accept()
                    arguments = self._accept(connection)
                    leased = leased or connection in self._leases
                    if arguments is not None:
                        return arguments
                elif isinstance(key.fileobj, int):
                    self._ended(key.fileobj)
                else:
                    self._heard(key.fileobj)
        return None

    def _accept(self, connection: socket.socket) -> list[str] | None:
        head, rights, _, _ = connection.recvmsg(8, socket.CMSG_SPACE(12))
        size = int.from_bytes(head, "big")
        if not head:
            connection.close()
            return None
        if size == 0:
            self._leases.add(connection)
            self._selector.register(connection, self._read)
            return None
        descriptors = array.array("i", rights[0][2])
        arguments, folder, environment = json.loads(connection.recv(size, socket.MSG_WAITALL))
        process = os.fork()
        if process == 0:
            self._close()
            connection.close()
            _become(folder, environment, descriptors)
            return arguments
        for descriptor in descriptors:
            os.close(descriptor)
        end = os.pidfd_open(process)
        self._forks[connection], self._ends[end] = process, connection
        self._selector.register(connection, self._read)
        self._selector.register(end, self._read)
        return None

    def _ended(self, end: int) -> None:
        """A fork has ended: say how to who waits for it."""
        connection = self._ends.pop(end)
        self._selector.unregister(end)
        os.close(end)
        _, status = os.waitpid(self._forks[connection], 0)
        del self._forks[connection]
        if connection in self._selector.get_map():
            self._selector.unregister(connection)
            with contextlib.suppress(OSError):  # nobody waits any more
                connection.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))
        connection.close()

    def _heard(self, connection: socket.socket) -> None:
        """A signal to pass on; or the end of who waits, by which the fork ends as well."""
        try:
            numbers = connection.recv(16)
        except OSError:
            numbers = b""
        if not numbers:
            self._selector.unregister(connection)
            if connection in self._leases:
                self._leases.remove(connection)
                connection.close()
        if connection in self._forks:
            for number in numbers or [signal.SIGKILL]:
                os.kill(self._forks[connection], number)

    def _close(self) -> None:
        """In a fork: leave the others' descriptors alone."""
        self._selector.close()
        self._listener.close()
        for connection in (*self._forks, *self._leases):
            connection.close()
        for end in self._ends:
            os.close(end)


def _become(folder: str, environment: dict[str, str], descriptors: list[int]) -> None:
    """In a fork: take a folder, an environment and streams, and what else a fresh interpreter has of its own."""
    import importlib
    import tempfile

    import numpy as np

    os.setpgrp()
    os.chdir(folder)
    for stream, descriptor in enumerate(descriptors):
        os.dup2(descriptor, stream)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    below = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [folder, *below, *sys.path[1:]]
    importlib.invalidate_caches()
    tempfile.tempdir = None
    np.random.seed()  # a fresh interpreter draws one


def _preload() -> None:
    import importlib

    for name in LIBRARIES:
        importlib.import_module(name)
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*.py")):
            module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            if not module.endswith("__main__"):
                importlib.import_module(module.removesuffix(".__init__"))


def _run(module: str, arguments: list[str]) -> None:
    """Run a module as the main one and end as the interpreter ends, but for its memory, which is the server's as well."""
    import atexit
    import runpy
    import threading

    status = 0
    try:
        sys.argv[1:] = arguments
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        status = error.code if isinstance(error.code, int) else error.code is not None
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    threading._shutdown()  # waits for other threads
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _main(path: str) -> None:
    """Serve and, in a fork, do what was asked for."""
    import gc

    server = _Server(path)
    sys.path[0] = str(ROOT)
    _preload()
    gc.collect()
    gc.freeze()
    arguments = server.serve()
    if arguments is not None:
        _run(arguments[0], arguments[1:])


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _main(sys.argv[2])
    else:
        _client(sys.argv[1], sys.argv[2:])
