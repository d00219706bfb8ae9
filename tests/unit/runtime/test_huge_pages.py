import subprocess
import sys

PR_GET_THP_DISABLE = 42  # linux/prctl.h
PROGRAM = f"""
import ctypes, sys
from rtap_assets.runtime.huge_pages import disable_huge_pages
disable_huge_pages()
print(ctypes.CDLL(None).prctl({PR_GET_THP_DISABLE}, 0, 0, 0, 0) if sys.platform == "linux" else "not asked")
"""


def test_the_kernel_gives_the_process_no_huge_pages() -> None:
    answer = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    assert answer.strip() == ("1" if sys.platform == "linux" else "not asked")
