"""The script's side of `shell`: asks the test what a command means here, and becomes that.

python3 ask.py SOCKET PROGRAM ARGUMENT...
"""

import json
import os
import socket
import sys

path, *command = sys.argv[1:]
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(path)
    connection.sendall(json.dumps(command).encode() + b"\n")
    answer = json.loads(connection.makefile().readline())
if "failure" in answer:
    sys.exit(answer["failure"])
if isinstance(answer["done"], list):
    os.execvp(answer["done"][0], answer["done"])
if answer["done"]:
    print(answer["done"])
