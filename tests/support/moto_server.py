"""moto over HTTP. A subclass sees each request first, and can answer it itself."""

from __future__ import annotations

from contextlib import contextmanager

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.server import ThreadedMotoServer
from werkzeug.serving import make_server


class MotoServer(ThreadedMotoServer):
    """moto's server on a free port.

    Args:
        ssl_context: The TLS context of the server; None for plain HTTP.
    """

    def __init__(self, ssl_context=None):
        super().__init__(ip_address="127.0.0.1", port=0, verbose=False)
        self.ssl_context = ssl_context

    @property
    def address(self):
        """The URL that a client connects to."""
        host, port = self.get_host_and_port()
        return f"{'http' if self.ssl_context is None else 'https'}://{host}:{port}"

    def _server_entry(self):
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server(
            self._ip_address, 0, self._answer, True, request_handler=MotoRequestHandler, ssl_context=self.ssl_context
        )
        self._server_ready_event.set()
        self._server.serve_forever()

    def stop(self):
        """Stop the server, and free its port."""
        super().stop()
        self._server.server_close()

    def _answer(self, environ, start_response):
        return self._moto(environ, start_response)


@contextmanager
def running(server):
    """Yield a server while it runs."""
    server.start()
    try:
        yield server
    finally:
        server.stop()
