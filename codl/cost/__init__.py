"""Task -> time, bytes, energy: quantised work times learned unit times."""

from codl.cost.model import CostModel, KernelCost, Origin, TaskCost, predictor

__all__ = ["CostModel", "KernelCost", "Origin", "TaskCost", "predictor"]
