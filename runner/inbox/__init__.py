"""From files that appear in the inbox to requests that are the runner's own."""
