"""The code that tells the variables of a Python kernel, and leaves none of its own there.

Pure: builds a text; a kernel runs it.
"""

_LOOK = """
import reprlib, types
short = reprlib.Repr()
short.maxstring = short.maxother = short.maxlong = 60
short.maxdict = short.maxlist = short.maxtuple = short.maxset = 5

def kind(value):
    own = type(value)
    return own.__name__ if own.__module__ == "builtins" else f"{own.__module__}.{own.__name__}"

def size(value):
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return f" {shape}"
    sized = isinstance(value, (str, bytes, list, tuple, dict, set, frozenset))
    return f" of {len(value)}" if sized else ""

def is_frame(value):
    return hasattr(value, "columns") and hasattr(value, "dtypes") and hasattr(value, "head")

def brief(value):
    try:
        if is_frame(value):
            return "columns " + ", ".join(f"{c} {t}" for c, t in zip(value.columns, value.dtypes))
        return " ".join(short.repr(value).split())
    except Exception as error:
        return f"<its repr raises {type(error).__name__}>"

def cut(text):
    return text if len(text) <= 300 else text[:299] + "…"

def line(name, value):
    return f"{name}: {kind(value)}{size(value)} = {cut(brief(value))}"

space, hidden = shell.user_ns, shell.user_ns_hidden
if wanted is not None:
    if wanted not in space:
        print(f"There is no variable {wanted[:80]!r}; without `name` all are listed.")
    else:
        value = space[wanted]
        print(line(wanted, value))
        try:
            if hasattr(value, "head") and hasattr(value, "shape"):
                print(value.head(10))
            elif not isinstance(value, (int, float, bool, type(None))):
                text = repr(value)
                print(text[:2000])
                if len(text) > 2000:
                    left = len(text) - 2000
                    print(f"[{left} more characters, left out; execute_code prints a part]")
        except Exception as error:
            print(f"<its repr raises {type(error).__name__}>")
else:
    left_out = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type)
    names = [
        name
        for name, value in space.items()
        if not name.startswith("_") and name not in hidden and not isinstance(value, left_out)
    ]
    for name in names[:most]:
        print(line(name, space[name]))
    if len(names) > most:
        print(f"[{len(names) - most} more variables, left out; name one]")
    if not names:
        print("The kernel has no variables.")
"""
MOST = 60
MISSING = "There is no variable "
"""How the text begins where there is none of that name."""


def code_of(wanted: str | None) -> str:
    """Return code that prints one variable, or all in a line each."""
    space = f"{{'shell': get_ipython(), 'wanted': {wanted!r}, 'most': {MOST}}}"
    return f"exec({_LOOK!r}, {space})"
