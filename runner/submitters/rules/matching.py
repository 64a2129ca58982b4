"""Tells which rules match a path, for one list of rules. Remembers it, and looks at no disk."""

from collections.abc import Sequence

from runner.submitters.rules.files import Ruled


class Matching:
    """The rules of one moment."""

    def __init__(self, rules: Sequence[Ruled] = ()) -> None:
        self._rules = tuple(rules)
        self._names: dict[str, tuple[str, ...]] = {}

    def is_of(self, rules: Sequence[Ruled]) -> bool:
        """Tell whether these are the same rules, read once."""
        return len(rules) == len(self._rules) and all(map(_same, rules, self._rules))

    def names(self, path: str) -> tuple[str, ...]:
        """List the rules that match a path, by name."""
        names = self._names.get(path)
        if names is None:
            names = tuple(one.name for one in self._rules if one.matches(path))
            if names:
                self._names[path] = names
        return names

    def is_wanted(self, path: str) -> bool:
        """Tell whether any rule matches a path."""
        return bool(self.names(path))

    def keep(self, paths: Sequence[str]) -> None:
        """Forget all paths but these, once there are many others."""
        if len(self._names) > 2 * len(paths) + 1000:
            kept = set(paths)
            self._names = {path: names for path, names in self._names.items() if path in kept}


def _same(one: Ruled, other: Ruled) -> bool:
    return one is other
