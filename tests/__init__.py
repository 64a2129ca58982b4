"""Tests: unit (no disk, no clock), integration (real files, kernels), acceptance (the program)."""
