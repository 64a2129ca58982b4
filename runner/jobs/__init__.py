"""Jobs as clients see them: submit, wait, look; every interface uses it."""
