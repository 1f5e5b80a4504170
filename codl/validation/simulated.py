"""Simulated runs of the paper's networks on its phones, each made once."""

from __future__ import annotations

from pathlib import Path

from codl import hardware as hw
from codl.cost.erring import ErringCosts
from codl.runs import IDEAL, Prepared, Row, Workspace, simulated_row

SNAPDRAGONS, KIRIN = ("sd855", "sd865", "sd888"), "kirin990"
PHONES = (*SNAPDRAGONS, KIRIN)
MODELS = ("retinaface", "yolov2", "vgg16", "posenet", "fst")
PLANS = Path(__file__).resolve().parent / "plans"
"""The authors' own tuned plans, from the published artifact of CoDL (MobiSys '22, doi 10.1145/3498361.3538932)."""


class Runs:
    """Runs by phone, model and planner.

    Args:
        folder: where the phones' hardware files are; the packaged ones if it is not given.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._workspaces: dict[tuple[str, str], Workspace] = {}
        self._prepared: dict[tuple[str, str, str], Prepared] = {}
        self._rows: dict[tuple[str, str, str, str], Row] = {}

    def workspace(self, phone: str, data_type: str = "auto") -> Workspace:
        key = (phone, data_type)
        if key not in self._workspaces:
            name = phone if self.folder is None else str(self.folder / f"{phone}.yaml")
            self._workspaces[key] = Workspace(hw.load(name), data_type)
        return self._workspaces[key]

    def other_data_type(self, phone: str) -> str:
        """The GPU's data type that MACE does not choose there."""
        return str(self.workspace(phone).hardware.processors["gpu"].data_types[1])

    def prepared(self, phone: str, model: str, planner: str) -> Prepared:
        key = (phone, model, planner)
        if key not in self._prepared:
            self._prepared[key] = self.workspace(phone).prepare(f"paper/{model}", planner)
        return self._prepared[key]

    def misplanned_ms(self, phone: str, model: str, redraw: int) -> float:
        """Simulated latency of `codl`'s plan by predictions that err, simulated with the costs that are not perturbed.
        Every redraw has errors of its own, the same on each call."""
        workspace, name = self.workspace(phone), f"paper/{model}"
        believed = ErringCosts.drawn(workspace.hardware, workspace.graph(name), f"{phone} {model} {redraw}")
        return workspace.prepare(name, "codl", believed).simulate().latency_ns / 1e6

    def has_plan(self, phone: str, model: str) -> bool:
        """Whether the authors' plan is known."""
        return (PLANS / f"{phone}_{model}.json").exists()

    def replay(self, phone: str, model: str) -> Prepared:
        """The authors' plan."""
        return self.workspace(phone).follow(f"paper/{model}", PLANS / f"{phone}_{model}.json")

    def row(self, phone: str, model: str, planner: str, data_type: str = "auto") -> Row:
        """With a data type, the plan's decisions with that type's kernels."""
        key = (phone, model, planner, data_type)
        if key not in self._rows:
            self._rows[key] = self._row(phone, model, planner, data_type)
        return self._rows[key]

    def _row(self, phone: str, model: str, planner: str, data_type: str) -> Row:
        if planner == IDEAL:
            return self.workspace(phone).bound(f"paper/{model}")
        run = self.prepared(phone, model, planner)
        if data_type != "auto":
            run = self.workspace(phone, data_type).reuse(run.plan)
        return simulated_row(run, run.simulate())

    def values(self, phone: str, planner: str, key: str = "latency_ms", data_type: str = "auto") -> list[float | None]:
        """One field of the rows of all networks."""
        return [self.row(phone, model, planner, data_type)[key] for model in MODELS]
