"""Berth for other people's tests: a pytest plugin, and what its fixtures hand out (docs/ci.md)."""
