"""Native devices: the host's cores driven by codl itself, without OpenCL.

A native device takes part wherever an OpenCL device does. Its kernels are compiled by numba (`codl.ops.native`); its
queues collect commands until they are flushed, and hand them as one list to threads that go through it together
(`engine`), so that a command costs neither a launch nor a thread that has to be woken.

Nothing here imports numba before a native device is opened.
"""
