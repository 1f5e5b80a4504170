"""What runs a network: processors, memory, sharing, power, and kernel libraries with their calibrated unit times."""

from codl.hardware.catalog import HOST, host_folder, host_path, load, names, read, write
from codl.hardware.overrides import overrides
from codl.hardware.schema import (
    Calibration,
    Cluster,
    Hardware,
    Kernel,
    Library,
    Linear,
    Memory,
    Observed,
    Power,
    Processor,
    Sharing,
    Spread,
    json_schema,
)

__all__ = [
    "HOST", "Calibration", "Cluster", "Hardware", "Kernel", "Library", "Linear", "Memory", "Observed", "Power",
    "Processor", "Sharing", "Spread", "host_folder", "host_path", "json_schema", "load", "names", "overrides", "read",
    "write",
]  # fmt: skip
