"""Every entry that reads a file, with hostile and damaged versions of it: one sentence, and nothing else happens."""

import hashlib
import io
import json
import os
import pickle
import shutil
import sys
import zipfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import hydra
import numpy as np
import pytest
import torch
import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from safetensors.torch import save_file

from gapclose.data.replay import ReplayBuffer
from gapclose.data.trajectories import Trajectories
from gapclose.errors import reporting_errors
from gapclose.logging.identity import Identity
from gapclose.report.__main__ import main as report
from gapclose.runs.command_line import entry
from gapclose.runs.storage.run_folder import QuickLoader
from tests.runs.conftest import TINY, TINY_PLAN, is_one_sentence, trained, unrendered  # noqa: F401

PLAN = [*TINY_PLAN, "num_tasks=2", "data_dir=data"]
COMMANDS = {
    "plan": ["plan", *PLAN, "execute=[open_loop]", "checkpoint=model.ckpt", "hydra.run.dir=out/plan"],
    "data": ["plan", *PLAN, "execute=[open_loop]", "model=oracle", "hydra.run.dir=out/data"],
    "diagnose": ["diagnose", *PLAN, "checkpoint=model.ckpt", "hydra.run.dir=out/diagnose"],
    "base": ["train", *TINY, "base_checkpoint=model.ckpt", "data_dir=data", "hydra.run.dir=out/base"],
    "baseline": ["train", *TINY, "data_dir=data", "hydra.run.dir=out/baseline"],
    "resume": ["train", "resume=unfinished"],
    "resume finished": ["train", "resume=run"],
}


class Execute:
    """Makes the file `executed` when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch executed",)


def command(name: str) -> None:
    """Calls an entry point."""
    kind, *arguments = COMMANDS[name]
    sys.argv = [f"{kind}.py", *arguments]
    getattr(entry, kind)()


def load_replay() -> None:
    with reporting_errors():
        ReplayBuffer().load(Path("replay.pt"))


def load_identity() -> None:
    with reporting_errors():
        Identity.of(Path("run"), None)


def write_report() -> None:
    sys.argv = ["gapclose.report", "run"]
    report()


ENTRIES: dict[str, tuple[str, Callable[[], None]]] = {
    **{name: ("model.ckpt", lambda name=name: command(name)) for name in ("plan", "diagnose", "base")},
    "baseline": ("data/baselines/*.ckpt", lambda: command("baseline")),
    "last": ("unfinished/checkpoints/last.ckpt", lambda: command("resume")),
    "config": ("unfinished/config.yaml", lambda: command("resume")),
    "config of a finished run": ("run/config.yaml", lambda: command("resume finished")),
    "data": ("data/*.safetensors", lambda: command("data")),
    "replay": ("replay.pt", load_replay),
    "identity": ("run/wandb_run.json", load_identity),
    "plans": ("run/plans.npz", write_report),
    "maps": ("run/maps.npz", write_report),
}
"""The file that each entry reads, and how to start the entry."""


@pytest.fixture(scope="module")
def world(trained, tmp_path_factory):  # noqa: F811
    """A folder with a finished run, an unfinished one, their data, and files that hostile ones may refer to."""
    world = tmp_path_factory.mktemp("world")
    shutil.copytree(trained / "data", world / "data")
    shutil.copytree(trained / "run", world / "run")
    config = OmegaConf.load(world / "run/config.yaml")
    config.data_dir = "data"
    OmegaConf.save(config, world / "run/config.yaml")
    shutil.copytree(world / "run", world / "unfinished")
    (world / "unfinished/metrics.json").unlink()
    config.finetune.epochs = 4  # The checkpoint has 3.
    OmegaConf.save(config, world / "unfinished/config.yaml")
    shutil.copy(world / "run/checkpoints/last.ckpt", world / "model.ckpt")
    buffer = ReplayBuffer(100)
    buffer.add(torch.zeros(3, 5, 2), torch.zeros(3, 4, 2))
    buffer.save(world / "replay.pt")
    identity = dict(id="0" * 8, name="a", group=None, job_type="none", tags=["a"], notes="")
    (world / "run/wandb_run.json").write_text(json.dumps(identity))
    (world / "precious").mkdir()
    (world / "precious/file").write_text("thesis")
    (world / "evil.pkl").write_bytes(pickle.dumps(Execute()))
    np.save(world / "evil.npy", np.array([Execute()], dtype=object), allow_pickle=True)
    torch.save(Execute(), world / "evil.pt")
    (world / "evil_module.py").write_text("open('executed', 'w')\n\ndef run(*args): pass\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(world)
        for name, (kind, *arguments) in COMMANDS.items():
            patch.setattr(sys, "argv", [f"{kind}.py", *arguments, "hydra/job_logging=none", "hydra/hydra_logging=none"])
            composed[name] = compose(kind)
    (world / "out").mkdir(exist_ok=True)
    return world


composed: dict[str, tuple[Any, Any]] = {}
"""The configuration of each command, and Hydra's, which are the same in all cases."""


