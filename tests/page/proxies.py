"""A proxy between the browser and Darkroom: it cuts what goes on, or answers for a server that is away."""

import contextlib
import socket
import threading

_AWAY = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_PIECE = 65_536


class Proxy:
    """Listens at a free port until `close`; bytes go to and fro as they come."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._away = False
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def cut(self) -> None:
        """End every connection at once, as proxies do after a while."""
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def leave(self) -> None:
        """End every connection, and answer 502 to whoever comes."""
        self._away = True
        self.cut()

    def come_back(self) -> None:
        """Let everybody through again."""
        self._away = False

    def close(self) -> None:
        """Listen no more."""
        self._listener.close()
        self.cut()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            if self._away:
                with contextlib.suppress(OSError):
                    client.recv(_PIECE)
                    client.sendall(_AWAY)
                return
            with socket.create_connection(("127.0.0.1", self._upstream)) as server:
                with self._lock:
                    self._open |= {client, server}
                back = threading.Thread(target=_pump, args=(server, client), daemon=True)
                back.start()
                _pump(client, server)
                back.join()
                with self._lock:
                    self._open -= {client, server}


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Pass on what comes until it ends, and say so to the other side."""
    with contextlib.suppress(OSError):
        while piece := source.recv(_PIECE):
            sink.sendall(piece)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
