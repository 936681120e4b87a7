"""Let the tests here import the helpers that lie beside them, and capstone under sanitizers."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
# capstone loads its library with this flag where there is one; the address sanitizer then ends.
if "sanitize" in os.environ.get("EMU_CFLAGS", ""):
    os.__dict__.pop("RTLD_DEEPBIND", None)
