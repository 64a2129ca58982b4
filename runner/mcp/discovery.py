"""Says to programs that know the address alone what is here: a card, and that there is no OAuth."""

from collections.abc import Mapping

from starlette.responses import JSONResponse, Response

from runner import __version__

CARD_PATHS = ("/.well-known/mcp/server-card.json", "/.well-known/mcp/server-card")
CARD_SCHEMA = "https://static.modelcontextprotocol.io/schemas/v1/server-card.schema.json"
CARD_NAME = "local.inbox-runner/mcp"
"""No name of the world's: each installation is its owner's."""
TITLE = "Jupyter notebooks, live and unattended"
DESCRIPTION = "Edit live notebooks in JupyterLab, and run whole ones unattended in fresh kernels."
_OAUTH = ("/authorize", "/token", "/register", "/revoke")
_OAUTH_METADATA = (
    "/.well-known/oauth-protected-resource",
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
)


def is_for_all(path: str) -> bool:
    """Return whether a path is answered without a token: it tells nothing that is secret."""
    return path in CARD_PATHS or is_oauth(path)


def is_oauth(path: str) -> bool:
    """Return whether clients look there for OAuth, with or without our path at the end."""
    return (
        path in _OAUTH or path.startswith(_OAUTH_METADATA) or (path.startswith("/mcp/.well-known/"))
    )


def no_oauth() -> Response:
    """Answer 404, so that a client stops looking and sends the token that it was given."""
    words = "There is no OAuth here. Send the server's token: `Authorization: Bearer TOKEN`."
    content = {"error": "not_found", "error_description": words}
    return JSONResponse(content, 404)


def card(headers: Mapping[str, str], scheme: str, protocol_path: str) -> Response:
    """Return the server's card, with the address at which it was asked for.

    The form is that of https://modelcontextprotocol.io/seps/2127-mcp-server-cards.
    """
    forwarded = headers.get("x-forwarded-proto", "")
    scheme = forwarded if forwarded in ("http", "https") else scheme
    content = {
        "$schema": CARD_SCHEMA,
        "name": CARD_NAME,
        "version": __version__,
        "title": TITLE,
        "description": DESCRIPTION,
        "remotes": [
            {
                "type": "streamable-http",
                "url": f"{scheme}://{headers.get('host', 'localhost')}{protocol_path}",
            }
        ],
    }
    return JSONResponse(content, headers={"Access-Control-Allow-Origin": "*"})
