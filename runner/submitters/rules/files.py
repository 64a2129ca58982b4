"""Reads the files of the rules' folder. Writes nothing, and leaves other files alone."""

from dataclasses import dataclass
from pathlib import Path

from runner.contract.rules import Rules
from runner.contract.triggers.documents import TriggerError
from runner.contract.triggers.rules import Rule, read_rule
from runner.submitters.trigger_files import one_each, read_named
from runner.system.files.yaml_files import YamlFiles, name_of


@dataclass(frozen=True)
class Ruled:
    """A rule's file: the rule, or what is wrong with it."""

    name: str
    path: Path
    rule: Rule | None = None
    error: str | None = None

    def matches(self, path: str) -> bool:
        """Tell whether a file of the inbox starts its notebook."""
        rule = self.rule
        return rule is not None and rule.files.enabled and rule.files.matches(path)


class RuleFiles:
    """The rules below a folder. Reads a file again only where it has changed."""

    def __init__(self, folder: Path, rules: Rules | None = None) -> None:
        self._folder = folder
        self._rules = rules
        self._files = YamlFiles(folder, self.one)

    def all(self) -> list[Ruled]:
        """List the rules by name; none where there is no folder.

        Raises:
            OSError: the folder is there and cannot be read.
        """
        return one_each(self._files.all(), lambda name, path, error: Ruled(name, path, error=error))

    def one(self, path: Path) -> Ruled:
        """Read one file, which may lie elsewhere."""
        name = name_of(path, self._folder)
        try:
            rule = read_rule(read_named(path, name, "rule"), self._rules)
        except TriggerError as error:
            return Ruled(name, path, error=str(error))
        return Ruled(name, path, rule)
