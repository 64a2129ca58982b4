"""Text and its meaning: JSON, YAML, literals, and the output of a kernel."""
