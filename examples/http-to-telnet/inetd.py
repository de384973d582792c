#!/usr/bin/env python3
"""Starts a program for each connection, with the connection as its standard input and output, as inetd does.

    inetd.py PORT COMMAND [ARG]...
"""

import signal
import socket
import subprocess
import sys

port, command = int(sys.argv[1]), sys.argv[2:]
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
with socket.create_server(("127.0.0.1", port)) as listener:
    while True:
        connection, _ = listener.accept()
        with connection:
            subprocess.Popen(command, stdin=connection, stdout=connection, stderr=subprocess.DEVNULL)
