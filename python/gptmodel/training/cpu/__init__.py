"""Loops in C++ for the step on a CPU: GELU with its derivative, attention over a short context, products."""
