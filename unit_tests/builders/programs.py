"""Small programs for the tests of processes, as text for `python -c`."""

# Listens on --port and answers /health: 503 as often as the variable NOT_READY says, then 200.
SERVER = """
import os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

not_ready = int(os.environ.get("NOT_READY", "0"))

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        global not_ready
        ready = self.path == "/health" and not_ready <= 0
        not_ready -= 1
        self.send_response(200 if ready else 503)
        self.end_headers()
        self.wfile.write(os.getcwd().encode())

    def log_message(self, *arguments):
        pass

HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""

# Writes a line into the file that argv[1] names once it ignores SIGTERM, and stays.
STUBBORN = """
import os, pathlib, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).write_text(f"{os.getpid()}\\n")
while True:
    signal.pause()
"""

# Starts a child that runs argv[1] with the rest of the arguments, and waits for it.
PARENT = """
import subprocess, sys
subprocess.run([sys.executable, "-c", *sys.argv[1:]])
"""

# To stand before another program: leaves its parent's session and writes its process id to the file that argv[1] names.
RUNAWAY = """
import os, pathlib, sys
os.setsid()
pathlib.Path(sys.argv[1]).write_text(f"{os.getpid()}\\n")
"""

# Answers each line with the same line in capitals.
ECHO = """
import sys
for line in sys.stdin:
    print(line.strip().upper(), flush=True)
"""
