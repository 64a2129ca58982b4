"""The exception whose text tells a person what is wrong, and what to do. Pure."""


class Shortfall(Exception):
    """Something outside a request is wrong; `str` of it is one line for a person."""
