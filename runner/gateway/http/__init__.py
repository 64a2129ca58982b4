"""The gateway's HTTP: access, reading of requests, answers. Knows no route."""
