"""A disk of which it is known what would be there after a power cut, and after a kill.

Changes are made to real files, so that the program reads them as ever; beside them a model keeps
which of them were synced. What may be lost, and what may not:

- A file's bytes are durable once it was synced. Otherwise all, half or none of them survive.
- A name (made, removed, renamed) is durable once its folder was synced, for a rename the folder
  of the new name, and each folder above is durable as well (fsync(2)). Otherwise it survives or
  not, each change for itself and in no order.
- A rename is one change: it never leaves a file without a name or with two. That is what file
  systems with a journal do; without one a claim by rename could not be made safe at all.
- After a kill everything is there, and what was not synced is still not synced.
"""

import errno
import os
import random
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TypeVar

from runner.system.files.disk import Disk, Fill
from tests.faults.failing import SteppedDisk

T = TypeVar("T")

Tree = dict[str, bytes | None]
"""Relative paths in order, folders before what is in them; None is a folder."""


@dataclass(eq=False)
class Node:
    """A file or a folder, under whatever names."""

    is_folder: bool
    content: bytes = b""
    synced: bytes | None = None
    live: dict[str, "Node"] = field(default_factory=dict)
    kept: dict[str, "Node"] = field(default_factory=dict)
    """The names in this folder that are durable."""


@dataclass(eq=False)
class Change:
    """One change of names that is not durable yet: a name to add, a name to take away, or both."""

    add: tuple[Node, str, Node] | None = None
    take: tuple[Node, str, Node] | None = None
    synced: bool = False
    """Synced in a folder that is not durable itself."""

    @property
    def folder(self) -> Node:
        """The folder whose sync makes it durable."""
        place = self.add or self.take
        assert place is not None
        return place[0]


class Model:
    """What is live and what is durable below one root."""

    def __init__(self) -> None:
        self.root = Node(is_folder=True)
        self.pending: list[Change] = []

    def copy(self) -> "Model":
        """Another one that is the same, of nodes and changes of its own."""
        copies: dict[Node, Node] = {}

        def of(node: Node) -> Node:
            made = copies.get(node)
            if made is None:
                made = copies[node] = Node(node.is_folder, node.content, node.synced)
                made.live = {name: of(inner) for name, inner in node.live.items()}
                made.kept = {name: of(inner) for name, inner in node.kept.items()}
            return made

        def moved(place: tuple[Node, str, Node] | None) -> tuple[Node, str, Node] | None:
            return None if place is None else (of(place[0]), place[1], of(place[2]))

        copied = Model()
        copied.root = of(self.root)
        copied.pending = [
            Change(moved(one.add), moved(one.take), one.synced) for one in self.pending
        ]
        return copied

    def find(self, relative: str) -> Node | None:
        """The live node of that path."""
        node: Node | None = self.root
        for part in [p for p in relative.split("/") if p]:
            node = node.live.get(part) if node is not None else None
        return node

    def put(self, relative: str, content: bytes | None) -> None:
        """Something that is durable already: a user's own file (None: a folder)."""
        folder, name = self._split(relative)
        node = Node(content is None, content or b"", content)
        folder.live[name] = folder.kept[name] = node

    def add(self, relative: str, node: Node) -> None:
        """A new name."""
        folder, name = self._split(relative)
        folder.live[name] = node
        self.pending.append(Change(add=(folder, name, node)))

    def take(self, relative: str) -> None:
        """A name goes."""
        folder, name = self._split(relative)
        self.pending.append(Change(take=(folder, name, folder.live.pop(name))))

    def rename(self, old: str, new: str) -> None:
        """A name becomes another one."""
        (folder, name), (target, new_name) = self._split(old), self._split(new)
        node = folder.live.pop(name)
        target.live[new_name] = node
        self.pending.append(Change(add=(target, new_name, node), take=(folder, name, node)))

    def sync(self, node: Node) -> None:
        """Make a file's bytes, or a folder's names, durable."""
        if not node.is_folder:
            node.synced = node.content
            return
        for change in self.pending:
            change.synced = change.synced or change.folder is node
        while self._promote():
            pass

    def live(self) -> Tree:
        """What everybody sees."""
        return dict(_walk(self.root, lambda node: node.live, lambda node: node.content))

    def survivors(self, rng: random.Random, samples: int) -> Iterator[tuple[str, Tree]]:
        """What a power cut may leave, each once: the extremes, and some in between."""
        seen: list[Tree] = []
        everything = list(self.pending)
        plans: list[tuple[str, list[Change], Callable[[Node], bytes]]] = [
            ("nothing unsynced", [], _synced),
            ("all that is unsynced", everything, _all),
            ("all names, but only synced bytes", everything, _synced),
            ("only the newest name", everything[-1:], _all),
        ]
        for number in range(samples):
            chosen = [change for change in self.pending if rng.random() < 0.5]
            plans.append((f"some of it ({number})", chosen, lambda node: _some(node, rng)))
        for label, chosen, bytes_of in plans:
            tree = dict(_walk(self.root, self._surviving(chosen), bytes_of))
            if tree not in seen:
                seen.append(tree)
                yield label, tree

    def _split(self, relative: str) -> tuple[Node, str]:
        parent, _, name = relative.rpartition("/")
        folder = self.find(parent)
        assert folder is not None, f"{relative!r} has no folder"
        return folder, name

    def _promote(self) -> bool:
        """Apply what is synced in folders that are durable themselves."""
        synced = [change for change in self.pending if change.synced]
        if not synced:
            return False
        durable = set(_folders(self.root, lambda node: node.kept))
        ready = [change for change in synced if change.folder in durable]
        for change in ready:
            self.pending.remove(change)
            _apply(change, lambda node: node.kept)
        return bool(ready)

    def _surviving(self, chosen: Iterable[Change]) -> Callable[[Node], dict[str, Node]]:
        """The names in each folder if just these changes survive, and what they cannot do without.

        A rename needs the folder into which it goes; what was synced in a folder is there if the
        folder is.
        """
        wanted = set(chosen)
        while True:
            names = self._applied(wanted)
            reached = set(_folders(self.root, names))
            more = {c for c in self.pending if c.synced and c.folder in reached}
            for change in wanted:
                if change.add and change.take and change.folder not in reached:
                    more |= self._above(change.folder)
            more |= {c for c in self.pending if self._lost_without(c, wanted, reached)}
            if more <= wanted:
                return names
            wanted |= more

    def _lost_without(self, change: Change, wanted: set[Change], reached: set[Node]) -> bool:
        """Whether a rename out of a folder was made whose removal survives."""
        if not (change.add and change.take) or change.take[0] in reached:
            return False
        made = self._above(change.take[0])
        return made <= wanted

    def _above(self, folder: Node) -> set[Change]:
        """The changes that gave a folder, and those above it, their names."""
        found = {c for c in self.pending if c.add is not None and c.add[2] is folder}
        return found.union(*(self._above(change.folder) for change in found))

    def _applied(self, chosen: set[Change]) -> Callable[[Node], dict[str, Node]]:
        names: dict[Node, dict[str, Node]] = {}

        def of(node: Node) -> dict[str, Node]:
            return names.setdefault(node, dict(node.kept))

        for change in self.pending:
            if change in chosen:
                _apply(change, of)
        return of


