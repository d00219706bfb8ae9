"""`python -m bench`: the whole chain, see `bench/chain.py`."""

from __future__ import annotations

from bench.chain import chain

if __name__ == "__main__":
    chain()
