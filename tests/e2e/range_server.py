"""A small HTTP server for data.bats and security.bats: serves a folder's files in the ways that
real servers do.

    range_server.py FOLDER PORT_FILE LOG_FILE [PEM]

With PEM, a file of a key and its certificate, it speaks HTTPS. Binds a free port of 127.0.0.1 and
writes its number to PORT_FILE; logs `PATH RANGE` per request. The first part of a path chooses the
behaviour, the rest names the file:
    /range/    honours Range (206, 416)       /plain/   ignores Range
    /stall/    sends half, then nothing       /cut/     sends half, then closes
    /moved/    redirects to /range/           /to-file/ redirects to a file:// address
    /to-http/  redirects to http://127.0.0.1:1/
"""
import http.server
import os
import pathlib
import ssl
import sys
import time

folder, port_file, log_file = map(pathlib.Path, sys.argv[1:4])
pem = sys.argv[4] if len(sys.argv) > 4 else None


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def answer(self, code, body=b"", **headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", len(body))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        asked = self.headers.get("Range")
        with log_file.open("a") as log:
            print(self.path, asked or "-", file=log)
        mode, _, name = self.path.split("?")[0].lstrip("/").partition("/")
        if mode == "moved":
            return self.answer(302, Location=f"/range/{name}")
        if mode == "to-http":
            return self.answer(302, Location=f"http://127.0.0.1:1/range/{name}")
        if mode == "to-file":
            return self.answer(302, Location=f"file://{folder / name}")
        if not (folder / name).is_file():
            return self.answer(404)
        body = (folder / name).read_bytes()
        if mode in ("stall", "cut"):
            self.send_response(200)
            self.send_header("Content-Length", len(body))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            if mode == "stall":
                time.sleep(60)
            return None
        if mode == "range" and asked:
            first = int(asked.removeprefix("bytes=").rstrip("-"))
            if first >= len(body):
                return self.answer(416, Content_Range=f"bytes */{len(body)}")
            return self.answer(206, body[first:],
                               Content_Range=f"bytes {first}-{len(body) - 1}/{len(body)}")
        return self.answer(200, body)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


server = Server(("127.0.0.1", 0), Handler)
if pem:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server.socket = context.wrap_socket(server.socket, server_side=True)
part = port_file.with_suffix(".new")
part.write_text(str(server.server_address[1]))
os.replace(part, port_file)
server.serve_forever()
