"""What runs a network: processors, memory, sharing, power, and kernel libraries with their calibrated unit times."""

from codl.hardware.catalog import HOST, host_folder, host_path, load, names, read, write
from codl.hardware.library import Kernel, Library
from codl.hardware.overrides import overrides
from codl.hardware.predicted import as_predicted
from codl.hardware.schema import Calibration, Hardware, Observed, Spread, json_schema
from codl.hardware.silicon import Cluster, Linear, Memory, Power, Processor, Sharing

__all__ = [
    "HOST", "Calibration", "Cluster", "Hardware", "Kernel", "Library", "Linear", "Memory", "Observed", "Power",
    "Processor", "Sharing", "Spread", "as_predicted", "host_folder", "host_path", "json_schema", "load", "names",
    "overrides", "read", "write",
]  # fmt: skip
