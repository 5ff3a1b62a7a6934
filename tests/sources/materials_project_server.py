"""A loopback server that speaks the protocol of the Materials Project, faults included."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

KEY = "0123456789abcdef0123456789abcdef"


def document(material_id, crystal, **changes) -> dict:
    """A summary document of a bulk crystal."""
    return {
        "material_id": material_id,
        "formula_pretty": crystal.composition.reduced_formula,
        "structure": crystal.as_dict(),
        "band_gap": 1.0,
        "energy_above_hull": 0.0,
        "theoretical": False,
    } | changes


class MaterialsProjectServer:
    """Serves documents on a free port of the loopback interface.

    Attributes:
        documents: what `materials/summary` searches.
        faults: what the next requests meet, first first: a status, `"drop"` (closed without an
            answer), `"cut"` (closed within the answer), `"page"` (an empty page), or None.
        requests: path and query of every request.
        heartbeat: content of `heartbeat`.
    """

    def __init__(self, documents=()):
        self.documents = list(documents)
        self.faults: list = []
        self.retry_after = None
        self.requests: list[tuple[str, dict]] = []
        self.heartbeat: Mapping = {
            "status": "OK",
            "db_version": "2025_09_25",
            "version": "0.86.4",
            "access_controlled_batch_ids": ["gnome_r2scan_statics"],
        }

    def __enter__(self):
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/"

    @property
    def searches(self) -> list[dict]:
        return [query for path, query in self.requests if "summary" in path]

    def answer(self, query: Mapping[str, str]) -> dict:
        found = [entry for entry in self.documents if _meets(entry, query)]
        start, count = int(query.get("_skip", 0)), int(query["_limit"])
        fields = query["_fields"].split(",")
        page = [{k: v for k, v in entry.items() if k in fields} for entry in found]
        return {"data": page[start : start + count], "meta": {"total_doc": len(found)}}

    def _handler(server):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                address = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(address.query).items()}
                server.requests.append((address.path, query))
                is_search = "materials/summary" in address.path
                fault = server.faults.pop(0) if is_search and server.faults else None
                if fault == "drop":
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                elif isinstance(fault, int):
                    self._send(fault, {"detail": f"status {fault} was asked for"})
                elif "heartbeat" in address.path:
                    # Open to all, as the service's is.
                    self._send(200, server.heartbeat)
                elif self.headers.get("x-api-key") != KEY:
                    self._send(401, {"message": "Invalid authentication credentials"})
                elif is_search:
                    content = server.answer(query)
                    if fault == "page":
                        content["data"] = []
                    self._send(200, content, cut=fault == "cut")
                else:
                    self._send(404, {"message": "no Route matched with those values"})

            def _send(self, status, content, cut=False):
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                if status == 429 and server.retry_after is not None:
                    self.send_header("Retry-After", str(server.retry_after))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2] if cut else body)
                if cut:
                    self.close_connection = True

            def log_message(self, *_):
                pass

        return Handler


def _meets(entry: Mapping, query: Mapping[str, str]) -> bool:
    sites = (entry["structure"] or {}).get("sites", [])
    elements = {site["species"][0]["element"] for site in sites}
    ranges = {key: entry[key] for key in ("band_gap", "energy_above_hull")} | {"nsites": len(sites)}
    for name, value in ranges.items():
        low, high = query.get(f"{name}_min"), query.get(f"{name}_max")
        if (low and value < float(low)) or (high and value > float(high)):
            return False
    if "elements" in query and not set(query["elements"].split(",")) <= elements:
        return False
    if query.get("theoretical") == "False" and entry["theoretical"]:
        return False
    return not (query.get("batch_id_not_eq") and entry.get("batch_id") == query["batch_id_not_eq"])