def compose(kind: str) -> tuple[Any, Any]:
    kept = []

    def keep(cfg):
        kept.append((cfg.copy(), HydraConfig.instance().cfg.copy()))

    hydra.main(version_base="1.3", config_path=str(entry.conf_dir()), config_name=kind)(keep)()
    return kept[0]


@pytest.fixture
def quick(monkeypatch):
    """Commands start with the configuration that was composed before, which is all that Hydra does for them."""

    def main(**_):
        def decorate(job):
            def start():
                name = next(name for name, command in COMMANDS.items() if command[1:] == sys.argv[1:])
                cfg, HydraConfig.instance().cfg = (part.copy() for part in composed[name])
                job(cfg)

            return start

        return decorate

    monkeypatch.setattr(hydra, "main", main)
    yield
    HydraConfig.instance().cfg = None


def listing(folder: Path) -> dict[str, str]:
    """All files below a folder with their contents, but for those of new runs and locks."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.startswith("out/") or name.endswith(".lock") or "__pycache__" in name:
            continue
        if path.is_symlink():
            found[name] = f"link to {os.readlink(path)}"
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else str(path.stat().st_mode)
    return found


class Case(NamedTuple):
    """A version of a file: its contents are replaced by what `change` makes of them."""

    reader: str
    name: str
    change: Callable[[Path], None]


# Damage to any file ---------------------------------------------------------------------------------------------------


def cut(share: float):
    return lambda path: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def content(text: bytes):
    return lambda path: path.write_bytes(text)


def replaced(make: Callable[[Path], Any]):
    def change(path):
        path.unlink()
        make(path)

    return change


def zipped_pickle(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Execute(), protocol=2))
        archive.writestr("archive/version", "3\n")


def compressed(path: Path) -> None:
    parts = zipfile.ZipFile(io.BytesIO(path.read_bytes()))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in parts.namelist():
            archive.writestr(name, parts.read(name))


def flip(place: float):
    def change(path):
        data = bytearray(path.read_bytes())
        data[int(place * len(data))] ^= 4
        path.write_bytes(data)

    return change


DAMAGES = {
    "empty": content(b""),
    "cut in half": cut(0.5),
    "without its end": cut(0.98),
    "zeros": content(b"\0" * 1000),
    "not UTF-8": content(b"\xff\xfe\x80" * 100),
    "pickle": content(pickle.dumps(Execute(), protocol=2)),
    "zipped pickle": zipped_pickle,
    "folder": replaced(lambda path: path.mkdir()),
    "pipe": replaced(os.mkfifo),
    "link to nothing": replaced(lambda path: path.symlink_to("nowhere")),
    "link to itself": replaced(lambda path: path.symlink_to(path.name)),
    "deeply nested JSON": content(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
}
BINARY = {"flipped bit 1": flip(0.3), "flipped bit 2": flip(0.6), "compressed": compressed}

# Checkpoints with other contents --------------------------------------------------------------------------------------

FIRST = "world_model.dynamics.weights.0"


def weight(make: Callable[[torch.Tensor], Any]):
    def change(checkpoint):
        checkpoint["state_dict"][FIRST] = make(checkpoint["state_dict"][FIRST])

    return change


def setting(**values: Any):
    return lambda checkpoint: checkpoint.update(values)


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


def doubled(times: int) -> list:
    value: list = [0]
    for _ in range(times):
        value = [value, value]
    return value


def quantized(w: torch.Tensor) -> torch.Tensor:
    return torch.quantize_per_tensor(w, 0.1, 0, torch.qint8)


WEIGHTS = {
    "no weights": lambda checkpoint: checkpoint.pop("state_dict"),
    "weights null": setting(state_dict=None),
    "weights a list": setting(state_dict=[torch.zeros(2)]),
    "weights text": setting(state_dict="weights"),
    "weights empty": setting(state_dict={}),
    "a tensor null": weight(lambda w: None),
    "a tensor text": weight(lambda w: "weights"),
    "a tensor a list": weight(lambda w: w.tolist()),
    "a tensor sparse": weight(lambda w: w.to_sparse()),
    "a tensor meta": weight(lambda w: w.to("meta")),
    "a tensor expanded": weight(lambda w: torch.zeros(1).expand(10**15)),
    "a tensor quantized": weight(quantized),
    "a tensor complex": weight(lambda w: w.to(torch.complex64)),
    "a tensor of integers": weight(lambda w: w.to(torch.int64)),
    "a tensor in double precision": weight(lambda w: w.double()),
    "a tensor in half precision": weight(lambda w: w.half()),
    "a tensor of another shape": weight(lambda w: w[:, :1]),
    "a tensor without elements": weight(lambda w: w[:0]),
    "a tensor with NaN": weight(lambda w: w * torch.nan),
    "a tensor with infinity": weight(lambda w: w / 0),
    "a tensor missing": lambda checkpoint: checkpoint["state_dict"].pop(FIRST),
    "a tensor too many": lambda checkpoint: checkpoint["state_dict"].update({"world_model.more": torch.zeros(2)}),
    "a name that is a number": lambda checkpoint: checkpoint["state_dict"].update({5: torch.zeros(2)}),
    "no configuration": lambda checkpoint: checkpoint.pop("config"),
    "configuration null": setting(config=None),
    "configuration a list": setting(config=[1]),
    "configuration with a tensor": lambda checkpoint: checkpoint["config"].update(env=torch.zeros(2)),
    "configuration with an interpolation": lambda checkpoint: checkpoint["config"].update(env="${oc.env:HOME}"),
    "configuration deeply nested": lambda checkpoint: checkpoint["config"].update(env=nested(300)),
    "configuration of shared lists": lambda checkpoint: checkpoint["config"].update(env=doubled(60)),
    "replay a list": setting(WindowDataModule=[1]),
    "replay of text": setting(WindowDataModule={"capacity": "a", "added": "b"}),
    "replay sparse": lambda checkpoint: checkpoint["WindowDataModule"].update(states=torch.zeros(3, 4, 2).to_sparse()),
    "replay of other shapes": lambda checkpoint: checkpoint["WindowDataModule"].update(states=torch.zeros(3)),
    "replay with NaN": lambda checkpoint: checkpoint["WindowDataModule"]["states"].fill_(torch.nan),
    "replay that is too long": lambda checkpoint: checkpoint["WindowDataModule"].update(added=10**30),
}

# Configurations -------------------------------------------------------------------------------------------------------

TARGETS: dict[str, dict[str, Any]] = {
    "touch": {"_target_": "pathlib.Path.touch", "_args_": [{"_target_": "pathlib.Path", "_args_": ["executed"]}]},
    "torch.load": {"_target_": "torch.load", "f": "evil.pt", "weights_only": False},
    "numpy.load": {"_target_": "numpy.load", "file": "evil.npy", "allow_pickle": True},
    "read_pickle": {"_target_": "pandas.read_pickle", "filepath_or_buffer": "evil.pkl"},
    "open": {"_target_": "builtins.open", "_args_": ["executed", "w"]},
    "eval": {"_target_": "builtins.eval", "_args_": ["open('executed', 'w')"]},
    "system": {"_target_": "os.system", "_args_": ["touch executed"]},
    "run": {"_target_": "subprocess.run", "_args_": [["touch", "executed"]]},
    "rmtree": {"_target_": "shutil.rmtree", "_args_": ["precious"]},
    "remove": {"_target_": "os.remove", "_args_": ["precious/file"]},
    "module in the folder": {"_target_": "evil_module.run"},
    "prefix": {"_target_": "gapclose.envs.wall.torch.load", "f": "evil.pt", "weights_only": False},
    "attribute": {
        "_target_": "gapclose.files.Path.touch",
        "_args_": [{"_target_": "pathlib.Path", "_args_": ["executed"]}],
    },
    "hydra": {
        "_target_": "hydra.utils.instantiate",
        "_args_": [{"_target_": "os.system", "_args_": ["touch executed"]}],
    },
    "get_object": {"_target_": "hydra.utils.get_object", "path": "evil_module.run"},
    "partial": {"_target_": "os.system", "_partial_": True, "command": "touch executed"},
    "number": {"_target_": 5},
    "list": {"_target_": ["os.system"]},
    "empty": {"_target_": ""},
    "null": {"_target_": None},
    "class of another group": {"_target_": "lightning.Trainer", "default_root_dir": "executed"},
}
PLACES = ("data.behaviour", "env.more", "encoder", "model", "objective", "policy.network")
RUN_PLACES = ("init", "baseline.module.optimizer", "trainer", "finetune.rollouts.planner", "planner", "mpc", "env.more")
VALUES = {
    "null": None,
    "text": "x",
    "a list": [1],
    "a number": 5,
    "empty": {},
    "missing value": {"_target_": "gapclose.envs.wall.Wall", "x_max": "???"},
    "wrong type": {"_target_": "gapclose.envs.wall.Wall", "action_max": "much"},
    "NaN": {"_target_": "gapclose.envs.wall.Wall", "action_max": float("nan")},
    "huge number": {"_target_": "gapclose.envs.wall.Wall", "action_max": 10**400},
    "unknown setting": {"_target_": "gapclose.envs.wall.Wall", "more": 1},
    "a key that is no text": {None: 1},
}


def at(place: str, value: Any):
    """Changes a configuration at a dotted place."""

    def change(config):
        *parents, name = place.split(".")
        for parent in parents:
            config = config[parent]
        config[name] = deepcopy(value)

    return change


CONFIGS = {
    **{f"env is {name}": at("env", target) for name, target in TARGETS.items()},
    **{f"env is {name}": at("env", value) for name, value in VALUES.items()},
}
CHECKPOINT_CONFIGS = CONFIGS | {f"touch in {place}": at(place, TARGETS["touch"]) for place in PLACES}
RUN_CONFIGS = {
    **CONFIGS,
    **{f"touch in {place}": at(place, TARGETS["touch"]) for place in (*RUN_PLACES, *PLACES)},
    **{f"{key} is text": at(key, "x") for key in ("seed", "trainer", "evaluation", "choices", "finetune")},
    **{f"no {key}": lambda config, key=key: config.pop(key) for key in ("planner", "data", "trainer", "evaluation")},
    "compared is a list": at("compared", [1]),
    "a huge seed": at("seed", 10**30),
}
YAML = {
    "YAML that makes objects": b"env: !!python/object/apply:os.system ['touch executed']\n",
    "YAML with a cycle": b"env: &a [*a]\n",
    "YAML with many aliases": b"a0: &a0 [0]\n"
    + b"".join(b"a%d: &a%d [*a%d, *a%d]\n" % (n, n, n - 1, n - 1) for n in range(1, 60)),
    "YAML deeply nested": b"env: " + b"[" * 5000 + b"]" * 5000,
    "YAML cut": b"env: [1, {",
    "a list": b"- 1\n",
    "a text": b"hello\n",
}

# The state that training resumes from ---------------------------------------------------------------------------------


def states(*places: str):
    """Changes a place in the optimizer's state, or in another one."""

    def to(value):
        def change(checkpoint):
            part = checkpoint
            for name in places[:-1]:
                part = part[int(name) if isinstance(part, list) else name]
            part[places[-1]] = value

        return change

    return to


