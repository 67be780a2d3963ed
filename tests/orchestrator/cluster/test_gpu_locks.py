import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cluster import connection
from orchestrator.cluster.gpu_locks import Gpu, held_gpus, visible_gpus
from orchestrator.errors import ClusterError

GPUS = [Gpu("0", "GPU-aaaa"), Gpu("1", "GPU-bbbb")]


def test_a_second_sweep_gets_the_gpus_that_the_first_does_not_hold(tmp_path: Path) -> None:
    with held_gpus(GPUS[:1], tmp_path) as first:
        assert (first.visible, first.restricted) == (("GPU-aaaa",), False)
        with held_gpus(GPUS, tmp_path) as second:
            assert (second.visible, second.restricted) == (("GPU-bbbb",), True)


def test_if_every_gpu_is_taken_the_sweep_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with (
        held_gpus(GPUS, tmp_path),
        pytest.raises(ClusterError, match=r"in use by another sweep.*resources.gpus=0"),
        held_gpus(GPUS, tmp_path),
    ):
        pass


def test_gpus_are_free_again_after_a_sweep(tmp_path: Path) -> None:
    for _ in range(2):
        with held_gpus(GPUS, tmp_path) as held:
            assert len(held.visible) == 2


def test_a_killed_process_holds_no_gpu(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, time; from orchestrator.cluster.gpu_locks import Gpu, held_gpus;"
        "held = held_gpus([Gpu('0', 'GPU-aaaa')], pathlib.Path(sys.argv[1])); held.__enter__();"
        "print('held', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    with pytest.raises(ClusterError), held_gpus(GPUS[:1], tmp_path):
        pass
    child.kill()
    child.communicate()
    with held_gpus(GPUS[:1], tmp_path) as held:
        assert held.visible == ("GPU-aaaa",)


def test_a_machine_without_gpus_locks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert visible_gpus() == []
    with held_gpus() as held:
        assert (held.visible, held.restricted) == ((), False)


def test_the_visible_devices_of_the_environment_are_respected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho '0, GPU-aaaa'\necho '1, GPU-bbbb'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    for value, found in (("1,0", ["1", "0"]), ("GPU-bb", ["1"]), ("", []), ("7", [])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
        assert [gpu.index for gpu in visible_gpus()] == found
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_gpus() == GPUS


@pytest.mark.parametrize("exists", [True, False])
def test_the_token_of_ray_is_for_its_owner_alone(tmp_path: Path, exists: bool) -> None:
    token = tmp_path / "ray" / "auth_token"
    if exists:
        token.parent.mkdir()
        token.write_text("secret")
        token.chmod(0o644)
    connection.protect_token(token)
    assert token.stat().st_mode & 0o777 == 0o600
    assert (token.read_text() == "secret") is exists
    assert len(token.read_text()) >= 6
