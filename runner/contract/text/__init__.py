"""Text and what it says: JSON, YAML, literals, and what a kernel printed."""
