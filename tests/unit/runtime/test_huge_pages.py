import subprocess
import sys
from pathlib import Path

import pytest

STATUS = Path("/proc/self/status")
PROGRAM = f"""
from pathlib import Path
from rtap_assets.runtime.huge_pages import disable_huge_pages
disable_huge_pages()
print(Path("{STATUS}").read_text())
"""


@pytest.mark.skipif(not STATUS.exists() or "THP_enabled" not in STATUS.read_text(), reason="the kernel does not say")
def test_the_kernel_gives_the_process_no_huge_pages() -> None:
    status = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    assert "THP_enabled:\t0" in status.splitlines()
