"""Fan-out over a toy stage: real Prefect, real processes, a real work store."""

import importlib
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from flows import fan_out as module
from flows.fan_out import FanOut, ShardsFailed, fan_out
from flows.shard_workers import WorkerDied, Workers, WorkersClosed
from tasks.in_use import read_in_use
from tasks.params import InputError, Params, load_params
from tasks.work_store import WorkStore

ROOT = Path(__file__).parents[2]

STAGE = """
import os, pathlib, signal, threading, time
from dataclasses import dataclass
from tasks.params import InputError
from tasks.work_store import Shard

@dataclass(frozen=True)
class Job:
    name: str
    behaviour: str

    @property
    def fingerprint(self):
        return "f" + self.name

    @property
    def ids(self):
        return [self.name + "-1", self.name + "-2"]

def shard_jobs(params, root):
    for line in (root / "plan").read_text().splitlines():
        yield Job(*line.split())

def once(path):
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True

def compute_shard(job, root, device=None):
    with open(root / "log", "a") as log:
        log.write(f"{job.name} {os.getpid()} {threading.get_ident()} {device}\\n")
    if job.behaviour == "dies" or (job.behaviour == "dies_once" and once(root / job.name)):
        os.kill(os.getpid(), signal.SIGKILL)
    if job.behaviour == "refuses":
        raise InputError("x: wrong; right it")
    if job.behaviour == "fails":
        raise ValueError("a bad row")
    time.sleep({"hangs": 300, "sleeps": 1}.get(job.behaviour, 0.05))
    return Shard(job.name.encode() * 1000, [{"name": job.name}])
"""


@pytest.fixture
def house(tmp_path: Path, prefect_server: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "toy_stage.py").write_text(STAGE)
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "toy_stage", raising=False)
    monkeypatch.setitem(module.SHARDED, "toy", ("toy_stage", "toy_stage"))
    return tmp_path


def plan(house: Path, **behaviours: str) -> None:
    (house / "plan").write_text("".join(f"{name} {how}\n" for name, how in behaviours.items()))


def computed(house: Path) -> list[list[str]]:
    return [line.split() for line in (house / "log").read_text().splitlines()]


def whole(house: Path) -> set[str]:
    store = WorkStore("toy", house)
    names = [line.split()[0] for line in (house / "plan").read_text().splitlines()]
    return {name for name in names if store.verify(f"f{name}")}


@pytest.mark.parametrize("runner", ["threads", "processes"])
def test_computes_what_is_missing_and_nothing_twice(house: Path, runner: str) -> None:
    names = [f"s{number}" for number in range(8)]
    plan(house, **dict.fromkeys(names[:3], "works"))
    how = FanOut.model_validate({"runner": runner, "workers": 2})
    assert fan_out("toy", how) == 3
    plan(house, **dict.fromkeys(names, "works"))
    assert fan_out("toy", how) == 5
    assert fan_out("toy", how) == 0
    assert read_in_use("toy", house) == {f"f{name}" for name in names}
    assert sorted(name for name, *_ in computed(house)) == names
    finished = WorkStore("toy", house).find("fs4")
    assert finished is not None
    assert finished.path.read_bytes() == b"s4" * 1000
    assert finished.entries == [{"name": "s4"}]
    processes = {process for _, process, *_ in computed(house)[3:]}
    if runner == "threads":
        assert processes == {str(os.getpid())}
    else:
        assert len(processes) == 2 and str(os.getpid()) not in processes


def test_a_shard_whose_worker_is_killed_is_computed_again(house: Path) -> None:
    plan(house, a="works", b="dies_once", c="works")
    how = FanOut(runner="processes", workers=2)
    assert fan_out("toy", how) == 3
    assert whole(house) == {"a", "b", "c"}
    processes = [process for name, process, *_ in computed(house) if name == "b"]
    assert len(set(processes)) == 2


