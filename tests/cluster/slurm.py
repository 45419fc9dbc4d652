"""A Slurm of one node on the loopback, from Debian's packages: munged, MariaDB, slurmdbd, slurmctld and slurmd, each in a
temporary folder, on ports that are free, and all in a process namespace of their own. The kernel ends a namespace with its
first process, and that one with ours, so that nothing is left over, however this process ends."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "mariadbd", "mariadb-install-db", "slurmdbd", "slurmctld", "slurmd", "sbatch", "unshare")
CPUS, MEM_MB, GPUS = 16, 200_000, 8  # what the node says it has: room for any job that a stage declares

SLURM_CONF = """
ClusterName=trial
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={slurmctld}
SlurmdPort={slurmd}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePass={folder}/munge.socket
AccountingStoragePort={slurmdbd}
AccountingStoreFlags=job_comment
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
ReturnToService=2
SchedulerParameters=sched_interval=2,batch_sched_delay=1
KillWait=5
MinJobAge=300
GresTypes=gpu
NodeName=node NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={mem_mb} Gres=gpu:{gpus} State=UNKNOWN
PartitionName=all Nodes=node Default=YES MaxTime=INFINITE State=UP
"""

SLURMDBD_CONF = """
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdPort={slurmdbd}
SlurmUser=root
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={mariadbd}
StorageUser=root
StorageLoc=accounting
"""

# The first process of the namespace: it starts the daemons and waits for them. Jobs find the configuration where srun looks
# by itself, in a mount that they alone see: Snakemake's plugin takes SLURM_CONF out of what it hands to srun.
FIRST = """
cd {folder}
mount --bind {folder}/etc /etc/slurm || exit 1
munged --foreground --force --key-file=munge.key --socket={folder}/munge.socket --pid-file=munge.pid \
    --log-file=munged.log --seed-file=munge.seed > munged.out 2>&1 &
mariadbd --no-defaults --user=root --datadir={folder}/db --socket={folder}/db.socket --pid-file={folder}/db.pid \
    --bind-address=127.0.0.1 --port={mariadbd} --skip-grant-tables > mariadbd.log 2>&1 &
until [ -S munge.socket ] && (exec 3<> /dev/tcp/127.0.0.1/{mariadbd}) 2> /dev/null; do sleep 0.1; done
slurmdbd -D > slurmdbd.log 2>&1 &
until (exec 3<> /dev/tcp/127.0.0.1/{slurmdbd}) 2> /dev/null; do sleep 0.1; done
sacctmgr --immediate add cluster trial > sacctmgr.log 2>&1
slurmctld -D > slurmctld.log 2>&1 &
until (exec 3<> /dev/tcp/127.0.0.1/{slurmctld}) 2> /dev/null; do sleep 0.1; done
slurmd -D -N node > slurmd.log 2>&1 &
wait
"""


def missing() -> str:
    """Why no Slurm can be started here; empty where one can."""
    absent = [name for name in PROGRAMS if not shutil.which(name, path=_path())]
    if absent:
        return f"{', '.join(absent)} not installed (make slurm)"
    if os.getuid():
        return "only root may start slurmd"
    tried = subprocess.run([*_NAMESPACE, "true"], capture_output=True, text=True)
    return f"no process namespace: {tried.stderr.strip()}" if tried.returncode else ""


_PR_SET_PDEATHSIG = 1
_NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


class Slurm:
    """A running one. environment: what its commands need; jobs ask it for what is there."""

    def __init__(self, folder: Path):
        self.folder = folder
        names = {"SLURM_CONF": f"{folder}/etc/slurm.conf", "PATH": _path()}
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_"))} | names

    def ask(self, *command: str) -> str:
        """What a command of Slurm's prints."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def jobs(self) -> list[dict[str, str]]:
        """All that were ever submitted, one by one: their JobID, State, Comment (which names the rule), ReqMem, Timelimit."""
        fields = ("JobID", "State", "Comment", "ReqMem", "Timelimit")
        table = self.ask("sacct", "--allocations", "--noheader", "--parsable2", f"--format={','.join(fields)}")
        return [dict(zip(fields, line.split("|"))) for line in table.splitlines()]

    def logs(self) -> str:
        """The last lines of every daemon."""
        files = sorted(self.folder.glob("*.log"))
        return "\n".join(f"{file.name}:\n{file.read_text(errors='replace')[-1500:]}" for file in files)


@contextmanager
def started(folder: Path) -> Iterator[Slurm]:
    """A Slurm whose node waits for jobs; its files are in the folder, which is empty. Raises RuntimeError with the daemons'
    logs where it does not come up in a minute."""
    for name in ("etc", "state", "spool", "db"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o600)
    words = dict(zip(("slurmctld", "slurmd", "slurmdbd", "mariadbd"), _free_ports(4)))
    words |= {
        "folder": folder,
        "host": socket.gethostname().split(".")[0],
        "cpus": CPUS,
        "mem_mb": MEM_MB,
        "gpus": GPUS,
    }
    for name, text in {"slurm.conf": SLURM_CONF, "slurmdbd.conf": SLURMDBD_CONF}.items():
        (folder / "etc" / name).write_text(text.format(**words))
        (folder / "etc" / name).chmod(0o600)
    (folder / "etc" / "gres.conf").write_text(f"NodeName=node Name=gpu File={folder}/gpu[0-{GPUS - 1}]\n")
    for number in range(GPUS):
        (folder / f"gpu{number}").touch()
    install = ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={folder}/db", "--skip-test-db"]
    slurm = Slurm(folder)
    subprocess.run(install, env=slurm.environment, check=True, capture_output=True)
    first = subprocess.Popen(
        [*_NAMESPACE, "bash", "-c", FIRST.format(**words)],
        env=slurm.environment,
        stdin=subprocess.DEVNULL,
        preexec_fn=end_with_parent,
    )
    try:
        _wait_for_the_node(slurm, first)
        yield slurm
    finally:
        first.kill()
        first.wait()


def _wait_for_the_node(slurm: Slurm, first: subprocess.Popen) -> None:
    until = time.monotonic() + 60
    while first.poll() is None and time.monotonic() < until:
        said = subprocess.run(
            ["sinfo", "--noheader", "--format=%t"], env=slurm.environment, capture_output=True, text=True
        )
        if said.stdout.strip() == "idle":
            return
        time.sleep(0.2)
    raise RuntimeError(f"Slurm did not come up\n{slurm.logs()}")


def end_with_parent() -> None:
    """Let the kernel kill this process when the one that started it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for free in sockets:
            free.bind(("127.0.0.1", 0))
        return [free.getsockname()[1] for free in sockets]