STATES = {
    "no loops": lambda checkpoint: checkpoint.pop("loops"),
    "no callbacks": states("callbacks")(None),
    "loops text": states("loops")("x"),
    "epoch huge": states("epoch")(10**300),
    "step negative": states("global_step")(-5),
    "progress text": states("loops", "fit_loop", "epoch_progress", "total", "completed")("x"),
    "no optimizer": states("optimizer_states")([]),
    "optimizer text": states("optimizer_states")("x"),
    "optimizer sparse": states("optimizer_states")([{"state": {0: {"exp_avg": torch.eye(3).to_sparse()}}}]),
    "learning rate text": lambda checkpoint: checkpoint["optimizer_states"][0]["param_groups"][0].update(lr="fast"),
    "moments of another shape": lambda checkpoint: checkpoint["optimizer_states"][0]["state"][0].update(
        exp_avg=torch.zeros(7)
    ),
    "schedule text": states("lr_schedulers")("x"),
    "schedule of text": lambda checkpoint: checkpoint["lr_schedulers"][0].update(T_i="x"),
    "history text": lambda checkpoint: checkpoint["callbacks"]["PlannerRollouts"].update(history="x"),
    "history of text": lambda checkpoint: checkpoint["callbacks"]["PlannerRollouts"].update(history=[{"epoch": "x"}]),
    "replay of another world": lambda checkpoint: checkpoint["WindowDataModule"].update(states=torch.zeros(12, 7, 5)),
    "replay of another capacity": lambda checkpoint: checkpoint["WindowDataModule"].update(capacity=100),
}


