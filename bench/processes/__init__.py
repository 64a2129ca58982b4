"""The processes of a runner, each as what it is, and the CPU that each part of them spends."""
