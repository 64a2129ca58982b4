"""Who gets in: the house's rules of a door, by the gateway's settings and in its words.

Pure rules over header values. Reads no request and never gives a token away.
"""

from collections.abc import Mapping

from runner import access
from runner.access import Binding, Denial, Door
from runner.config import Gateway
from runner.gateway.problem import Problem, ProblemType


class Access:
    """The rules of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._door = Door(gateway.host, gateway.allowed_hosts, gateway.secret)

    def check(self, headers: Mapping[str, str], *, is_open: bool) -> None:
        """Let a request in, or say why not. `is_open`: it needs no token.

        `headers` have lower-case names.

        Raises:
            Problem: 403 for a foreign Host or Origin, 401 without the right token.
        """
        denial = self._door.denial(headers, is_open=is_open)
        if denial is Denial.HOST:
            raise Problem(
                403,
                ProblemType.FORBIDDEN,
                f"The Host {headers.get('host', '')[:200]!r} is not known here. Add its name to "
                "gateway.allowed_hosts (GATEWAY_ALLOWED_HOSTS).",
            )
        if denial is Denial.ORIGIN:
            raise Problem(
                403, ProblemType.FORBIDDEN, "Requests from pages of other sites are not answered."
            )
        if denial is Denial.TOKEN:
            raise Problem(
                401,
                ProblemType.UNAUTHORIZED,
                "Send the gateway's token: `Authorization: Bearer TOKEN`.",
                {"WWW-Authenticate": 'Bearer realm="inbox-runner"'},
            )


def binding_of(gateway: Gateway) -> Binding:
    """Where the gateway listens, as the house's rules want to know it."""
    return Binding(
        "the gateway",
        "gateway",
        gateway.host,
        gateway.bind_address,
        gateway.secret,
        gateway.insecure,
    )


def objection_to_binding(gateway: Gateway, *, in_container: bool) -> str | None:
    """Why the gateway may not listen where it is told to; None if it may."""
    return access.objection(binding_of(gateway), in_container=in_container)