def resaved(change: Callable[[dict], Any]):
    """Changes the contents of a checkpoint."""

    def apply(path):
        checkpoint = torch.load(path, weights_only=True)
        change(checkpoint)
        torch.save(checkpoint, path)

    return apply


def configured(change: Callable[[dict], Any]):
    """Changes the configuration in a checkpoint or in a run's folder."""

    def apply(path):
        if path.suffix == ".ckpt":
            resaved(lambda checkpoint: change(checkpoint["config"]))(path)
        else:
            config = yaml.load(path.read_text(), QuickLoader)
            change(config)
            path.write_text(yaml.dump(config, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False))

    return apply


# Other files ----------------------------------------------------------------------------------------------------------


def tensors(**given: Any):
    """Writes a data file with these tensors and a matching checksum."""

    def apply(path):
        held = Trajectories(**{"states": torch.zeros(20, 9, 2), "actions": torch.zeros(20, 8, 2), **given})
        save_file(held._asdict(), path, metadata={"digest": held.digest()})

    return apply


def header(text: bytes):
    return lambda path: path.write_bytes(len(text).to_bytes(8, "little") + text)


DATA = {
    "other shapes": tensors(states=torch.zeros(20, 9, 3)),
    "other actions": tensors(actions=torch.zeros(20, 8, 1)),
    "other length": tensors(states=torch.zeros(20, 5, 2), actions=torch.zeros(20, 4, 2)),
    "fewer": tensors(states=torch.zeros(2, 9, 2), actions=torch.zeros(2, 8, 2)),
    "double precision": tensors(states=torch.zeros(20, 9, 2).double()),
    "integers": tensors(states=torch.zeros(20, 9, 2).long()),
    "NaN": tensors(actions=torch.full((20, 8, 2), torch.nan)),
    "no checksum": lambda path: save_file({"states": torch.zeros(20, 9, 2), "actions": torch.zeros(20, 8, 2)}, path),
    "no actions": lambda path: save_file({"states": torch.zeros(20, 9, 2)}, path),
    "huge header": content((2**63 - 1).to_bytes(8, "little") + b"{}"),
    "header of text": header(b"hello"),
    "huge shape": header(b'{"states":{"dtype":"F32","shape":[9999999999,999999999],"data_offsets":[0,4]}}'),
    "unknown type": header(b'{"states":{"dtype":"F4711","shape":[0],"data_offsets":[0,0]}}'),
}
REPLAY = {
    "a list": lambda path: torch.save([1], path),
    "a tensor": lambda path: torch.save(torch.zeros(2), path),
    "more": resaved(lambda state: state.update(more=1)),
    "no capacity": resaved(lambda state: state.pop("capacity")),
    "another capacity": resaved(lambda state: state.update(capacity=7)),
    "sparse": resaved(lambda state: state.update(states=state["states"].to_sparse())),
    "meta": resaved(lambda state: state.update(states=state["states"].to("meta"))),
    "expanded": resaved(lambda state: state.update(states=torch.zeros(1).expand(10**9, 5, 2))),
    "flat": resaved(lambda state: state.update(states=state["states"].flatten())),
    "no steps": resaved(lambda state: state.update(actions=state["actions"][:, :0])),
    "integers": resaved(lambda state: state.update(actions=state["actions"].long())),
    "NaN": resaved(lambda state: state["actions"].fill_(torch.nan)),
    "negative": resaved(lambda state: state.update(added=-3)),
    "true": resaved(lambda state: state.update(added=True)),
    "without actions": resaved(lambda state: state.pop("actions")),
    "without trajectories": resaved(lambda state: (state.pop("actions"), state.pop("states"))),
}
IDENTITY = {
    "a list": content(b"[1]"),
    "null": content(b"null"),
    "no id": content(b'{"name": "a"}'),
    "numbers": content(b'{"id": 1, "name": 2, "group": 3, "job_type": 4, "tags": 5, "notes": 6}'),
    "a path": content(b'{"id": "../../x", "name": "a", "group": null, "job_type": "a", "tags": [], "notes": ""}'),
    "more": content(b'{"id": "00000000", "name": "", "group": null, "job_type": "", "tags": [], "notes": "", "x": 1}'),
}


