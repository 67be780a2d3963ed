"""The order of a queue: comparisons stay together, on one evaluator and in one driver's share."""

from orchestrator.driver.queue import Queue
from orchestrator.sweep import PlannedEvaluation
from workers.contract.spec import EvalSpec

TEXT = {"model": "demo", "dataset": "pydoc"}


def spec(method: str, budget: int, n_sink: int = 4, **changes: object) -> EvalSpec:
    fields = {**TEXT, "method": method, "n_sink": n_sink, "window_size": budget - n_sink, **changes}
    return EvalSpec(**fields)  # type: ignore[arg-type]


def queue_of(*specs: EvalSpec) -> Queue:
    return Queue([PlannedEvaluation(one, 0, 0) for one in specs], range(len(specs)))


PAIRS = [spec(method, budget) for method in ("streaming", "recompute") for budget in (512, 64)]


def drained(queue: Queue) -> list[tuple[str, int | None]]:
    found, last = [], None
    while run_ids := queue.pop(None, 1, last):
        (last,) = run_ids
        found.append((queue.planned(last).spec.method, queue.planned(last).spec.budget))
    return found


def test_cheap_comparisons_come_first_each_with_its_baseline_at_its_head() -> None:
    assert drained(queue_of(*PAIRS)) == [
        ("recompute", 64),
        ("streaming", 64),
        ("recompute", 512),
        ("streaming", 512),
    ]


def test_two_evaluators_take_a_comparison_each() -> None:
    queue = queue_of(*PAIRS)
    (first,), (second,) = queue.pop(None, 1), queue.pop(None, 1)
    budgets = [queue.planned(run_id).spec.budget for run_id in (first, second)]
    assert budgets == [64, 512]
    (third,), (fourth,) = queue.pop(None, 1, second), queue.pop(None, 1, first)
    assert [queue.planned(run_id).spec.budget for run_id in (third, fourth)] == [512, 64]
    assert len(queue) == 0


def test_an_evaluator_without_other_work_helps_with_a_comparison_that_was_begun() -> None:
    queue = queue_of(*(spec("streaming", 64, n_sink) for n_sink in (0, 1, 2, 4)))
    taken = [queue.pop(None, 1) for _ in range(4)]
    assert sorted(run_id for (run_id,) in taken) == sorted(queue.places)
    assert queue.pop(None, 1) == []


def test_what_is_not_timed_need_not_stay_on_one_evaluator() -> None:
    queue = queue_of(*(spec(m, 64, measure=("quality",)) for m in ("recompute", "streaming")))
    (first,), (second,) = queue.pop(None, 1), queue.pop(None, 1)
    assert {first, second} == set(queue.places)


def test_drivers_share_whole_comparisons() -> None:
    specs = [spec(m, b) for b in range(20, 60) for m in ("streaming", "recompute")]
    shares = []
    for rank in range(2):
        queue = queue_of(*specs)
        queue.split((rank, 2))
        shares.append({budget for _, budget in drained(queue)})
    assert shares[0].isdisjoint(shares[1])
    assert shares[0] | shares[1] == set(range(20, 60))


def test_no_evaluator_goes_on_with_what_another_driver_has_under_way() -> None:
    queue = queue_of(*(spec("streaming", 64, n_sink) for n_sink in (0, 1, 2)))
    (first,) = queue.pop(None, 1)
    second, third = (run_id for run_id in queue.places if run_id != first)
    queue.hold({second})
    assert queue.pop(None, 1, first) == [third]
    assert queue.pop(None, 1, third) == []
    queue.hold(set())
    assert queue.pop(None, 1, third) == [second]
