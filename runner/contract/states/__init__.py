"""How far a job is, in values that lists of jobs need: no pydantic, which takes long to import."""
