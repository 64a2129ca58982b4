"""Kernels of notebooks: which run, what they hold, and how to interrupt, restart, end, choose them.

Runs no code of an agent; that is `activities`.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Literal

from runner.mcp.answers import BadCall
from runner.mcp.jupyter.api import Jupyter, Session
from runner.mcp.jupyter.rooms import Rooms
from runner.mcp.notebooks.activities import Activities

Act = Literal["interrupt", "restart", "shut_down", "choose"]


class Kernels:
    """The kernels of one Jupyter."""

    def __init__(self, jupyter: Jupyter, rooms: Rooms, activities: Activities) -> None:
        self._jupyter = jupyter
        self._rooms = rooms
        self._activities = activities

    async def listing(self) -> str:
        """List the running kernels with their notebooks, and the installed kernelspecs.

        Raises:
            JupyterAway, JupyterRefused
        """
        kernels = await self._jupyter.kernels()
        paths: dict[str, list[str]] = {}
        for path, session in (await self._jupyter.sessions()).items():
            paths.setdefault(session.kernel_id, []).append(path)
        lines = [_line(one, paths.get(kernel, [])) for kernel, one in kernels.items()]
        specs = await self._jupyter.kernelspecs()
        installed = ", ".join(f"{name} ({spec.get('language')})" for name, spec in specs.items())
        return "\n".join([*(lines or ["No kernel runs."]), f"Installed: {installed}"])

    async def check_python(self, path: str) -> None:
        """Refuse a notebook whose kernel is of another language.

        Raises:
            BadCall, JupyterAway, JupyterRefused
        """
        session = (await self._jupyter.sessions()).get(path)
        if session is None:
            await self._rooms.check_there(path)
            raise BadCall(f"No kernel runs for {path!r}, so there are no variables.")
        spec = (await self._jupyter.kernelspecs()).get(session.kernel) or {}
        if spec.get("language", "python") != "python":
            raise BadCall(f"Only Python kernels are read; {path!r} has {session.kernel}.")

    async def control(self, act: Act, path: str, kernel: str | None) -> str:
        """Do something with a notebook's kernel, and say what is the case now.

        Raises:
            BadCall, JupyterAway, JupyterRefused, DocumentLost
        """
        if act == "choose":
            return await self._choose(path, kernel)
        if kernel is not None and kernel.strip():
            raise BadCall(f"Nothing was done: `kernel` is for choose, and not for {act}.")
        session = (await self._jupyter.sessions()).get(path)
        if session is None:
            await self._rooms.check_there(path)
            raise BadCall(f"No kernel runs for {path!r}; running a cell starts one.")
        was_running = self._activities.is_running(path) or session.state == "busy"
        withdrawn = await self._activities.stop_all(
            path, f"control_kernel: {act} came before its turn"
        )
        if act == "interrupt" and not was_running:
            told = f"{path}: nothing was running; the variables of {session.kernel} are kept"
        else:
            told = await self._act(act, path, session)
        return f"{told}; not run any more: {', '.join(withdrawn)}" if withdrawn else told

    async def _act(self, act: Act, path: str, session: Session) -> str:
        if act == "interrupt":
            await self._jupyter.interrupt(session.kernel_id)
            await self._activities.settle(path)
            return f"{path}: kernel {session.kernel} interrupted; its variables are kept"
        self._activities.memory.lose(path)
        if act == "restart":
            async with self._activities.losing(path, "the kernel was restarted"):
                await self._jupyter.restart(session.kernel_id)
            return f"{path}: kernel {session.kernel} restarted; its variables are gone"
        async with self._activities.losing(path, "the kernel was shut down"):
            await self._jupyter.shut_down(session)
        return f"{path}: kernel {session.kernel} shut down; running a cell starts a new one"

    async def _choose(self, path: str, kernel: str | None) -> str:
        specs, running = await self._jupyter.kernelspecs(), await self._jupyter.kernels()
        if kernel is None:
            raise BadCall(f"`kernel` is missing: one of {', '.join(specs)}, or a kernel's id.")
        if kernel not in specs and kernel not in running:
            near = get_close_matches(kernel, specs, 1)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(specs)}."
            raise BadCall(f"There is no kernel {kernel[:80]!r}. {hint}")
        name = kernel if kernel in specs else str(running[kernel]["name"])
        await self._rooms.finish(self._write_kernelspec(path, name, specs.get(name) or {}))
        session = (await self._jupyter.sessions()).get(path)
        if session is None and kernel in running:
            session = await self._jupyter.session(path, name)
        if session is None:
            return f"{path}: uses {name} from now on; running a cell starts it"
        wanted = {"id": kernel} if kernel in running else {"name": name}
        async with self._activities.losing(path, "the notebook got another kernel"):
            await self._jupyter.give_kernel(session, wanted)
        held = "has that kernel's variables" if kernel in running else "its variables are gone"
        if kernel in running:
            self._activities.memory.forget(path)
        else:
            self._activities.memory.lose(path)
        return f"{path}: runs in {kernel} now; {held}"

    async def _write_kernelspec(self, path: str, name: str, spec: Mapping[str, Any]) -> None:
        kernelspec = {
            "name": name,
            "display_name": spec.get("display_name", name),
            "language": spec.get("language", ""),
        }
        async with self._rooms.edited(path) as document:
            language = {"name": kernelspec["language"]}
            document.metadata = {
                **document.metadata,
                "kernelspec": kernelspec,
                "language_info": language,
            }


def _line(kernel: Mapping[str, Any], paths: list[str]) -> str:
    notebooks = ", ".join(paths) or "no notebook"
    state = kernel.get("execution_state") or "unknown"
    return f"{kernel['id']} {kernel['name']} {state}: {notebooks}"
