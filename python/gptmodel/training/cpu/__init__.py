"""Operators in C++ for the step on a CPU: feed-forward layers, GELU, attention over a short context."""
