from codl.plan.evaluate import plan_latency
def optimal_chains(problem, candidates):
    return min(candidates, key=lambda c: problem.objective(plan_latency(problem.graph, problem.plan("x", c), problem.cost)))
