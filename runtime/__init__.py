"""The control plane: REST API, store, scheduling, sandboxes, logs and the `berth` command."""

__version__ = "0.1.0"
