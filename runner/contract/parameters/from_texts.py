"""Gives texts the types of a notebook's parameters, where a sender can write nothing but texts.

Addresses and forms of web pages have no numbers. JSON has, so its texts stay what they are.
"""

from collections.abc import Collection, Mapping
from typing import Any

from runner.contract.parameters.schemas import TooLarge, fits
from runner.contract.parameters.signature import Signature, TypedParameter
from runner.contract.text.scalars import ScalarError, scalar_of


def from_texts(
    values: Mapping[str, Any], texts: Collection[str], signature: Signature
) -> dict[str, Any]:
    """Return the values, those named in `texts` as numbers or truth values where these are meant.

    A text that fits its declared type stays, and so does one that means neither.
    """
    typed = {one.name: one for one in signature.parameters}
    return {
        name: _converted(value, typed[name])
        if name in texts and name in typed and isinstance(value, str)
        else value
        for name, value in values.items()
    }


def _converted(text: str, parameter: TypedParameter) -> Any:
    try:
        value = scalar_of(text.strip())
        if value is None or isinstance(value, str):
            return text
        if parameter.is_declared:
            is_meant = not fits(text, parameter.schema) and fits(value, parameter.schema)
        else:
            kind = parameter.schema.get("type")
            kinds = ("boolean",) if isinstance(value, bool) else ("integer", "number")
            is_meant = kind in kinds
    except (ScalarError, TooLarge):
        return text
    return value if is_meant else text
