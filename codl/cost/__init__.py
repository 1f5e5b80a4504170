"""Task -> time, bytes, energy: quantised work times learned unit times."""

from codl.cost.model import CostModel, KernelCost, TaskCost, predictor

__all__ = ["CostModel", "KernelCost", "TaskCost", "predictor"]