def objects(path: Path) -> None:
    np.savez(path, **{"world/start": np.array([Execute()], dtype=object)})


ARRAYS = {"pickled objects": objects, "other arrays": lambda path: np.savez(path, a=np.zeros(2))}


def cases() -> list[Case]:
    """All cases."""
    made = []
    binary = ("plan", "baseline", "last", "data", "replay")

    def add(reader, changes, only=None):
        made.extend(Case(reader, name, change) for name, change in changes.items() if only is None or name in only)

    for reader in ENTRIES:
        some = None if reader not in ("diagnose", "base") else ("empty", "pickle", "pipe", "folder")
        add(reader, DAMAGES, some)
        if reader in binary:
            add(reader, {name: change for name, change in BINARY.items() if (reader, name) != ("data", "compressed")})
    named = lambda changes, wrap: {name: wrap(change) for name, change in changes.items()}  # noqa: E731
    weights, configs = named(WEIGHTS, resaved), named(CHECKPOINT_CONFIGS, configured)
    add("plan", weights)
    add("plan", configs)
    add("diagnose", weights, ("a tensor with NaN", "replay of other shapes"))
    add("diagnose", named({"replay of another world": STATES["replay of another world"]}, resaved))
    add("diagnose", configs, ("env is touch", "env is null", "touch in policy.network"))
    add("base", weights, ("weights null", "a tensor sparse", "a tensor of integers", "a tensor missing"))
    add("baseline", weights, ("weights null", "a tensor with NaN", "a tensor of another shape", "a tensor expanded"))
    add("last", weights, ("weights null", "a tensor sparse", "a tensor of another shape", "configuration null"))
    add("last", named(STATES, resaved))
    run_configs = named(RUN_CONFIGS, configured)
    add("config", run_configs)
    add("config", {name: content(text) for name, text in YAML.items()})
    add("config of a finished run", run_configs, ("env is touch", "env is null", "touch in init", "no data"))
    add("config of a finished run", {name: content(text) for name, text in YAML.items()}, ("YAML that makes objects",))
    add("data", DATA)
    add("replay", REPLAY)
    add("identity", IDENTITY)
    add("plans", ARRAYS)
    add("maps", {"pickled objects": objects})
    return made


@pytest.mark.parametrize("case", cases(), ids=lambda case: f"{case.reader}: {case.name}")
def test_one_sentence_names_the_file_and_nothing_else_happens(case, world, quick, monkeypatch, capsys):
    monkeypatch.chdir(world)
    pattern, start = ENTRIES[case.reader]
    (path,) = world.glob(pattern)
    intact = path.read_bytes()
    try:
        case.change(path)
        before = listing(world)
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            start()
        said = capsys.readouterr().err
        assert stop.value.code == 1
        assert is_one_sentence(said), said
        assert path.relative_to(world).as_posix() in said
        assert listing(world) == before
    finally:
        for name in listing(world).keys() - before.keys():
            (world / name).unlink()
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        path.write_bytes(intact)


def test_there_are_many_cases():
    assert len(cases()) >= 200
