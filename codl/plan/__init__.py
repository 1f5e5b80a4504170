"""Deciding: partition geometry, the plan, the planners, and lowering a plan to tasks."""
