"""How long a notebook takes, by every way there is, side by side in one run; and what it costs."""