def _apply(change: Change, names: Callable[[Node], dict[str, Node]]) -> None:
    if change.take is not None:
        folder, name, node = change.take
        if names(folder).get(name) is node:
            del names(folder)[name]
    if change.add is not None:
        folder, name, node = change.add
        names(folder)[name] = node


def _all(node: Node) -> bytes:
    return node.content


def _synced(node: Node) -> bytes:
    return node.synced or b""


def _some(node: Node, rng: random.Random) -> bytes:
    if node.synced == node.content:
        return node.content
    return rng.choice([node.synced or b"", node.content, node.content[: len(node.content) // 2]])


def _walk(
    node: Node,
    names: Callable[[Node], dict[str, Node]],
    bytes_of: Callable[[Node], bytes],
    path: str = "",
) -> Iterator[tuple[str, bytes | None]]:
    for name, inner in sorted(names(node).items()):
        place = f"{path}{name}"
        yield place, None if inner.is_folder else bytes_of(inner)
        if inner.is_folder:
            yield from _walk(inner, names, bytes_of, f"{place}/")


def _folders(node: Node, names: Callable[[Node], dict[str, Node]]) -> Iterator[Node]:
    left = [node]
    while left:
        folder = left.pop()
        yield folder
        left.extend(inner for inner in names(folder).values() if inner.is_folder)


STUCK = "immutable"
"""A file of this name keeps its folder from being removed, for a while."""
STUBBORN = ".history/refused/"
"""Nothing can be moved to the history of this name, for a while."""
PATIENCE = 2
"""So many tries each of them fails."""


class SimulatedDisk(SteppedDisk):
    """The real files below `root`, and the model of them. `around` is told of each step."""

    def __init__(self, root: Path, model: Model) -> None:
        super().__init__()
        self._root = root
        self.model = model
        self.around: Callable[[str], Iterator[None]] = lambda _: iter([None])
        self.deaf: Callable[[str], bool] = lambda _why: False
        """Whether a sync with this reason is left out: to see the harness object."""
        self._nameless: dict[int, bytes] = {}
        self._refused: Counter[str] = Counter()

    def _refuse(self, what: str) -> None:
        """Fail the first tries, as an administrator who comes to help ends it."""
        self._refused[what] += 1
        if self._refused[what] <= PATIENCE:
            raise PermissionError(errno.EPERM, "Operation not permitted")

    def put(self, relative: str, content: bytes | None) -> None:
        """A user's own file or folder."""
        path = self._root / relative
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content)
        self.model.put(relative, content)

    def notice(self, path: Path) -> None:
        """Take into the model what became of a path."""
        if str(path).startswith(f"{self._root}/"):
            self._notice(self._relative(path))

    def notice_all(self, folder: Path) -> None:
        """The same of a folder into which somebody else wrote."""
        for path in sorted(folder.rglob("*")):
            self.notice(path)

    def _relative(self, path: Path) -> str:
        return str(path)[len(str(self._root)) + 1 :]

    def _notice(self, relative: str) -> None:
        path = f"{self._root}/{relative}"
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            self._notice_gone(relative)
            return
        node = self.model.find(relative)
        if node is None:
            node = Node(stat.S_ISDIR(found.st_mode))
            node.synced = self._nameless.pop(found.st_ino, None)
            self.model.add(relative, node)
        if not node.is_folder:
            with open(path, "rb") as file:
                node.content = file.read()

    def _notice_gone(self, relative: str) -> None:
        node = self.model.find(relative)
        if node is None:
            return
        for name in list(node.live):
            self._notice_gone(f"{relative}/{name}")
        self.model.take(relative)

    @contextmanager
    def step(self, what: str, *paths: Path) -> Iterator[None]:
        yield from self.around(what)

    def make_folder(self, path: Path) -> bool:
        try:
            return super().make_folder(path)
        finally:
            self.notice(path)

    def write(self, path: Path, content: bytes, why: str | None = None) -> None:
        try:
            self._noticed(path, lambda: super(SimulatedDisk, self).write(path, content, why))
        except OSError as error:
            if error.errno == errno.ENOSPC and not path.exists():
                path.write_bytes(content[: len(content) // 2])
                self.notice(path)
            raise

    def append(self, path: Path, size: int, content: bytes, why: str) -> None:
        self._noticed(path, lambda: super(SimulatedDisk, self).append(path, size, content, why))

    def create_whole(self, path: Path, content: bytes | Fill, why: str) -> None:
        self._noticed(path, lambda: super(SimulatedDisk, self).create_whole(path, content, why))

    def fill(self, path: Path, write: Callable[[IO[bytes]], T], why: str) -> T:
        try:
            return super().fill(path, write, why)
        finally:
            self.notice(path)

    def copy(self, source: int, target: Path, why: str) -> Iterator[bytes]:
        if ":" in target.name:
            raise OSError(errno.EINVAL, "Invalid argument")
        try:
            yield from super().copy(source, target, why)
        finally:
            self.notice(target)

    def sync(self, fd: int, why: str) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        self.notice(path)
        if self.deaf(why):
            return
        with self.step("sync"):
            found = os.fstat(fd)
            if found.st_nlink == 0:
                self._nameless[found.st_ino] = Path(f"/proc/self/fd/{fd}").read_bytes()
                return
            node = self.model.find(self._relative(path))
            assert node is not None
            self.model.sync(node)

    def rename(self, old: Path, new: Path) -> None:
        if STUBBORN in f"{new}":
            self._refuse(STUBBORN)
        with self.step("rename"):
            Disk.rename(self, old, new)
            self.model.rename(self._relative(old), self._relative(new))

    def link(self, old: Path, new: Path) -> None:
        with self.step("link"):
            Disk.link(self, old, new)
            node = self.model.find(self._relative(old))
            assert node is not None
            self.model.add(self._relative(new), node)

    def unlink(self, path: Path) -> None:
        self._noticed(path, lambda: super(SimulatedDisk, self).unlink(path))

    def remove_folder(self, path: Path) -> None:
        self._noticed(path, lambda: super(SimulatedDisk, self).remove_folder(path))

    def remove_tree(self, path: Path) -> None:
        if (path / STUCK).exists():
            self._refuse(path.name)
        self._noticed(path, lambda: super(SimulatedDisk, self).remove_tree(path))

    def _noticed(self, path: Path, change: Callable[[], None]) -> None:
        try:
            change()
        finally:
            self.notice(path)


def lay_out(tree: Tree, root: Path) -> None:
    """Make real files of a tree, in a folder that is empty."""
    for relative, content in tree.items():
        path = root / relative
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content)


def durable(tree: Tree) -> Model:
    """The model of a disk on which just this lies, all of it synced."""
    model = Model()
    for relative, content in tree.items():
        model.put(relative, content)
    return model
