"""Schemathesis on everything that /openapi.json describes: no 5xx, and nothing that is not as described."""

import os
import subprocess
import sys
import unittest
from pathlib import Path
from urllib.parse import urljoin

URL = urljoin(os.environ["TOKENWIRE_URL"], "openapi.json")
SETTINGS = Path(__file__).with_name("schemathesis.toml")
TOOL = Path(sys.executable).with_name("schemathesis")


class Surface(unittest.TestCase):
    def test_schemathesis_finds_nothing(self):
        found = subprocess.run(
            [TOOL, "--config-file", SETTINGS, "run", URL], capture_output=True, text=True, timeout=240
        )
        self.assertEqual(found.returncode, 0, found.stdout + found.stderr)


if __name__ == "__main__":
    unittest.main()
