"""The planners by name, and the one entry to all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from codl.cost import CostModel
from codl.errors import InputError
from codl.graph import Graph
from codl.hardware import Hardware
from codl.ops import Dimension
from codl.plan.chaining import greedy
from codl.plan.layouts import with_layouts
from codl.plan.model import Chain, Plan
from codl.plan.optimal import optimal_chains
from codl.plan.problem import OBJECTIVES, Problem, Weights
from codl.plan.singles import Isolated, best_placement, singles

Planner = Callable[[Problem], list[Chain]]

H, OC = (Dimension.HEIGHT,), (Dimension.OUTPUT_CHANNEL,)
BOTH = (*H, *OC)


def make_plan(
    graph: Graph,
    hardware: Hardware,
    cost: CostModel,
    planner: str,
    *,
    data_type: str = "auto",
    delta: float = 0.3,
    ratio_step: float = 0.1,
    objective: str = "latency",
    believed: CostModel | None = None,
) -> Plan:
    """A plan for a graph on a hardware description.

    Args:
        cost: costs of this graph on this hardware; replaced by another model where the data type asks for one.
        planner: one of `PLANNERS`.
        data_type: layout on the GPU: `auto` (its preferred one; muLayer's is always `buffer`), `buffer` or `image`.
        delta: largest difference between a chain's ratio and its operators' own (planner `codl`).
        ratio_step: distance of the ratios that are tried (`h`, `oc`, `hybrid`, `codl`).
        objective: `latency`, `energy` (of the whole device, idle power included) or `edp`, their product.
        believed: the costs that the planner decides by, where it is not to know those that its plan is priced with.

    Raises:
        InputError: an unknown planner, data type or objective, or a number out of range.
        UncalibratedError: a constant that a prediction needs is missing.
    """
    if objective not in OBJECTIVES:
        raise InputError(f"unknown objective {objective!r}; allowed: {', '.join(OBJECTIVES)}")
    started = time.perf_counter()
    believed = believed or cost
    if planner in PREDICTING:
        believed = believed.as_predicted()

    def posed(costs: CostModel) -> Problem:
        return make_problem(graph, hardware, costs, planner, data_type=data_type, delta=delta, ratio_step=ratio_step)

    problem = posed(cost)
    decided = _search(PLANNERS[planner], problem if believed is cost else posed(believed), objective)
    return problem.plan(planner, decided, started)


def make_problem(
    graph: Graph, hardware: Hardware, cost: CostModel, planner: str, *, data_type: str = "auto", delta: float = 0.3,
    ratio_step: float = 0.1,
) -> Problem:  # fmt: skip
    """The problem that `make_plan` solves, with the same arguments and errors."""
    if planner not in PLANNERS:
        raise InputError(f"unknown planner {planner!r}; allowed: {', '.join(PLANNERS)}")
    if not 0 < ratio_step <= 0.5:
        raise InputError(f"ratio step {ratio_step}: must lie in (0, 0.5]")
    if not 0 <= delta <= 1:
        raise InputError(f"delta {delta}: must lie in [0, 1]")
    cost = with_layouts(cost, "buffer" if planner == "mulayer" and data_type == "auto" else data_type)
    return Problem(graph, hardware, cost, delta, ratio_step)


def _search(planner: Planner, problem: Problem, objective: str) -> list[Chain]:
    """Run a planner with the weights that the objective comes to."""
    idle = problem.hardware.power.idle / 1e9
    if objective == "latency":
        return planner(problem)
    if objective == "energy":
        return planner(problem.weighted(Weights(idle, 1.0)))
    return _product(planner, problem, idle)


def _product(planner: Planner, problem: Problem, idle: float) -> list[Chain]:
    """The least energy-delay product: its linearisation at the best plan so far is minimised until nothing improves."""
    best, lowest = planner(problem), np.inf
    chains = best
    for _ in range(4):
        latency = problem.latency(chains)
        product = latency.total_ns * latency.joules
        if product >= lowest:
            break
        best, lowest = chains, product
        # d(T * E) = E dT + T dE, with E = kernels' joules + idle * T
        weights = Weights(latency.joules / latency.total_ns + idle, 1.0)
        chains = planner(problem.weighted(weights))
    return best


def _cpu(problem: Problem) -> list[Chain]:
    """Everything on the CPU."""
    return _on(problem, problem.cpu, "cpu")


def _gpu(problem: Problem) -> list[Chain]:
    """Everything that it can run on the GPU."""
    return _on(problem, problem.gpu or (problem.pair[0] if len(problem.pair) > 1 else None), "gpu")


def _on(problem: Problem, name: str | None, kind: str) -> list[Chain]:
    if name is None:
        raise InputError(f"{problem.hardware.name}: no processor of kind {kind}; it has {', '.join(problem.pair)}")
    wanted = problem.pair.index(name)
    chains = []
    for index in range(len(problem.graph)):
        able = problem.placements(index)
        chains.append(problem.placed(index, wanted if wanted in able else able[0]))
    return chains


def _along(*dimensions: Dimension) -> Planner:
    """Every operator at its own best ratio along these dimensions, no chains."""

    def plan(problem: Problem) -> list[Chain]:
        return [decision.chain(problem) for decision in singles(problem, dimensions)]

    return plan


def _codl(problem: Problem) -> list[Chain]:
    """Hybrid dimensions and greedy chains (algorithm 1)."""
    return [decision.chain(problem) for decision in greedy(problem, BOTH).chained]


def _mulayer(problem: Problem) -> list[Chain]:
    """muLayer as the paper describes its baseline.

    Latency is taken to be proportional to FLOPs on either processor, at rates fitted by least squares to this model's
    whole operators; every operator is cut along its output channels so that both rates would end together, without
    regard to sharing costs. What has no FLOPs or no channels to cut goes to the processor that would be faster.
    """
    if len(problem.pair) < 2:
        return [best_placement(Isolated(problem), index).chain(problem) for index in range(len(problem.graph))]
    wholes = [np.array([problem.tables.whole(i, p)[0] for i in range(len(problem.graph))]) for p in (0, 1)]
    flops = np.array([problem.flops(i) for i in range(len(problem.graph))])
    rates = [float(flops @ ns / (flops @ flops)) if flops.any() else 1.0 for ns in wholes]
    share = rates[1] / (rates[0] + rates[1])  # ns a FLOP: the slower processor gets less
    isolated = Isolated(problem)
    chains = []
    for index in range(len(problem.graph)):
        cut = problem.nearest(index, *OC, share) if flops[index] else 0
        if cut:
            chains.append(problem.split(index, index, *OC, cut))
        else:
            chains.append(best_placement(isolated, index).chain(problem))
    return chains


def _optimal(problem: Problem) -> list[Chain]:
    """The best of everything under the cost model."""

    def others() -> Iterator[list[Chain]]:
        decided = greedy(problem, BOTH)
        for decisions in (decided.chained, decided.alone, singles(problem, H), singles(problem, OC)):
            yield [decision.chain(problem) for decision in decisions]

    return optimal_chains(problem, others)


PLANNERS: dict[str, Planner] = {
    "cpu": _cpu,
    "gpu": _gpu,
    "mulayer": _mulayer,
    "h": _along(*H),
    "oc": _along(*OC),
    "hybrid": _along(*BOTH),
    "codl": _codl,
    "optimal": _optimal,
}
"""Every planner by the name that the command line uses."""

PREDICTING = frozenset({"h", "oc", "hybrid", "codl"})
"""The paper's planners, which decide by its latency predictors."""
