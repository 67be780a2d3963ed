"""A laptop, a head and two workers on one Linux box, for tests of `ray up`.

Each "machine" has a network, mounts, processes, home, temporary folder, shared memory, boot id and
sshd of its own: namespaces without names, which end with the process that made them. The network
exists only between them. Python is shared: an environment that imports SinkSweep from
`~/sinksweep`, as the documented installation does, with whatever else the tests run with.
"""

import os
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ADDRESSES = {
    "laptop": "10.0.0.1",
    "head": "10.0.0.10",
    "worker-1": "10.0.0.11",
    "worker-2": "10.0.0.12",
}
HOME = "/mnt/home"
TOOLS = (
    "unshare",
    "nsenter",
    "setpriv",
    "ip",
    "mount",
    "ssh",
    "ssh-keygen",
    "rsync",
    "tmux",
    "git",
)
SSHD = "/usr/sbin/sshd"
_UNSHARE = "unshare --net --mount --uts --ipc --pid --fork --kill-child --mount-proc"
_START_SECONDS = 20.0
# pid 1 of a machine. /tmp is its own, so what is needed of the real one is put back below it.
_INIT = """
set -e
folder=$1; name=$2; shift 2
mount -t tmpfs tmpfs /mnt; mkdir /mnt/home /mnt/keep
number=0
for path in "$@"; do
  mkdir /mnt/keep/$number; mount --rbind "$path" /mnt/keep/$number; number=$((number+1))
done
mount --bind "$folder/home" /mnt/home
mount --bind "$folder/passwd" /etc/passwd
mount --bind "$folder/hosts" /etc/hosts
cat /proc/sys/kernel/random/uuid > /mnt/boot_id
mount --bind /mnt/boot_id /proc/sys/kernel/random/boot_id
hostname "$name"
mount --bind "$folder/tmp" /tmp
number=0
for path in "$@"; do
  mkdir -p "$path"; mount --rbind /mnt/keep/$number "$path"; number=$((number+1))
done
mount -t tmpfs -o size=2g,mode=1777 tmpfs /dev/shm
mount -t tmpfs tmpfs /run; mkdir -p /run/sshd
exec %s -D -e -f /mnt/home/.sshd/config
"""
_SSHD_CONFIG = f"""
HostKey {HOME}/.sshd/key
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
PermitRootLogin prohibit-password
"""
_RAY = """
import os, signal, sys, time
def processes():
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = open(f"/proc/{name}/cmdline").read().replace("\\0", " ")
        except OSError:
            continue
        parts = ("ray/core/src/ray/", "ray/dashboard/", "ray/_private/", "ray/autoscaler/", "ray::")
        if int(name) != os.getpid() and any(part in line for part in parts):
            yield int(name)
def end(number):
    for process in processes():
        try:
            os.kill(process, number)
        except ProcessLookupError:
            pass
if sys.argv[1:2] == ["stop"]:  # by process id, and only what this machine's namespace holds
    end(signal.SIGTERM); time.sleep(1); end(signal.SIGKILL)
else:
    from ray.scripts.scripts import main
    main()
"""
_PROGRAMS = {
    "ray": _RAY,
    "sweep": "from orchestrator.cli import main\nmain()\n",
    "analysis": "from analysis.cli import main\nmain()\n",
    # Everything is there already: what would be installed is noted.
    "pip": "import os, sys\nfile = open(os.path.expanduser('~/pip.log'), 'a')\n"
    "print(*sys.argv[1:], file=file)\n",
}


def missing() -> str | None:
    """Return why the machines cannot be made here; None if they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "namespaces, mounts and sshd need root on Linux"
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    absent += [] if Path(SSHD).exists() else ["sshd (openssh-server)"]
    if absent:
        return f"not installed: {', '.join(absent)}"
    command = f"{_UNSHARE} sh -c 'mount -t tmpfs tmpfs /mnt && ip link add br0 type bridge'"
    done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=False)
    return f"no namespaces here: {done.stderr.strip()[:200]}" if done.returncode else None


class Machine:
    """One of them, running."""

    def __init__(self, name: str, folder: Path, keep: list[str]) -> None:
        self.name, self.folder = name, folder
        # With the test's process, however it ends, go this one's and with that everything inside.
        command = ["setpriv", "--pdeathsig", "KILL", *shlex.split(_UNSHARE), "bash", "-c"]
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [*command, _INIT % SSHD, "init", str(folder), name, *keep],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": HOME},
                start_new_session=True,
            )
        self.init = self._child()

    def command(self, line: str) -> list[str]:
        """Return the command that runs a line in a login shell of the machine."""
        enter = ["nsenter", "-t", str(self.init), "-m", "-u", "-i", "-n", "-p"]
        clean = ["env", "-i", f"HOME={HOME}", "PATH=/usr/bin:/bin:/usr/sbin:/sbin", "LANG=C.UTF-8"]
        return [*enter, *clean, "bash", "--login", "-c", f"cd; {line}"]

    def run(self, line: str, *, check: bool = True, timeout: float = 900) -> str:
        """Run a line there; return what it printed, errors included."""
        done = subprocess.run(
            self.command(line),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"{self.name}: {line}\n{done.returncode}: {done.stdout}"
        return done.stdout

    def network(self, *arguments: str) -> None:
        """Change the machine's network."""
        subprocess.run(["nsenter", "-t", str(self.init), "-n", "ip", *arguments], check=True)

    def end(self) -> None:
        """Switch it off: the kernel ends everything inside."""
        self.process.kill()
        self.process.wait()

    def _child(self) -> int:
        deadline = time.monotonic() + _START_SECONDS
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        while time.monotonic() < deadline:
            if (found := children.read_text().split()) and (self.process.poll() is None):
                return int(found[0])
            time.sleep(0.02)
        raise AssertionError(f"{self.name} does not start: {(self.folder / 'log').read_text()}")


