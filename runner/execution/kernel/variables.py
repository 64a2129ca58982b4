"""Asks a Python kernel whose cell has raised for its variables: names, types and shapes.

Takes no values, and calls none of the notebook's code. A kernel may answer anything, so the answer
is checked.
"""

import ast
import json
import re

from pydantic import TypeAdapter, ValidationError

from runner.contract.outcome import Variable
from runner.contract.text import strict_json
from runner.execution.kernel.running import RunningKernel

MOST = 50
MOST_COLUMNS = 40
MOST_BYTES = 8_000
"""Size of all of them as JSON."""
SECONDS = 3.0
MOST_NAMES = 200
_NAME = re.compile(r"\b[^\W\d]\w*")
_VARIABLES = TypeAdapter(dict[str, Variable])

_LOOK = """
import json, sys, types

SIZED = (str, bytes, bytearray, list, tuple, dict, set, frozenset, range)
TABLES = {"pandas.DataFrame", "polars.DataFrame", "geopandas.GeoDataFrame"}
ARRAYS = TABLES | {"pandas.Series", "polars.Series", "numpy.ndarray", "torch.Tensor"}
DATES = {"pandas.Timestamp", "datetime.datetime", "datetime.date"}
CODE = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type)

def of_class(kind, key):  # from the class itself: a metaclass may answer in its place
    value = type.__dict__[key].__get__(kind)
    return value if type(value) is str else "?"

def named(kind):
    root, name = of_class(kind, "__module__").partition(".")[0], of_class(kind, "__qualname__")
    return name[:100] if root in ("builtins", "__main__") else f"{root}.{name}"[:100]

def is_of_library(kind, name):  # and not a class that calls itself so
    root, _, short = name.partition(".")
    return vars(sys.modules.get(root, types)).get(short) is kind

def column(label):
    if type(label) is tuple:
        return " / ".join(map(column, label[:5]))[:80]
    name = named(type(label))
    is_date = name in DATES and is_of_library(type(label), name)
    if is_date or type(label) in (str, int, float, bool, type(None)):
        return str(label)[:80]
    return f"<{name}>"

def described(value):
    kind = type(value)
    name = named(kind)
    told = {"type": name}
    if kind in SIZED:
        told["shape"] = [len(value)]
    elif name in ARRAYS and is_of_library(kind, name):
        told["shape"] = [int(length) for length in value.shape]
        if name in TABLES:
            told["columns"] = [column(label) for label in value.columns[:most_columns]]
    return told

def innermost():  # the notebook's last frame before the exception
    frame, entry = None, getattr(sys, "last_traceback", None)
    while type(entry) is types.TracebackType:
        if entry.tb_frame.f_globals is space:
            frame = entry.tb_frame
        entry = entry.tb_next
    return frame

def shown(name, value):
    is_code = issubclass(type(value), CODE)
    return type(name) is str and not name.startswith(("_", ".")) and not is_code

def answer():
    frame, pairs = innermost(), []
    inner = {} if frame is None or frame.f_locals is space else dict(frame.f_locals)
    for name, value in inner.items():
        pairs.append((name, value, frame.f_code.co_name))
    rest = [(name, value, None) for name, value in list(space.items())
            if name not in inner and name not in hidden]
    rest.reverse()
    near = {*wanted, *(() if frame is None else frame.f_code.co_names)}
    rest.sort(key=lambda one: one[0] not in near)
    found, size = {}, 0
    for name, value, function in pairs + rest:
        if len(found) >= most or not shown(name, value):
            continue
        try:
            told = described(value)
        except Exception:
            told = {"type": named(type(value))}
        if function is not None:
            told["function"] = function[:100]
        size += len(json.dumps(told)) + len(name)
        if size > most_bytes:
            break
        found[name[:100]] = told
    return json.dumps(found)
"""


async def variables_alive(kernel: RunningKernel, source: str) -> dict[str, Variable] | None:
    """Return the variables that are alive after a cell with this source raised, within seconds.

    Those of the innermost function of the notebook come first, then those that it or the cell
    names, then the newest. None if there are none, or the kernel does not say.
    """
    answer = await kernel.evaluate(_question(source), SECONDS)
    if answer is None or len(answer) > 4 * MOST_BYTES:
        return None
    try:
        text = ast.literal_eval(answer)
        return _VARIABLES.validate_python(strict_json.clean(json.loads(text))) or None
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError, ValidationError):
        return None


def _question(source: str) -> str:
    """Return an expression that needs none of the notebook's own names."""
    known = {
        "wanted": sorted(set(_NAME.findall(source)))[:MOST_NAMES],
        "most": MOST,
        "most_columns": MOST_COLUMNS,
        "most_bytes": MOST_BYTES,
    }
    return (
        "(lambda exec, shell: [scope := {**"
        f"{known!r}, 'space': shell.user_ns, 'hidden': shell.user_ns_hidden}}, "
        f"exec({_LOOK!r}, scope), scope['answer']()][-1])"
        "(__import__('builtins').exec, __import__('IPython').get_ipython())"
    )
