"""Serves with one of several readers of HTTP: `python_server.py NAME RECORD PORT-FILE`."""

import asyncio
import socket
import sys
import threading

from recorder import Recorder, announce, pairs

NAME, RECORD, PORT_FILE = sys.argv[1:]
RECORDER = Recorder(RECORD)


def listener():
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", 0))
    made.listen(512)
    return made


def wsgi(environ, start_response):
    """For servers that show a request's headers as variables."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    # Where the server ends the input itself, that goes for chunks too.
    body = environ["wsgi.input"].read(*([] if environ.get("wsgi.input_terminated") else [length]))
    if len(body) < length:
        # Of a connection that ended too early such a server gives what there is.
        start_response("400 Bad Request", [("Content-Length", "0")])
        return []
    target = environ.get("RAW_URI") or environ.get("REQUEST_URI") or environ["PATH_INFO"]
    names = {"host": "HTTP_HOST", "authorization": "HTTP_AUTHORIZATION", "x-case": "HTTP_X_CASE"}
    headers = [[name, environ[variable]] for name, variable in names.items() if variable in environ]
    saw, answer = RECORDER.see(environ["REQUEST_METHOD"], target, headers, body)
    start_response("200 OK", [("X-Saw", saw), ("Content-Length", str(len(answer)))])
    # Waitress sends what it gets, also behind a HEAD.
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else answer]


def serve_waitress():
    import waitress

    made = listener()
    announce(PORT_FILE, made.getsockname()[1])
    limits = {"max_request_header_size": 1 << 18, "connection_limit": 1000, "channel_timeout": 3600}
    waitress.serve(wsgi, sockets=[made], threads=16, **limits)


def serve_gunicorn():
    from gunicorn.app.base import BaseApplication

    class Application(BaseApplication):
        def load_config(self):
            settings = {
                "bind": f"fd://{made.fileno()}",
                "worker_class": "gthread",
                "threads": 64,
                "keepalive": 3600,
                "limit_request_line": 0,
                "limit_request_field_size": 0,
                "limit_request_fields": 32768,
            }
            for name, value in settings.items():
                self.cfg.set(name, value)

        def load(self):
            return wsgi

    made = listener()
    made.set_inheritable(True)
    announce(PORT_FILE, made.getsockname()[1])
    Application().run()


def serve_uvicorn():
    import uvicorn

    async def application(scope, receive, send):
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message.get("body", b""), message.get("more_body", False)
        query = scope["query_string"].decode("latin-1")
        target = scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
        saw, answer = RECORDER.see(scope["method"], target, pairs(scope["headers"]), body)
        headers = [(b"x-saw", saw.encode()), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    made = listener()
    announce(PORT_FILE, made.getsockname()[1])
    config = uvicorn.Config(application, http="httptools", lifespan="off", timeout_keep_alive=3600)
    uvicorn.Server(config).run(sockets=[made])


def serve_aiohttp():
    from aiohttp import web

    async def handle(request):
        body = await request.read()
        saw, answer = RECORDER.see(request.method, request._message.path, pairs(request.raw_headers), body)
        return web.Response(body=answer, headers={"X-Saw": saw})

    async def run():
        limits = {"max_line_size": 1 << 18, "max_field_size": 1 << 18, "keepalive_timeout": 3600}
        runner = web.ServerRunner(web.Server(handle, **limits))
        await runner.setup()
        made = listener()
        await web.SockSite(runner, made).start()
        announce(PORT_FILE, made.getsockname()[1])
        await asyncio.Event().wait()

    asyncio.run(run())


def serve_http_server():
    """The lenient one of Python's library.  It leaves bodies to its user; here chunks are read by `int`."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __getattr__(self, name):
            if name.startswith("do_"):
                return self.answer
            raise AttributeError(name)

        def answer(self):
            target = self.requestline.split(" ")[1]
            body = self.body()
            if body is None:
                self.close_connection = True
                return
            saw, answer = RECORDER.see(self.command, target, pairs(self.headers.items()), body)
            self.send_response(200)
            self.send_header("X-Saw", saw)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer)

        def body(self):
            """The whole body, or nothing if the connection ended before it did."""
            if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length)
                return body if len(body) == length else None
            body = b""
            while line := self.rfile.readline():
                if (size := int(line.split(b";")[0], 16)) == 0:
                    while (line := self.rfile.readline()).strip():
                        pass
                    return body if line else None
                body += self.rfile.read(size)
                self.rfile.readline()
            return None

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 512

        def handle_error(self, *_):
            pass

    server = Server(("127.0.0.1", 0), Handler)
    announce(PORT_FILE, server.server_address[1])
    server.serve_forever()


def serve_h11():
    import h11

    def converse(stream):
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 18)

        def next_event():
            while (event := connection.next_event()) is h11.NEED_DATA:
                if connection.they_are_waiting_for_100_continue:
                    stream.sendall(connection.send(h11.InformationalResponse(status_code=100, headers=[])))
                connection.receive_data(stream.recv(65536))
            return event

        def answer(status, headers, body):
            headers = [*headers, ("Content-Length", str(len(body)))]
            stream.sendall(connection.send(h11.Response(status_code=status, headers=headers)))
            stream.sendall(connection.send(h11.Data(data=body)) + connection.send(h11.EndOfMessage()))

        try:
            while isinstance(request := next_event(), h11.Request):
                body = b""
                while isinstance(event := next_event(), h11.Data):
                    body += bytes(event.data)
                if not isinstance(event, h11.EndOfMessage):
                    break
                method, target = request.method.decode(), request.target.decode("latin-1")
                saw, text = RECORDER.see(method, target, pairs(request.headers), body)
                answer(200, [("X-Saw", saw)], text)
                if h11.MUST_CLOSE in connection.states.values():
                    break
                connection.start_next_cycle()
        except h11.RemoteProtocolError as error:
            if connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                answer(error.error_status_hint, [("Connection", "close")], str(error).encode())
        except OSError:
            pass
        finally:
            stream.close()

    made = listener()
    announce(PORT_FILE, made.getsockname()[1])
    while True:
        threading.Thread(target=converse, args=(made.accept()[0],), daemon=True).start()


globals()[f"serve_{NAME}"]()
