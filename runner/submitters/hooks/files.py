"""Reads the files of the hooks' folder, and finds their secrets. Writes nothing."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.contract.rules import Rules
from runner.contract.triggers.documents import TriggerError
from runner.contract.triggers.hooks import Hook, read_hook
from runner.contract.triggers.signatures import Verify, secret_is_usable
from runner.inbox.library import open_regular
from runner.submitters.trigger_files import one_each, read_named
from runner.system.files.yaml_files import YamlFiles, name_of

SECRET_BYTES = 4096


@dataclass(frozen=True)
class Hooked:
    """A hook's file: the hook, or what is wrong with it.

    `has_no_secret`: only the secret is wrong, which may be the gateway's matter.
    """

    name: str
    path: Path
    hook: Hook | None = None
    error: str | None = None
    has_no_secret: bool = False


class HookFiles:
    """The hooks below a folder. `environ` is the gateway's; None if that is not known."""

    def __init__(
        self,
        folder: Path,
        rules: Rules | None = None,
        environ: Mapping[str, str] | None = os.environ,
    ) -> None:
        self._folder = folder
        self._rules = rules
        self._environ = environ
        self._files = YamlFiles(folder, self.one)

    def all(self) -> list[Hooked]:
        """List the hooks by name; none where there is no folder.

        Raises:
            OSError: the folder is there and cannot be read.
        """
        return one_each(
            self._files.all(), lambda name, path, error: Hooked(name, path, error=error)
        )

    def one(self, path: Path) -> Hooked:
        """Read one file, which may lie elsewhere."""
        name = name_of(path, self._folder)
        try:
            hooked = Hooked(name, path, read_hook(read_named(path, name, "hook"), self._rules))
        except TriggerError as error:
            return Hooked(name, path, error=str(error))
        assert hooked.hook is not None
        try:
            if self._environ is not None or hooked.hook.calls.verify.secret_env is None:
                self.secret_of(hooked)
        except TriggerError as error:
            return Hooked(name, path, error=str(error), has_no_secret=True)
        return hooked

    def secret_of(self, hooked: Hooked) -> str:
        """Return a hook's secret as it is now.

        Raises:
            TriggerError: it is not where the file says, or is none.
        """
        assert hooked.hook is not None
        verify = hooked.hook.calls.verify
        secret = self._secret(verify, hooked.path.parent)
        if not secret_is_usable(verify, secret):
            raise TriggerError("The secret is not base64, as Standard Webhooks has it (whsec_…).")
        return secret

    def _secret(self, verify: Verify, beside: Path) -> str:
        if verify.secret is not None:
            return verify.secret
        if verify.secret_env is not None:
            secret = (self._environ or {}).get(verify.secret_env, "")
            if not secret:
                raise TriggerError(
                    f"The environment of the gateway has no {verify.secret_env} (`secret_env`)."
                )
            return secret
        assert verify.secret_file is not None
        file = beside / verify.secret_file
        try:
            with open(file, "rb", opener=open_regular) as opened:
                secret = opened.read(SECRET_BYTES).decode("utf-8", "replace").strip()
        except OSError as error:
            raise TriggerError(
                f"`secret_file` {file} cannot be read: {error.strerror or error}."
            ) from error
        if not secret:
            raise TriggerError(f"`secret_file` {file} is empty.")
        return secret