def test_a_poisoned_shard_is_named_with_its_samples_and_the_others_finish(house: Path) -> None:
    plan(house, a="works", b="dies", c="fails", d="refuses", e="works")
    with pytest.raises(ShardsFailed) as failed:
        fan_out("toy", FanOut(runner="processes", workers=2, retries=2))
    assert whole(house) == {"a", "e"}
    tries = [name for name, *_ in computed(house)]
    assert [tries.count(name) for name in "abcde"] == [1, 3, 3, 1, 1]
    message = str(failed.value)
    assert message.startswith("3 shards could not be computed; 2 others were, and are kept.")
    assert "b (samples b-1, b-2): its worker ended with status -9" in message
    assert "c (samples c-1, c-2): ValueError: a bad row" in message
    assert "d (samples d-1, d-2): x: wrong; right it" in message


def test_workers_end_at_once_and_start_no_more(house: Path) -> None:
    plan(house, a="hangs")
    (job,) = importlib.import_module("toy_stage").shard_jobs(None, house)
    ended: list[BaseException] = []
    with Workers("toy_stage", house, [None], own_processes=True) as workers:

        def ask() -> None:
            try:
                workers.compute(job)
            except Exception as error:
                ended.append(error)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        while not (house / "log").exists():
            time.sleep(0.05)
    for thread in threads:
        thread.join(10)
    assert {type(error) for error in ended} == {WorkerDied, WorkersClosed}
    assert len(computed(house)) == 1


def test_ray_without_a_server_or_address_is_told(
    house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = FanOut(runner="ray", address="ray://127.0.0.1:9")
    with monkeypatch.context() as patch:
        patch.setattr(module.PREFECT_API_URL, "value", lambda: None)
        with pytest.raises(InputError, match="ray needs a Prefect server"):
            fan_out("toy", how)
    pytest.importorskip("prefect_ray", reason="Ray is not installed (make ray)")
    with pytest.raises(InputError, match=r"nothing answers at 'ray://127.0.0.1:9'"):
        fan_out("toy", how)


def asking_for(device: str) -> Params:
    params = load_params(ROOT / "params.yaml")
    section = params.sample_images.model_copy(update={"device": device})
    return params.model_copy(update={"sample_images": section})


@pytest.mark.parametrize(
    ("device", "devices"),
    [("cuda", ["cuda:0", "cuda:1"]), ("cuda:1", ["cuda:1"]), ("cpu", [None, None, None])],
)
def test_each_worker_has_a_gpu_of_its_own(
    monkeypatch: pytest.MonkeyPatch, device: str, devices: list[str | None]
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    params, most = asking_for(device), len(devices)
    assert module._devices(params, FanOut(runner="processes", workers=most)) == devices
    if device != "cpu":
        with pytest.raises(InputError, match=rf"^fan_out.workers: {most + 1} .* most {most}$"):
            module._devices(params, FanOut(runner="threads", workers=most + 1))


def test_ray_s_machines_compute_on_what_they_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """The head needs no GPU; what ``auto`` means there, it does not mean elsewhere."""
    monkeypatch.setattr(module, "choose_device", lambda _: pytest.fail("asked for a device here"))
    how = FanOut(runner="ray", workers=2)
    assert module._devices(asking_for("cuda"), how) == [None, None]
    with pytest.raises(InputError, match=r"sample_images\.device: auto is what this machine has"):
        module._devices(asking_for("auto"), how)


@pytest.mark.slow
def test_a_ray_node_that_goes_in_mid_run_costs_no_shard(house: Path) -> None:
    pytest.importorskip("prefect_ray", reason="Ray is not installed (make ray)")
    import ray
    from ray.cluster_utils import Cluster

    names = [f"s{number}" for number in range(10)]
    plan(house, **dict.fromkeys(names, "sleeps"))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        lost = cluster.add_node(num_cpus=1)
        cluster.add_node(num_cpus=1)
        how = FanOut(
            runner="ray",
            workers=2,
            address=cluster.address,
            folder=str(house),
            runtime_env={"env_vars": {"PYTHONPATH": f"{house}:{ROOT}"}},
        )

        def lose_a_node() -> None:
            while not (house / "log").exists() or len(computed(house)) < 3:
                time.sleep(0.05)
            cluster.remove_node(lost, allow_graceful=False)

        thread = threading.Thread(target=lose_a_node)
        thread.start()
        assert fan_out("toy", how) == len(names)
        thread.join()
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert whole(house) == set(names)
    assert len(computed(house)) > len(names)  # what was in hand there was begun twice
