"""The DeepSpeed engine: which ZeRO stage, checkpoints that bring the optimizer back, and how they are copied."""

import os

import pytest
import torch
from deepspeed.runtime.zero.config import ZeroStageEnum

from relabel.errors import InputError
from relabel.storage import Folder
from train import checkpoints
from train.checkpoints import State
from train.config import TrainingConfig
from train.engine import build_engine, full_weights, zero_stage


def test_what_is_partitioned():
    """In float32 what the recipe says, and nothing where one worker is alone; bfloat16 keeps float32 copies by ZeRO."""
    assert zero_stage(TrainingConfig(workers=1, zero_stage=3), "float32") == 0
    assert zero_stage(TrainingConfig(workers=1, zero_stage=3), "bfloat16") == 3
    assert zero_stage(TrainingConfig(workers=2, batch=16, zero_stage=2), "float32") == 2
    assert zero_stage(TrainingConfig(workers=2, batch=16), "float32") == 0
    assert zero_stage(TrainingConfig(workers=2, batch=16), "bfloat16") == 1


@pytest.fixture(scope="module")
def one_worker():
    """A process group of this process alone, as Ray Train makes it; DeepSpeed keeps to the first that it sees."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {"DS_ACCELERATOR": "cpu", "RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}.items():
            environment.setenv(name, value)
        torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
        yield
        torch.distributed.destroy_process_group()


def test_a_checkpoint_brings_the_optimizer_back(one_worker, tmp_path):
    """Restored into another model, the next losses are those of the unbroken training, and weights are saved whole."""
    config = TrainingConfig(batch=4, micro_batch=2)
    random = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(6, 2, 2, 8, generator=random), torch.randn(6, 2, 2, 1, generator=random)

    def engine(seed):
        torch.manual_seed(seed)
        model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
        return build_engine(model, [{"params": list(model.parameters()), "lr": 0.05}], config, "float32")

    def losses(engine, steps):
        found = []
        for step in steps:
            for part in range(2):
                loss = torch.nn.functional.mse_loss(engine(inputs[step, part]), targets[step, part])
                engine.backward(loss)
                engine.step()
                found.append(float(loss))
        return found

    unbroken, folder, state = engine(0), Folder(tmp_path), State(step=3)
    before = losses(unbroken, range(3))
    checkpoints.save(folder, unbroken, state, {3})
    saved = {name: weight.clone() for name, weight in full_weights(unbroken).items()}
    after = losses(unbroken, range(3, 6))
    other = engine(1)
    assert losses(other, range(1)) != before[:2]
    checkpoints.restore(folder, other, state)
    assert losses(other, range(3, 6)) == after
    found = checkpoints.weights_of(folder, 3)
    assert found.keys() == saved.keys()
    assert all(torch.equal(found[name], saved[name]) for name in saved)


@pytest.mark.parametrize("way", ["a call", "an attribute of a class that is allowed"])
def test_a_checkpoint_that_would_run_something_is_refused(one_worker, tmp_path, way):
    """Whoever can write into a run folder cannot run code by it: a pickle in a checkpoint is not unpickled. An enum's
    member is, in the way that some versions of Python write it."""
    config = TrainingConfig(batch=4, micro_batch=4)
    model = torch.nn.Linear(8, 1)
    engine = build_engine(model, [{"params": list(model.parameters()), "lr": 0.05}], config, "float32")
    folder, state, ran = Folder(tmp_path / "checkpoints"), State(step=1), tmp_path / "ran"
    checkpoints.save(folder, engine, state, {1})
    checkpoints.restore(folder, engine, state)

    class Bomb:
        def __reduce__(self):
            return (os.system, (f"touch {ran}",)) if way == "a call" else (getattr, (ZeroStageEnum, "__init__"))

    class Member:
        def __reduce__(self):
            return getattr, (ZeroStageEnum, "gradients")

    (file,) = (tmp_path / "checkpoints").rglob("*_model_states.pt")
    with checkpoints._tensors_alone(folder):
        values = torch.load(file)
    torch.save(values | {"stage": Member()}, file)
    checkpoints.restore(folder, engine, state)
    torch.save(values | {"bomb": Bomb()}, file)
    with pytest.raises(InputError, match="a file with more than tensors in it"):
        checkpoints.restore(folder, engine, state)
    assert not ran.exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_a_state_of_other_types_is_refused(tmp_path):
    """`state.json` says where to go on: a step that is none is an error that names the file."""
    Folder(tmp_path).write_json("step-00000001/state.json", {"step": "../../1"})
    with pytest.raises(InputError, match=r"state\.json: found step: '\.\./\.\./1'"):
        checkpoints.newest(Folder(tmp_path))


def check_copying(tmp_path, folder):
    (tmp_path / "from" / "inside").mkdir(parents=True)
    (tmp_path / "from" / "inside" / "a").write_bytes(b"a")
    (tmp_path / "from" / "b").write_bytes(b"")
    checkpoints.upload(tmp_path / "from", folder)
    assert folder.names(recursive=True) == ["b", "inside/a"]
    checkpoints.download(folder, tmp_path / "back")
    assert (tmp_path / "back" / "inside" / "a").read_bytes() == b"a"
    assert (tmp_path / "back" / "b").read_bytes() == b""


def test_files_are_copied_into_a_folder_and_back(tmp_path):
    """With their folders, on local disk."""
    check_copying(tmp_path, Folder(tmp_path / "to"))


@pytest.mark.integration
def test_files_are_copied_to_a_store_and_back(tmp_path, s3):
    """With their folders, on S3."""
    check_copying(tmp_path, Folder(s3) / "to")
