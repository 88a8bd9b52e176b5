"""A cable between a program and a server of this machine, which can be pulled."""

import socket
import threading


class Cable:
    """Passes all between its own `port` and that of the server, until it is pulled: from then on what was on
    its way stays half said, and nobody hangs up."""

    def __init__(self, server_port):
        self.server_port = server_port
        self.pulled = False
        self.ends = []  # kept, as nobody is to hang up
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.server_port))
            self.ends += [client, server]
            threading.Thread(target=self.pump, args=(client, server), daemon=True).start()
            threading.Thread(target=self.pump, args=(server, client), daemon=True).start()

    def pump(self, giver, taker):
        try:
            while data := giver.recv(1 << 16):
                if self.pulled:
                    taker.sendall(data[:3])
                    return
                taker.sendall(data)
            taker.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # one of them has gone

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for end in (self.listener, *self.ends):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()
