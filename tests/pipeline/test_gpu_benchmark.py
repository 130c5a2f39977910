"""The benchmark that a GPU is measured with runs from end to end, on a CPU in tiny sizes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


def test_every_part_of_the_gpu_benchmark_runs(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    command = [sys.executable, SCRIPT, "--device", "cpu", "--rehearse", "--out", out]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    result = json.loads(out.read_text())
    failed = {name: part for name, part in result.items() if isinstance(part, dict) and "failed" in part}
    assert not failed
    assert all(result["resumed"][name]["equal_to_the_byte"] for name in ("cyclegan", "self-training"))
    assert result["domains"][1]["md5"]
    assert result["adapted_wrn"]["curve"]
