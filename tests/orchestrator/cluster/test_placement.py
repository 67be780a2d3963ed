import pytest

from orchestrator.cluster.placement import Node, Request, describe_room, requests
from orchestrator.errors import ResourcesError
from orchestrator.sweep import Resources


def node(name: str | None = "n", cpus: int = 8, gpus: int = 0, kind: str | None = None) -> Node:
    return Node(name, cpus, gpus, frozenset([kind] if kind else []))


def test_every_gpu_gets_one_evaluator() -> None:
    found = requests(Resources(), [node("a", gpus=4), node("b", gpus=2), node("c")], [])
    assert found == [Request(1, 0)] * 6


def test_gpus_that_the_autoscaler_could_start_are_asked_for() -> None:
    head = node("head", cpus=0)
    assert requests(Resources(), [head], [node(None, gpus=1)] * 5) == [Request(1, 0)] * 5


def test_without_a_gpu_anywhere_each_node_gets_one_evaluator_with_all_its_threads() -> None:
    found = requests(Resources(), [node("a", cpus=8), node("b", cpus=4), node("h", cpus=0)], [])
    assert found == [Request(0, 8, node_id="a"), Request(0, 4, node_id="b")]
    assert [request.num_threads for request in found] == [8, 4]


def test_cpus_per_evaluation_divide_a_node_where_nothing_is_timed() -> None:
    found = requests(Resources(cpus=3), [node("a", cpus=8)], [])
    assert found == [Request(0, 3, node_id="a")] * 2


def test_a_timed_evaluation_has_its_node_to_itself_whatever_its_threads() -> None:
    nodes = [node("a", cpus=8), node("b", cpus=2)]
    found = requests(Resources(cpus=3), nodes, [], timed=True)
    assert found == [Request(0, 3, node_id="a")]


def test_an_accelerator_leaves_other_nodes_out() -> None:
    nodes = [node("a", gpus=2, kind="T4"), node("b", gpus=4, kind="A100")]
    assert requests(Resources(accelerator="T4"), nodes, []) == [Request(1, 0, "T4")] * 2


def test_cpus_can_be_asked_for_on_a_machine_with_gpus() -> None:
    found = requests(Resources(gpus=0), [node("a", gpus=2)], [])
    assert found == [Request(0, 8, node_id="a")]


@pytest.mark.parametrize(
    ("resources", "named"),
    [
        (Resources(gpus=1), ["1 GPU", "0 GPUs in all", "--set resources.gpus=0"]),
        (Resources(cpus=64), ["64 CPUs", "at most 8 CPUs on a node", "resources.cpus"]),
        (Resources(gpus=1, accelerator="H100"), ["accelerator H100", "accelerators: none"]),
        (Resources(gpus=1, accelerator="H100"), ["--set resources.accelerator=null"]),
        (Resources(gpus=0, accelerator="H100"), ["--set resources.accelerator=null"]),
        (Resources(gpus=2), ["0 or 1 per evaluation for now, got 2"]),
    ],
)
def test_what_cannot_be_had_is_refused_with_what_there_is(
    resources: Resources, named: list[str]
) -> None:
    with pytest.raises(ResourcesError) as refusal:
        requests(resources, [node()], [])
    assert all(part in str(refusal.value) for part in named)
    assert refusal.value.exit_code == 2
    assert "\n" not in str(refusal.value)


def test_the_resource_map_of_ray_is_understood() -> None:
    ray = {"CPU": 16.0, "GPU": 2.0, "accelerator_type:A100": 1.0, "memory": 1e9, "node:1.2.3.4": 1}
    assert Node.from_resources(ray, node_id="x") == Node("x", 16, 2, frozenset(["A100"]))


def test_the_summary_says_how_timings_came_about() -> None:
    assert describe_room(Request(0, 1, node_id="a"), 1, alone=True) == (
        "on CPUs, one evaluation at a time per node, 1 thread each: timings are CPU timings"
    )
    assert describe_room(Request(0, 2), 3, alone=False).startswith("on CPUs, up to 3 at a time")
