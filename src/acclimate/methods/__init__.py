"""Methods: a room each, with settings, own networks and the method; :mod:`acclimate.methods.registry` finds them.

Nothing here imports torch, so that help comes at once.
"""

from __future__ import annotations

from acclimate.methods.registry import MethodEntry, find_config, find_method, method_names, register

__all__ = ["MethodEntry", "find_config", "find_method", "method_names", "register"]
