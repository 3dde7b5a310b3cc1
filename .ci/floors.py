"""Fails if the main job's metrics.json falls below what it has been measured to reach, less a margin for luck."""

import json
import sys
from pathlib import Path

metrics = json.loads(Path(sys.argv[1]).read_text())
before, after, oracle = (metrics[name]["open_loop"] for name in ("baseline", "finetuned", "oracle"))
floors = {
    "baseline fails under planning": before["success_rate"] <= 0.6,
    "baseline errs at least 1,000 times more under planning": before["train_test_gap"] >= 1000,
    "finetuned success": after["success_rate"] >= 0.95,
    "finetuned error down by 95 %": after["world_model_error"] <= 0.05 * before["world_model_error"],
    "finetuned distance down by 75 %": after["goal_distance"] <= 0.25 * before["goal_distance"],
    "finetuned MPC success": metrics["finetuned"]["mpc"]["success_rate"] >= 0.97,
    "oracle success": oracle["success_rate"] >= 0.95,
    "seconds": metrics["wall_clock_seconds"] <= 600,
}
for floor, holds in floors.items():
    print("ok  " if holds else "FAIL", floor)
sys.exit(not all(floors.values()))
