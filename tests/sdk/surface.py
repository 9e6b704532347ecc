"""Schemathesis on everything that /openapi.json describes: no 5xx, and nothing that is not as described."""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from urllib.parse import urljoin

URL = urljoin(os.environ["TOKENWIRE_URL"], "openapi.json")
SETTINGS = Path(__file__).with_name("schemathesis.toml")
# In seconds: several times what it takes on two busy cores.
PATIENCE = 240
TOOL = Path(sys.executable).with_name("schemathesis")


class Surface(unittest.TestCase):
    def test_schemathesis_finds_nothing(self):
        command = [TOOL, "--config-file", SETTINGS, "run", URL]
        # It keeps what it found in the directory that it runs in.
        with tempfile.TemporaryDirectory() as directory:
            found = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual(found.returncode, 0, found.stdout + found.stderr)


if __name__ == "__main__":
    unittest.main()