@contextmanager
def machines(
    environment: Mapping[str, str] | None = None,
    change: Callable[[Path], object] = lambda checkout: None,
) -> Iterator[dict[str, Machine]]:
    """Start the four; the laptop has a checkout in ~/sinksweep and reaches the others by SSH.

    environment: what is set for everyone who comes in by SSH, as /etc/environment would.
    change: what is done to the files of the checkout before they are committed there.
    """
    with tempfile.TemporaryDirectory(prefix="ss", ignore_cleanup_errors=True) as scratch:
        root = Path(scratch)
        root.chmod(0o755)
        _make_environment(root / "env")
        folders = {name: _make_folder(root, name, environment or {}) for name in ADDRESSES}
        _make_checkout(folders["laptop"] / "home" / "sinksweep", change)
        keep = [
            path
            for path in dict.fromkeys((str(root), *_python_folders()))
            if path.startswith("/tmp/")
        ]
        with ExitStack() as stack:
            found = {}
            for name, folder in folders.items():
                found[name] = Machine(name, folder, keep)
                stack.callback(found[name].end)
            _connect(found)
            _wait_for_ssh(found["laptop"])
            yield found


def _make_environment(folder: Path) -> None:
    """Make the environment of all nodes: Python, `~/sinksweep`, and what this process sees."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    seen = [path for path in sys.path if path.endswith("-packages") and Path(path).is_dir()]
    (packages / "shared.pth").write_text("\n".join([f"{HOME}/sinksweep", *seen, ""]))
    for name, code in _PROGRAMS.items():
        script = folder / "bin" / name
        script.write_text(f"#!{folder}/bin/python\n{code}")
        script.chmod(script.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def _make_folder(root: Path, name: str, environment: Mapping[str, str]) -> Path:
    folder = root / name
    for part in ("home/.ssh", "home/.sshd", "tmp"):
        (folder / part).mkdir(parents=True)
    (folder / "tmp").chmod(0o1777)
    lines = Path("/etc/passwd").read_text().splitlines()
    others = [line for line in lines if not line.startswith("root:")]
    (folder / "passwd").write_text("\n".join([f"root:x:0:0:root:{HOME}:/bin/bash", *others, ""]))
    names = [f"{address} {name}" for name, address in ADDRESSES.items()]
    (folder / "hosts").write_text("\n".join(["127.0.0.1 localhost", *names, ""]))
    home = folder / "home"
    for skeleton in (".bashrc", ".profile"):
        if Path("/etc/skel", skeleton).exists():
            shutil.copy(f"/etc/skel/{skeleton}", home)
    (home / "sinksweep-venv").symlink_to(root / "env")
    settings = " ".join(f"{key}={value}" for key, value in environment.items())
    given = f"SetEnv {settings}\n" if settings else ""
    (home / ".sshd" / "config").write_text(_SSHD_CONFIG + given)
    _make_key(home / ".sshd" / "key")
    own = root / "laptop" / "home" / ".ssh" / "id_ed25519"  # how its user got in so far
    if name == "laptop":
        _make_key(own)
        (home / ".ssh" / "config").write_text("StrictHostKeyChecking accept-new\n")
        (home / ".profile").write_text('. ~/.bashrc\nPATH="$HOME/sinksweep-venv/bin:$PATH"\n')
    else:
        shutil.copy(f"{own}.pub", home / ".ssh" / "authorized_keys")
    return folder


def _make_key(path: Path) -> None:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(command, check=True)


def _make_checkout(folder: Path, change: Callable[[Path], object]) -> None:
    """Copy the files that git would know here, change them, and commit them there."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    change(folder)
    author = ["-c", "user.name=tests", "-c", "user.email=tests@localhost", "-c", "gc.auto=0"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        subprocess.run(
            ["git", *author, *command], cwd=folder, check=True, stdout=subprocess.DEVNULL
        )


def _python_folders() -> Iterator[str]:
    yield from (sys.prefix, sys.base_prefix)
    yield from (path for path in sys.path if path.endswith("-packages"))


def _connect(found: Mapping[str, Machine]) -> None:
    laptop = found["laptop"]
    laptop.network("link", "set", "lo", "up")
    laptop.network("link", "add", "br0", "type", "bridge")
    laptop.network("addr", "add", f"{ADDRESSES['laptop']}/24", "dev", "br0")
    laptop.network("link", "set", "br0", "up")
    for name, machine in found.items():
        if name == "laptop":
            continue
        peer = ["peer", "name", "eth0", "netns", str(machine.init)]
        laptop.network("link", "add", f"to-{name}", "type", "veth", *peer)
        laptop.network("link", "set", f"to-{name}", "master", "br0", "up")
        machine.network("link", "set", "lo", "up")
        machine.network("addr", "add", f"{ADDRESSES[name]}/24", "dev", "eth0")
        machine.network("link", "set", "eth0", "up")
        machine.network("route", "add", "default", "via", ADDRESSES["laptop"])


def _wait_for_ssh(laptop: Machine) -> None:
    for name in ("head", "worker-1", "worker-2"):
        once = f"ssh -o ConnectTimeout=2 {name} true && exit 0; sleep 0.1"
        laptop.run(f"for i in $(seq 100); do {once}; done; exit 1")
