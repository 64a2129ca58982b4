"""What real HTTP clients say about themselves, word for word, and what each is to get."""

from typing import NamedTuple


class Client(NamedTuple):
    """A client's headers; None where it sends none. `reads`: page, json, or metrics' text."""

    name: str
    accept: str | None
    user_agent: str | None
    reads: str = "json"


CHROME = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,"
    "*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"
)
FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
N8N = (
    "application/json,text/html,application/xhtml+xml,application/xml,text/*;q=0.9, image/*;q=0.8, "
    "*/*;q=0.7"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;"
    "escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
LINUX = "Mozilla/5.0 (X11; Linux x86_64"

CLIENTS = (
    # People
    Client(
        "Chrome",
        CHROME,
        f"{LINUX}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
        "page",
    ),
    Client("Firefox", FIREFOX, f"{LINUX}; rv:145.0) Gecko/20100101 Firefox/145.0", "page"),
    Client(
        "Safari",
        FIREFOX,
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
        "Version/26.0 Safari/605.1.15",
        "page",
    ),
    Client("a browser without a name", FIREFOX, None, "page"),
    Client(
        "Lynx",
        "text/html, text/plain, text/sgml, text/css, application/xhtml+xml, */*;q=0.01",
        "Lynx/2.9.0dev.12 libwww-FM/2.14 SSL-MM/1.4.1 GNUTLS/3.7.9",
        "page",
    ),
    Client("w3m", "text/html, text/*;q=0.5, image/*, application/*", "w3m/0.5.3+git2023", "page"),
    Client("curl that wants HTML", "text/html", "curl/8.16.0", "page"),
    # Programs
    Client("n8n", N8N, "axios/1.12.0"),
    Client("n8n 2", N8N, "n8n"),
    Client("curl", "*/*", "curl/7.88.1"),
    Client("Python requests", "*/*", "python-requests/2.32.5"),
    Client("Python urllib", None, "Python-urllib/3.11"),
    Client("httpx", "*/*", "python-httpx/0.28.1"),
    Client("Go net/http", None, "Go-http-client/1.1"),
    Client("Java's HttpClient", None, "Java-http-client/17.0.15"),
    Client("Java's URLConnection", "text/html, image/gif, image/jpeg, */*; q=0.2", "Java/17.0.15"),
    Client("Java's URLConnection before 11", "text/html, image/gif, *; q=.2, */*; q=.2", "Java/8"),
    Client("node's fetch", "*/*", "node"),
    Client("axios", "application/json, text/plain, */*", "axios/1.13.2"),
    Client("Postman", "*/*", "PostmanRuntime/7.49.1"),
    Client("HTTPie", "application/json, */*;q=0.5", "HTTPie/3.2.4"),
    Client("wget", "*/*", "Wget/1.21.3"),
    Client("PowerShell 7", None, "Mozilla/5.0 (Linux; Debian 12; en-US) PowerShell/7.5.4"),
    Client("Home Assistant", "*/*", "HomeAssistant/2025.11.1 aiohttp/3.13.2 Python/3.13"),
    Client("Node-RED", None, "got (https://github.com/sindresorhus/got)"),
    Client("kube-probe", "*/*", "kube-probe/1.34"),
    Client("HAProxy", None, None),
    Client("AWS load balancer", None, "ELB-HealthChecker/2.0"),
    Client("Google load balancer", None, "GoogleHC/1.0"),
    Client("blackbox exporter", None, "Blackbox Exporter/0.27.0"),
    Client(
        "Uptime Kuma",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,"
        "*/*;q=0.8,application/signed-exchange;v=b3;q=0.9",
        "Uptime-Kuma/2.0.2",
    ),
    Client("a browser's own JSON", "application/json", f"{LINUX}) Chrome/142.0.0.0"),
    Client("HTML refused", "text/html;q=0", "x/1"),
    Client("JSON and HTML", "application/json, text/html;q=0.5", "x/1"),
    Client("HTML and a problem's JSON", "text/html, application/problem+json", "x/1"),
    Client("no number", "text/html;q=high", "x/1"),
    Client("nothing but commas", ",;,q=1", "x/1"),
    # Monitoring
    Client("Prometheus 3", PROMETHEUS_3, "Prometheus/3.7.3", "metrics"),
    Client("Prometheus 2", PROMETHEUS_2, "Prometheus/2.42.0", "metrics"),
    Client("VictoriaMetrics", "text/plain;version=0.0.4;q=1,*/*;q=0.1", "vm_promscrape", "metrics"),
)
