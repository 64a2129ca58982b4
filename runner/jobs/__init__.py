"""Jobs as clients see them: submit, wait, look; every face stands on it."""
